"""
TSDF fusion of depth images: the voxels of a field before any training.

Depth is fused into a truncated tsdf distance at the corners of sparse voxels, together with the
colors (Curless & Levoy, "A Volumetric Method for Building Complex Models from Range Images",
SIGGRAPH 1996). The result gives the field its initial densities and colors.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import MAX_VOXEL_M
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import inverse, transform_points
from nerf_reversal_ros.core.grouping import cell_keys, cells_of_keys
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_io import BRICK, EMPTY_LOG_DENSITY, MAX_GRID_BRICKS

TRUNCATION_VOXELS = 4.0
"""Truncation distance of the tsdf distance, in voxels."""
LOG_DENSITY_SLOPE = 2.0
"""Increase of the log density per voxel of depth below the surface."""
MIN_BRICK_POINTS = 16
"""A brick is allocated for at least this many depth points: fewer are outliers."""
GRID_MARGIN = 4.0
"""Bricks of each side of the grid that larger voxels do not save."""


@dataclass(frozen=True)
class RgbdView:
    """An image with depth, their cameras and their pose."""

    rgb: NDArray[np.uint8]
    """(H, W, 3)."""
    camera: Camera
    """Camera of ``rgb``."""
    depth: NDArray[np.float32]
    """(h, w) meters along z; 0 is unknown, and set at depth edges."""
    depth_camera: Camera
    """Camera of ``depth``."""
    map_from_camera: NDArray[np.float64]
    """(4, 4) pose of the optical camera frame."""

    def points(self, stride: int = 1) -> NDArray[np.float64]:
        """Return the points (N, 3) [m, map frame] of every ``stride``-th pixel with depth."""
        return transform_points(
            self.map_from_camera, self.depth_camera.back_project(self.depth, stride)
        )


def mask_depth_edges(depth: NDArray[np.float32], jump: float = 0.05) -> NDArray[np.float32]:
    """Set to 0 the pixels whose neighbors differ by more than ``jump`` times the depth."""
    kernel = np.ones((3, 3), np.uint8)
    far = cv2.dilate(depth, kernel)
    near = cv2.erode(np.where(depth > 0, depth, np.float32(1e6)), kernel)
    return np.where((far - near) > jump * depth, np.float32(0), depth)


def fuse_depth(views: Iterable[RgbdView], voxel_m: float, device: torch.device) -> VoxelField:
    """
    Build an untrained voxel field from depth images by TSDF fusion.

    ``views`` is iterated twice: first to allocate bricks, then to fuse.

    Raises
    ------
    BuildError
        If there is no depth, too little of it, or if it spans more space than can be indexed.
    """
    origin, grid, bricks = _allocate(views, voxel_m)
    brick_index = torch.zeros(int(np.prod(grid)), dtype=torch.int32)
    brick_index[torch.from_numpy(bricks)] = torch.arange(1, len(bricks) + 1, dtype=torch.int32)
    indices = np.stack(np.unravel_index(bricks, grid), 1)
    lower = torch.from_numpy(indices * BRICK * voxel_m).float().to(device)
    local = torch.stack(
        torch.meshgrid(*(torch.arange(BRICK, device=device),) * 3, indexing='ij'), -1
    )
    local = local.view(-1, 3).float() * voxel_m

    tsdf = torch.zeros(len(bricks), BRICK**3, device=device)
    weight = torch.zeros_like(tsdf)
    color = torch.zeros(len(bricks), BRICK**3, 3, device=device)
    free = torch.zeros(int(np.prod(grid)), dtype=torch.bool, device=device)
    for view in views:
        _integrate(view, origin, lower, local, voxel_m, (tsdf, weight, color))
        _mark_free(view, origin, grid, BRICK * voxel_m, free)

    known = weight > 0
    distance = tsdf / weight.clamp(min=1e-6)
    keep = known & (distance < 2.0 * voxel_m) & (distance > -2.5 * voxel_m)
    corner_index = torch.zeros(len(bricks) + 1, BRICK**3, dtype=torch.int32, device=device)
    corners = int(keep.sum())
    if corners == 0:
        raise BuildError(
            'the depth images agree on no surface: check that poses and depth are in meters'
        )
    corner_index[1:][keep] = torch.arange(1, corners + 1, dtype=torch.int32, device=device)
    values = torch.empty(corners + 1, 4, device=device)
    values[0] = torch.tensor([EMPTY_LOG_DENSITY, 0.5, 0.5, 0.5], device=device)
    values[1:, 0] = (-LOG_DENSITY_SLOPE / voxel_m * distance[keep]).clamp(-6.0, 3.0)
    values[1:, 1:] = color[keep] / weight[keep].clamp(min=1e-6)[:, None]
    return VoxelField(
        origin,
        voxel_m,
        brick_index.view(grid).to(device),
        corner_index.view(-1, BRICK, BRICK, BRICK),
        values,
        free.view(grid),
    )


def _allocate(
    views: Iterable[RgbdView], voxel_m: float
) -> tuple[NDArray[np.float64], tuple[int, int, int], NDArray[np.int64]]:
    """Return the grid's origin [m], its size in bricks, and the flat indices of its bricks."""
    brick_m = BRICK * voxel_m
    margin = (TRUNCATION_VOXELS - 1) * voxel_m
    offsets = margin * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    chunks, counts, centers = [], [], []
    for view in views:
        centers.append(view.map_from_camera[:3, 3])
        # Every fourth row and column of a LiDAR's 256x192 suffices; all of a small image.
        stride = int(np.clip(np.sqrt(view.depth.size / 3000), 1, 4))
        points = view.points(stride)
        if not len(points):
            continue
        touched = np.concatenate([np.floor((points + o) / brick_m) for o in offsets])
        unique, count = np.unique(cell_keys(touched.astype(np.int64)), return_counts=True)
        chunks.append(unique)
        counts.append(count)
    if not chunks:
        raise BuildError(f'no image has depth: {remedies.FIELD_WITHOUT_DEPTH}')
    keys, index = np.unique(np.concatenate(chunks), return_inverse=True)
    keys = keys[np.bincount(index, weights=np.concatenate(counts)) >= MIN_BRICK_POINTS]
    if not len(keys):
        raise BuildError(
            'the depth images have too few valid pixels for any surface: '
            + remedies.MORE_DEPTH.format(voxel_m=voxel_m)
        )
    touched = cells_of_keys(keys)
    cameras = np.floor(np.array(centers) / brick_m).astype(np.int32)
    low = np.minimum(touched.min(0), cameras.min(0)) - 1
    high = np.maximum(touched.max(0), cameras.max(0)) + 2
    grid = tuple(int(n) for n in high - low)
    if np.prod(grid, dtype=np.float64) > MAX_GRID_BRICKS:
        size = ' x '.join(f'{n * brick_m:.0f}' for n in grid)
        suitable_m = voxel_m
        while np.prod(np.array(grid) * voxel_m / suitable_m + GRID_MARGIN) > MAX_GRID_BRICKS:
            suitable_m *= 1.1
        remedy = remedies.LARGER_VOXELS if suitable_m <= MAX_VOXEL_M else remedies.NEARER_DEPTH
        raise BuildError(
            f'the capture spans {size} m, too much for voxels of {voxel_m:.3g} m: '
            + remedy.format(voxel_m=suitable_m)
        )
    flat = np.ravel_multi_index(tuple((touched - low).T), grid)
    return low * brick_m, (grid[0], grid[1], grid[2]), np.sort(flat).astype(np.int64)


def _project(
    view: RgbdView, origin: NDArray[np.float64], points: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Project grid points into the depth image of a view.

    Returns the coordinates (K, 3) in the camera of the K points inside the image, the depth (K,)
    measured at them, and their indices (K,).
    """
    camera_from_map = inverse(view.map_from_camera)
    rotation = torch.from_numpy(camera_from_map[:3, :3]).float().to(points.device)
    shift = camera_from_map[:3, :3] @ origin + camera_from_map[:3, 3]
    local = points @ rotation.T + torch.from_numpy(shift).float().to(points.device)
    camera = view.depth_camera
    z = local[:, 2].clamp(min=1e-3)
    u = (local[:, 0] / z * camera.fx + camera.cx).round()
    v = (local[:, 1] / z * camera.fy + camera.cy).round()
    inside = (local[:, 2] > 0.05) & (u >= 0) & (v >= 0) & (u < camera.width) & (v < camera.height)
    visible = inside.nonzero()[:, 0]
    depth = torch.from_numpy(np.array(view.depth)).to(points.device)
    return local[visible], depth[v[visible].long(), u[visible].long()], visible


def _integrate(
    view: RgbdView,
    origin: NDArray[np.float64],
    lower: Tensor,
    local: Tensor,
    voxel_m: float,
    sums: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Add one image to the weighted sums of signed distance and color, and to the weights."""
    tsdf, weight, color = sums
    half = BRICK * voxel_m / 2
    center, depth, rows = _project(view, origin, lower + half)
    radius = half * np.sqrt(3) + TRUNCATION_VOXELS * voxel_m
    margin = center[:, 2] * 0.05 + radius
    rows = rows[(depth == 0) | ((depth - center[:, 2]).abs() < 4 * margin)]
    points = (lower[rows, None] + local).view(-1, 3)
    flat = (rows[:, None] * BRICK**3 + torch.arange(BRICK**3, device=rows.device)).view(-1)
    optical, depth, visible = _project(view, origin, points)
    distance = depth - optical[:, 2]
    truncation = TRUNCATION_VOXELS * voxel_m
    near = ((depth > 0) & (distance.abs() < truncation)).nonzero()[:, 0]
    optical, distance, target = optical[near], distance[near], flat[visible[near]]
    point_weight = 1.0 / optical[:, 2].clamp(min=0.5) ** 2
    camera = view.camera
    u = (optical[:, 0] / optical[:, 2] * camera.fx + camera.cx).round().long()
    v = (optical[:, 1] / optical[:, 2] * camera.fy + camera.cy).round().long()
    rgb = torch.from_numpy(np.array(view.rgb)).to(rows.device)
    pixel = rgb[v.clamp(0, camera.height - 1), u.clamp(0, camera.width - 1)].float() / 255
    tsdf.view(-1).index_add_(0, target, point_weight * distance)
    weight.view(-1).index_add_(0, target, point_weight)
    color.view(-1, 3).index_add_(0, target, point_weight[:, None] * pixel)


def _mark_free(
    view: RgbdView,
    origin: NDArray[np.float64],
    grid: tuple[int, int, int],
    brick_m: float,
    free: Tensor,
) -> None:
    """Mark the bricks that a view observes as free, and the one that holds its camera."""
    index = torch.nonzero(torch.ones(grid, dtype=torch.bool, device=free.device))
    optical, depth, visible = _project(view, origin, (index.float() + 0.5) * brick_m)
    free[visible[optical[:, 2] + brick_m < depth]] = True
    camera_brick = np.floor((view.map_from_camera[:3, 3] - origin) / brick_m).astype(int)
    free.view(grid)[tuple(camera_brick)] = True
