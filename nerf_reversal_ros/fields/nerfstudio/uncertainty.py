"""How sure a Nerfacto is of where it has its matter; see `uncertainty`."""

from nerfstudio.cameras.rays import Frustums, RayBundle, RaySamples
from nerfstudio.field_components.field_heads import FieldHeadNames
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from nerf_reversal_ros.core.geometry import transform_points
from nerf_reversal_ros.fields.nerfstudio.field import NerfstudioField
from nerf_reversal_ros.fields.sim3 import scale_of
from nerf_reversal_ros.fields.training_data import TrainingData
from nerf_reversal_ros.fields.uncertainty import (
    estimate_uncertainty,
    PackedRaySamples,
    UncertaintyGrid,
)

EXTENT_VIEWS, EXTENT_VIEW_PX = 24, 32
"""So many views of this longer side [px] tell how far the field's matter reaches."""


def nerfacto_uncertainty(field: NerfstudioField, data: TrainingData) -> UncertaintyGrid:
    """Ask a Nerfacto trained by this package how sure it is, from where it was trained."""
    poses = data.map_from_camera[~data.held_out]
    return estimate_uncertainty(
        DeformableNerfacto(field, half_extent(field, data)), poses, data.camera(0)
    )


def half_extent(field: NerfstudioField, data: TrainingData) -> float:
    """
    Return half the edge of the cube, in the field's unit, that holds its matter: at least 1.

    Without depth, the unit box holds the cameras alone, and walls lie outside.
    """
    camera = data.camera(0).downscaled_to(EXTENT_VIEW_PX)
    poses = data.map_from_camera[data.sample_indices(EXTENT_VIEWS)]
    points = [
        transform_points(pose, (camera.rays() * view.depth[..., None])[view.depth > 0])
        for pose, view in zip(poses, field.render(poses, camera), strict=True)
    ]
    far = np.abs(transform_points(field.field_from_map, np.concatenate(points))).max(
        1, initial=0.0
    )
    return max(1.0, float(np.percentile(far, 98))) if len(far) else 1.0


class DeformableNerfacto:
    """
    A `DeformableField` over a cube around the middle of a Nerfacto's own frame.

    Parameters
    ----------
    field : NerfstudioField
        A Nerfacto trained by this package: its frame has the axes of the map.
    reach : float
        Half the edge of the cube, in the field's unit.
    """

    def __init__(self, field: NerfstudioField, half_extent: float = 1.0) -> None:
        self._model, self._half_extent = field.model, half_extent
        self._scale = scale_of(field.field_from_map)
        middle_m = -field.field_from_map[:3, 3] / self._scale
        self.origin_m: NDArray[np.float64] = middle_m - half_extent / self._scale
        self.extent_m: NDArray[np.float64] = np.full(3, 2 * half_extent / self._scale)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device(self._model.device)

    @torch.no_grad()
    def sample_rays(self, origins: Tensor, directions: Tensor) -> PackedRaySamples:
        """Cut rays where the model itself would; see `DeformableField.march`."""
        count = len(origins)
        bundle = RayBundle(
            origins=self._to_field_frame(origins),
            directions=directions,
            pixel_area=torch.full((count, 1), 1e-5, device=self.device),
            camera_indices=torch.zeros(count, 1, dtype=torch.long, device=self.device),
            metadata={'directions_norm': torch.ones(count, 1, device=self.device)},
        )
        bundle = self._model.collider(bundle)
        pieces, _, _ = self._model.proposal_sampler(bundle, density_fns=self._model.density_fns)
        frustums = pieces.frustums
        way_m = ((frustums.starts + frustums.ends) / 2)[..., 0] / self._scale
        points = origins[:, None] + directions[:, None] * way_m[..., None]
        inside = ((points > 0) & (points < float(self.extent_m[0]))).all(-1)
        ray = torch.arange(count, device=self.device)[:, None].expand_as(way_m)
        return PackedRaySamples(
            ray[inside], points[inside], pieces.deltas[..., 0][inside] / self._scale
        )

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return densities [1/m] and colours; see `DeformableField.look_up`."""
        nothing = torch.zeros(len(points), 1, device=self.device)
        pieces = RaySamples(
            frustums=Frustums(
                origins=self._to_field_frame(points),
                directions=directions,
                starts=nothing,
                ends=nothing,
                pixel_area=nothing,
            ),
            camera_indices=nothing.long(),
        )
        told = self._model.field.forward(pieces)
        return told[FieldHeadNames.DENSITY][:, 0] * self._scale, told[FieldHeadNames.RGB]

    def _to_field_frame(self, points: Tensor) -> Tensor:
        return points * self._scale - self._half_extent
