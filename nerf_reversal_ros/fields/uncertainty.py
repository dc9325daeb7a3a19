"""
How sure a radiance field is of where it has its matter.

The field is thought to be deformed: each vertex of a coarse grid may be shifted, and each point
between vertices with them. A shift that changes what the cameras of the capture see is one that
the capture has ruled out; what nobody sees may be off by as much as the prior lets it. In
numbers: the Laplace approximation of the shifts, its Hessian diagonal, summed over rays from the
poses of the capture. Nothing is trained, no picture is needed, and the field stays as it is.

What moves along itself unseen, as a wall without texture does, counts as unsure however often it
was looked at: the method tells how well colours hold matter in its place.

References
----------
Goli et al., "Bayes' Rays: Uncertainty Quantification for Neural Radiance Fields", CVPR 2024
(equations 8 to 11). There the uncertainty is composited along the ray of a pixel; here it is read
where the render has its depth, so that it can be told of any field's renders, at no cost.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
import torch
from torch import Tensor

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.base import Rendering

CELL_M = 0.05
"""Distance of the grid's vertices, unless that makes too many [m]."""
MAX_VERTICES = 1 << 22
"""A larger room gets a coarser grid: 12 bytes a vertex."""
PRIOR_M = 0.5
"""Standard deviation, each axis, of the shift of a vertex that no ray tells of [m]."""
COLOR_NOISE = 0.1
"""Standard deviation of a pixel's colour, each channel; white is one."""
MAX_POSES = 100
"""The field is looked at from so many of the capture's poses, evenly spread ..."""
VIEW_SIZE_PX = 64
"""... in pictures with so many pixels along the longer side."""
RAYS_PER_BATCH = 4096
MIN_GRADIENT = 1e-4
"""Samples whose shift changes the colour of their ray by less than this share of `COLOR_NOISE` a
metre are left out."""


class PackedRaySamples(NamedTuple):
    """S pieces that rays are cut into."""

    ray: Tensor
    """(S,) number of the ray, ascending; the pieces of a ray go from near to far."""
    points: Tensor
    """(S, 3) where density and colour are looked up [m], from the field's origin."""
    length_m: Tensor
    """(S,) length of the piece."""


class DeformableField(Protocol):
    """What a field has to offer to be asked how sure it is."""

    origin_m: NDArray[np.float64]
    """(3,) in the map: rays and points are in metres from here."""

    @property
    def extent_m(self) -> NDArray[np.float64]:
        """(3,) size of the box, from the origin on, that samples lie in."""

    @property
    def device(self) -> torch.device:
        """Where the field computes."""

    def sample_rays(self, origins: Tensor, directions: Tensor) -> PackedRaySamples:
        """Cut rays, origins (R, 3) and directions (R, 3) of length one, into pieces."""

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return densities (S,) [1/m] and colours (S, 3) in [0, 1] at points.

        Both can be differentiated by the points (S, 3); directions (S, 3) are those of the rays.
        """


class UncertaintyGrid:
    """
    How far off the matter of a field may be, place by place.

    Parameters
    ----------
    origin_m : (3,) array
        Of vertex (0, 0, 0), in the map.
    cell_m : float
        Distance of neighbouring vertices [m].
    information : (X, Y, Z, 3) float32 array
        What the rays tell of the shift of each vertex along each axis: the diagonal of the
        Hessian without the prior [1/m^2].
    """

    def __init__(
        self, origin_m: NDArray[np.float64], cell_m: float, information: NDArray[np.float32]
    ) -> None:
        self.origin_m, self.cell_m, self.information = origin_m, cell_m, information
        self._variance = (1 / (information + np.float32(PRIOR_M**-2))).sum(-1)

    def std_m(self, points: FloatArray) -> NDArray[np.float32]:
        """
        Return how far points (..., 3) [m, map frame] may be off: (...) standard deviations [m].

        To be read as a rank: which place is less sure than which. How long the metres are hangs on
        `PRIOR_M`, `COLOR_NOISE` and how many pixels were looked at, and nothing calibrates them.

        It is the root of the sum of the variances along the three axes, `PRIOR_M` times the root
        of three where nothing is known.
        """
        vertex = np.moveaxis((points - self.origin_m) / self.cell_m, -1, 0)
        unknown = 3 * PRIOR_M**2
        variance = map_coordinates(self._variance, vertex, order=1, cval=unknown)
        return np.sqrt(variance).astype(np.float32)

    def std_of_view_m(
        self, view: Rendering, map_from_camera: FloatArray, camera: Camera
    ) -> NDArray[np.float32]:
        """Return (H, W) how far off what a rendered view shows may be [m], see `std_m`."""
        known = view.depth > 0
        points = (camera.rays() * view.depth[..., None])[known] @ map_from_camera[:3, :3].T
        std_m = np.full(known.shape, np.sqrt(3) * PRIOR_M, np.float32)
        std_m[known] = self.std_m(points + map_from_camera[:3, 3])
        return std_m


def estimate_uncertainty(
    field: DeformableField, map_from_camera: FloatArray, camera: Camera
) -> UncertaintyGrid:
    """
    Look at a field from where the capture was, and sum up what that tells.

    Parameters
    ----------
    field : DeformableField
        Trained on pictures from these poses.
    map_from_camera : (N, 4, 4) array
        Poses of those pictures; each counts, if they are many by way of its neighbours.
    camera : Camera
        That took them.
    """
    cell_m, shape = _grid(field.extent_m)
    small = camera.downscaled_to(VIEW_SIZE_PX)
    rays = torch.from_numpy(small.rays().reshape(-1, 3))
    rays /= rays.norm(dim=1, keepdim=True)
    chosen = evenly_spaced_indices(len(map_from_camera), MAX_POSES)
    information = torch.zeros(int(np.prod(shape)), 3, device=field.device)
    for pose in map_from_camera[chosen]:
        directions = (rays @ torch.from_numpy(pose[:3, :3]).T).float().to(field.device)
        centre = torch.from_numpy(pose[:3, 3] - field.origin_m).float().to(field.device)
        for part in directions.split(RAYS_PER_BATCH):
            origins = centre.expand_as(part)
            samples = field.sample_rays(origins, part)
            slopes = color_gradients(field, part, samples)
            _add_information(information, slopes / COLOR_NOISE, samples, cell_m, shape)
    information *= len(map_from_camera) / max(1, len(chosen))
    return UncertaintyGrid(field.origin_m, cell_m, information.view(*shape, 3).cpu().numpy())


def composite(
    field: DeformableField, directions: Tensor, samples: PackedRaySamples, points: Tensor
) -> Tensor:
    """
    Return the colours (R, 3) of rays whose samples are looked up at points (S, 3).

    The pieces stay where they are on their rays: a point beside a piece is what a deformation
    brings there. Behind the last piece it is dark.
    """
    density, colour = field.query(points, directions.index_select(0, samples.ray))
    tau = (density * samples.length_m).double()  # sums over all rays are long
    total = tau.cumsum(0)
    first = torch.searchsorted(
        samples.ray, torch.arange(len(directions), device=samples.ray.device)
    )
    start = torch.cat([total.new_zeros(1), total]).index_select(0, first)
    behind = total - start.index_select(0, samples.ray)
    share = (torch.exp(tau - behind) - torch.exp(-behind)).float()
    return torch.zeros_like(directions).index_add(0, samples.ray, share[:, None] * colour)


def color_gradients(
    field: DeformableField, directions: Tensor, samples: PackedRaySamples
) -> Tensor:
    """Return (S, 3, 3) [1/m]: by channel and axis, how its shift changes each piece's ray."""
    points = samples.points.detach().requires_grad_()
    with torch.enable_grad():
        colours = composite(field, directions, samples, points)
        slopes = [
            torch.autograd.grad(colours[:, channel].sum(), points, retain_graph=channel < 2)[0]
            for channel in range(3)
        ]
    return torch.stack(slopes, 1)


def _grid(extent_m: NDArray[np.float64]) -> tuple[float, tuple[int, ...]]:
    """Return the distance of the vertices [m] and how many there are each way."""
    cell_m = CELL_M
    while np.prod(np.ceil(extent_m / cell_m) + 1) > MAX_VERTICES:
        cell_m *= 1.1
    return cell_m, tuple(int(cells) + 1 for cells in np.ceil(extent_m / cell_m))


def _add_information(
    information: Tensor,
    slopes: Tensor,
    samples: PackedRaySamples,
    cell_m: float,
    shape: tuple[int, ...],
) -> None:
    """Add, ray by ray, the squares of how each vertex's shift changes its colour."""
    kept = slopes.abs().amax((1, 2)) > MIN_GRADIENT
    vertex = samples.points[kept] / cell_m
    last = torch.tensor(shape, device=vertex.device) - 2
    lower = torch.minimum(vertex.long(), last)
    fraction = vertex - lower
    rows, shares = [], []
    for corner in np.ndindex(2, 2, 2):
        x, y, z = (lower + torch.tensor(corner, device=lower.device)).unbind(1)
        rows.append((x * shape[1] + y) * shape[2] + z)
        upper = torch.tensor(corner, device=lower.device) == 1
        shares.append(torch.where(upper, fraction, 1 - fraction).prod(1))
    key = samples.ray[kept, None] * len(information) + torch.stack(rows, 1)
    pairs, place = torch.unique(key.view(-1), return_inverse=True)
    by_vertex = torch.stack(shares, 1)[..., None] * slopes[kept].flatten(1)[:, None]
    sums = torch.zeros(len(pairs), 9, device=slopes.device)
    sums.index_add_(0, place, by_vertex.view(-1, 9))
    squares = (sums**2).view(-1, 3, 3).sum(1)  # over channels
    information.index_add_(0, pairs % len(information), squares)
