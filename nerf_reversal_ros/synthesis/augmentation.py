"""Augmentation of training images: appearance, and camera motions by warping with depth."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
import torch
from torch import nn, Tensor

from nerf_reversal_ros.core.camera import Camera

RgbImage = NDArray[np.uint8]

ROTATION_STD_DEG, TRANSLATION_STD_M = 3.0, 0.08
"""Standard deviations of the camera motions, about and along each axis."""
NEAR_QUANTILE, MAX_MOVE_FRACTION = 0.1, 0.15
"""A camera moves at most by this fraction of this quantile of its depth."""
DEPTH_STRIDE = 4
"""Columns and rows of the depth that the quantile is taken over: every fourth one suffices."""
DEPTH_ITERATIONS = 2
"""Fixed-point iterations for the depth of a warped pixel."""
MIN_DEPTH_M, MIN_COSINE = 0.05, 0.2
"""Lower bounds that keep the estimated point in front of the camera."""


def augment_appearance(rgb: RgbImage, rng: np.random.Generator) -> RgbImage:
    """
    Vary exposure, gamma and white balance of an image.

    At random it is also blurred, occluded, compressed, or gets noise.

    Parameters
    ----------
    rgb : (h, w, 3) uint8 array
        Image, not changed.
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
        right, bottom = x + rng.integers(1, 2 + width // 3), y + rng.integers(1, 2 + height // 3)
        out[y:bottom, x:right] = rng.integers(256, size=3)
    if rng.random() < 0.3:
        noise = rng.normal(scale=rng.uniform(1.0, 8.0), size=out.shape)
        out = np.clip(out + noise, 0.0, 255.0).astype(np.uint8)
    if rng.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))]
        jpeg = cv2.imencode('.jpg', out, quality)[1]
        out = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_UNCHANGED))
    return np.asarray(out, dtype=np.uint8)


def warp_by_depth(
    rgb: Tensor, valid: Tensor, depth: Tensor, camera: Camera, camera_from_target: Tensor
) -> tuple[Tensor, Tensor]:
    """
    Warp images to slightly displaced cameras using their depth.

    Each pixel of a warped image estimates its depth, projects that point into the source image,
    and corrects the estimate by the depth there. A pure rotation is exact. After a small
    translation, disoccluded pixels are filled from their neighborhood.

    Parameters
    ----------
    rgb, valid, depth : (N, 3, h, w), (N, 1, h, w) and (N, h, w) tensors
        Images of ``camera``, mask of their pixels that carry data (1, else 0), and depth along the
        optical axis [m]. Depth 0 is unknown and taken as the largest depth of the image.
    camera : Camera
        Camera of the source and of the warped images.
    camera_from_target : (N, 4, 4) tensor
        Motions: ``map_from_target = map_from_camera @ camera_from_target``.

    Returns
    -------
    rgb, valid
        Warped images and masks; invalid outside the source images.

    References
    ----------
    Bowles et al., "Iterative Image Warping", Computer Graphics Forum 31, 2012.
    """
    farthest = depth.amax((1, 2), keepdim=True)
    filled = torch.where(depth > 0.0, depth, farthest.where(farthest > 0.0, 1.0))
    rays = torch.from_numpy(camera.rays()).to(rgb) @ camera_from_target[:, None, :3, :3].mT
    shift = camera_from_target[:, None, None, :3, 3]
    estimate = filled.flatten(1).median(1).values[:, None, None]
    for _ in range(DEPTH_ITERATIONS):
        pixels = _project(rays * estimate[..., None] + shift, camera)
        source_depth = _interpolate(filled[:, None], pixels)[:, 0]
        estimate = (source_depth - shift[..., 2]) / rays[..., 2].clamp(min=MIN_COSINE)
        estimate = estimate.clamp(min=MIN_DEPTH_M)
    pixels = _project(rays * estimate[..., None] + shift, camera)
    last = pixels.new_tensor([camera.width - 1, camera.height - 1])
    within = ((pixels > -0.5) & (pixels < last + 0.5)).all(-1)[:, None]
    return _interpolate(rgb, pixels), ((_interpolate(valid, pixels) > 0.98) & within).to(valid)


def _project(points: Tensor, camera: Camera) -> Tensor:
    """Project points (..., 3) of the camera frame to columns and rows (..., 2)."""
    focal, center = points.new_tensor([[camera.fx, camera.fy], [camera.cx, camera.cy]])
    return points[..., :2] / points[..., 2:].clamp(min=MIN_DEPTH_M) * focal + center


def _interpolate(images: Tensor, pixels: Tensor) -> Tensor:
    """Interpolate images (N, C, h, w) at columns and rows (N, h, w, 2); borders are repeated."""
    height, width = images.shape[2:]
    last = pixels.new_tensor([width - 1, height - 1])
    return nn.functional.grid_sample(
        images, 2.0 * pixels / last - 1.0, padding_mode='border', align_corners=True
    )


def sample_motions(depth: Tensor, rng: np.random.Generator) -> Tensor:
    """
    Sample a motion (N, 4, 4) for each of N images, small compared with its near depth.

    Parameters
    ----------
    depth : (N, h, w) tensor
        Along the optical axis [m], 0 is unknown; an image without depth is rotated only.
    rng : numpy Generator
        Source of all randomness.
    """
    motions = np.tile(np.eye(4), (len(depth), 1, 1))
    rotations = rng.normal(scale=np.radians(ROTATION_STD_DEG), size=(len(depth), 3))
    motions[:, :3, :3] = Rotation.from_rotvec(rotations).as_matrix()
    shift = rng.normal(scale=TRANSLATION_STD_M, size=(len(depth), 3))
    length = np.linalg.norm(shift, axis=1)
    max_length = MAX_MOVE_FRACTION * _near_depth(
        depth[:, ::DEPTH_STRIDE, ::DEPTH_STRIDE].flatten(1)
    ).numpy(force=True)
    motions[:, :3, 3] = shift * np.minimum(1.0, max_length / length)[:, None]
    return torch.from_numpy(motions).to(depth)


def _near_depth(depth: Tensor) -> Tensor:
    """Return the `NEAR_QUANTILE` of the known depths (N, K): (N,), 0 where none is known."""
    known = (depth > 0.0).sum(1, keepdim=True)
    ordered = torch.where(depth > 0.0, depth, torch.inf).sort(1).values
    near = ordered.gather(1, (NEAR_QUANTILE * known).long())[:, 0]
    return near.where(known[:, 0] > 0, 0.0)


def _tone_curves(rng: np.random.Generator) -> RgbImage:
    """Sample a tone curve per channel, as a (1, 256, 3) lookup table."""
    gain = np.exp(rng.normal(scale=0.25) + rng.normal(scale=0.08, size=3))
    curve = np.linspace(0.0, 1.0, 256) ** np.exp(rng.normal(scale=0.25))
    table = np.clip(255.0 * curve[None, :, None] * gain, 0.0, 255.0).round()
    return np.asarray(table, dtype=np.uint8)


def _motion_kernel(angle_rad: float) -> NDArray[np.float64]:
    """Return a (5, 5) kernel that blurs along a line of a direction."""
    y, x = np.mgrid[-2.0:3.0, -2.0:3.0]
    distance = x * np.sin(angle_rad) - y * np.cos(angle_rad)
    kernel = np.maximum(1.0 - np.abs(distance), 0.0)
    return np.asarray(kernel / kernel.sum())
