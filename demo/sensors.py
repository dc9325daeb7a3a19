"""
Simulate the color and depth sensors of a phone or a depth camera on rendered frames.

Color: auto exposure, white balance, a tone curve, noise. Depth: smooth errors that grow with the
range, gaps at edges and on dark, shiny or grazed surfaces, no depth out of range.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.spatial.transform import Rotation

from demo.raw_frame import RawFrame
from nerf_reversal_ros.core.geometry import inverse, make_pose, OPTICAL_FROM_OPENGL, Z_UP_FROM_Y_UP

Array = NDArray[np.float64]

JPEG_QUALITY = 85
HEADING_DEG = 37.0
"""Heading of the ARKit world in the room: an arbitrary angle, as on a sensor."""


@dataclass(frozen=True)
class ColorSensor:
    """Color settings of one recording."""

    gray: float
    """Target of the auto exposure: linear mean brightness."""

    white_balance: tuple[float, float, float]
    """Gains of red, green and blue."""

    noise: float
    """Standard deviation of the color noise in mid gray, of 255."""


@dataclass(frozen=True)
class DepthSensor:
    """Range and noise of a depth sensor; the default is the LiDAR of a sensor."""

    near_m: float = 0.0
    """Smallest depth."""

    far_m: float = 5.0
    """Largest depth."""

    std_m: float = 0.002
    """Standard deviation of the error next to the sensor."""

    std_per_m: float = 0.001
    """What the standard deviation grows by, times the square of the depth in meters [1/m]."""

    white: float = 0.05
    """Part of the error that differs from pixel to pixel; the rest is smooth."""


def exposure_gains(frames: list[RawFrame], sensor: ColorSensor) -> Array:
    """Return the gain (N,) of each frame: auto exposure, damped and smoothed over time."""
    level = np.array(
        [
            np.log(np.clip(f.radiance[::4, ::4].mean(-1), 0.02, 3.0)).mean(dtype=float)
            for f in frames
        ]
    )
    adapted = level.mean() + 0.6 * (gaussian_filter1d(level, 2.0) - level.mean())
    return sensor.gray / np.exp(adapted)


def develop_image(
    frame: RawFrame, gain: float, sensor: ColorSensor, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Apply exposure, white balance, tone curve and noise; return RGB, uint8 (H, W, 3)."""
    light = frame.radiance.astype(np.float64) * gain * sensor.white_balance
    shoulder = 0.7 + 0.3 * (1.0 - np.exp(-(light - 0.7) / 0.3))
    linear = np.where(light < 0.7, light, shoulder)
    # Sensor noise after the denoising of the sensor.
    grain = gaussian_filter(rng.standard_normal(light.shape), (0.7, 0.7, 0.0)) * 2.4
    srgb = np.where(
        linear < 0.0031308,
        12.92 * linear,
        1.055 * np.clip(linear, 1e-9, None) ** (1 / 2.4) - 0.055,
    )
    srgb = srgb + grain * sensor.noise / 255.0 * (1.3 - 0.7 * srgb)
    return np.clip(np.rint(srgb * 255.0), 0, 255).astype(np.uint8)


def encode_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Encode an RGB image (H, W, 3) as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return cv2.imencode('.jpg', rgb[..., ::-1], options)[1].tobytes()


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], size_px: float) -> Array:
    """Generate Gaussian-filtered noise of standard deviation one."""
    noise = gaussian_filter(rng.standard_normal(shape), size_px)
    return noise / noise.std()


def measure_depth(
    frame: RawFrame, sensor: DepthSensor, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Simulate the image (h, w) of a depth sensor [m]; 0 where there is none."""
    # Single rays pass through the crack between two walls and hit nothing.
    measured = np.isfinite(frame.depth)
    depth_gt = np.where(measured, frame.depth, cv2.medianBlur(frame.depth, 3)).astype(np.float64)
    smooth = gaussian_filter(depth_gt, 0.6)
    std_m = sensor.std_m + sensor.std_per_m * depth_gt**2
    error = (1 - sensor.white) * _smooth_noise(rng, depth_gt.shape, 6)
    error += sensor.white * rng.standard_normal(depth_gt.shape)
    depth = smooth * (1 + rng.normal(0, 0.001)) + std_m * error
    kernel = np.ones((3, 3), np.uint8)
    edge = cv2.dilate(depth_gt, kernel) - cv2.erode(depth_gt, kernel) > 0.05 * depth_gt
    patch = _smooth_noise(rng, depth_gt.shape, 2)
    missing = edge & (patch > -0.7)
    missing |= (gaussian_filter(frame.albedo, 1.5) < 0.05) & (patch > 0.2)
    missing |= frame.shiny & (patch > -0.4)
    missing |= (frame.facing < 0.2) & (patch > 0.0)
    missing |= (depth_gt < sensor.near_m) | (depth_gt > sensor.far_m)
    return np.where(missing, 0.0, depth).astype(np.float32)


def arkit_from_room(first_camera_m: Array, heading_deg: float = HEADING_DEG) -> Array:
    """Return world_from_room (4, 4) of an ARKit world: y up, origin at the first camera."""
    heading = make_pose(Rotation.from_euler('z', heading_deg, degrees=True))
    return inverse(Z_UP_FROM_Y_UP) @ heading @ make_pose(None, -first_camera_m)


def arkit_poses(world_from_room: Array, room_from_camera: Array) -> Array:
    """Return world_from_camera (N, 4, 4) with the camera axes of ARKit: x right, y up, z back."""
    poses: Array = world_from_room @ room_from_camera @ OPTICAL_FROM_OPENGL
    return poses
