"""
Simulate the sensors of a phone on rendered frames.

Color: auto exposure, white balance, a tone curve, noise. Depth: smooth errors that grow with the
range, gaps at edges and on dark, shiny or grazed surfaces, no depth beyond five meters.
Poses: slow drift, as of visual-inertial odometry.
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
"""Largest depth of the LiDAR."""
JPEG_QUALITY = 85
HEADING_DEG = 37.0
"""Heading of the ARKit world in the room: an arbitrary angle, as on a phone."""


@dataclass(frozen=True)
class Phone:
    """Camera settings of one recording."""

    gray: float
    """Target of the auto exposure: linear mean brightness."""

    white_balance: tuple[float, float, float]
    """Gains of red, green and blue."""

    noise: float
    """Standard deviation of the color noise in mid gray, of 255."""


def exposure_gains(frames: list[RawFrame], phone: Phone) -> Array:
    """Return the gain (N,) of each frame: auto exposure, damped and smoothed over time."""
    level = np.array(
        [
            np.log(np.clip(f.radiance[::4, ::4].mean(-1), 0.02, 3.0)).mean(dtype=float)
            for f in frames
        ]
    )
    adapted = level.mean() + 0.6 * (gaussian_filter1d(level, 2.0) - level.mean())
    return phone.gray / np.exp(adapted)


def develop_image(
    frame: RawFrame, gain: float, phone: Phone, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Apply exposure, white balance, tone curve and noise; return RGB, uint8 (H, W, 3)."""
    light = frame.radiance.astype(np.float64) * gain * phone.white_balance
    shoulder = 0.7 + 0.3 * (1.0 - np.exp(-(light - 0.7) / 0.3))
    linear = np.where(light < 0.7, light, shoulder)
    # Sensor noise after the denoising of the phone.
    grain = gaussian_filter(rng.standard_normal(light.shape), (0.7, 0.7, 0.0)) * 2.4
    srgb = np.where(
        linear < 0.0031308,
        12.92 * linear,
        1.055 * np.clip(linear, 1e-9, None) ** (1 / 2.4) - 0.055,
    )
    srgb = srgb + grain * phone.noise / 255.0 * (1.3 - 0.7 * srgb)
    return np.clip(np.rint(srgb * 255.0), 0, 255).astype(np.uint8)


def encode_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Encode an RGB image (H, W, 3) as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return cv2.imencode('.jpg', rgb[..., ::-1], options)[1].tobytes()


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], size_px: float) -> Array:
    """Generate Gaussian-filtered noise of standard deviation one."""
    noise = gaussian_filter(rng.standard_normal(shape), size_px)
    return noise / noise.std()


def lidar_depth(frame: RawFrame, rng: np.random.Generator) -> NDArray[np.float32]:
    """Simulate the depth (h, w) of a phone LiDAR [m]; 0 where there is none."""
    # Single rays pass through the crack between two walls and hit nothing.
    measured = np.isfinite(frame.depth)
    depth_gt = np.where(measured, frame.depth, cv2.medianBlur(frame.depth, 3)).astype(np.float64)
    smooth = gaussian_filter(depth_gt, 0.6)
    std_m = 0.002 + 0.001 * depth_gt**2
    error = 0.95 * _smooth_noise(rng, depth_gt.shape, 6) + 0.05 * rng.standard_normal(
        depth_gt.shape
    )
    depth = smooth * (1 + rng.normal(0, 0.001)) + std_m * error
    kernel = np.ones((3, 3), np.uint8)
    edge = cv2.dilate(depth_gt, kernel) - cv2.erode(depth_gt, kernel) > 0.05 * depth_gt
    patch = _smooth_noise(rng, depth_gt.shape, 2)
    missing = edge & (patch > -0.7)
    missing |= (gaussian_filter(frame.albedo, 1.5) < 0.05) & (patch > 0.2)
    missing |= frame.shiny & (patch > -0.4)
    missing |= (frame.facing < 0.2) & (patch > 0.0)
    missing |= depth_gt > RANGE_M
    return np.where(missing, 0.0, depth).astype(np.float32)


def add_drift(room_from_camera: Array, rng: np.random.Generator) -> Array:
    """Add errors of visual-inertial odometry to poses (N, 4, 4): a bounded random walk."""
    count = len(room_from_camera)
    walk = np.zeros((count, 6))
    for i in range(1, count):
        walk[i] = 0.975 * walk[i - 1] + rng.standard_normal(6) * np.sqrt(1 - 0.975**2)
    jitter = rng.standard_normal((count, 6))
    shift = 0.003 * walk[:, :3] + 0.0003 * jitter[:, :3]
    rotation = np.radians(0.08 * walk[:, 3:] + 0.01 * jitter[:, 3:])
    out = room_from_camera.copy()
    out[:, :3, 3] += shift
    out[:, :3, :3] = Rotation.from_rotvec(rotation).as_matrix() @ out[:, :3, :3]
    return out


def arkit_from_room(first_camera_m: Array) -> Array:
    """Return world_from_room (4, 4) of an ARKit world: y up, origin at the first camera."""
    heading = make_pose(Rotation.from_euler('z', HEADING_DEG, degrees=True))
    return inverse(Z_UP_FROM_Y_UP) @ heading @ make_pose(None, -first_camera_m)


def arkit_poses(world_from_room: Array, room_from_camera: Array) -> Array:
    """Return world_from_camera (N, 4, 4) with the camera axes of ARKit: x right, y up, z back."""
    poses: Array = world_from_room @ room_from_camera @ OPTICAL_FROM_OPENGL
    return poses
