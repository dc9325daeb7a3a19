"""
Synthetic corruption of camera images, for training and evaluation of the gate.

Corrupted images keep a known pose; a mirrored image has none and is a hard negative.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray

Rgb = NDArray[np.uint8]


class PosedImage(NamedTuple):
    """An image, its intrinsics and its pose."""

    rgb: Rgb
    """(H, W, 3)."""
    camera: Camera
    map_from_camera: FloatArray
    """(4, 4) pose of the optical camera frame; NaN if no pose is correct."""


def corrupt_randomly(image: PosedImage, rng: np.random.Generator) -> PosedImage:
    """Apply one to three of: crop, motion blur, occlusion, exposure change, noise."""
    corruptions = (_crop, _motion_blur, _occlude, _change_exposure, _add_noise)
    for number in rng.permutation(len(corruptions))[: rng.integers(1, 4)]:
        image = corruptions[number](image, rng)
    return image


def make_mirror_negative(image: PosedImage) -> PosedImage:
    """
    Mirror an image: a hard negative with the same lighting, colors and style.

    No pose in the map is correct; ``map_from_camera`` becomes NaN.
    """
    camera = image.camera
    mirrored_camera = Camera(
        camera.width, camera.height, camera.fx, camera.fy,
        camera.width - 1 - camera.cx, camera.cy,
    )  # fmt: skip
    rgb: Rgb = np.ascontiguousarray(image.rgb[:, ::-1])
    return PosedImage(rgb, mirrored_camera, np.full((4, 4), np.nan))


def motion_blur(rgb: Rgb, length_px: int, direction: float) -> Rgb:
    """Blur along a line of a length [px] and direction [rad]."""
    length_px = max(3, length_px) | 1  # an even kernel would shift the image
    kernel = np.zeros((length_px, length_px), np.float32)
    half = (length_px - 1) / 2
    end = half * np.array([np.cos(direction), np.sin(direction)])
    first, last = (np.rint(half + sign * end).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, first, last, 1.0)
    kernel += kernel[::-1, ::-1]  # cv2.line is not symmetric
    return np.asarray(cv2.filter2D(rgb, -1, kernel / kernel.sum()), dtype=np.uint8)


def crop(image: PosedImage, top: int, left: int, height: int, width: int) -> PosedImage:
    """Crop an image; a central crop corresponds to a longer focal length."""
    rgb: Rgb = np.ascontiguousarray(image.rgb[top : top + height, left : left + width])
    old = image.camera
    camera = Camera(width, height, old.fx, old.fy, old.cx - left, old.cy - top)
    return PosedImage(rgb, camera, image.map_from_camera)


def occlude(rgb: Rgb, fraction: float, rng: np.random.Generator) -> Rgb:
    """Cover a fraction of an image by a rectangle of one color."""
    height, width = rgb.shape[:2]
    relative_height = rng.uniform(min(1.0, fraction * 1.2), min(1.0, fraction * 2.5))
    h, w = round(height * relative_height), min(width, round(width * fraction / relative_height))
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    out = rgb.copy()
    out[top : top + h, left : left + w] = rng.integers(0, 256, 3)
    return out


def _crop(image: PosedImage, rng: np.random.Generator) -> PosedImage:
    height, width = image.rgb.shape[:2]
    h, w = (max(16, round(side * rng.uniform(0.3, 0.9))) for side in (height, width))
    h, w = min(h, height), min(w, width)
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    return crop(image, int(top), int(left), h, w)


def _motion_blur(image: PosedImage, rng: np.random.Generator) -> PosedImage:
    length_px = round(rng.uniform(0.01, 0.06) * max(image.rgb.shape))
    return image._replace(rgb=motion_blur(image.rgb, length_px, rng.uniform(0, np.pi)))


def _occlude(image: PosedImage, rng: np.random.Generator) -> PosedImage:
    return image._replace(rgb=occlude(image.rgb, rng.uniform(0.15, 0.6), rng))


def _change_exposure(image: PosedImage, rng: np.random.Generator) -> PosedImage:
    factor = np.exp(rng.uniform(np.log(0.15), np.log(2.5)))
    return image._replace(rgb=np.clip(image.rgb * factor, 0, 255).astype(np.uint8))


def _add_noise(image: PosedImage, rng: np.random.Generator) -> PosedImage:
    noise = rng.normal(scale=rng.uniform(3, 25), size=image.rgb.shape)
    return image._replace(rgb=np.clip(image.rgb + noise, 0, 255).astype(np.uint8))
