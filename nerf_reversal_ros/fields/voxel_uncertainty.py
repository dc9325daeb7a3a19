"""Adapter of a voxel field for the uncertainty estimate in `uncertainty`."""

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from nerf_reversal_ros.fields.base import PackedRaySamples
from nerf_reversal_ros.fields.voxel import density_from_log, VoxelField


class DeformableVoxelField:
    """
    A `DeformableField` over the grid of a voxel field.

    Parameters
    ----------
    field : VoxelField
        Trained field; it stays as it is.
    """

    def __init__(self, field: VoxelField) -> None:
        self._field = field
        self.origin_m: NDArray[np.float64] = field.origin_m
        self.extent_m: NDArray[np.float64] = field.extent_m

    @property
    def device(self) -> torch.device:
        """Device of the field."""
        return self._field.device

    @torch.no_grad()
    def sample_rays(self, origins: Tensor, directions: Tensor) -> PackedRaySamples:
        """Sample rays where `VoxelField.trace` does; see `DeformableField.sample_rays`."""
        optical_depth = torch.zeros(len(origins), device=self.device)
        rays = [torch.zeros(0, dtype=torch.long, device=self.device)]
        points = [torch.zeros(0, 3, device=self.device)]
        length_m = [torch.zeros(0, device=self.device)]
        norm = directions.norm(dim=1)
        for cells, *_ in self._field.march(origins, directions, optical_depth):
            samples = cells.times.shape[1]
            rays.append(cells.rays.repeat_interleave(samples))
            points.append(cells.points(origins, directions).view(-1, 3))
            length_m.append((cells.step * norm[cells.rays]).repeat_interleave(samples))
        ray = torch.cat(rays)
        order = torch.argsort(ray, stable=True)
        return PackedRaySamples(ray[order], torch.cat(points)[order], torch.cat(length_m)[order])

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return densities (S,) [1/m] and colors (S, 3); see `DeformableField.query`."""
        values = self._field.interpolate(points)
        return density_from_log(values[:, 0]) / self._field.voxel_m, values[:, 1:]
