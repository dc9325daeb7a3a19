"""A picture of one pinhole camera, seen as a picture of another at the same place."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError


class ResampledImage(NamedTuple):
    """A picture resampled to another camera."""

    rgb: NDArray[np.uint8]
    """(h, w, 3) colours; the nearest border colour where the first camera did not look."""

    valid: NDArray[np.bool_]
    """(h, w) where the first camera looked."""


def resample_to_camera(rgb: NDArray[np.uint8], camera: Camera, target: Camera) -> ResampledImage:
    """
    Resample a picture to another camera by the homography ``K_target K_camera^-1``.

    Both cameras share centre and axes, so the homography scales and shifts along rows and
    columns only. Where the picture shrinks it is averaged over areas first.

    Parameters
    ----------
    rgb : (H, W, 3) uint8 array
    camera : Camera
        Intrinsics of ``rgb``, at its size.
    target : Camera
        Intrinsics and size of the wanted picture.

    Raises
    ------
    ImageError
        If ``rgb`` is not a uint8 colour picture of the camera's size.
    """
    if rgb.dtype != np.uint8 or rgb.shape != (camera.height, camera.width, 3):
        raise ImageError(
            f'the picture is {rgb.dtype} {rgb.shape} but its camera says uint8'
            f' ({camera.height}, {camera.width}, 3): camera_info must belong to the picture'
        )
    middle = camera.scaled_to(
        max(1, round(camera.width * min(1.0, target.fx / camera.fx))),
        max(1, round(camera.height * min(1.0, target.fy / camera.fy))),
    )
    small: NDArray[Any] = rgb
    if (middle.width, middle.height) != (camera.width, camera.height):
        small = cv2.resize(rgb, (middle.width, middle.height), interpolation=cv2.INTER_AREA)
    sx, sy = middle.fx / target.fx, middle.fy / target.fy
    x, y = middle.cx - sx * target.cx, middle.cy - sy * target.cy
    columns = x + sx * np.arange(target.width)
    rows = y + sy * np.arange(target.height)
    seen = np.logical_and.outer(
        _is_in_bounds(rows, middle.height), _is_in_bounds(columns, middle.width)
    )
    same_size = (middle.width, middle.height) == (target.width, target.height)
    if not (same_size and max(abs(x), abs(y), abs(sx - 1.0), abs(sy - 1.0)) < 1e-6):
        small = cv2.warpAffine(
            small,
            np.array([[sx, 0.0, x], [0.0, sy, y]]),
            (target.width, target.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return ResampledImage(np.asarray(small, dtype=np.uint8), seen)


def _is_in_bounds(pixels: NDArray[Any], size: int) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (pixels > -0.5 - 1e-6) & (pixels < size - 0.5 + 1e-6)
    return inside
