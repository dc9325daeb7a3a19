"""Augmentation of training images: appearance, and camera motions by warping with depth."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
import torch
from torch import nn, Tensor

from nerf_reversal_ros.capture.image_resampling import MIN_VALID
from nerf_reversal_ros.core.camera import Camera

MIN_COLOR = 1e-4
"""Darkest color that a tone curve is applied to: its power is fast to compute."""
BLURRED_FRACTION, OCCLUDED_FRACTION = 0.36, 0.4
"""Fractions of the images with a blur, and with an occluding rectangle."""
ROTATION_STD_DEG, TRANSLATION_STD_M = 3.0, 0.08
"""Standard deviations of the camera motions, about and along each axis."""
ROLLED_FRACTION, ROLL_STD_DEG = 0.3, 25.0
"""Fraction of the images that are also rolled as by a hand, and standard deviation of that."""
NEAR_QUANTILE, MAX_MOVE_FRACTION = 0.1, 0.15
"""A camera moves at most by this fraction of this quantile of its depth."""
DEPTH_STRIDE = 4
"""Columns and rows of the depth that quantiles are taken over: every fourth one suffices."""
FLOW_STRIDE = 2
"""Pixels per point that a warp is computed at; between the points it is interpolated."""
DEPTH_ITERATIONS = 2
"""Fixed-point iterations for the depth of a warped pixel."""
MIN_DEPTH_M, MIN_COSINE = 0.05, 0.2
"""Lower bounds that keep the estimated point in front of the camera."""


def augment_appearance(rgb: Tensor, rng: np.random.Generator) -> Tensor:
    """
    Vary exposure, gamma and white balance of images.

    At random, an image is also blurred or occluded. There is no pixel noise: images of the
    regressor are means over many pixels of a camera.

    Parameters
    ----------
    rgb : (N, 3, h, w) tensor
        Colors in [0, 1], not changed.
    rng : numpy Generator
        Source of all randomness.
    """
    count = len(rgb)
    gain = np.exp(
        rng.normal(scale=0.25, size=(count, 1, 1, 1))
        + rng.normal(scale=0.08, size=(count, 3, 1, 1))
    )
    gamma = torch.from_numpy(np.exp(rng.normal(scale=0.25, size=(count, 1, 1, 1)))).to(rgb)
    curved = rgb.clamp(min=MIN_COLOR).pow(gamma)
    out = (curved * torch.from_numpy(gain).to(rgb)).clamp(max=1.0)
    blurred = np.flatnonzero(rng.random(count) < BLURRED_FRACTION)
    if len(blurred):
        kernels = np.stack([_blur_kernel(rng) for _ in blurred])
        out[blurred] = _filter(out[blurred], torch.from_numpy(kernels).to(rgb))
    height, width = rgb.shape[2:]
    for i in np.flatnonzero(rng.random(count) < OCCLUDED_FRACTION):
        x, y = rng.integers(width), rng.integers(height)
        right, bottom = x + rng.integers(1, 2 + width // 3), y + rng.integers(1, 2 + height // 3)
        out[i, :, y:bottom, x:right] = torch.from_numpy(rng.random((3, 1, 1))).to(rgb)
    return out


def warp_by_depth(
    rgb: Tensor, valid: Tensor, depth: Tensor, camera: Camera, camera_from_target: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Warp images to slightly displaced cameras using their depth.

    Points of a warped image estimate their depth, project it into the source image, and correct
    the estimate by the depth there. Pixels between them are interpolated. After a translation,
    disoccluded pixels are filled from their neighborhood.

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
    rgb, valid, pixels
        Warped images and masks, invalid outside the source images; columns and rows (N, h, w, 2)
        of the source images that their pixels come from.

    References
    ----------
    Bowles et al., "Iterative Image Warping", Computer Graphics Forum 31, 2012.
    """
    farthest = depth.amax((1, 2), keepdim=True)
    filled = torch.where(depth > 0.0, depth, farthest.where(farthest > 0.0, 1.0))
    size = camera.height, camera.width
    rays = _spread_rays(camera, *(max(2, n // FLOW_STRIDE) for n in size)).to(rgb)
    rays = rays @ camera_from_target[:, None, :3, :3].mT
    shift = camera_from_target[:, None, None, :3, 3]
    coarse = filled[:, ::DEPTH_STRIDE, ::DEPTH_STRIDE].flatten(1)
    estimate = coarse.median(1).values[:, None, None]
    for _ in range(DEPTH_ITERATIONS):
        pixels = _project(rays * estimate[..., None] + shift, camera)
        source_depth = _interpolate(filled[:, None], pixels)[:, 0]
        estimate = (source_depth - shift[..., 2]) / rays[..., 2].clamp(min=MIN_COSINE)
        estimate = estimate.clamp(min=MIN_DEPTH_M)
    pixels = _project(rays * estimate[..., None] + shift, camera)
    pixels = nn.functional.interpolate(
        pixels.permute(0, 3, 1, 2), size, mode='bilinear', align_corners=True
    ).permute(0, 2, 3, 1)
    last = pixels.new_tensor([camera.width - 1, camera.height - 1])
    within = ((pixels > -0.5) & (pixels < last + 0.5)).all(-1)[:, None]
    warped = _interpolate(torch.cat([rgb, valid], 1), pixels)
    return warped[:, :3], ((warped[:, 3:] > MIN_VALID) & within).to(valid), pixels


def _spread_rays(camera: Camera, rows: int, columns: int) -> Tensor:
    """Return ray directions (rows, columns, 3) evenly spread from the first to the last pixel."""
    u = np.linspace(0, camera.width - 1, columns)
    v = np.linspace(0, camera.height - 1, rows)
    return torch.from_numpy(camera.unproject(np.stack(np.meshgrid(u, v), axis=-1)))


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
    rolls = rng.normal(scale=np.radians(ROLL_STD_DEG), size=len(depth))
    rolls *= rng.random(len(depth)) < ROLLED_FRACTION
    rolled = Rotation.from_euler('z', rolls[:, None]) * Rotation.from_rotvec(rotations)
    motions[:, :3, :3] = rolled.as_matrix()
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


def _blur_kernel(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a (5, 5) kernel: out of focus, or a motion along a line of any direction."""
    y, x = np.mgrid[-2.0:3.0, -2.0:3.0]
    if rng.random() < 0.5:
        kernel = np.exp(-(x**2 + y**2) / (2 * rng.uniform(0.4, 1.2) ** 2))
    else:
        angle_rad = rng.uniform(0.0, np.pi)
        kernel = np.maximum(1.0 - np.abs(x * np.sin(angle_rad) - y * np.cos(angle_rad)), 0.0)
    return np.asarray(kernel / kernel.sum())


def _filter(images: Tensor, kernels: Tensor) -> Tensor:
    """Filter images (N, C, h, w) by kernels (N, 5, 5), one each; borders are repeated."""
    count, channels, height, width = images.shape
    padded = nn.functional.pad(images, (2, 2, 2, 2), mode='replicate')
    filtered = nn.functional.conv2d(
        padded.reshape(1, count * channels, height + 4, width + 4),
        kernels.repeat_interleave(channels, 0)[:, None],
        groups=count * channels,
    )
    return filtered.view(count, channels, height, width)
