"""
iNeRF: gradient descent on the pose until the field looks like the picture.

L. Yen-Chen et al., "iNeRF: Inverting Neural Radiance Fields for Pose Estimation", IROS 2021: the
photometric error of pixels drawn near interest points is brought down by Adam over a twist of
se(3), at a rate that decays exponentially. What differs here:

- The field is the map's voxel field. Samples lie where its matter is, placed anew in each step
  and held there while the gradient passes through their positions, colours and densities.
- `STEPS` steps of `RAYS` rays instead of 300 of 2,048, which takes some seconds on two cores.
- Interest points are SIFT's instead of ORB's; the twist acts in the camera's axes about the
  point ahead at the depth of what the field shows first, instead of about the scene's origin.
- Each channel of the render is given the mean and the spread of the picture's before they are
  compared, for the camera's exposure and white balance are not the map's.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from nerf_reversal_ros.capture.image_resampling import resample_to_camera
from nerf_reversal_ros.capture.keypoints import KeypointDetector
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, orthonormalize
from nerf_reversal_ros.fields.voxel import background_cells, SAMPLES_PER_CELL, VoxelField

STEPS, RAYS = 150, 512
LEARNING_RATE, FINAL_LEARNING_RATE = 0.02, 0.001
"""Of the first and of the last step: Adam moves by about that much [m, rad] in each."""
LONGER_SIDE_PX = 320
MAX_FEATURES, CONTRAST_THRESHOLD = 500, 0.04
DILATIONS = 3
"""So many times is the region of interest points grown by a square of 5 pixels."""
CELLS_PER_RAY = 10
MIN_COLOR_STD = 0.02
"""Renders flatter than this are not stretched further."""


class INerf:
    """Descends from a first pose to one at which a field looks like a picture."""

    def __init__(self, field: VoxelField) -> None:
        self._field = field
        self._detect = KeypointDetector(MAX_FEATURES, CONTRAST_THRESHOLD)

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
        Return the pose (4, 4) that is reached from ``map_from_camera`` (4, 4).

        Parameters
        ----------
        rgb : (H, W, 3) uint8 array
        camera : Camera
            Intrinsics of ``rgb``.
        map_from_camera : (4, 4) array
            Where to begin.
        steps : int
            Of the descent.
        seed : int
            Of the choice of pixels; the same seed gives the same pose.
        """
        field_from_camera = np.array(map_from_camera, dtype=np.float64)
        field_from_camera[:3, 3] -= self._field.origin_m
        start = torch.from_numpy(field_from_camera).float().to(self._field.device)
        rays, colours = self._pixels(rgb, camera)
        pivot = torch.eye(4, dtype=torch.float64)
        pivot[2, 3] = self._depth(start, rays)
        back = pivot.inverse().float().to(rays.device)
        ahead = start @ pivot.float().to(rays.device)
        twist = torch.zeros(6, device=self._field.device, requires_grad=True)
        optimizer = torch.optim.Adam([twist], LEARNING_RATE)
        decay = (FINAL_LEARNING_RATE / LEARNING_RATE) ** (1 / max(1, steps - 1))
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay)
        draw = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            chosen = torch.randint(len(rays), (RAYS,), generator=draw).to(rays.device)
            pose = ahead @ se3_exp(twist) @ back
            directions = rays[chosen] @ pose[:3, :3].T
            seen = render_rays(self._field, pose[:3, 3].expand_as(directions), directions)
            loss = _photometric_loss(seen, colours[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        moved = pivot @ se3_exp(twist.detach().cpu().double()) @ pivot.inverse()
        return orthonormalize(map_from_camera @ moved.numpy())

    def _depth(self, start: Tensor, rays: Tensor) -> float:
        """Return how far ahead [m] the field shows matter; 1 where it shows none."""
        directions = rays[:: max(1, len(rays) // RAYS)] @ start[:3, :3].T
        _, depth, _ = self._field.trace(start[:3, 3].expand_as(directions), directions)
        known = depth[depth > 0]
        return float(known.median()) if len(known) else 1.0

    def _pixels(self, rgb: NDArray[np.uint8], camera: Camera) -> tuple[Tensor, Tensor]:
        """Return rays (N, 3) in the camera and colours (N, 3) of what is near interest points."""
        small = camera.downscaled_to(LONGER_SIDE_PX)
        picture = resample_to_camera(rgb, camera, small).rgb
        region = np.zeros(picture.shape[:2], np.uint8)
        columns, rows = np.rint(self._detect(picture).pixels).astype(int).T
        region[rows.clip(0, small.height - 1), columns.clip(0, small.width - 1)] = 1
        wide = cv2.dilate(region, np.ones((5, 5), np.uint8), iterations=DILATIONS).astype(bool)
        if not wide.any():  # a picture without any: no pixel is more interesting than another
            wide[:] = True
        device = self._field.device
        return (
            torch.from_numpy(small.rays()[wide]).float().to(device),
            torch.from_numpy(picture[wide]).float().to(device) / 255.0,
        )


def random_pose(mapping_poses: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draw a place in the box around the walked poses (M, 4, 4), turned as one of them: (4, 4)."""
    walked = mapping_poses
    drawn: FloatArray = walked[rng.integers(len(walked))].copy()
    drawn[:3, 3] = rng.uniform(walked[:, :3, 3].min(0), walked[:, :3, 3].max(0))
    return drawn


def render_rays(field: VoxelField, origins: Tensor, directions: Tensor) -> Tensor:
    """
    Return colours (R, 3) along rays, differentiable in the rays.

    Parameters
    ----------
    field : VoxelField
    origins : (R, 3) tensor
        Metres from the grid's corner.
    directions : (R, 3) tensor
        Of any length.
    """
    times, steps = _sample_rays(field, origins.detach(), directions.detach())
    valid = steps > 0
    rays = valid.nonzero()[:, 0]
    points = origins[rays] + directions[rays] * times[valid][:, None]
    value = field.interpolate(points)
    length = directions.norm(dim=1) / field.voxel_m
    density = torch.zeros_like(times).masked_scatter(valid, value[:, 0].clamp(max=8.0).exp())
    tau = density * steps * length[:, None]
    light = torch.exp(-torch.cat([torch.zeros_like(tau[:, :1]), tau.cumsum(1)], 1))
    share = (light[:, :-1] - light[:, 1:])[valid]
    rgb = torch.zeros_like(origins).index_add(0, rays, share[:, None] * value[:, 1:])
    height, width, _ = field.background.shape
    cells = background_cells(directions.detach(), (height, width))
    return rgb + light[:, -1:] * field.background.view(-1, 3)[cells]


def se3_exp(twist: Tensor) -> Tensor:
    """Return the rigid motion (4, 4) of a twist (6,): translation [m], rotation vector [rad]."""
    x, y, z, a, b, c = twist.unbind()
    zero = torch.zeros_like(x)
    rows = [zero, -c, b, x, c, zero, -a, y, -b, a, zero, z, zero, zero, zero, zero]
    return torch.linalg.matrix_exp(torch.stack(rows).view(4, 4))


def _photometric_loss(seen: Tensor, colours: Tensor) -> Tensor:
    """Compare colours (R, 3), each channel of what is seen given mean and spread of the other."""
    gain = colours.std(0) / seen.std(0).clamp(min=MIN_COLOR_STD)
    matched = (seen - seen.mean(0)) * gain + colours.mean(0)
    return torch.nn.functional.mse_loss(matched, colours)


@torch.no_grad()
def _sample_rays(field: VoxelField, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return times and step lengths (R, M) of samples up to where it is dark; step 0: none."""
    count, device = len(origins), origins.device
    times = torch.zeros(count, CELLS_PER_RAY * SAMPLES_PER_CELL, device=device)
    steps = torch.zeros_like(times)
    visits = torch.zeros(count, dtype=torch.long, device=device)
    optical_depth = torch.zeros(count, device=device)
    lanes = torch.arange(SAMPLES_PER_CELL, device=device)
    length = directions.norm(dim=1) / field.voxel_m
    for rays, near, far in field.distance_map.occupied_segments(
        origins, directions, optical_depth
    ):
        step = ((far - near) / SAMPLES_PER_CELL)[:, None]
        slot = visits[rays, None] * SAMPLES_PER_CELL + lanes
        time = near[:, None] + step * (lanes + 0.5)
        times[rays[:, None], slot] = time
        steps[rays[:, None], slot] = step.expand(-1, SAMPLES_PER_CELL)
        points = origins[rays, None] + directions[rays, None] * time[..., None]
        density = field.interpolate(points.view(-1, 3))[:, 0].clamp(max=8.0).exp()
        optical_depth[rays] += density.view(step.shape[0], -1).sum(1) * step[:, 0] * length[rays]
        visits[rays] += 1
        optical_depth[rays[visits[rays] == CELLS_PER_RAY]] = torch.inf
    return times, steps
