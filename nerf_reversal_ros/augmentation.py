"""What a real camera may do to a picture that a rendered one lacks; used while training only."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.camera import Camera
from nerf_reversal_ros.geometry import Array

Picture = NDArray[np.uint8]


def varied_appearance(rgb: Picture, rng: np.random.Generator) -> Picture:
    """
    Vary exposure, gamma and white balance of a picture; blur, hide, add noise, compress at times.

    Parameters
    ----------
    rgb : (h, w, 3) uint8 array
        Not changed.
    rng : numpy Generator
        Source of all randomness.
    """
    out = cv2.LUT(rgb, _tone_curves(rng))
    if rng.random() < 0.2:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.2))
    if rng.random() < 0.2:
        out = cv2.filter2D(out, -1, _motion_kernel(rng.uniform(0.0, np.pi)))
    if rng.random() < 0.4:
        height, width = out.shape[:2]
        x, y = rng.integers(width), rng.integers(height)
        right, below = x + rng.integers(1, 2 + width // 3), y + rng.integers(1, 2 + height // 3)
        out[y:below, x:right] = rng.integers(256, size=3)
    if rng.random() < 0.3:
        noise = rng.normal(scale=rng.uniform(1.0, 8.0), size=out.shape)
        out = np.clip(out + noise, 0.0, 255.0).astype(np.uint8)
    if rng.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))]
        code = cv2.imencode('.jpg', out, quality)[1]
        out = np.asarray(cv2.imdecode(code, cv2.IMREAD_UNCHANGED))
    return np.asarray(out, dtype=np.uint8)


def turned(
    rgb: Picture, seen: NDArray[np.bool_], camera: Camera, camera_from_turned: Array
) -> tuple[Picture, NDArray[np.bool_]]:
    """
    Show what a camera sees after a turn about its centre, which needs no new rendering.

    Parameters
    ----------
    rgb, seen : (h, w, 3) uint8 and (h, w) bool arrays
        A picture of ``camera`` and where it shows something.
    camera_from_turned : (3, 3) array
        A rotation: ``map_from_turned = map_from_camera @ camera_from_turned``.

    Returns
    -------
    rgb, seen
        Not seen where the first picture does not reach.
    """
    homography = camera.matrix @ camera_from_turned @ np.linalg.inv(camera.matrix)
    out, shown = (
        cv2.warpPerspective(
            picture,
            homography,
            (camera.width, camera.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=border,
        )
        for picture, border in (
            (rgb, cv2.BORDER_REPLICATE),
            (seen.astype(np.uint8) * 255, cv2.BORDER_CONSTANT),
        )
    )
    return np.asarray(out, dtype=np.uint8), np.asarray(shown > 250)


def small_turn(std_deg: float, rng: np.random.Generator) -> Array:
    """Draw a rotation (3, 3) of the given standard deviation about each axis."""
    rotation: Array = Rotation.from_rotvec(rng.normal(0.0, np.radians(std_deg), 3)).as_matrix()
    return rotation


def _tone_curves(rng: np.random.Generator) -> Picture:
    """Draw a curve from 256 old to new values for each colour, as a (1, 256, 3) table."""
    gain = np.exp(rng.normal(scale=0.25) + rng.normal(scale=0.08, size=3))
    curve = np.linspace(0.0, 1.0, 256) ** np.exp(rng.normal(scale=0.25))
    table = np.clip(255.0 * curve[None, :, None] * gain, 0.0, 255.0).round()
    return np.asarray(table, dtype=np.uint8)


def _motion_kernel(angle_rad: float) -> NDArray[np.float64]:
    y, x = np.mgrid[-2.0:3.0, -2.0:3.0]
    beside = x * np.sin(angle_rad) - y * np.cos(angle_rad)
    kernel = np.maximum(1.0 - np.abs(beside), 0.0)
    return np.asarray(kernel / kernel.sum())
