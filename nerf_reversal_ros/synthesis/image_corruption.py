"""Real pictures made hard, to find out when a localizer is right and when it is not."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray

Rgb = NDArray[np.uint8]


class PosedImage(NamedTuple):
    """A picture, its intrinsics, and where it was taken."""

    rgb: Rgb
    """(H, W, 3)."""
    camera: Camera
    map_from_camera: FloatArray
    """(4, 4)."""


def corrupt_randomly(image: PosedImage, rng: np.random.Generator) -> PosedImage:
    """Spoil a picture by one to three of: crop, motion blur, cover, exposure, noise."""
    ways = (_crop, _motion_blur, _occlude, _change_exposure, _add_noise)
    for number in rng.permutation(len(ways))[: rng.integers(1, 4)]:
        image = ways[number](image, rng)
    return image


def make_mirror_negative(image: PosedImage) -> PosedImage:
    """
    Show another room: this one seen in a mirror, which has the same light, colours and style.

    No pose in the map is right; ``map_from_camera`` becomes NaN.
    """
    camera = image.camera
    turned_round = Camera(
        camera.width, camera.height, camera.fx, camera.fy,
        camera.width - 1 - camera.cx, camera.cy,
    )  # fmt: skip
    rgb: Rgb = np.ascontiguousarray(image.rgb[:, ::-1])
    return PosedImage(rgb, turned_round, np.full((4, 4), np.nan))


def motion_blur(rgb: Rgb, length_px: int, direction: float) -> Rgb:
    """Blur along a line of some length [px] and direction [rad]."""
    length_px = max(3, length_px) | 1  # the kernel needs a middle: else the picture moves
    kernel = np.zeros((length_px, length_px), np.float32)
    half = (length_px - 1) / 2
    end = half * np.array([np.cos(direction), np.sin(direction)])
    first, last = (np.rint(half + sign * end).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, first, last, 1.0)
    kernel += kernel[::-1, ::-1]  # lines are drawn a little to one side
    return np.asarray(cv2.filter2D(rgb, -1, kernel / kernel.sum()), dtype=np.uint8)


def crop(image: PosedImage, top: int, left: int, height: int, width: int) -> PosedImage:
    """Cut out a part; a crop from the middle is what a longer lens would see."""
    rgb: Rgb = np.ascontiguousarray(image.rgb[top : top + height, left : left + width])
    old = image.camera
    camera = Camera(width, height, old.fx, old.fy, old.cx - left, old.cy - top)
    return PosedImage(rgb, camera, image.map_from_camera)


def occlude(rgb: Rgb, fraction: float, rng: np.random.Generator) -> Rgb:
    """Cover a share of a picture by a rectangle of one colour."""
    height, width = rgb.shape[:2]
    tall = rng.uniform(min(1.0, fraction * 1.2), min(1.0, fraction * 2.5))
    h, w = round(height * tall), min(width, round(width * fraction / tall))
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    out = rgb.copy()
    out[top : top + h, left : left + w] = rng.integers(0, 256, 3)
    return out


def _crop(shot: PosedImage, rng: np.random.Generator) -> PosedImage:
    height, width = shot.rgb.shape[:2]
    h, w = (max(16, round(side * rng.uniform(0.3, 0.9))) for side in (height, width))
    h, w = min(h, height), min(w, width)
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    return crop(shot, int(top), int(left), h, w)


def _motion_blur(shot: PosedImage, rng: np.random.Generator) -> PosedImage:
    length_px = round(rng.uniform(0.01, 0.06) * max(shot.rgb.shape))
    return shot._replace(rgb=motion_blur(shot.rgb, length_px, rng.uniform(0, np.pi)))


def _occlude(shot: PosedImage, rng: np.random.Generator) -> PosedImage:
    return shot._replace(rgb=occlude(shot.rgb, rng.uniform(0.15, 0.6), rng))


def _change_exposure(shot: PosedImage, rng: np.random.Generator) -> PosedImage:
    factor = np.exp(rng.uniform(np.log(0.15), np.log(2.5)))
    return shot._replace(rgb=np.clip(shot.rgb * factor, 0, 255).astype(np.uint8))


def _add_noise(shot: PosedImage, rng: np.random.Generator) -> PosedImage:
    noise = rng.normal(scale=rng.uniform(3, 25), size=shot.rgb.shape)
    return shot._replace(rgb=np.clip(shot.rgb + noise, 0, 255).astype(np.uint8))
