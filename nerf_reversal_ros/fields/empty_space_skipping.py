"""How rays leap over empty space: from opaque cell to opaque cell, by a map of distances."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt
import torch
from torch import Tensor

_MAX_OPTICAL_DEPTH = float(-np.log(0.01))
_NUDGE = 1e-4
_NEXT_FLOAT_FACTOR = 1.0 + 2.0**-22  # a float32 this much larger is another one, however large


class DistanceMap:
    """
    For each cell of a grid, how many cells the next opaque one is away (chessboard distance).

    Parameters
    ----------
    opaque : (X, Y, Z) bool array
        The cells that may stop light.
    cell_m : float
        Edge of a cell; the grid's corner is the origin of all rays' coordinates.
    device : torch.device
        Where rays are followed.
    """

    def __init__(self, opaque: NDArray[np.bool_], cell_m: float, device: torch.device) -> None:
        if opaque.any():
            cells = distance_transform_cdt(~opaque, metric='chessboard')
        else:
            cells = np.full(opaque.shape, 255)
        self.cell_m = cell_m
        self.cells = torch.from_numpy(np.clip(cells, 0, 255).astype(np.uint8)).to(device)
        """(X, Y, Z) uint8: 0 in an opaque cell, 255 for 255 and more."""
        self._shape = torch.tensor(opaque.shape, device=device)

    @torch.no_grad()
    def occupied_segments(
        self, origins: Tensor, directions: Tensor, optical_depth: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """
        Walk all rays at once; yield (rays, near, far) of the opaque cells that they cross.

        ``near`` and ``far`` are in lengths of the directions. A ray is dropped once its entry of
        ``optical_depth``, which the caller updates between two yields, says that less than 1 % of
        its light is left.
        """
        safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
        slope = safe / self.cell_m
        inverse = 1.0 / slope
        start = origins / self.cell_m
        forward = (safe > 0).float()
        entry = ((self._shape * (1 - forward) - start) * inverse).amax(1).clamp(min=0.0)
        leave = ((self._shape * forward - start) * inverse).amin(1) - _NUDGE
        rays = (entry < leave).nonzero()[:, 0]
        start, slope, inverse, forward = (
            x.index_select(0, rays) for x in (start, slope, inverse, forward)
        )
        time, leave = entry[rays] + _NUDGE, leave[rays]
        _, ny, nz = self.cells.shape
        flat_cells = self.cells.view(-1)
        while len(rays):
            cell = torch.addcmul(start, slope, time[:, None]).floor_()
            cell = torch.minimum(cell.clamp_(min=0.0), self._shape - 1.0)
            x, y, z = cell.int().unbind(1)
            distance = flat_cells.index_select(0, (x * ny + y) * nz + z)
            reach = (distance.float() - 1).clamp_(min=0)[:, None]
            wall = cell + torch.where(forward > 0, reach + 1, -reach)
            exits = torch.maximum(((wall - start) * inverse).amin(1), time)
            hit = (distance == 0).nonzero()[:, 0]
            alive = exits < leave
            if len(hit):
                yield rays[hit], time[hit], exits[hit]
                alive &= optical_depth.index_select(0, rays) < _MAX_OPTICAL_DEPTH
            time = exits * _NEXT_FLOAT_FACTOR + _NUDGE
            left = alive.nonzero()[:, 0]
            if len(left) < len(rays):
                rays, time, leave = (x.index_select(0, left) for x in (rays, time, leave))
                start, slope, inverse, forward = (
                    x.index_select(0, left) for x in (start, slope, inverse, forward)
                )
