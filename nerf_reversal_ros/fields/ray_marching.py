"""
Ray marching: samples of rays in the occupied cells of a grid, and their compositing.

`march_rays` yields the samples of one cell per ray at a time, which suits early termination:
rendering composites them as they come. `pad_samples` collects a bounded number of cells per ray
into rectangular arrays, and `composite_samples` blends these differentiably: training and iNeRF
use both. A sample stands for the middle of its interval, unless the caller moves it.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from nerf_reversal_ros.fields.empty_space_skipping import DistanceMap

SAMPLES_PER_CELL = 2
"""A cell has two voxels along its edge, so that a ray has about one sample per voxel."""
MAX_CELLS_PER_RAY = 10
"""Bound of `pad_samples`: a surface stops light within a few cells, which bounds the memory."""


class CellSamples(NamedTuple):
    """Samples of K rays, each in one occupied cell; S is `SAMPLES_PER_CELL`."""

    rays: Tensor
    """(K,) indices of the rays, each at most once."""
    times: Tensor
    """(K, S) positions of the samples along the ray, in lengths of its direction, ascending."""
    step: Tensor
    """(K,) length of the interval of each sample, in the same unit."""
    far: Tensor
    """(K,) where the ray leaves the cell, in the same unit."""

    def points(self, origins: Tensor, directions: Tensor) -> Tensor:
        """Return the samples (K, S, 3) of rays with origins (R, 3) and directions (R, 3)."""
        origin, direction = (
            origins.index_select(0, self.rays),
            directions.index_select(0, self.rays),
        )
        return torch.addcmul(origin[:, None], direction[:, None], self.times[..., None])


class PaddedRaySamples(NamedTuple):
    """Samples of R rays in M slots each, from near to far; S slots are filled."""

    times: Tensor
    """(R, M) positions along the ray, in lengths of its direction."""
    steps: Tensor
    """(R, M) lengths of the intervals, in the same unit; 0 in an empty slot."""
    filled: Tensor
    """(R, M) bool: the slots that hold a sample."""
    rays: Tensor
    """(S,) indices of the rays of the filled slots, ascending."""

    def points(self, origins: Tensor, directions: Tensor) -> Tensor:
        """Return the filled samples (S, 3), differentiable in the rays (R, 3), (R, 3)."""
        return torch.addcmul(
            origins.index_select(0, self.rays),
            directions.index_select(0, self.rays),
            self.times[self.filled][:, None],
        )


class CompositedRays(NamedTuple):
    """Volume rendering of R rays with M slots each."""

    rgb: Tensor
    """(R, 3) colors, black background."""
    weights: Tensor
    """(R, M) fraction of the light of each ray that its sample contributes."""
    transmittance: Tensor
    """(R, 1) fraction of the light that passes all samples."""


def march_rays(
    distance_map: DistanceMap,
    origins: Tensor,
    directions: Tensor,
    optical_depth: Tensor,
) -> Iterator[CellSamples]:
    """
    Sample rays in the occupied cells that they cross, one cell per ray at a time.

    Parameters
    ----------
    distance_map : DistanceMap
        Occupied cells.
    origins : (R, 3) tensor
        Meters from the corner of the grid.
    directions : (R, 3) tensor
        Directions of any length.
    optical_depth : (R,) tensor
        The caller updates it between two yields; a ray ends as `DistanceMap.occupied_segments`
        states.
    """
    middles = torch.arange(SAMPLES_PER_CELL, device=origins.device) + 0.5
    for rays, near, far in distance_map.occupied_segments(origins, directions, optical_depth):
        step = (far - near) / SAMPLES_PER_CELL
        yield CellSamples(rays, near[:, None] + step[:, None] * middles, step, far)


@torch.no_grad()
def pad_samples(
    cells: Iterable[CellSamples], optical_depth: Tensor, end: Tensor | None = None
) -> PaddedRaySamples:
    """
    Collect the samples of the first `MAX_CELLS_PER_RAY` cells of each ray.

    Parameters
    ----------
    cells : iterable of CellSamples
        Traversal of R rays, such as `march_rays`, that reads ``optical_depth``.
    optical_depth : (R,) tensor
        Set to infinity for a ray that is complete, which ends its traversal.
    end : (R,) tensor, optional
        A ray is complete with the cell that reaches beyond this, in lengths of its direction.
    """
    count, device = len(optical_depth), optical_depth.device
    times = torch.zeros(count, MAX_CELLS_PER_RAY * SAMPLES_PER_CELL, device=device)
    steps = torch.zeros_like(times)
    visits = torch.zeros(count, dtype=torch.long, device=device)
    lanes = torch.arange(SAMPLES_PER_CELL, device=device)
    for cell in cells:
        rays = cell.rays
        slots = visits[rays, None] * SAMPLES_PER_CELL + lanes
        times[rays[:, None], slots] = cell.times
        steps[rays[:, None], slots] = cell.step[:, None].expand(-1, SAMPLES_PER_CELL)
        visits[rays] += 1
        complete = visits[rays] == MAX_CELLS_PER_RAY
        if end is not None:
            complete |= cell.far > end[rays]
        optical_depth[rays[complete]] = torch.inf
    filled = steps > 0
    return PaddedRaySamples(times, steps, filled, filled.nonzero()[:, 0])


def composite_samples(
    samples: PaddedRaySamples, length: Tensor, density: Tensor, rgb: Tensor
) -> CompositedRays:
    """
    Composite samples along their rays as in NeRF (Mildenhall et al., ECCV 2020).

    Parameters
    ----------
    samples : PaddedRaySamples
        R rays with S filled slots.
    length : (R,) tensor
        Lengths of the directions, in the unit of length of ``density``.
    density : (S,) tensor
        Densities of the filled slots.
    rgb : (S, 3) tensor
        Their colors.

    Returns
    -------
    CompositedRays
        Differentiable in ``length``, ``density`` and ``rgb``.
    """
    times, steps, filled, rays = samples
    tau = torch.zeros_like(times).masked_scatter(filled, density) * steps * length[:, None]
    transmittance = torch.exp(-torch.cat([torch.zeros_like(tau[:, :1]), tau.cumsum(1)], 1))
    weights = transmittance[:, :-1] - transmittance[:, 1:]
    colors = torch.zeros(len(times), 3, device=times.device)
    colors = colors.index_add(0, rays, weights[filled][:, None] * rgb)
    return CompositedRays(colors, weights, transmittance[:, -1:])
