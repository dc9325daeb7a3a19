"""Shapes of images, depth and masks of one view, which have different resolutions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.converters.left_out import LeftOutReason, UnusableFrameError
from nerf_reversal_ros.core.camera import Camera

ASPECT_RATIO_TOLERANCE = 0.02
"""Largest relative difference of the aspect ratios of an image and its depth or mask."""


def is_same_shape(first: tuple[float, float], second: tuple[int, int]) -> bool:
    """Whether sizes (width, height) have the same aspect ratio, up to a pixel of the second."""
    return abs(first[0] * second[1] - first[1] * second[0]) <= max(second)


def has_aspect_ratio(pixels: NDArray[Any], camera: Camera) -> bool:
    """Whether depth or a mask (h, w) has about the aspect ratio of the images of a camera."""
    height, width = pixels.shape[:2]
    ratio = width * camera.height / (height * camera.width)
    return abs(ratio - 1) <= ASPECT_RATIO_TOLERANCE


def check_depth_shape(depth: NDArray[Any], camera: Camera, remedy: str) -> None:
    """Raise UnusableFrameError for depth (h, w) of another aspect ratio than the image."""
    if not has_aspect_ratio(depth, camera):
        height, width = depth.shape
        raise UnusableFrameError(
            LeftOutReason.BAD_DEPTH,
            f'its depth of {width}x{height} pixels has another aspect ratio than the image of'
            f' {camera.width}x{camera.height}: {remedy}',
        )


def drop_unconfident(depth_m: NDArray[np.float32], confidence: NDArray[Any]) -> None:
    """Set depth (h, w) of no confidence to 0, unknown, if both have the same shape."""
    if confidence.shape == depth_m.shape:
        depth_m[confidence == 0] = 0.0
