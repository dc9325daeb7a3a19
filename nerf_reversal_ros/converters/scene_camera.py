"""Camera models of a ``transforms.json``, by the names of COLMAP and nerfstudio."""

from typing import Any

import numpy as np

from nerf_reversal_ros.bags.camera_model import CameraModel
from nerf_reversal_ros.bags.colmap_camera import (
    COEFFICIENTS,
    FISHEYE_MODELS,
    FULL_MODEL,
    opencv_distortion,
    PINHOLE_MODELS,
)
from nerf_reversal_ros.converters.image_shapes import is_same_shape
from nerf_reversal_ros.converters.left_out import LeftOutReason, UnusableFrameError
from nerf_reversal_ros.core.camera_validation import IntrinsicsSource, make_camera
from nerf_reversal_ros.core.errors import ImageError

CAMERA_KEYS = (
    *('w', 'h', 'fl_x', 'fl_y', 'cx', 'cy', 'camera_angle_x', 'camera_angle_y'),
    *('camera_model', 'is_fisheye', *COEFFICIENTS),
)
"""Keys of intrinsics and distortion."""
_INTRINSICS = IntrinsicsSource(
    'fl_x, fl_y, cx, cy',
    'correct them, or export it again',
    'set w and h to {width} and {height}, or export it again',
)
"""Words for messages about the intrinsics of a file."""


def fits(values: dict[str, Any], size: tuple[int, int]) -> bool:
    """Whether w and h, or else cx and cy, are of images of this size (width, height)."""
    try:
        if 'w' in values and 'h' in values:
            return is_same_shape((float(values['w']), float(values['h'])), size)
        center = np.array([float(values['cx']), float(values['cy'])])
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
    return bool(np.all(np.abs(center / size - 0.5) < 0.1))


def scene_camera_model(values: dict[str, Any], size: tuple[int, int]) -> CameraModel:
    """
    Read the camera model of a frame, at the size (width, height) of its image.

    Raises
    ------
    UnusableFrameError
        If intrinsics are missing, invalid or of another aspect ratio, or the model is unknown.
    """
    try:
        width, height = int(values.get('w', size[0])), int(values.get('h', size[1]))
        if min(width, height) < 1 or not is_same_shape((width, height), size):
            raise UnusableFrameError(
                LeftOutReason.IMAGE_SIZE,
                f'w and h are {width}x{height}, but the image has {size[0]}x{size[1]} pixels,'
                ' another aspect ratio: correct w, h and the intrinsics, or export it again',
            )
        distortion, is_fisheye = _distortion(values)
        intrinsics = _intrinsics(values, width, height)
        camera, _ = make_camera((width, height), intrinsics, _INTRINSICS)
        return CameraModel(camera, distortion, is_fisheye).scaled_to(*size)
    except ImageError as error:
        raise UnusableFrameError(LeftOutReason.BAD_CAMERA, str(error)) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise UnusableFrameError(
            LeftOutReason.BAD_CAMERA, f'its intrinsics are no numbers ({error}): export it again'
        ) from error


def _intrinsics(
    values: dict[str, Any], width: int, height: int
) -> tuple[float, float, float, float]:
    """Read fx, fy, cx, cy, with pixel centers at integers."""
    fx = _focal_length(values, 'fl_x', 'camera_angle_x', width)
    fy = _focal_length(values, 'fl_y', 'camera_angle_y', height)
    if fx is None and fy is None:
        raise ImageError('it has neither fl_x nor camera_angle_x: export it again')
    # The origin of nerfstudio and COLMAP is the corner of the first pixel, of Camera its center.
    cx = float(values.get('cx', width / 2.0)) - 0.5
    cy = float(values.get('cy', height / 2.0)) - 0.5
    return float(fx or fy or 0.0), float(fy or fx or 0.0), cx, cy


def _focal_length(values: dict[str, Any], focal: str, angle: str, side: int) -> float | None:
    if focal in values:
        return float(values[focal])
    if angle in values:
        return side / (2.0 * float(np.tan(float(values[angle]) / 2.0)))
    return None


def _distortion(values: dict[str, Any]) -> tuple[tuple[float, ...], bool]:
    """Read the distortion coefficients in the order of OpenCV, and whether it is a fisheye."""
    model = str(values.get('camera_model', 'OPENCV'))
    coefficients = {name: float(values.get(name) or 0.0) for name in COEFFICIENTS}
    if not all(map(np.isfinite, coefficients.values())):
        raise ImageError(f'its distortion {coefficients} is not finite: export it again')
    if values.get('is_fisheye'):
        model = FISHEYE_MODELS[0]
    if model in (FULL_MODEL, *FISHEYE_MODELS):
        return opencv_distortion(model, coefficients)
    if model not in PINHOLE_MODELS:
        raise ImageError(
            f'camera_model {model} is unknown: undistort to one of'
            f' {", ".join((*PINHOLE_MODELS, FULL_MODEL, *FISHEYE_MODELS))}'
        )
    for name in ('k4', 'k5', 'k6'):
        if coefficients[name]:
            raise ImageError(
                f'{name} = {coefficients[name]} is not part of the camera model {model}: set'
                f' camera_model to {FULL_MODEL} if it is a coefficient of that, or undistort first'
            )
    return opencv_distortion(model, coefficients)
