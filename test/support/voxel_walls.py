"""Voxel field of a single wall of known position, thickness and color."""

import numpy as np
import torch

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_io import BRICK, EMPTY_LOG_DENSITY

VOXEL_M = 0.05
ORIGIN = np.array([-0.4, -1.2, -1.2])
BRICKS = (8, 6, 6)  # of 0.4 m: x from -0.4 to 2.8 m, y and z from -1.2 to 1.2 m
WALL_M = 2.013
RED = np.array([0.8, 0.2, 0.1])
CAMERA = Camera(17, 13, 20.0, 20.0, 8.0, 6.0)
MIDDLE = np.array([1.0, 0.0, 0.0])
AHEAD = np.array([1.0, 0.0, 0.0])


def wall_field(color=lambda points: np.broadcast_to(RED, points.shape)):
    """Build a wall half a meter thick, whose front is the plane x = `WALL_M`."""
    corners = np.moveaxis(np.indices(np.array(BRICKS) * BRICK), 0, -1) * VOXEL_M + ORIGIN
    inside_m = np.minimum(corners[..., 0] - WALL_M, WALL_M + 0.5 - corners[..., 0])
    kept = np.abs(corners[..., 0] - WALL_M - 0.25) < 0.4
    split = [n for bricks in BRICKS for n in (bricks, BRICK)]
    kept = kept.reshape(split).transpose(0, 2, 4, 1, 3, 5).reshape(-1, BRICK**3)
    brick = np.flatnonzero(kept.any(1))
    brick_index = np.zeros(np.prod(BRICKS), np.int32)
    brick_index[brick] = np.arange(1, len(brick) + 1)
    corner_index = np.zeros((len(brick) + 1, BRICK**3), np.int32)
    rows = kept[brick]
    corner_index[1:][rows] = np.arange(1, rows.sum() + 1)

    def by_row(x):
        x = x.reshape(*split, *x.shape[3:]).transpose(0, 2, 4, 1, 3, 5, *range(6, x.ndim + 3))
        return x.reshape(-1, BRICK**3, *x.shape[6:])[brick][rows]

    log_density = np.clip(2.0 / VOXEL_M * by_row(inside_m), -6.0, 3.0)
    values = np.concatenate([log_density[:, None], by_row(color(corners))], axis=1)
    values = np.concatenate([[[EMPTY_LOG_DENSITY, 0.5, 0.5, 0.5]], values])
    free = np.zeros(BRICKS, bool)
    free[:5] = True
    return VoxelField(
        ORIGIN,
        VOXEL_M,
        torch.from_numpy(brick_index).view(BRICKS),
        torch.from_numpy(corner_index).view(-1, BRICK, BRICK, BRICK),
        torch.from_numpy(values).float(),
        torch.from_numpy(free),
        torch.full((64, 128, 3), 0.25),
    )
