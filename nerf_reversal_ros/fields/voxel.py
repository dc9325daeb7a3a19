"""
Sparse voxel radiance field: colors and log densities at the corners of small voxels.

The grid is cut into bricks of 8x8x8 voxels, and only bricks near surfaces are stored. Values are
interpolated trilinearly. The density is interpolated before its exponential, which keeps surfaces
sharp (Sun et al., "Direct Voxel Grid Optimization", CVPR 2022). Colors are composited along rays
as in NeRF (Mildenhall et al., ECCV 2020). Empty space is skipped by a chessboard distance map over
cells of 2 voxels, so that a ray evaluates the field only where it may be opaque.

A CPU renders with `voxel_kernels`, from values of 8 bits as a map stores them. PyTorch renders on
CUDA, by `empty_space_skipping` and `ray_marching`, and is what the kernels are compared with.
`voxel_io` stores a field, and `voxel_training` trains one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.parallel import parallel_map
from nerf_reversal_ros.fields.base import Occupancy, Rendering
from nerf_reversal_ros.fields.empty_space_skipping import DistanceMap
from nerf_reversal_ros.fields.ray_marching import CellSamples, march_rays
from nerf_reversal_ros.fields.voxel_io import (
    BRICK,
    encode_values,
    MAX_LOG_DENSITY,
    read_voxels,
    VoxelArrays,
    write_voxels,
)

if TYPE_CHECKING:
    from nerf_reversal_ros.fields.voxel_kernels import Grid

CELL = 2
"""Voxels along the edge of a cell of the distance map."""
OPAQUE_LOG_DENSITY = -3.0
"""A cell is skipped if no corner is denser than this: its alpha is below 5 %."""
RAYS_PER_BATCH = 1 << 18
"""Rays that are rendered together, which bounds the memory of a rendering."""
RAYS_PER_CHUNK = 4096
"""Rays that a core of a CPU traces at a time."""
MIN_TRANSMITTANCE = 0.02
"""The background is added to a ray only if more light than this passes the field."""
_LN2 = float(np.log(2.0))
"""Optical depth at which half of the light is absorbed: the depth of a rendering lies there."""
_CORNERS = torch.tensor(
    [(x * (BRICK + 1) + y) * (BRICK + 1) + z for x in (0, 1) for y in (0, 1) for z in (0, 1)],
    dtype=torch.int32,
)
"""Offsets of the 8 corners of a voxel in the flat corner table of its brick."""


class FieldSamples(NamedTuple):
    """Samples of one cell of K rays, with the values of the field there."""

    cells: CellSamples
    values: Tensor
    """(K, S, 4) log density per voxel length, then the color."""
    tau: Tensor
    """(K, S) optical depth of the interval of each sample."""
    optical_depth: Tensor
    """(K, S + 1) optical depth of the ray before each sample, and behind the last one."""


class VoxelField:
    """
    Sparse voxel radiance field in meters of the map frame.

    Parameters
    ----------
    origin_m, voxel_m, brick_index, corner_index, values, observed_free
        See `VoxelArrays`.
    background : (H, W, 3) float32 tensor, optional
        See `VoxelArrays`; default: medium gray.
    """

    def __init__(
        self,
        origin_m: NDArray[np.float64],
        voxel_m: float,
        brick_index: Tensor,
        corner_index: Tensor,
        values: Tensor,
        observed_free: Tensor,
        background: Tensor | None = None,
    ) -> None:
        """Store the tensors and derive the tables that rendering needs."""
        self.origin_m = np.asarray(origin_m, dtype=np.float64)
        self.voxel_m = voxel_m
        self.brick_index = brick_index
        self.corner_index = corner_index
        self.values = values
        self.observed_free = observed_free
        if background is None:
            background = torch.full((64, 128, 3), 0.5, device=values.device)
        self.background = background
        self._last_brick = (
            torch.tensor(brick_index.shape, dtype=torch.int32, device=values.device) - 1
        )
        self._corner_table = _build_corner_table(brick_index, corner_index).reshape(-1)
        self.update_distance_map()

    @property
    def device(self) -> torch.device:
        """Device of the tensors and of all computations."""
        return self.values.device

    @property
    def extent_m(self) -> NDArray[np.float64]:
        """(3,) size of the grid [m]."""
        return np.array(self.brick_index.shape) * (BRICK * self.voxel_m)

    @property
    def grid(self) -> 'Grid':
        """The arrays of a field on a CPU that compiled kernels walk through."""
        from nerf_reversal_ros.fields.voxel_kernels import Grid

        return Grid(
            self.distance_map.cells.numpy(),
            np.float32(self.distance_map.cell_m),
            np.float32(1.0 / self.voxel_m),
            self.brick_index.numpy(),
            self._corner_table.numpy().view(np.uint32),
        )

    def update_distance_map(self) -> None:
        """Recompute the opaque cells; call this after values have changed."""
        self._codes: NDArray[np.uint32] | None = None
        dense = (self.values[:, 0] > OPAQUE_LOG_DENSITY)[self._corner_table.long()]
        size = BRICK + 1
        dense = dense.view(-1, size, size, size)
        parts = BRICK // CELL
        opaque = torch.zeros(len(dense), parts, parts, parts, dtype=torch.bool)
        for x in range(parts):
            for y in range(parts):
                for z in range(parts):
                    corner = dense[
                        :,
                        x * CELL : (x + 1) * CELL + 1,
                        y * CELL : (y + 1) * CELL + 1,
                        z * CELL : (z + 1) * CELL + 1,
                    ]
                    opaque[:, x, y, z] = corner.flatten(1).any(1).cpu()
        grid = opaque[self.brick_index.long().cpu()]  # (X, Y, Z, parts, parts, parts)
        nx, ny, nz = self.brick_index.shape
        cells = grid.permute(0, 3, 1, 4, 2, 5).reshape(nx * parts, ny * parts, nz * parts)
        self.distance_map = DistanceMap(cells.numpy(), CELL * self.voxel_m, self.device)

    def render(self, map_from_camera: NDArray[np.float64], camera: Camera) -> list[Rendering]:
        """Render one view per pose; see `RadianceField.render`."""
        poses = torch.from_numpy(np.asarray(map_from_camera, dtype=np.float64))
        rays = torch.from_numpy(camera.rays().reshape(-1, 3)).float().to(self.device)
        views_per_batch = max(1, RAYS_PER_BATCH // len(rays))
        renderings: list[Rendering] = []
        for start in range(0, len(poses), views_per_batch):
            batch = poses[start : start + views_per_batch]
            rgb, depth, opacity = self.trace(*self._rays_at(batch, rays))
            shape = (len(batch), camera.height, camera.width)
            rgb8 = (rgb.clamp(0, 1) * 255 + 0.5).to(torch.uint8).view(*shape, 3).cpu().numpy()
            depths = depth.view(shape).cpu().numpy()
            opacities = opacity.view(shape).cpu().numpy()
            renderings += [Rendering(*view) for view in zip(rgb8, depths, opacities, strict=True)]
        return renderings

    def render_depth(
        self,
        map_from_camera: NDArray[np.float64],
        camera: Camera,
        pixels: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Render the depth (H, W) [m] at a pose (4, 4) in some pixels (H, W); 0 in the others."""
        pose = torch.from_numpy(np.asarray(map_from_camera, dtype=np.float64))
        rays = torch.from_numpy(camera.rays()[pixels]).float().to(self.device)
        depth = np.zeros(pixels.shape, np.float32)
        depth[pixels] = self.trace(*self._rays_at(pose[None], rays))[1].cpu().numpy()
        return depth

    def _rays_at(self, poses: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
        """Return origins and directions (N * K, 3) in the grid of rays (K, 3) at N poses."""
        rotation = poses[:, :3, :3].float().to(self.device)
        center = (poses[:, :3, 3] - torch.from_numpy(self.origin_m)).float().to(self.device)
        directions = (rays @ rotation.transpose(1, 2)).reshape(-1, 3)
        return center.repeat_interleave(len(rays), dim=0), directions

    def occupancy(self, points: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Classify points (N, 3) [m, map frame]: (N,) values of `Occupancy`."""
        cells = np.floor((points - self.origin_m) / self.distance_map.cell_m).astype(np.int64)
        distance = self.distance_map.cells.cpu().numpy()
        inside = np.all((cells >= 0) & (cells < distance.shape), axis=1)
        out = np.full(len(points), Occupancy.UNKNOWN, dtype=np.uint8)
        x, y, z = cells[inside].T
        parts = BRICK // CELL
        free = self.observed_free.cpu().numpy()[x // parts, y // parts, z // parts]
        known = np.where(free, Occupancy.FREE, Occupancy.UNKNOWN)
        out[inside] = np.where(distance[x, y, z] == 0, Occupancy.OCCUPIED, known)
        return out

    @torch.no_grad()
    def trace(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, ...]:
        """
        Render rays: march them through the field and composite its colors.

        On a CPU all cores of `parallel_map` take part.

        Parameters
        ----------
        origins : (R, 3) tensor
            Meters from the corner of the grid.
        directions : (R, 3) tensor
            Directions of any length; depths are in lengths of the direction.

        Returns
        -------
        tuple
            Colors (R, 3); depth (R,) at a transmittance of one half, 0 where it stays higher;
            opacity (R,).
        """
        if self.device.type != 'cpu':
            return self.trace_with_torch(origins, directions)
        from nerf_reversal_ros.fields.voxel_kernels import trace_rays

        if self._codes is None:
            codes = encode_values(self.values).numpy().view(np.uint32).reshape(-1)
            self._codes = codes[self._corner_table.numpy()]
        grid, codes, background = self.grid, self._codes, self.background.contiguous().numpy()
        starts, slopes = origins.contiguous().numpy(), directions.contiguous().numpy()
        rendered = np.empty((len(origins), 5), np.float32)

        def trace_chunk(start: int) -> None:
            chunk = slice(start, start + RAYS_PER_CHUNK)
            trace_rays(grid, codes, background, starts[chunk], slopes[chunk], rendered[chunk])

        parallel_map(trace_chunk, range(0, len(origins), RAYS_PER_CHUNK))
        result = torch.from_numpy(rendered)
        return result[:, :3], result[:, 3], result[:, 4]

    @torch.no_grad()
    def trace_with_torch(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, ...]:
        """Render rays as `trace` does, in PyTorch and with all bits of the values."""
        count = len(origins)
        rgb = torch.zeros(count, 3, device=self.device)
        depth = torch.zeros(count, device=self.device)
        optical_depth = torch.zeros(count, device=self.device)
        for cells, values, tau, bounds in self.march(origins, directions, optical_depth):
            rays, times, step, _ = cells
            transmittance = torch.exp(-bounds)
            weight = transmittance[:, :-1] - transmittance[:, 1:]
            rgb.index_add_(0, rays, (weight[..., None] * values[..., 1:]).sum(1))
            half = (bounds[:, 0] < _LN2) & (bounds[:, -1] >= _LN2)
            total = bounds[half, 1:]
            first = (total >= _LN2).float().argmax(1, keepdim=True)
            excess = (total - _LN2).gather(1, first) / tau[half].gather(1, first)
            crossing = times[half].gather(1, first)[:, 0] + (0.5 - excess[:, 0]) * step[half]
            depth[rays[half]] = crossing
        transmittance = torch.exp(-optical_depth)
        open_rays = (transmittance > MIN_TRANSMITTANCE).nonzero()[:, 0]
        if len(open_rays):
            background = self.background_color(directions.index_select(0, open_rays))
            rgb.index_add_(0, open_rays, transmittance[open_rays, None] * background)
        return rgb, depth, 1 - transmittance

    def march(
        self, origins: Tensor, directions: Tensor, optical_depth: Tensor
    ) -> Iterator[FieldSamples]:
        """
        March rays through the field, one occupied cell per ray at a time.

        Parameters
        ----------
        origins, directions : (R, 3) tensors
            As in `trace`.
        optical_depth : (R,) tensor
            Zeros; each yield has added the cells that it holds. A ray ends when it is opaque.
        """
        length = directions.norm(dim=1) / self.voxel_m
        for cells in march_rays(self.distance_map, origins, directions, optical_depth):
            rays, times, step, _ = cells
            values = self.interpolate(cells.points(origins, directions).view(-1, 3))
            values = values.view(*times.shape, 4)
            density = density_from_log(values[..., 0])
            tau = density * (step * length.index_select(0, rays))[:, None]
            before = optical_depth.index_select(0, rays)[:, None]
            bounds = torch.cat([before, before + tau.cumsum(1)], 1)
            optical_depth[rays] = bounds[:, -1]
            yield FieldSamples(cells, values, tau, bounds)

    def background_color(self, directions: Tensor) -> Tensor:
        """Return the background colors (N, 3) by directions (N, 3) of any length."""
        height, width, _ = self.background.shape
        cells = background_cells(directions, (height, width))
        return self.background.view(-1, 3).index_select(0, cells)

    def interpolate(self, points: Tensor) -> Tensor:
        """Interpolate the values (N, 4) at points (N, 3) inside the grid [m, from its corner]."""
        rows, weights = self.trilinear_corners(points)
        return torch.nn.functional.embedding_bag(
            rows, self.values, per_sample_weights=weights, mode='sum'
        )

    def trilinear_corners(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows (N, 8) of ``values`` around points and their trilinear weights (N, 8)."""
        voxel = points * (1.0 / self.voxel_m)
        index = voxel.int()
        fraction = voxel - index
        brick = torch.minimum(index >> 3, self._last_brick)
        local = index & 7
        grid = self.brick_index
        flat = (brick[:, 0] * grid.shape[1] + brick[:, 1]) * grid.shape[2] + brick[:, 2]
        size = BRICK + 1
        base = grid.view(-1).index_select(0, flat) * size**3
        base += (local[:, 0] * size + local[:, 1]) * size + local[:, 2]
        corners = (base[:, None] + _CORNERS.to(self.device)).view(-1)
        rows = self._corner_table.index_select(0, corners).view(-1, 8)
        x, y, z = fraction.unbind(1)
        xy = torch.stack([(1 - x) * (1 - y), (1 - x) * y, x * (1 - y), x * y], 1)
        weights = torch.stack([xy * (1 - z)[:, None], xy * z[:, None]], 2).view(-1, 8)
        return rows, weights

    def to(self, device: torch.device) -> 'VoxelField':
        """Copy the field to another device."""
        origin_m, voxel_m, *tensors = self._arrays()
        return VoxelField(origin_m, voxel_m, *(item.to(device) for item in tensors))

    def save(self, path: Path) -> None:
        """Write the field as one safetensors file, values in 8 bits."""
        write_voxels(path, self._arrays())

    @classmethod
    def load(cls, path: Path, device: torch.device | str = 'cpu') -> 'VoxelField':
        """Read what `save` wrote; raise MapError if the file is no voxel field."""
        return cls(*read_voxels(path, device))

    def _arrays(self) -> VoxelArrays:
        return VoxelArrays(
            self.origin_m,
            self.voxel_m,
            self.brick_index,
            self.corner_index,
            self.values,
            self.observed_free,
            self.background,
        )


def density_from_log(log_density: Tensor) -> Tensor:
    """Return densities per voxel length of log densities, these at most `MAX_LOG_DENSITY`."""
    return log_density.clamp(max=MAX_LOG_DENSITY).exp()


def background_cells(directions: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the flat index of the background cell, of (H, W), of each direction (..., 3)."""
    x, y, z = directions.unbind(-1)
    azimuth = torch.atan2(y, x) / (2 * torch.pi) + 0.5
    zenith = torch.atan2(torch.hypot(x, y), z) / torch.pi
    row = (zenith * shape[0]).long().clamp(0, shape[0] - 1)
    column = (azimuth * shape[1]).long().clamp(0, shape[1] - 1)
    return row * shape[1] + column


def _build_corner_table(brick_index: Tensor, corner_index: Tensor) -> Tensor:
    """Extend the (8, 8, 8) corners of each brick by those shared with its upper neighbors."""
    device = corner_index.device
    grid = torch.nn.functional.pad(brick_index, (0, 1, 0, 1, 0, 1))
    table = torch.zeros(len(corner_index), *(BRICK + 1,) * 3, dtype=torch.int32, device=device)
    x, y, z = torch.nonzero(brick_index, as_tuple=True)
    rows = brick_index[x, y, z].long()
    own, first, last = slice(0, BRICK), slice(0, 1), slice(BRICK, BRICK + 1)
    for dx in (0, 1):
        for dy in (0, 1):
            for dz in (0, 1):
                neighbor = corner_index[grid[x + dx, y + dy, z + dz].long()]
                source = [first if d else own for d in (dx, dy, dz)]
                target = [last if d else own for d in (dx, dy, dz)]
                table[rows, target[0], target[1], target[2]] = neighbor[
                    :, source[0], source[1], source[2]
                ]
    return table
