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

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import MAX_VOXEL_M
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import inverse, transform_points
from nerf_reversal_ros.core.grouping import cell_keys, cells_of_keys
from nerf_reversal_ros.core.parallel import parallel_map
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_io import BRICK, EMPTY_LOG_DENSITY, MAX_GRID_BRICKS

TRUNCATION_VOXELS = 4.0
"""Truncation distance of the tsdf distance, in voxels."""
LOG_DENSITY_SLOPE = 2.0
"""Increase of the log density per voxel of depth below the surface."""
MIN_BRICK_POINTS = 16
"""A brick is allocated for at least this many depth points: fewer are outliers."""
BRICKS_PER_CHUNK, SLAB = 512, 8
"""Bricks, and layers of bricks, that a core works on at a time."""
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
    lower = np.stack(np.unravel_index(bricks, grid), 1).astype(np.float32)
    lower *= np.float32(BRICK * voxel_m)
    sums = np.zeros((len(bricks), BRICK**3, 5), np.float32)
    free = np.zeros(grid, bool)
    for view in views:
        _integrate(view, origin, lower, voxel_m, sums, free)

    weight = sums[..., 0]
    known = weight > 0
    distance = sums[..., 1] / np.maximum(weight, 1e-6)
    keep = known & (distance < 2.0 * voxel_m) & (distance > -2.5 * voxel_m)
    corner_index = np.zeros((len(bricks) + 1, BRICK**3), np.int32)
    corners = int(keep.sum())
    if corners == 0:
        raise BuildError(
            'the depth images agree on no surface: check that poses and depth are in meters'
        )
    corner_index[1:][keep] = np.arange(1, corners + 1)
    values = np.empty((corners + 1, 4), np.float32)
    values[0] = EMPTY_LOG_DENSITY, 0.5, 0.5, 0.5
    values[1:, 0] = np.clip(-LOG_DENSITY_SLOPE / voxel_m * distance[keep], -6.0, 3.0)
    values[1:, 1:] = sums[keep, 2:] / weight[keep, None]
    return VoxelField(
        origin,
        voxel_m,
        brick_index.view(grid).to(device),
        torch.from_numpy(corner_index).view(-1, BRICK, BRICK, BRICK).to(device),
        torch.from_numpy(values).to(device),
        torch.from_numpy(free).to(device),
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


def _integrate(
    view: RgbdView,
    origin: NDArray[np.float64],
    lower: NDArray[np.float32],
    voxel_m: float,
    sums: NDArray[np.float32],
    free: NDArray[np.bool_],
) -> None:
    """Add one image to the sums at the corners of bricks, and mark what it observes as free."""
    from nerf_reversal_ros.fields.fusion_kernels import DepthImage, integrate_bricks, mark_free

    camera_from_grid = inverse(view.map_from_camera)
    camera_from_grid[:3, 3] += camera_from_grid[:3, :3] @ origin
    posed = camera_from_grid.astype(np.float32)
    depth, intrinsics = np.ascontiguousarray(view.depth), _intrinsics(view.depth_camera)
    image = DepthImage(depth, intrinsics, posed[:3, :3].copy(), posed[:3, 3].copy())
    rgb = np.ascontiguousarray(view.rgb), _intrinsics(view.camera)
    lengths = np.float32(voxel_m), np.float32(TRUNCATION_VOXELS * voxel_m)
    brick_m = BRICK * voxel_m

    def integrate(start: int) -> None:
        part = slice(start, start + BRICKS_PER_CHUNK)
        integrate_bricks(image, *rgb, lower[part], *lengths, sums[part])

    parallel_map(integrate, range(0, len(lower), BRICKS_PER_CHUNK))

    def mark(first: int) -> None:
        mark_free(image, np.float32(brick_m), first, free[first : first + SLAB])

    parallel_map(mark, range(0, len(free), SLAB))
    free[tuple(np.floor((view.map_from_camera[:3, 3] - origin) / brick_m).astype(int))] = True


def _intrinsics(camera: Camera) -> NDArray[np.float32]:
    return np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float32)
