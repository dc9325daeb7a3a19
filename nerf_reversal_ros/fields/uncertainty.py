"""
Uncertainty of the geometry of a radiance field (Bayes' Rays).

The field is thought to be deformed: each vertex of a coarse grid may be shifted, and each point
between vertices moves with them. A shift that changes the images of the capture is ruled out by
the capture; a shift that changes no image is limited by the prior alone. The estimate is the
Laplace approximation of the shifts: the diagonal of its Hessian, summed over rays from the poses
of the capture. Nothing is trained, no image is needed, and the field stays as it is.

A surface that can move along itself without any change of the images, such as a wall without
texture, counts as uncertain, however often it was observed: the estimate states how well colors
constrain the geometry.

References
----------
Goli et al., "Bayes' Rays: Uncertainty Quantification for Neural Radiance Fields", CVPR 2024
(equations 8 to 11). There the uncertainty is composited along the ray of a pixel. Here it is read
at the rendered depth, so that it applies to renderings of any field at no cost.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
import torch
from torch import Tensor

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, transform_points
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.base import PackedRaySamples, Rendering

CELL_M = 0.05
"""Distance between vertices of the grid [m], unless that gives more than `MAX_VERTICES`."""
MAX_VERTICES = 1 << 22
"""Limit of 50 MB, 12 bytes per vertex; a larger room gets a coarser grid."""
PRIOR_M = 0.5
"""Standard deviation per axis of the shift of a vertex that no ray constrains [m]."""
COLOR_NOISE = 0.1
"""Standard deviation of a pixel's color per channel; white is one."""
MAX_POSES = 100
"""Poses of the capture, evenly spaced, that the rays start from."""
VIEW_SIZE_PX = 64
"""Pixels along the longer side of the view at each pose: one ray per pixel."""
RAYS_PER_BATCH = 4096
"""Rays that are sampled and differentiated together, which bounds the memory."""
MIN_GRADIENT = 1e-4
"""Samples are skipped if their shift changes the color of their ray by less than this fraction of
`COLOR_NOISE` per meter."""


class DeformableField(Protocol):
    """A field whose uncertainty can be estimated: it samples rays and is differentiable."""

    origin_m: NDArray[np.float64]
    """(3,) in the map: rays and points are in meters from here."""

    @property
    def extent_m(self) -> NDArray[np.float64]:
        """(3,) size of the box, from the origin on, that contains all samples [m]."""

    @property
    def device(self) -> torch.device:
        """Device of all computations."""

    def sample_rays(self, origins: Tensor, directions: Tensor) -> PackedRaySamples:
        """Cut rays, origins (R, 3) and directions (R, 3) of length one, into segments."""

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return densities (S,) [1/m] and colors (S, 3) in [0, 1] at points (S, 3).

        Both are differentiable in the points. The directions (S, 3) are those of the rays.
        """


class UncertaintyGrid:
    """
    Standard deviation of the surfaces of a field, as a grid over the map.

    Parameters
    ----------
    origin_m : (3,) array
        Position of vertex (0, 0, 0) in the map.
    cell_m : float
        Distance between neighboring vertices [m].
    information : (X, Y, Z, 3) float32 array
        Diagonal of the Hessian without the prior: information of the rays on the shift of each
        vertex along each axis [1/m^2].
    """

    def __init__(
        self, origin_m: NDArray[np.float64], cell_m: float, information: NDArray[np.float32]
    ) -> None:
        self.origin_m, self.cell_m, self.information = origin_m, cell_m, information
        self._variance = (1 / (information + np.float32(PRIOR_M**-2))).sum(-1)

    def std_m(self, points: FloatArray) -> NDArray[np.float32]:
        """
        Interpolate the standard deviations (...) [m] at points (..., 3) [m, map frame].

        Each is the root of the sum of the variances along the three axes: `PRIOR_M` times the
        root of three where nothing is known.

        Use it as a ranking of places. Its scale depends on `PRIOR_M`, on `COLOR_NOISE` and on the
        number of pixels, and is not calibrated.
        """
        vertex = np.moveaxis((points - self.origin_m) / self.cell_m, -1, 0)
        unknown = 3 * PRIOR_M**2
        variance = map_coordinates(self._variance, vertex, order=1, cval=unknown)
        return np.sqrt(variance).astype(np.float32)

    def std_of_view_m(
        self, view: Rendering, map_from_camera: FloatArray, camera: Camera
    ) -> NDArray[np.float32]:
        """Return the standard deviation (H, W) [m] of the rendered depth; see `std_m`."""
        known = view.depth > 0
        points = transform_points(map_from_camera, camera.back_project(view.depth))
        std_m = np.full(known.shape, np.sqrt(3) * PRIOR_M, np.float32)
        std_m[known] = self.std_m(points)
        return std_m


def estimate_uncertainty(
    field: DeformableField, map_from_camera: FloatArray, camera: Camera
) -> UncertaintyGrid:
    """
    Estimate the uncertainty of a field from the poses of its training images.

    Parameters
    ----------
    field : DeformableField
        Field that was trained on images from these poses.
    map_from_camera : (N, 4, 4) array
        Poses of the training images. Of more than `MAX_POSES`, evenly spaced ones stand for
        their neighbors.
    camera : Camera
        Camera of the training images.
    """
    cell_m, shape = _grid(field.extent_m)
    small = camera.downscaled_to(VIEW_SIZE_PX)
    rays = torch.from_numpy(small.rays().reshape(-1, 3))
    rays /= rays.norm(dim=1, keepdim=True)
    chosen = evenly_spaced_indices(len(map_from_camera), MAX_POSES)
    information = torch.zeros(int(np.prod(shape)), 3, device=field.device)
    for pose in map_from_camera[chosen]:
        directions = (rays @ torch.from_numpy(pose[:3, :3]).T).float().to(field.device)
        center = torch.from_numpy(pose[:3, 3] - field.origin_m).float().to(field.device)
        for part in directions.split(RAYS_PER_BATCH):
            origins = center.expand_as(part)
            samples = field.sample_rays(origins, part)
            gradients = color_gradients(field, part, samples)
            _add_information(information, gradients / COLOR_NOISE, samples, cell_m, shape)
    information *= len(map_from_camera) / max(1, len(chosen))
    return UncertaintyGrid(field.origin_m, cell_m, information.view(*shape, 3).cpu().numpy())


def composite(
    field: DeformableField, directions: Tensor, samples: PackedRaySamples, points: Tensor
) -> Tensor:
    """
    Composite the colors (R, 3) of rays whose samples are queried at points (S, 3).

    The segments stay on their rays. A point beside its segment is where a deformation moves it
    from. Behind the last segment the color is black.
    """
    density, rgb = field.query(points, directions.index_select(0, samples.ray))
    tau = (density * samples.length_m).double()  # sums over all rays are long
    total = tau.cumsum(0)
    first = torch.searchsorted(
        samples.ray, torch.arange(len(directions), device=samples.ray.device)
    )
    start = torch.cat([total.new_zeros(1), total]).index_select(0, first)
    behind = total - start.index_select(0, samples.ray)
    weights = (torch.exp(tau - behind) - torch.exp(-behind)).float()
    return torch.zeros_like(directions).index_add(0, samples.ray, weights[:, None] * rgb)


def color_gradients(
    field: DeformableField, directions: Tensor, samples: PackedRaySamples
) -> Tensor:
    """
    Differentiate the color of each sample's ray by the shift of the sample.

    Returns (S, 3, 3) [1/m]: sample, channel, axis.
    """
    points = samples.points.detach().requires_grad_()
    with torch.enable_grad():
        colors = composite(field, directions, samples, points)
        gradients = [
            torch.autograd.grad(colors[:, channel].sum(), points, retain_graph=channel < 2)[0]
            for channel in range(3)
        ]
    return torch.stack(gradients, 1)


def _grid(extent_m: NDArray[np.float64]) -> tuple[float, tuple[int, ...]]:
    """Return the distance between vertices [m] and their number along each axis."""
    cell_m = CELL_M
    while np.prod(np.ceil(extent_m / cell_m) + 1) > MAX_VERTICES:
        cell_m *= 1.1
    return cell_m, tuple(int(cells) + 1 for cells in np.ceil(extent_m / cell_m))


def _add_information(
    information: Tensor,
    gradients: Tensor,
    samples: PackedRaySamples,
    cell_m: float,
    shape: tuple[int, ...],
) -> None:
    """Add, ray by ray, the squared derivative of its color by the shift of each vertex."""
    kept = gradients.abs().amax((1, 2)) > MIN_GRADIENT
    vertex = samples.points[kept] / cell_m
    last = torch.tensor(shape, device=vertex.device) - 2
    lower = torch.minimum(vertex.long(), last)
    fraction = vertex - lower
    rows, weights = [], []
    for corner in np.ndindex(2, 2, 2):
        x, y, z = (lower + torch.tensor(corner, device=lower.device)).unbind(1)
        rows.append((x * shape[1] + y) * shape[2] + z)
        upper = torch.tensor(corner, device=lower.device) == 1
        weights.append(torch.where(upper, fraction, 1 - fraction).prod(1))
    key = samples.ray[kept, None] * len(information) + torch.stack(rows, 1)
    ray_vertex, position = torch.unique(key.view(-1), return_inverse=True)
    by_vertex = torch.stack(weights, 1)[..., None] * gradients[kept].flatten(1)[:, None]
    sums = torch.zeros(len(ray_vertex), 9, device=gradients.device)
    sums.index_add_(0, position, by_vertex.view(-1, 9))
    squares = (sums**2).view(-1, 3, 3).sum(1)  # over channels
    information.index_add_(0, ray_vertex % len(information), squares)
