"""
Localize photos, videos, a webcam or the images of a bag.

SOURCE is an image, a folder of images, a glob pattern, a video, a bag, webcam:0, or - for one
image on standard input. Each image gives one line: where it was taken and how surely, or why not
and what to do. A webcam goes on until Ctrl-C.

Photos have the focal length of --camera, else of EXIF, else of --fov. Else it is found from the
images of the source and the map, and told with its uncertainty. Bags have camera_info.

MAP may be a building: each image is localized in the room that explains it best. Its line names
the room. Poses are in the frame map of the building, or in that of a room that nothing links.

--out writes JSON, CSV, TUM (.tum) or images.txt of COLMAP (.txt), by the suffix. JSON has one
entry for each image: its name or stamp, and either a pose with covariance or the reason of the
rejection. The covariance is of x, y, z in meters and of rotations about the fixed axes of the map
in radians. map_from_world makes the z axis of the world of the mapping bag point up; it is null
for a map without a bag.

Each image is localized by itself. With --track, the pose expected from the images before, not
older than tracking_timeout_s of the settings, is the first hypothesis, as in the node. Image files
have no stamps and are never tracked.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nerf_reversal_ros.cli.common_arguments import (
    add_camera_arguments,
    add_query_arguments,
    open_stated_sources,
    query_config,
)
from nerf_reversal_ros.cli.interrupts import write_results_first

if TYPE_CHECKING:
    from nerf_reversal_ros.capture.image_sources import ImageSource, SourceImage
    from nerf_reversal_ros.core.config import QueryConfig
    from nerf_reversal_ros.core.outcome import Outcome
    from nerf_reversal_ros.localization.pose_files import LocalizedImage
    from nerf_reversal_ros.maps.building_folder import Building
    from nerf_reversal_ros.maps.map_folder import Map

HELP = 'localize photos, videos, a webcam or a bag'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    add_query_arguments(parser, source_count='+')
    add_camera_arguments(parser)
    parser.add_argument(
        '--out', metavar='FILE', type=Path, help='write the poses: .json, .csv, .tum or .txt'
    )
    parser.add_argument(
        '--show',
        metavar='FOLDER',
        type=Path,
        help='write a picture of each image beside the map as seen from its pose',
    )
    parser.add_argument(
        '--track',
        action='store_true',
        help='try the last accepted pose first, moved on at constant velocity',
    )


def run(arguments: argparse.Namespace) -> None:
    """Localize the images, print a line for each, and write what is asked for."""
    from nerf_reversal_ros.capture.photo_camera import parse_photo_camera
    from nerf_reversal_ros.core.files import check_writable
    from nerf_reversal_ros.core.outcome import PoseEstimate
    from nerf_reversal_ros.localization.camera_advice import CameraAdvice
    from nerf_reversal_ros.localization.pose_files import (
        check_frames,
        check_pose_file,
        write_pose_file,
    )
    from nerf_reversal_ros.maps.opening import open_map

    check_writable(arguments.out)
    check_pose_file(arguments.out)
    camera = parse_photo_camera(arguments.camera, arguments.fov)
    map_ = open_map(arguments.map)
    check_frames(arguments.out, map_)
    config = query_config(map_, arguments)
    sources = open_stated_sources(arguments.sources, camera, config.capture)
    has_camera_info = all(source.has_camera_info for source in sources)
    advice = CameraAdvice('camera_info' if has_camera_info else 'the camera')
    images: list[LocalizedImage] = []
    try:
        for image in _localize(sources, map_, config, arguments):
            images.append(image)
            if image.camera is not None:
                advice.add(image.outcome, image.camera)
    except KeyboardInterrupt:
        if not images or not any(source.is_endless for source in sources):
            raise
        write_results_first()
    written = ''
    if arguments.out:
        write_pose_file(arguments.out, map_, images)
        written = f': wrote {arguments.out}'
    accepted = sum(isinstance(image.outcome, PoseEstimate) for image in images)
    print(f'{accepted} of {len(images)} images were localized{written}')
    if advice.sentence:
        print(advice.sentence)


def _localize(
    sources: 'Sequence[ImageSource]',
    map_: 'Map | Building',
    config: 'QueryConfig',
    arguments: argparse.Namespace,
) -> 'Iterator[LocalizedImage]':
    """Localize the images one by one; print the line and write the picture of each."""
    from nerf_reversal_ros.localization.pose_files import describe_outcome
    from nerf_reversal_ros.localization.source_localizer import localize_source, localized_image

    show = _pictures(arguments.show, map_)
    localizer = map_.localizer(config.localizer)
    timeout_s = config.localizer.tracking_timeout_s if arguments.track else 0.0
    for source in sources:
        for image, outcome in localize_source(localizer, source, timeout_s, print):
            label = image.name or str(image.stamp_ns)
            answer = describe_outcome(outcome, image.origin)
            print(f'{label}: {answer}', flush=True)
            show(label, image, outcome, answer)
            yield localized_image(image, outcome)


def _pictures(
    folder: Path | None, map_: 'Map | Building'
) -> 'Callable[[str, SourceImage, Outcome, str], None]':
    """Return what writes the picture of an image, by its label, outcome and answer."""
    if folder is None:
        return lambda *_: None
    from nerf_reversal_ros.localization.pose_pictures import PosePictures

    pictures = PosePictures(folder, map_)

    def write(label: str, image: 'SourceImage', outcome: 'Outcome', answer: str) -> None:
        if image.rgb is not None and image.camera is not None:
            pictures.add(label, image.rgb, image.camera, outcome, answer)

    return write
