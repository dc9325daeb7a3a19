"""
A sparse voxel radiance field: colours and log densities at the corners of small voxels.

Space is cut into bricks of 8x8x8 voxels, and only those that touch matter are kept. Values are
interpolated trilinearly (the density before its exponential, which keeps surfaces sharp: Sun et
al., "Direct Voxel Grid Optimization", CVPR 2022) and composited along rays as in NeRF (Mildenhall
et al., ECCV 2020). Empty space is leapt over with a chessboard distance map over cells of 2
voxels, so that a ray evaluates the field only where it may be opaque.

The same code runs on a CPU and on CUDA. How rays leap is in `leaping`, how a field is stored in
`voxel_file`, and how one is trained in `voxel_training`.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.parallel import parallel_map
from nerf_reversal_ros.fields.base import Occupancy, Rendering
from nerf_reversal_ros.fields.empty_space_skipping import DistanceMap
from nerf_reversal_ros.fields.uncertainty import PackedRaySamples
from nerf_reversal_ros.fields.voxel_io import BRICK, read_voxels, VoxelArrays, write_voxels

CELL = 2
"""Voxels along the edge of a cell of the distance map."""
EMPTY_LOG_DENSITY = -8.0
"""Log density, per voxel length, of a corner that holds no matter."""
OPAQUE_LOG_DENSITY = -3.0
"""A cell none of whose corners is denser than this is leapt over: its alpha is below 5 %."""
SAMPLES_PER_CELL = 2
RAYS_PER_BATCH = 1 << 18
MIN_RAYS_PER_CORE = 4096
_LN2 = float(np.log(2.0))
_CORNERS = torch.tensor(
    [(x * (BRICK + 1) + y) * (BRICK + 1) + z for x in (0, 1) for y in (0, 1) for z in (0, 1)],
    dtype=torch.int32,
)


class VoxelField:
    """
    A radiance field in metres of the map frame; see the module's text.

    Parameters
    ----------
    origin_m, voxel_m, brick_of, corner_of, values, seen_free
        See `VoxelArrays`.
    background : (H, W, 3) float32 tensor, optional
        See `VoxelArrays`; default: mid grey.
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
        """Take over the tensors and derive the tables that rendering needs."""
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
        """Where the field lives and computes."""
        return self.values.device

    def update_distance_map(self) -> None:
        """Find the opaque cells again; to be called when densities have changed much."""
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
        """Render one view a pose; see `RadianceField.render`."""
        poses = torch.from_numpy(np.asarray(map_from_camera, dtype=np.float64))
        rays = torch.from_numpy(camera.rays().reshape(-1, 3)).float().to(self.device)
        views_at_once = max(1, RAYS_PER_BATCH // len(rays))
        out: list[Rendering] = []
        for start in range(0, len(poses), views_at_once):
            batch = poses[start : start + views_at_once]
            rotation = batch[:, :3, :3].float().to(self.device)
            centre = (batch[:, :3, 3] - torch.from_numpy(self.origin_m)).float().to(self.device)
            directions = (rays @ rotation.transpose(1, 2)).reshape(-1, 3)
            origins = centre.repeat_interleave(len(rays), dim=0)
            rgb, depth, opacity = self._trace_parallel(origins, directions)
            shape = (len(batch), camera.height, camera.width)
            rgb8 = (rgb.clamp(0, 1) * 255 + 0.5).to(torch.uint8).view(*shape, 3).cpu().numpy()
            depths = depth.view(shape).cpu().numpy()
            opacities = opacity.view(shape).cpu().numpy()
            out += [Rendering(*view) for view in zip(rgb8, depths, opacities, strict=True)]
        return out

    def _trace_parallel(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, ...]:
        """Do `trace`; on a CPU each core takes a part of the rays."""
        parts = torch.get_num_threads() if self.device.type == 'cpu' else 1
        parts = max(1, min(parts, len(origins) // MIN_RAYS_PER_CORE))
        pairs = zip(origins.chunk(parts), directions.chunk(parts), strict=True)
        traced = parallel_map(lambda pair: self.trace(*pair), pairs)
        return tuple(torch.cat(part) for part in zip(*traced, strict=True))

    def occupancy(self, points: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Tell for points (N, 3) [m, map frame] what is there: (N,) values of `DepthOccupancyGrid`."""
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
    def trace(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """
        Composite the field along rays.

        Parameters
        ----------
        origins : (R, 3) tensor
            Metres from the grid's corner.
        directions : (R, 3) tensor
            Of any length: depths are counted in lengths of the direction.

        Returns
        -------
        tuple
            Colours (R, 3), depth (R,) at which half of the light is gone (0 where that never
            happens), opacity (R,).
        """
        count = len(origins)
        rgb = torch.zeros(count, 3, device=self.device)
        depth = torch.zeros(count, device=self.device)
        optical_depth = torch.zeros(count, device=self.device)
        length = directions.norm(dim=1) / self.voxel_m
        for rays, near, far in self.distance_map.occupied_segments(
            origins, directions, optical_depth
        ):
            step = (far - near) / SAMPLES_PER_CELL
            offsets = torch.arange(SAMPLES_PER_CELL, device=self.device) + 0.5
            times = near[:, None] + step[:, None] * offsets
            ray_origins, ray_directions = (
                origins.index_select(0, rays),
                directions.index_select(0, rays),
            )
            points = torch.addcmul(ray_origins[:, None], ray_directions[:, None], times[..., None])
            value = self.interpolate(points.view(-1, 3)).view(*times.shape, 4)
            tau = (
                value[..., 0].clamp(max=8.0).exp() * (step * length.index_select(0, rays))[:, None]
            )
            before = optical_depth.index_select(0, rays)
            total = before[:, None] + tau.cumsum(1)
            light = torch.exp(-torch.cat([before[:, None], total], 1))
            weight = light[:, :-1] - light[:, 1:]
            rgb.index_add_(0, rays, (weight[..., None] * value[..., 1:]).sum(1))
            half = (before < _LN2) & (total[:, -1] >= _LN2)
            first = (total[half] >= _LN2).float().argmax(1, keepdim=True)
            over = (total[half] - _LN2).gather(1, first) / tau[half].gather(1, first)
            crossing = times[half].gather(1, first)[:, 0] + (0.5 - over[:, 0]) * step[half]
            depth[rays[half]] = crossing
            optical_depth[rays] = total[:, -1]
        light = torch.exp(-optical_depth)
        open_rays = (light > 0.02).nonzero()[:, 0]
        if len(open_rays):
            height, width, _ = self.background.shape
            cells = background_cells(directions.index_select(0, open_rays), (height, width))
            beyond = self.background.view(-1, 3).index_select(0, cells)
            rgb.index_add_(0, open_rays, light[open_rays, None] * beyond)
        return rgb, depth, 1 - light

    @property
    def extent_m(self) -> NDArray[np.float64]:
        """(3,) size of the grid [m]."""
        return np.array(self.brick_index.shape) * (BRICK * self.voxel_m)

    @torch.no_grad()
    def sample_rays(self, origins: Tensor, directions: Tensor) -> PackedRaySamples:
        """Place samples along rays as `trace` does; see `DeformableField.march`."""
        optical_depth = torch.zeros(len(origins), device=self.device)
        length = directions.norm(dim=1)
        parts: list[tuple[Tensor, ...]] = []
        for rays, near, far in self.distance_map.occupied_segments(
            origins, directions, optical_depth
        ):
            step = (far - near) / SAMPLES_PER_CELL
            for lane in range(SAMPLES_PER_CELL):
                times = near + (lane + 0.5) * step
                points = torch.addcmul(origins[rays], directions[rays], times[:, None])
                length_m = step * length[rays]
                density, _ = self.query(points, directions[rays])
                optical_depth[rays] += density * length_m
                parts.append((rays, points, length_m))
        if not parts:
            nothing = torch.zeros(0, device=self.device)
            return PackedRaySamples(nothing.long(), nothing.view(0, 3), nothing)
        rays, points, length_m = (torch.cat(part) for part in zip(*parts, strict=True))
        order = torch.argsort(rays, stable=True)
        return PackedRaySamples(rays[order], points[order], length_m[order])

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return densities (S,) [1/m] and colours (S, 3); see `DeformableField.look_up`."""
        value = self.interpolate(points)
        return value[:, 0].clamp(max=8.0).exp() / self.voxel_m, value[:, 1:]

    def interpolate(self, points: Tensor) -> Tensor:
        """Return the values (N, 4) at points (N, 3), metres from the grid's corner, inside it."""
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
        """Return the same field on another device."""
        origin_m, voxel_m, *tensors = self._arrays()
        return VoxelField(origin_m, voxel_m, *(item.to(device) for item in tensors))

    def save(self, path: Path) -> None:
        """Write the field, values in half precision, as one safetensors file."""
        write_voxels(path, self._arrays())

    @classmethod
    def load(cls, path: Path, device: torch.device | str = 'cpu') -> 'VoxelField':
        """Read what `save` wrote; raises MapError when the file is not that."""
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


def background_cells(directions: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the flat cell of a background of (H, W) cells that each direction (..., 3) hits."""
    x, y, z = directions.unbind(-1)
    azimuth = torch.atan2(y, x) / (2 * torch.pi) + 0.5
    zenith = torch.atan2(torch.hypot(x, y), z) / torch.pi
    row = (zenith * shape[0]).long().clamp(0, shape[0] - 1)
    column = (azimuth * shape[1]).long().clamp(0, shape[1] - 1)
    return row * shape[1] + column


def _build_corner_table(brick_of: Tensor, corner_of: Tensor) -> Tensor:
    """Add to each brick's (8, 8, 8) corners those that it shares with its upper neighbours."""
    device = corner_of.device
    grid = torch.nn.functional.pad(brick_of, (0, 1, 0, 1, 0, 1))
    table = torch.zeros(len(corner_of), *(BRICK + 1,) * 3, dtype=torch.int32, device=device)
    x, y, z = torch.nonzero(brick_of, as_tuple=True)
    rows = brick_of[x, y, z].long()
    own, first, last = slice(0, BRICK), slice(0, 1), slice(BRICK, BRICK + 1)
    for dx in (0, 1):
        for dy in (0, 1):
            for dz in (0, 1):
                neighbour = corner_of[grid[x + dx, y + dy, z + dz].long()]
                source = [first if d else own for d in (dx, dy, dz)]
                target = [last if d else own for d in (dx, dy, dz)]
                table[rows, target[0], target[1], target[2]] = neighbour[
                    :, source[0], source[1], source[2]
                ]
    return table
