"""Pictures varied for learning: as another camera, or one a little beside, shows the room."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
import torch
from torch import nn, Tensor

from nerf_reversal_ros.core.camera import Camera

RgbImage = NDArray[np.uint8]

ROTATION_STD_DEG, TRANSLATION_STD_M = 3.0, 0.08
"""Standard deviations of small motions, about and along each axis."""
NEAR_QUANTILE, MAX_MOVE_FRACTION = 0.1, 0.15
"""A camera moves at most by this share of the depth that this share of its pixels lie before."""
DEPTH_STRIDE = 4
"""Every so many columns and rows are enough to tell what is near."""
DEPTH_ITERATIONS = 2
"""How often a depth is guessed before a picture is taken from there."""
MIN_DEPTH_M, MIN_COSINE = 0.05, 0.2
"""Limits that keep a guess before the camera."""


def augment_appearance(rgb: RgbImage, rng: np.random.Generator) -> RgbImage:
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


def warp_by_depth(
    rgb: Tensor, valid: Tensor, depth: Tensor, camera: Camera, camera_from_target: Tensor
) -> tuple[Tensor, Tensor]:
    """
    Show what cameras a little beside the first ones see, which needs no new rendering.

    Each pixel of the new pictures guesses its depth, looks where that point lies in the first
    picture, and corrects the guess by the depth that is found there. A turn is exact; after a
    small move, what was hidden before is filled with what is beside it.

    Parameters
    ----------
    rgb, seen, depth : (N, 3, h, w), (N, 1, h, w) and (N, h, w) tensors
        Pictures of ``camera``, where they show something (1, else 0), and how far away along the
        optical axis [m]; 0 is unknown, and taken as the farthest that the picture shows.
    camera_from_target : (N, 4, 4) tensor
        Motions: ``map_from_moved = map_from_camera @ camera_from_moved``.

    Returns
    -------
    rgb, seen
        Not seen where the first pictures do not reach.

    References
    ----------
    Bowles et al., "Iterative Image Warping", Computer Graphics Forum 31, 2012.
    """
    farthest = depth.amax((1, 2), keepdim=True)
    filled = torch.where(depth > 0.0, depth, farthest.where(farthest > 0.0, 1.0))
    rays = torch.from_numpy(camera.rays()).to(rgb) @ camera_from_target[:, None, :3, :3].mT
    shift = camera_from_target[:, None, None, :3, 3]
    guess = filled.flatten(1).median(1).values[:, None, None]
    for _ in range(DEPTH_ITERATIONS):
        found = _interpolate(filled[:, None], _project(rays * guess[..., None] + shift, camera))
        guess = (found[:, 0] - shift[..., 2]) / rays[..., 2].clamp(min=MIN_COSINE)
        guess = guess.clamp(min=MIN_DEPTH_M)
    pixels = _project(rays * guess[..., None] + shift, camera)
    last = pixels.new_tensor([camera.width - 1, camera.height - 1])
    within = ((pixels > -0.5) & (pixels < last + 0.5)).all(-1)[:, None]
    return _interpolate(rgb, pixels), ((_interpolate(valid, pixels) > 0.98) & within).to(valid)


def _project(points: Tensor, camera: Camera) -> Tensor:
    """Project points (..., 3) of the camera frame to columns and rows (..., 2)."""
    focal, middle = points.new_tensor([[camera.fx, camera.fy], [camera.cx, camera.cy]])
    return points[..., :2] / points[..., 2:].clamp(min=MIN_DEPTH_M) * focal + middle


def _interpolate(pictures: Tensor, pixels: Tensor) -> Tensor:
    """Interpolate pictures (N, C, h, w) at columns and rows (N, h, w, 2); borders go on."""
    height, width = pictures.shape[2:]
    last = pixels.new_tensor([width - 1, height - 1])
    return nn.functional.grid_sample(
        pictures, 2.0 * pixels / last - 1.0, padding_mode='border', align_corners=True
    )


def sample_motions(depth: Tensor, rng: np.random.Generator) -> Tensor:
    """
    Draw a motion (N, 4, 4) for each of N pictures, small beside what is near in its depth.

    Parameters
    ----------
    depth : (N, h, w) tensor
        Along the optical axis [m], 0 is unknown; a picture of unknown depth is turned only.
    """
    motions = np.tile(np.eye(4), (len(depth), 1, 1))
    turns = rng.normal(scale=np.radians(ROTATION_STD_DEG), size=(len(depth), 3))
    motions[:, :3, :3] = Rotation.from_rotvec(turns).as_matrix()
    shift = rng.normal(scale=TRANSLATION_STD_M, size=(len(depth), 3))
    length = np.linalg.norm(shift, axis=1)
    most = MAX_MOVE_FRACTION * _near_depth(
        depth[:, ::DEPTH_STRIDE, ::DEPTH_STRIDE].flatten(1)
    ).numpy(force=True)
    motions[:, :3, 3] = shift * np.minimum(1.0, most / length)[:, None]
    return torch.from_numpy(motions).to(depth)


def _near_depth(depth: Tensor) -> Tensor:
    """Tell before which depth the share `NEAR_QUANTILE` of those known (N, K) lies, 0 for none: (N,)."""
    known = (depth > 0.0).sum(1, keepdim=True)
    ordered = torch.where(depth > 0.0, depth, torch.inf).sort(1).values
    near = ordered.gather(1, (NEAR_QUANTILE * known).long())[:, 0]
    return near.where(known[:, 0] > 0, 0.0)


def _tone_curves(rng: np.random.Generator) -> RgbImage:
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
