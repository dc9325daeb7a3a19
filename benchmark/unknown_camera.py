"""
Localize images as loose JPEG files, of whose camera nothing is known.

    python benchmark/unknown_camera.py MAP TEST_BAG [--every N] [--alone N] [--out FILE.json]

The images of TEST_BAG, whose poses are known, are localized with its camera_info, then from JPEG
files without EXIF: their camera is found from all of them, or for every N-th from it alone.
Incorrect poses are beyond 10 cm or 5 degrees; a pose is within 3 sigma if its six errors are
inside the 99.73 % ellipsoid of its covariance. Standard deviations of the focal length are those
that are told.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from results import add_out_argument, Column, ResultTable, write_results
from wrong_camera import accepted_errors, posed_images, within_3_sigma

from nerf_reversal_ros.capture.image_sources import open_sources
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.photo_camera import PhotoCamera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.localization.localizer_protocol import localize_or_reject
from nerf_reversal_ros.localization.source_localizer import localize_source
from nerf_reversal_ros.maps.map_folder import Map, open_map
from nerf_reversal_ros.synthesis.image_corruption import PosedImage

COLUMNS = (
    'camera',
    Column('images'),
    Column('answered'),
    Column('incorrect'),
    Column('median', 'cm', 2),
    Column('median', 'deg', 3),
    Column('worst', 'cm', 1),
    Column('within 3 sigma', '%', 0),
    Column('median error of the focal length', '%', 2),
    Column('worst error of the focal length', '%', 2),
    Column('error of the focal length over its standard deviation, root mean square', '', 1),
)


def main() -> None:
    """Localize with and without a known camera, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('map', type=Path)
    parser.add_argument('test_bag', type=Path)
    parser.add_argument('--every', type=int, default=1, help='localize every N-th image')
    parser.add_argument('--alone', type=int, default=3, help='of these every N-th alone, too')
    add_out_argument(parser)
    args = parser.parse_args()
    map_ = open_map(args.map)
    config = map_.query_config({}).capture
    capture = open_capture(args.test_bag, config, convention=map_.convention, select_frames=False)
    images = list(posed_images(capture, args.every))
    poses = np.array([image.map_from_camera for image in images])
    table = ResultTable('Camera unknown', COLUMNS)
    localizer = open_localizer(map_, LocalizerConfig())
    outcomes = [localize_or_reject(localizer, image.rgb, image.camera) for image in images]
    table.add_row('camera_info', *pose_cells(outcomes, poses), None, None, None)
    with TemporaryDirectory() as folder:
        files = write_files(Path(folder), images)
        for name, groups in (
            ('found from all images', [files]),
            ('found from each image alone', [[file] for file in files[:: args.alone]]),
        ):
            truth = [images[files.index(file)] for group in groups for file in group]
            answers = [answer for group in groups for answer in localize_files(map_, group)]
            outcomes = [outcome for outcome, _, _ in answers]
            true_poses = np.array([image.map_from_camera for image in truth])
            table.add_row(name, *pose_cells(outcomes, true_poses), *focal_cells(answers, truth))
    write_results(args.out, 'Images of an unknown camera', table)


def write_files(folder: Path, images: list[PosedImage]) -> list[Path]:
    """Write images as JPEG without EXIF."""
    files = [folder / f'{number:05d}.jpg' for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image.rgb).save(file, quality=95)
    return files


def localize_files(map_: Map, files: list[Path]) -> Iterator[tuple[Outcome, float, float]]:
    """Yield outcomes, focal lengths [px] and their relative standard deviations of files."""
    localizer = open_localizer(map_, LocalizerConfig())
    for source in open_sources(map(str, files), PhotoCamera(), CaptureConfig()):
        for image, outcome in localize_source(localizer, source):
            if image.camera is None or image.focal_std is None:
                yield outcome, np.nan, np.nan
            else:
                yield outcome, image.camera.fx, image.focal_std


def pose_cells(outcomes: list[Outcome], poses_gt: FloatArray) -> list[float | None]:
    """Return the counts of images, answers and incorrect ones, and the errors of the answers."""
    errors = accepted_errors(outcomes, poses_gt)
    if not len(errors.vectors):
        return [len(outcomes), 0, 0, None, None, None, None]
    return [
        len(outcomes),
        len(errors.vectors),
        errors.incorrect,
        100 * float(np.median(errors.position_m)),
        float(np.median(errors.rotation_deg)),
        100 * float(errors.position_m.max()),
        100 * within_3_sigma(errors.vectors, errors.covariances),
    ]


def focal_cells(
    answers: list[tuple[Outcome, float, float]], images: list[PosedImage]
) -> list[float]:
    """Return the errors of the focal lengths of the answered images."""
    answered = np.array([isinstance(outcome, PoseEstimate) for outcome, _, _ in answers])
    found, std = np.array([answer[1:] for answer in answers])[answered].T
    truth = np.array([image.camera.fx for image in images])[answered]
    errors = np.log(found / truth)
    return [
        100 * float(np.median(np.abs(errors))),
        100 * float(np.abs(errors).max()),
        float(np.sqrt(np.square(errors / std).mean())),
    ]


if __name__ == '__main__':
    main()
