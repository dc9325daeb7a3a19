"""
Localize every image of a bag.

poses.json has one entry for each image: its stamp, and either a pose with covariance or the reason
of the rejection. The covariance is of x, y, z in meters and of rotations about the fixed axes of
the map in radians. map_from_world makes the z axis of the world of the mapping bag point up; it is
null for a map without a bag.

Each image is localized by itself. With --track, the pose expected from the images before, not
older than tracking_timeout_s of the settings, is the first hypothesis, as in the node.
"""

import argparse
from collections.abc import Iterable, Iterator
import json
from pathlib import Path
from typing import Any, TYPE_CHECKING

from nerf_reversal_ros.cli.common_arguments import add_query_arguments, query_config
from nerf_reversal_ros.cli.console import ProgressConsole

if TYPE_CHECKING:
    from nerf_reversal_ros.core.config import QueryConfig
    from nerf_reversal_ros.core.outcome import Outcome
    from nerf_reversal_ros.localization.camera_advice import CameraAdvice
    from nerf_reversal_ros.maps.map_folder import Map

HELP = 'localize every image of a bag'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    add_query_arguments(parser)
    parser.add_argument(
        '--out', metavar='poses.json', type=Path, required=True, help='file to write'
    )
    parser.add_argument(
        '--track',
        action='store_true',
        help='try the last accepted pose first, moved on at constant velocity',
    )


def run(arguments: argparse.Namespace) -> None:
    """Localize the images, and write the poses."""
    from nerf_reversal_ros.core.files import check_writable
    from nerf_reversal_ros.core.outcome import PoseEstimate
    from nerf_reversal_ros.localization.camera_advice import CameraAdvice
    from nerf_reversal_ros.maps.map_folder import open_map

    advice = CameraAdvice()
    check_writable(arguments.out)
    map_ = open_map(arguments.map)
    config = query_config(map_, arguments)
    with ProgressConsole() as console:
        images = _localize_images(
            arguments.bag, map_, config, console, advice, track=arguments.track
        )
        outcomes = list(images)
    write_poses(arguments.out, map_, outcomes)
    accepted = sum(isinstance(outcome, PoseEstimate) for _, outcome in outcomes)
    print(f'{accepted} of {len(outcomes)} images were localized: wrote {arguments.out}')
    if advice.sentence:
        print(advice.sentence)


def write_poses(file: Path, map_: 'Map', outcomes: Iterable[tuple[int, 'Outcome']]) -> None:
    """Write ``poses.json`` from stamps [ns] and outcomes of images."""
    from nerf_reversal_ros.core.files import write_output

    convention = map_.convention
    document = {
        'map': str(map_.path),
        'frame_id': 'map',
        'map_from_world': convention.map_from_world.tolist() if convention.of_bag else None,
        'poses': [pose_entry(stamp_ns, outcome) for stamp_ns, outcome in outcomes],
    }
    write_output(file, json.dumps(document, indent=1, allow_nan=False) + '\n')


def _localize_images(
    path: Path,
    map_: 'Map',
    config: 'QueryConfig',
    console: ProgressConsole,
    advice: 'CameraAdvice',
    *,
    track: bool,
) -> Iterator[tuple[int, 'Outcome']]:
    """Localize the images of a bag one by one; yield their stamps [ns] and outcomes."""
    from nerf_reversal_ros.bags.bag_reader import BagReader
    from nerf_reversal_ros.capture.open_capture import iter_images
    from nerf_reversal_ros.core.progress import Progress
    from nerf_reversal_ros.evaluation.evaluation import localize_or_reject
    from nerf_reversal_ros.localization.tracking import PoseTracker

    with BagReader(path) as bag:
        total = bag.count(config.capture.with_topics_of(bag.count).image_topic)
    localizer = map_.localizer(config.localizer)
    timeout_s = config.localizer.tracking_timeout_s if track else 0.0
    tracker = PoseTracker()
    for index, image in enumerate(iter_images(path, config.capture)):
        expected_pose = tracker.predict(image.stamp_ns, timeout_s)
        outcome = localize_or_reject(localizer, image.rgb, image.camera, expected_pose)
        tracker.add(outcome, image.stamp_ns)
        advice.add(outcome, image.camera)
        yield image.stamp_ns, outcome
        console(Progress('localize', index + 1, total))


def pose_entry(stamp_ns: int, outcome: 'Outcome') -> dict[str, Any]:
    """Return the entry of one image in ``poses.json``."""
    from nerf_reversal_ros.core.geometry import quaternion_xyzw
    from nerf_reversal_ros.core.outcome import Rejection

    sec, nanosec = divmod(int(stamp_ns), 1_000_000_000)
    stamp = {'stamp_ns': int(stamp_ns), 'stamp': {'sec': sec, 'nanosec': nanosec}}
    if isinstance(outcome, Rejection):
        return {**stamp, 'rejected': outcome.reason, 'detail': outcome.detail}
    return {
        **stamp,
        'map_from_camera': {
            'position': outcome.map_from_camera[:3, 3].tolist(),
            'orientation_xyzw': quaternion_xyzw(outcome.map_from_camera).tolist(),
        },
        'covariance': outcome.covariance.tolist(),
    }
