"""
How sure a radiance field is of where it has its matter.

The field is thought to be deformed: each vertex of a coarse grid may be shifted, and each point
between them with it. A shift of a vertex that changes what the capture's cameras see is one that
the capture has ruled out; one that changes nothing they see may be off by as much as the prior
lets it. In numbers: the Laplace approximation of the shifts, with a diagonal Hessian, summed over
rays of the capture's poses. Nothing is trained, no picture is needed, and the field stays as it is.

Each ray tells its colour, as in the paper, and beside it its depth, because our fields are
trained on depth too: without it, a plain wall would count as unknown however often it was seen.

References
----------
Goli et al., "Bayes' Rays: Uncertainty Quantification for Neural Radiance Fields", CVPR 2024.
"""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
import safetensors.numpy
import torch
from torch import Tensor

from nerf_reversal_ros.camera import Camera
from nerf_reversal_ros.errors import MapError
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.geometry import Array

CELL_M = 0.05
"""Edge of a cell of the grid, at least [m]."""
MAX_VERTICES = 1 << 23
"""A larger room gets larger cells."""
PRIOR_M = 0.5
"""Standard deviation, each axis, of the shift of a vertex that no ray has looked at [m]."""
COLOUR_NOISE = 0.1
"""Standard deviation of a pixel's colour, of which white is one."""
DEPTH_NOISE_M = 0.05
"""Standard deviation of a pixel's depth along its ray [m]."""
FRAMES = 100
"""So many of the walked poses, evenly spread, are looked from."""
LOOK_PX = 64
"""Longer side of what is looked at from each."""
RAYS_AT_ONCE = 4096
LEAST_DERIVATIVE = 1e-3
"""Samples whose shift by a metre changes colour or depth, in sigmas, by less are left out."""


class Samples(NamedTuple):
    """Where S samples of rays lie."""

    ray: Tensor
    """(S,) which ray each belongs to, ascending, and along each ray from near to far."""
    points: Tensor
    """(S, 3) [m] from the field's origin."""
    length_m: Tensor
    """(S,) of the piece of the ray that it stands for."""


class Deformable(Protocol):
    """What a field has to offer to be asked how sure it is."""

    origin_m: NDArray[np.float64]
    """(3,) in the map; rays and points are in metres from here."""

    @property
    def extent_m(self) -> NDArray[np.float64]:
        """(3,) size of the box, from the origin, in which all matter lies."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def march(self, origins: Tensor, directions: Tensor) -> Samples:
        """Place samples along rays: origins (R, 3), directions (R, 3)."""

    def look_up(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return densities (S,) [1/m] and colours (S, 3) at points seen from directions of length 1.

        Both can be differentiated by the points.
        """


class Told(NamedTuple):
    """What R rays tell, and how it changes when their S samples are shifted."""

    values: Tensor
    """(R, 4) red, green, blue and depth, in standard deviations of their noise."""
    derivatives: Tensor
    """(S, 4, 3) of the value of a sample's ray by the shift of the sample [1/m]."""


def look(field: Deformable, origins: Tensor, directions: Tensor, samples: Samples) -> Told:
    """
    Composite samples along rays and differentiate by where each sample lies.

    A sample that is shifted stays where it is on its ray, but takes density and colour from
    beside itself. What lies behind the last sample is taken to be like the ray as a whole, so
    that opacity alone does not count.

    Parameters
    ----------
    origins, directions : (R, 3) tensors
        Metres from the field's origin; directions of length one.
    """
    rays = len(origins)
    points = samples.points.detach().requires_grad_()
    with torch.enable_grad():
        density, colour = field.look_up(points, directions.index_select(0, samples.ray))
        tau = (density * samples.length_m).double()
        total = tau.cumsum(0)
        first = torch.searchsorted(samples.ray, torch.arange(rays, device=origins.device))
        before = torch.cat([total.new_zeros(1), total])[first]
        behind = total - before.index_select(0, samples.ray)
        share = (torch.exp(tau - behind) - torch.exp(-behind)).float()
        way_m = ((samples.points - origins[samples.ray]) * directions[samples.ray]).sum(1)
        told = torch.cat([colour / COLOUR_NOISE, way_m[:, None] / DEPTH_NOISE_M], 1)
        sums = torch.zeros(rays, 4, device=origins.device)
        values = sums.index_add(0, samples.ray, share[:, None] * told)
        opacity = torch.zeros(rays, device=origins.device).index_add(0, samples.ray, share)
        values = values + (1 - opacity)[:, None] * (values / opacity.clamp(min=1e-3)[:, None]).detach()
        derivatives = [
            torch.autograd.grad(values[:, channel].sum(), points, retain_graph=True)[0]
            for channel in range(4)
        ]
    return Told(values.detach(), torch.stack(derivatives, 1))


class UncertaintyGrid:
    """
    How far off the matter of a field may be, place by place.

    Parameters
    ----------
    origin_m : (3,) array
        Of vertex (0, 0, 0) in the map.
    cell_m : float
        Distance of neighbouring vertices.
    information : (X, Y, Z, 3) float32 array
        Diagonal of the Hessian without the prior: what the rays tell of the shift of each vertex
        along each axis [1/m^2].
    """

    def __init__(
        self, origin_m: Array, cell_m: float, information: NDArray[np.float32]
    ) -> None:
        self.origin_m, self.cell_m, self.information = origin_m, cell_m, information
        self._variance = 1.0 / (information + 1.0 / PRIOR_M**2)

    def std_m(self, points: Array) -> NDArray[np.float32]:
        """Return for points (..., 3) [m, map frame] the standard deviation of their shift [m]."""
        variance = self.variance(points)
        return np.sqrt(variance.sum(-1) / 3)

    def variance(self, points):
        where = (points.reshape(-1, 3) - self.origin_m) / self.cell_m
        shape = np.array(self.information.shape[:3])
        inside = np.all((where >= 0) & (where < shape - 1), axis=1)
        lower = np.clip(np.floor(where), 0, shape - 2).astype(np.int64)
        fraction = (np.clip(where, 0, shape - 1) - lower)
        out = np.zeros((len(where), 3))
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, fraction, 1 - fraction), axis=1)
            x, y, z = (lower + corner).T
            out += weight[:, None] * self._variance[x, y, z]
        out[~inside] = PRIOR_M**2
        return out.reshape(points.shape)


def estimate_uncertainty(
    field: Deformable, map_from_camera: Array, camera: Camera
) -> UncertaintyGrid:
    """
    Look at a field from where the capture was and sum up what that tells.

    Parameters
    ----------
    field : Deformable
        Trained on pictures from these poses.
    map_from_camera : (N, 4, 4) array
        Poses of the pictures that the field was trained on.
    camera : Camera
        Of the capture.
    """
    cell_m, shape = _grid(field.extent_m)
    camera = camera.shrunk_to(LOOK_PX)
    rays = torch.from_numpy(camera.rays().reshape(-1, 3))
    rays = rays / rays.norm(dim=1, keepdim=True)
    chosen = np.unique(np.linspace(0, len(map_from_camera) - 1, FRAMES).astype(int))
    information = torch.zeros(int(np.prod(shape)), 3, device=field.device)
    for pose in map_from_camera[chosen]:
        directions = (rays @ torch.from_numpy(pose[:3, :3]).T).float().to(field.device)
        centre = torch.from_numpy(pose[:3, 3] - field.origin_m).float().to(field.device)
        for part in directions.split(RAYS_AT_ONCE):
            origins = centre.expand_as(part)
            samples = field.march(origins, part)
            told = look(field, origins, part, samples)
            _add(information, told.derivatives, samples, cell_m, shape)
    information *= len(map_from_camera) / len(chosen)
    grid = information.view(*shape, 3).cpu().numpy()
    return UncertaintyGrid(field.origin_m, cell_m, grid)


def _grid(extent_m: Array) -> tuple[float, tuple[int, ...]]:
    """Return the edge of a cell and the number of vertices each way."""
    cell_m = CELL_M
    while np.prod(np.ceil(extent_m / cell_m) + 1) > MAX_VERTICES:
        cell_m *= 1.1
    return cell_m, tuple(int(n) + 1 for n in np.ceil(extent_m / cell_m))


def _add(
    information: Tensor, derivatives: Tensor, samples: Samples, cell_m: float, shape: tuple[int, ...]
) -> None:
    """Spread derivatives over the vertices around the samples; add their squares, ray by ray."""
    kept = derivatives.abs().amax((1, 2)) > LEAST_DERIVATIVE
    where = samples.points[kept] / cell_m
    lower = where.floor()
    fraction = where - lower
    x, y, z = lower.long().unbind(1)
    vertices, spread = [], []
    for corner in np.ndindex(2, 2, 2):
        i, j, k = corner
        vertices.append(((x + i) * shape[1] + y + j) * shape[2] + z + k)
        side = torch.tensor(corner, device=fraction.device, dtype=torch.bool)
        spread.append(torch.where(side, fraction, 1 - fraction).prod(1))
    count = len(information)
    key = (samples.ray[kept, None] * count + torch.stack(vertices, 1)).view(-1)
    told = (torch.stack(spread, 1)[..., None] * derivatives[kept].flatten(1)[:, None])
    unique, place = torch.unique(key, return_inverse=True)
    sums = torch.zeros(len(unique), 12, device=key.device)
    sums.index_add_(0, place, told.view(-1, 12))
    information.index_add_(0, unique % count, (sums.view(-1, 4, 3) ** 2).sum(1))
