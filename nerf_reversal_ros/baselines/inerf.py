"""
iNeRF: gradient descent on the photometric error over the camera pose.

L. Yen-Chen et al., "iNeRF: Inverting Neural Radiance Fields for Pose Estimation", IROS 2021: Adam
minimizes the error of pixels sampled near interest points over a twist of se(3), at an
exponentially decaying learning rate. Differences to the paper:

- The field is the voxel field of the map. Samples lie in its occupied cells. They are placed anew
  in each step; the gradient passes through their positions, colors and densities.
- `STEPS` steps of `RAYS` rays instead of 300 of 2,048: some seconds on two CPU cores.
- Interest points are those of SIFT instead of ORB. The twist acts in the axes of the camera about
  a point ahead of it at the initial rendered depth, instead of about the origin of the scene.
- Each channel of the rendering is scaled to the mean and the standard deviation of the image,
  because exposure and white balance of the camera differ from those of the map.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from nerf_reversal_ros.baselines.opencv_sift import OpencvSift
from nerf_reversal_ros.capture.image_resampling import resample_to_camera
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, orthonormalize
from nerf_reversal_ros.fields.ray_marching import composite_samples, pad_samples
from nerf_reversal_ros.fields.voxel import density_from_log, VoxelField

STEPS, RAYS = 150, 512
"""Gradient steps, and rays per step."""
LEARNING_RATE, FINAL_LEARNING_RATE = 0.02, 0.001
"""Of the first and of the last step: Adam moves by about this much [m, rad] per step."""
LONGER_SIDE_PX = 320
"""Longer side of the image that is compared: limits the number of interest points."""
MAX_FEATURES, CONTRAST_THRESHOLD = 500, 0.04
"""Of the SIFT detector; the threshold is the default of OpenCV."""
DILATIONS = 3
"""Dilations of the region of interest points, each by a square of 5 pixels."""
DEFAULT_DEPTH_M = 1.0
"""Depth of the pivot of the twist if the field renders no depth."""
MIN_COLOR_STD = 0.02
"""Lower bound of the standard deviation of a rendered channel: limits its scaling."""


class INerf:
    """Pose refinement by descent on the difference between rendering and image."""

    def __init__(self, field: VoxelField) -> None:
        self._field = field
        self._detect = OpencvSift(MAX_FEATURES, CONTRAST_THRESHOLD)

    def refine(
        self,
        rgb: NDArray[np.uint8],
        camera: Camera,
        map_from_camera: FloatArray,
        *,
        steps: int = STEPS,
        seed: int = 0,
    ) -> FloatArray:
        """
        Refine a pose by gradient descent: return ``map_from_camera`` (4, 4).

        Parameters
        ----------
        rgb : (H, W, 3) uint8 array
            Query image.
        camera : Camera
            Intrinsics of ``rgb``.
        map_from_camera : (4, 4) array
            Initial pose.
        steps : int
            Number of gradient steps.
        seed : int
            Seed of the choice of pixels; the same seed gives the same pose.
        """
        field_from_camera = np.array(map_from_camera, dtype=np.float64)
        field_from_camera[:3, 3] -= self._field.origin_m
        start = torch.from_numpy(field_from_camera).float().to(self._field.device)
        rays, colors = self._interest_pixels(rgb, camera)
        pivot = torch.eye(4, dtype=torch.float64)
        pivot[2, 3] = self._median_depth(start, rays)
        pivot_from_camera = pivot.inverse().float().to(rays.device)
        field_from_pivot = start @ pivot.float().to(rays.device)
        twist = torch.zeros(6, device=self._field.device, requires_grad=True)
        optimizer = torch.optim.Adam([twist], LEARNING_RATE)
        decay = (FINAL_LEARNING_RATE / LEARNING_RATE) ** (1 / max(1, steps - 1))
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            chosen = torch.randint(len(rays), (RAYS,), generator=generator).to(rays.device)
            pose = field_from_pivot @ se3_exp(twist) @ pivot_from_camera
            directions = rays[chosen] @ pose[:3, :3].T
            rendered = render_rays(self._field, pose[:3, 3].expand_as(directions), directions)
            loss = _photometric_loss(rendered, colors[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        motion = pivot @ se3_exp(twist.detach().cpu().double()) @ pivot.inverse()
        return orthonormalize(map_from_camera @ motion.numpy())

    def _median_depth(self, start: Tensor, rays: Tensor) -> float:
        """Return the median rendered depth [m]; `DEFAULT_DEPTH_M` without any."""
        directions = rays[:: max(1, len(rays) // RAYS)] @ start[:3, :3].T
        _, depth, _ = self._field.trace(start[:3, 3].expand_as(directions), directions)
        known = depth[depth > 0]
        return float(known.median()) if len(known) else DEFAULT_DEPTH_M

    def _interest_pixels(self, rgb: NDArray[np.uint8], camera: Camera) -> tuple[Tensor, Tensor]:
        """Return rays (N, 3), camera frame, and colors (N, 3) of pixels near interest points."""
        small = camera.downscaled_to(LONGER_SIDE_PX)
        image = resample_to_camera(rgb, camera, small).rgb
        region = np.zeros(image.shape[:2], np.uint8)
        columns, rows = np.rint(self._detect(image).pixels).astype(int).T
        region[rows.clip(0, small.height - 1), columns.clip(0, small.width - 1)] = 1
        kernel = np.ones((5, 5), np.uint8)
        near = cv2.dilate(region, kernel, iterations=DILATIONS).astype(bool)
        if not near.any():  # an image without interest points: use all pixels
            near[:] = True
        device = self._field.device
        return (
            torch.from_numpy(small.rays()[near]).float().to(device),
            torch.from_numpy(image[near]).float().to(device) / 255.0,
        )


def random_pose(mapping_poses: FloatArray, rng: np.random.Generator) -> FloatArray:
    """
    Sample a pose (4, 4) uniformly in the bounding box of the mapping poses (M, 4, 4).

    Its orientation is that of one of them.
    """
    pose: FloatArray = mapping_poses[rng.integers(len(mapping_poses))].copy()
    positions = mapping_poses[:, :3, 3]
    pose[:3, 3] = rng.uniform(positions.min(0), positions.max(0))
    return pose


def render_rays(field: VoxelField, origins: Tensor, directions: Tensor) -> Tensor:
    """
    Render the colors (R, 3) of rays, differentiable in the rays.

    Parameters
    ----------
    field : VoxelField
    origins : (R, 3) tensor
        Meters from the corner of the grid.
    directions : (R, 3) tensor
        Directions of any length.
    """
    optical_depth = torch.zeros(len(origins), device=origins.device)
    marched = field.march(origins.detach(), directions.detach(), optical_depth)
    samples = pad_samples((cell.cells for cell in marched), optical_depth)
    values = field.interpolate(samples.points(origins, directions))
    density = density_from_log(values[:, 0])
    length = directions.norm(dim=1) / field.voxel_m
    rgb, _, transmittance = composite_samples(samples, length, density, values[:, 1:])
    return rgb + transmittance * field.background_color(directions.detach())


def se3_exp(twist: Tensor) -> Tensor:
    """Exponentiate a twist (6,), translation [m] and rotation vector [rad], to a pose (4, 4)."""
    x, y, z, a, b, c = twist.unbind()
    zero = torch.zeros_like(x)
    rows = [zero, -c, b, x, c, zero, -a, y, -b, a, zero, z, zero, zero, zero, zero]
    return torch.linalg.matrix_exp(torch.stack(rows).view(4, 4))


def _photometric_loss(rendered: Tensor, observed: Tensor) -> Tensor:
    """Compare colors (R, 3) after scaling each rendered channel to the observed statistics."""
    gain = observed.std(0) / rendered.std(0).clamp(min=MIN_COLOR_STD)
    matched = (rendered - rendered.mean(0)) * gain + observed.mean(0)
    return torch.nn.functional.mse_loss(matched, observed)
