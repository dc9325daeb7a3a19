"""Turn images and their intrinsics upright by the EXIF orientation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera

_TRANSPOSED, _FLIPPED_COLUMNS, _FLIPPED_ROWS = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)


def turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn pixels (H, W) or (H, W, C) upright by their EXIF orientation, 1 to 8."""
    if orientation in _TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in _FLIPPED_COLUMNS:
        pixels = pixels[:, ::-1]
    if orientation in _FLIPPED_ROWS:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def turn_camera(camera: Camera, orientation: int) -> Camera:
    """Return the intrinsics of the images that `turn` makes of those of ``camera``."""
    width, height, cx, cy = camera.width, camera.height, camera.cx, camera.cy
    fx, fy = camera.fx, camera.fy
    if orientation in _TRANSPOSED:
        width, height, fx, fy, cx, cy = height, width, fy, fx, cy, cx
    if orientation in _FLIPPED_COLUMNS:
        cx = width - 1 - cx
    if orientation in _FLIPPED_ROWS:
        cy = height - 1 - cy
    return Camera(width, height, fx, fy, cx, cy)
