"""Uncertainty of the geometry of a Nerfacto; see `fields.uncertainty`."""

from nerfstudio.cameras.rays import Frustums, RayBundle, RaySamples
from nerfstudio.field_components.field_heads import FieldHeadNames
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from nerf_reversal_ros.core.geometry import transform_points
from nerf_reversal_ros.fields.base import PackedRaySamples
from nerf_reversal_ros.fields.nerfstudio.field import NerfstudioField
from nerf_reversal_ros.fields.sim3 import scale_of
from nerf_reversal_ros.fields.training_data import TrainingData
from nerf_reversal_ros.fields.uncertainty import estimate_uncertainty, UncertaintyGrid

EXTENT_VIEWS, EXTENT_VIEW_PX = 24, 32
"""Number and longer side [px] of the renderings that the extent of the field is measured by."""
EXTENT_PERCENTILE = 98
"""Percentile of the distances of rendered points: floaters beyond it are ignored."""


def nerfacto_uncertainty(field: NerfstudioField, data: TrainingData) -> UncertaintyGrid:
    """Estimate the uncertainty of a Nerfacto of this package from its training poses."""
    poses = data.map_from_camera[~data.held_out]
    return estimate_uncertainty(
        DeformableNerfacto(field, half_extent(field, data)), poses, data.camera(0)
    )


def half_extent(field: NerfstudioField, data: TrainingData) -> float:
    """
    Return half the edge of the cube, in the unit of the field, around its surfaces: at least 1.

    Without depth, the unit box contains the cameras alone, and the walls lie outside.
    """
    camera = data.camera(0).downscaled_to(EXTENT_VIEW_PX)
    poses = data.map_from_camera[data.sample_indices(EXTENT_VIEWS)]
    points = [
        transform_points(pose, camera.back_project(view.depth))
        for pose, view in zip(poses, field.render(poses, camera), strict=True)
    ]
    distance = np.abs(transform_points(field.field_from_map, np.concatenate(points))).max(
        1, initial=0.0
    )
    return max(1.0, float(np.percentile(distance, EXTENT_PERCENTILE))) if len(distance) else 1.0


class DeformableNerfacto:
    """
    A `DeformableField` over a cube around the origin of the frame of a Nerfacto.

    Parameters
    ----------
    field : NerfstudioField
        A Nerfacto trained by this package: its frame has the axes of the map.
    half_extent : float
        Half the edge of the cube, in the unit of the field.
    """

    def __init__(self, field: NerfstudioField, half_extent: float = 1.0) -> None:
        self._model, self._half_extent = field.model, half_extent
        self._scale = scale_of(field.field_from_map)
        center_m = -field.field_from_map[:3, 3] / self._scale
        self.origin_m: NDArray[np.float64] = center_m - half_extent / self._scale
        self.extent_m: NDArray[np.float64] = np.full(3, 2 * half_extent / self._scale)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return torch.device(self._model.device)

    @torch.no_grad()
    def sample_rays(self, origins: Tensor, directions: Tensor) -> PackedRaySamples:
        """Sample rays by the proposals of the model; see `DeformableField.sample_rays`."""
        count = len(origins)
        bundle = RayBundle(
            origins=self._to_field_frame(origins),
            directions=directions,
            pixel_area=torch.full((count, 1), 1e-5, device=self.device),
            camera_indices=torch.zeros(count, 1, dtype=torch.long, device=self.device),
            metadata={'directions_norm': torch.ones(count, 1, device=self.device)},
        )
        bundle = self._model.collider(bundle)
        samples, _, _ = self._model.proposal_sampler(bundle, density_fns=self._model.density_fns)
        frustums = samples.frustums
        distance_m = ((frustums.starts + frustums.ends) / 2)[..., 0] / self._scale
        points = origins[:, None] + directions[:, None] * distance_m[..., None]
        inside = ((points > 0) & (points < float(self.extent_m[0]))).all(-1)
        ray = torch.arange(count, device=self.device)[:, None].expand_as(distance_m)
        return PackedRaySamples(
            ray[inside], points[inside], samples.deltas[..., 0][inside] / self._scale
        )

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return densities [1/m] and colors; see `DeformableField.query`."""
        zeros = torch.zeros(len(points), 1, device=self.device)
        samples = RaySamples(
            frustums=Frustums(
                origins=self._to_field_frame(points),
                directions=directions,
                starts=zeros,
                ends=zeros,
                pixel_area=zeros,
            ),
            camera_indices=zeros.long(),
        )
        outputs = self._model.field.forward(samples)
        return outputs[FieldHeadNames.DENSITY][:, 0] * self._scale, outputs[FieldHeadNames.RGB]

    def _to_field_frame(self, points: Tensor) -> Tensor:
        return points * self._scale - self._half_extent
