"""
From a rendered frame to what a phone records.

Colour: exposure that follows the scene, white balance, a tone curve, noise. Depth: what a phone's
LiDAR gives, smooth errors that grow with range, gaps at edges, on dark and on shiny surfaces,
nothing beyond five metres. Poses: slow drift, as of visual-inertial odometry.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.spatial.transform import Rotation

from demo.renderer import RawFrame
from nerf_reversal_ros.core.geometry import inverse, make_pose, OPTICAL_FROM_OPENGL, Z_UP_FROM_Y_UP

Array = NDArray[np.float64]

RANGE_M = 5.0
JPEG_QUALITY = 85
HEADING_DEG = 37.0
"""ARKit's world has an arbitrary heading."""


@dataclass(frozen=True)
class Phone:
    """How one recording was made."""

    grey: float
    """Linear brightness that the exposure aims at."""

    white_balance: tuple[float, float, float]
    """Gains of red, green and blue."""

    noise: float
    """Standard deviation of the colour noise in mid grey, of 255."""


def exposures(frames: list[RawFrame], phone: Phone) -> Array:
    """Return the gain (N,) of each picture: most of the way to its own brightness, slowly."""
    level = np.array(
        [
            np.log(np.clip(f.radiance[::4, ::4].mean(-1), 0.02, 3.0)).mean(dtype=float)
            for f in frames
        ]
    )
    adapted = level.mean() + 0.6 * (gaussian_filter1d(level, 2.0) - level.mean())
    return phone.grey / np.exp(adapted)


def colour_picture(
    frame: RawFrame, gain: float, phone: Phone, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Develop a picture, uint8 RGB (H, W, 3)."""
    light = frame.radiance.astype(np.float64) * gain * phone.white_balance
    shoulder = 0.7 + 0.3 * (1.0 - np.exp(-(light - 0.7) / 0.3))
    linear = np.where(light < 0.7, light, shoulder)
    # Noise of a sensor, as much as the phone's own smoothing leaves of it.
    grain = gaussian_filter(rng.standard_normal(light.shape), (0.7, 0.7, 0.0)) * 2.4
    srgb = np.where(
        linear < 0.0031308,
        12.92 * linear,
        1.055 * np.clip(linear, 1e-9, None) ** (1 / 2.4) - 0.055,
    )
    srgb = srgb + grain * phone.noise / 255.0 * (1.3 - 0.7 * srgb)
    return np.clip(np.rint(srgb * 255.0), 0, 255).astype(np.uint8)


def jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Encode a picture."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return cv2.imencode('.jpg', rgb[..., ::-1], options)[1].tobytes()


def _blotches(rng: np.random.Generator, shape: tuple[int, ...], size_px: float) -> Array:
    """Smooth noise of standard deviation one."""
    noise = gaussian_filter(rng.standard_normal(shape), size_px)
    return noise / noise.std()


def lidar_depth(frame: RawFrame, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return depth (h, w) in metres as a phone gives it, 0 where there is none."""
    # Now and then a ray finds the crack between two walls and nothing behind it.
    measured = np.isfinite(frame.depth)
    true = np.where(measured, frame.depth, cv2.medianBlur(frame.depth, 3)).astype(np.float64)
    smooth = gaussian_filter(true, 0.6)
    spread = 0.002 + 0.001 * true**2
    error = 0.95 * _blotches(rng, true.shape, 6) + 0.05 * rng.standard_normal(true.shape)
    depth = smooth * (1 + rng.normal(0, 0.001)) + spread * error
    kernel = np.ones((3, 3), np.uint8)
    edge = cv2.dilate(true, kernel) - cv2.erode(true, kernel) > 0.05 * true
    patch = _blotches(rng, true.shape, 2)
    gone = edge & (patch > -0.7)
    gone |= (gaussian_filter(frame.albedo, 1.5) < 0.05) & (patch > 0.2)
    gone |= frame.shiny & (patch > -0.4)
    gone |= (frame.facing < 0.2) & (patch > 0.0)
    gone |= true > RANGE_M
    return np.where(gone, 0.0, depth).astype(np.float32)


def drifted(room_from_camera: Array, rng: np.random.Generator) -> Array:
    """Return poses (N, 4, 4) with the error of odometry: millimetres, tenths of a degree."""
    count = len(room_from_camera)
    walk = np.zeros((count, 6))
    for i in range(1, count):
        walk[i] = 0.975 * walk[i - 1] + rng.standard_normal(6) * np.sqrt(1 - 0.975**2)
    jitter = rng.standard_normal((count, 6))
    shift = 0.003 * walk[:, :3] + 0.0003 * jitter[:, :3]
    turn = np.radians(0.08 * walk[:, 3:] + 0.01 * jitter[:, 3:])
    out = room_from_camera.copy()
    out[:, :3, 3] += shift
    out[:, :3, :3] = Rotation.from_rotvec(turn).as_matrix() @ out[:, :3, :3]
    return out


def arkit_from_room(first_camera_m: Array) -> Array:
    """Return the pose of the room in ARKit's world: y up, origin at the first camera."""
    turned = make_pose(Rotation.from_euler('z', HEADING_DEG, degrees=True))
    return inverse(Z_UP_FROM_Y_UP) @ turned @ make_pose(None, -first_camera_m)


def arkit_poses(world_from_room: Array, room_from_camera: Array) -> Array:
    """Return world_from_camera (N, 4, 4) with ARKit's camera axes (x right, y up, z back)."""
    poses: Array = world_from_room @ room_from_camera @ OPTICAL_FROM_OPENGL
    return poses
