"""Empty-space skipping: rays jump from occupied cell to occupied cell by a distance map."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt
import torch
from torch import Tensor

MAX_OPTICAL_DEPTH = float(-np.log(0.01))
"""A ray ends at a transmittance of 1 %."""
NUDGE = 1e-4
"""Step across a cell wall, in lengths of the direction, so that a ray enters the next cell."""
NEXT_FLOAT_FACTOR = 1.0 + 2.0**-22
"""A float32 times this factor is a larger float32, whatever its magnitude."""


class DistanceMap:
    """
    Chessboard distance, in cells, from each cell of a grid to the nearest occupied cell.

    Parameters
    ----------
    occupied : (X, Y, Z) bool array
        Cells that may stop light.
    cell_m : float
        Edge of a cell; the corner of the grid is the origin of all ray coordinates.
    device : torch.device
        Device of the traversal.
    """

    def __init__(self, occupied: NDArray[np.bool_], cell_m: float, device: torch.device) -> None:
        if occupied.any():
            cells = distance_transform_cdt(~occupied, metric='chessboard')
        else:
            cells = np.full(occupied.shape, 255)
        self.cell_m = cell_m
        self.cells = torch.from_numpy(np.clip(cells, 0, 255).astype(np.uint8)).to(device)
        """(X, Y, Z) uint8: 0 in an occupied cell, at most 255."""
        self._shape = torch.tensor(occupied.shape, device=device)

    @torch.no_grad()
    def occupied_segments(
        self, origins: Tensor, directions: Tensor, optical_depth: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """
        Traverse the grid with all rays at once; yield (rays, near, far) of occupied cells.

        Each yield holds at most one cell of a ray. ``near`` and ``far`` are in lengths of the
        directions. The caller updates ``optical_depth`` (R,) between two yields. A ray ends once
        its optical depth stands for a transmittance below 1 %.
        """
        safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
        slope = safe / self.cell_m
        inverse = 1.0 / slope
        start = origins / self.cell_m
        forward = (safe > 0).float()
        entry = ((self._shape * (1 - forward) - start) * inverse).amax(1).clamp(min=0.0)
        leave = ((self._shape * forward - start) * inverse).amin(1) - NUDGE
        rays = (entry < leave).nonzero()[:, 0]
        start, slope, inverse, forward = (
            x.index_select(0, rays) for x in (start, slope, inverse, forward)
        )
        time, leave = entry[rays] + NUDGE, leave[rays]
        _, ny, nz = self.cells.shape
        flat_cells = self.cells.view(-1)
        while len(rays):
            cell = torch.addcmul(start, slope, time[:, None]).floor_()
            cell = torch.minimum(cell.clamp_(min=0.0), self._shape - 1.0)
            x, y, z = cell.int().unbind(1)
            distance = flat_cells.index_select(0, (x * ny + y) * nz + z)
            free_cells = (distance.float() - 1).clamp_(min=0)[:, None]
            wall = cell + torch.where(forward > 0, free_cells + 1, -free_cells)
            exits = torch.maximum(((wall - start) * inverse).amin(1), time)
            hit = (distance == 0).nonzero()[:, 0]
            alive = exits < leave
            if len(hit):
                yield rays[hit], time[hit], exits[hit]
                alive &= optical_depth.index_select(0, rays) < MAX_OPTICAL_DEPTH
            time = exits * NEXT_FLOAT_FACTOR + NUDGE
            remaining = alive.nonzero()[:, 0]
            if len(remaining) < len(rays):
                rays, time, leave = (x.index_select(0, remaining) for x in (rays, time, leave))
                start, slope, inverse, forward = (
                    x.index_select(0, remaining) for x in (start, slope, inverse, forward)
                )
