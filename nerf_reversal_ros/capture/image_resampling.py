"""Resampling of an image to another pinhole camera with the same center and axes."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError

MIN_VALID = 0.98
"""An interpolated pixel is valid if at least this fraction of it comes from valid pixels."""


class ResampledImage(NamedTuple):
    """An image resampled to another camera."""

    rgb: NDArray[np.uint8]
    """(h, w, 3) color; the nearest border color outside of the source image."""

    valid: NDArray[np.bool_]
    """(h, w) mask of the pixels inside the source image, and valid there."""


def resample_to_camera(
    rgb: NDArray[np.uint8],
    camera: Camera,
    target: Camera,
    source_valid: NDArray[np.bool_] | None = None,
) -> ResampledImage:
    """
    Resample an image to another camera by the homography ``K_target K_camera^-1``.

    Both cameras share center and axes, so that the homography scales and shifts rows and columns
    only. A smaller image is averaged over areas first, against aliasing.

    Parameters
    ----------
    rgb : (H, W, 3) uint8 array
    camera : Camera
        Intrinsics of ``rgb``, at its size.
    target : Camera
        Intrinsics and size of the result.
    source_valid : (H, W) bool array, optional
        Pixels of ``rgb`` that are not masked; None: all.

    Raises
    ------
    ImageError
        If ``rgb`` is not a uint8 color image of the size of the camera.
    """
    if rgb.dtype != np.uint8 or rgb.shape != (camera.height, camera.width, 3):
        raise ImageError(
            f'the image is {rgb.dtype} {rgb.shape}, but its camera needs uint8'
            f' ({camera.height}, {camera.width}, 3): give the camera_info of the image'
        )
    reduced = camera.scaled_to(
        max(1, round(camera.width * min(1.0, target.fx / camera.fx))),
        max(1, round(camera.height * min(1.0, target.fy / camera.fy))),
    )
    pixels: NDArray[Any] = rgb
    if (reduced.width, reduced.height) != (camera.width, camera.height):
        pixels = cv2.resize(rgb, (reduced.width, reduced.height), interpolation=cv2.INTER_AREA)
    sx, sy = reduced.fx / target.fx, reduced.fy / target.fy
    x, y = reduced.cx - sx * target.cx, reduced.cy - sy * target.cy
    columns = x + sx * np.arange(target.width)
    rows = y + sy * np.arange(target.height)
    valid = np.logical_and.outer(
        _is_in_bounds(rows, reduced.height), _is_in_bounds(columns, reduced.width)
    )
    same_size = (reduced.width, reduced.height) == (target.width, target.height)
    if not (same_size and max(abs(x), abs(y), abs(sx - 1.0), abs(sy - 1.0)) < 1e-6):
        pixels = cv2.warpAffine(
            pixels,
            np.array([[sx, 0.0, x], [0.0, sy, y]]),
            (target.width, target.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    if source_valid is not None:
        white = np.repeat(source_valid[..., None], 3, axis=2).astype(np.uint8) * np.uint8(255)
        valid &= resample_to_camera(white, camera, target).rgb[..., 0] == 255
    return ResampledImage(np.asarray(pixels, dtype=np.uint8), valid)


def downscale_image(rgb: NDArray[np.uint8], target: Camera) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) averaged over areas to the size of ``target``."""
    if rgb.shape[:2] == (target.height, target.width):
        return rgb
    size = (target.width, target.height)
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _is_in_bounds(pixels: NDArray[Any], size: int) -> NDArray[np.bool_]:
    in_bounds: NDArray[np.bool_] = (pixels > -0.5 - 1e-6) & (pixels < size - 0.5 + 1e-6)
    return in_bounds
