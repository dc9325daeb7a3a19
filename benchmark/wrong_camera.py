"""
Localize images with intrinsics that are wrong by known amounts.

    python benchmark/wrong_camera.py MAP TEST_BAG [--every N] [--out FILE.json]

The intrinsics of the images of TEST_BAG, whose poses are known, are changed: focal length,
principal point, fx over fy. Two further rows have correct intrinsics of another camera, because
the images are cropped, or cropped and enlarged; another one has the intrinsics of the capture for
enlarged images. Each row starts with a new localizer. Incorrect poses are beyond 10 cm or 5
degrees; a pose is within 3 sigma if its six errors are inside the 99.73 % ellipsoid of its
covariance, and its position likewise.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from results import add_out_argument, Column, ResultTable, write_results
from scipy.stats import chi2

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, pose_errors
from nerf_reversal_ros.core.metrics import error_vectors
from nerf_reversal_ros.core.outcome import (
    CORRECT_WITHIN_DEG,
    CORRECT_WITHIN_M,
    Outcome,
    PoseEstimate,
    RejectionReason,
)
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.localization.localizer_protocol import localize_or_reject
from nerf_reversal_ros.maps.map_folder import open_map
from nerf_reversal_ros.synthesis.image_corruption import crop, PosedImage

FOCAL_FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 1.0, 1.03, 1.05, 1.1, 1.25, 1.5, 2.0)
CENTER_SHIFTS = (-0.1, -0.05, 0.05, 0.1)
"""Errors of the principal point, as fractions of the image width."""
ASPECT_FACTORS = (0.9, 1.1)
ZOOM = 1.25
"""Enlargement of the middle of an image."""
SIGMA_3 = 0.9973
"""Probability of three standard deviations of one normal variable."""
COLUMNS = (
    'camera_info',
    Column('images'),
    Column('accepted'),
    Column('incorrect'),
    Column('worst', 'cm', 1),
    Column('worst', 'deg', 1),
    Column('pose within 3 sigma', '%', 0),
    Column('position within 3 sigma', '%', 0),
    Column('implausible camera model'),
    'most frequent other reason',
    Column('median focal scale', '', 3),
)

Change = Callable[[PosedImage], PosedImage]


def main() -> None:
    """Localize with each change and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('map', type=Path)
    parser.add_argument('test_bag', type=Path)
    parser.add_argument('--every', type=int, default=1, help='localize every N-th image')
    add_out_argument(parser)
    args = parser.parse_args()
    map_ = open_map(args.map)
    config = map_.query_config({}).capture
    capture = open_capture(args.test_bag, config, convention=map_.convention, select_frames=False)
    table = ResultTable('Wrong intrinsics', COLUMNS)
    for name, change in changes():
        localizer = open_localizer(map_, LocalizerConfig())
        images = [change(image) for image in posed_images(capture, args.every)]
        outcomes = [localize_or_reject(localizer, image.rgb, image.camera) for image in images]
        table.add_row(name, *cells(outcomes, np.array([i.map_from_camera for i in images])))
    write_results(args.out, 'Wrong camera_info', table)


def posed_images(capture: Capture, every: int) -> Iterator[PosedImage]:
    """Yield every N-th image of a capture with its pose."""
    for frame in capture:
        if frame.index % every == 0:
            yield PosedImage(frame.rgb, frame.camera, frame.map_from_camera)


def changes() -> Iterator[tuple[str, Change]]:
    """Yield names and changes of images and their intrinsics."""
    for factor in FOCAL_FACTORS:
        yield f'focal length * {factor}', with_camera(focal(factor, factor))
    for shift in CENTER_SHIFTS:
        yield f'principal point {shift:+.0%} x', with_camera(center(shift, 0.0))
        yield f'principal point {shift:+.0%} y', with_camera(center(0.0, shift))
    for factor in ASPECT_FACTORS:
        yield f'fx * {factor}', with_camera(focal(factor, 1.0))
    yield 'correct, cropped', zoom
    yield 'correct, cropped and enlarged', enlarge
    yield 'of the capture, enlarged', lambda image: enlarge(image)._replace(camera=image.camera)


def with_camera(edit: Callable[[Camera], Camera]) -> Change:
    """Return a change of the intrinsics alone."""
    return lambda image: image._replace(camera=edit(image.camera))


def focal(factor_x: float, factor_y: float) -> Callable[[Camera], Camera]:
    """Return a change of the focal lengths by factors."""
    return lambda camera: replace(camera, fx=camera.fx * factor_x, fy=camera.fy * factor_y)


def center(shift_x: float, shift_y: float) -> Callable[[Camera], Camera]:
    """Return a shift of the principal point by fractions of the image width."""
    return lambda camera: replace(
        camera, cx=camera.cx + shift_x * camera.width, cy=camera.cy + shift_y * camera.width
    )


def zoom(image: PosedImage) -> PosedImage:
    """Crop the middle of an image."""
    height, width = (round(side / ZOOM) for side in image.rgb.shape[:2])
    top, left = (image.rgb.shape[0] - height) // 2, (image.rgb.shape[1] - width) // 2
    return crop(image, top, left, height, width)


def enlarge(image: PosedImage) -> PosedImage:
    """Crop the middle of an image and enlarge it to the size before."""
    size = (image.camera.width, image.camera.height)
    rgb, camera, map_from_camera = zoom(image)
    enlarged = cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    return PosedImage(enlarged, camera.scaled_to(*size), map_from_camera)


def cells(outcomes: list[Outcome], poses_gt: FloatArray) -> list[float | str | None]:
    """Return the cells of a row behind its name."""
    errors = accepted_errors(outcomes, poses_gt)
    reasons = Counter(o.reason for o in outcomes if not isinstance(o, PoseEstimate))
    implausible = reasons.pop(RejectionReason.IMPLAUSIBLE_CAMERA, 0)
    scales = [s for o in outcomes if (s := o.diagnostics.scores.get('focal_scale')) is not None]
    return [
        len(outcomes),
        len(errors.vectors),
        *error_cells(errors),
        implausible,
        ', '.join(f'{reason} ({count})' for reason, count in reasons.most_common(1)) or None,
        float(np.median(scales)) if scales else None,
    ]


class AcceptedErrors(NamedTuple):
    """Errors of the N accepted poses."""

    position_m: FloatArray
    rotation_deg: FloatArray
    vectors: FloatArray
    """(N, 6), see `error_vectors`."""
    covariances: FloatArray
    """(N, 6, 6)."""

    @property
    def incorrect(self) -> int:
        """Number of poses that are not correct."""
        is_far = self.position_m > CORRECT_WITHIN_M
        return int((is_far | (self.rotation_deg > CORRECT_WITHIN_DEG)).sum())


def accepted_errors(outcomes: list[Outcome], poses_gt: FloatArray) -> AcceptedErrors:
    """Return the errors of the accepted poses among outcomes."""
    pairs = zip(outcomes, poses_gt, strict=True)
    accepted = [(o, pose_gt) for o, pose_gt in pairs if isinstance(o, PoseEstimate)]
    poses = np.array([outcome.map_from_camera for outcome, _ in accepted]).reshape(-1, 4, 4)
    poses_gt = np.array([pose_gt for _, pose_gt in accepted]).reshape(-1, 4, 4)
    covariances = np.array([outcome.covariance for outcome, _ in accepted]).reshape(-1, 6, 6)
    errors = pose_errors(poses, poses_gt)
    vectors = error_vectors(poses, poses_gt)
    return AcceptedErrors(errors.translation, np.degrees(errors.rotation), vectors, covariances)


def error_cells(errors: AcceptedErrors) -> list[float | None]:
    """Return incorrect poses, the worst errors, and the fractions within 3 sigma [%]."""
    if not len(errors.vectors):
        return [0, None, None, None, None]
    return [
        errors.incorrect,
        100 * errors.position_m.max(),
        errors.rotation_deg.max(),
        100 * within_3_sigma(errors.vectors, errors.covariances),
        100 * within_3_sigma(errors.vectors[:, :3], errors.covariances[:, :3, :3]),
    ]


def within_3_sigma(errors: FloatArray, covariances: FloatArray) -> float:
    """Return the fraction of errors (N, D) within the ellipsoids of covariances (N, D, D)."""
    whitened = np.linalg.solve(covariances, errors[..., None])[..., 0]
    squared = (errors * whitened).sum(1)
    return float((squared < chi2.ppf(SIGMA_3, errors.shape[1])).mean())


if __name__ == '__main__':
    main()
