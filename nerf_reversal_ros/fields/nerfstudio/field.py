"""Adapter of a nerfstudio model to a radiance field in meters of the map."""

from typing import Any

from nerfstudio.cameras.cameras import Cameras, CameraType
import numpy as np
from numpy.typing import NDArray
import torch

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import FloatArray, transform_points
from nerf_reversal_ros.fields.base import Occupancy, Rendering
from nerf_reversal_ros.fields.sim3 import scale_of, to_opengl

OCCUPANCY_STEP_M = 0.1
"""A point is occupied if its density absorbs half of the light within this length [m]."""
POINTS_PER_BATCH = 1 << 18
"""Points whose density is queried together, which bounds the memory."""
REQUIRED_OUTPUTS = {'rgb', 'depth', 'accumulation'}
"""Outputs that a model has to render."""


def nerfstudio_cameras(
    field_from_map: FloatArray,
    map_from_camera: FloatArray,
    intrinsics: FloatArray,
    size: tuple[int, int],
) -> Cameras:
    """
    Create nerfstudio cameras at poses in the map.

    Parameters
    ----------
    field_from_map : (4, 4) array
        Sim(3) from meters of the map to the frame of the model.
    map_from_camera : (N, 4, 4) array
        Poses of the optical camera frame.
    intrinsics : (N, 4) or (4,) array
        fx, fy, cx, cy [px], with the center of the first pixel at 0; nerfstudio has it at 0.5.
    size : tuple
        Width and height of the images [px].
    """
    each = np.broadcast_to(intrinsics, (len(map_from_camera), 4)) + np.array([0, 0, 0.5, 0.5])
    fx, fy, cx, cy = torch.tensor(each.T, dtype=torch.float32)
    poses = to_opengl(field_from_map, map_from_camera)
    return Cameras(
        camera_to_worlds=torch.tensor(poses, dtype=torch.float32),
        fx=fx,
        fy=fy,
        cx=cx,
        cy=cy,
        width=size[0],
        height=size[1],
        camera_type=CameraType.PERSPECTIVE,
    )


def is_gaussian_splatting(model: Any) -> bool:
    """Return whether a model is a Gaussian splatting, which is rasterized, not ray marched."""
    return hasattr(model, 'gauss_params')


class NerfstudioField:
    """
    Trained nerfstudio model as a `RadianceField`, without gradients.

    The colors of a Nerfacto depend on the appearance embedding of an image; the mean embedding is
    rendered.

    Parameters
    ----------
    model : nerfstudio.models.base_model.Model
        Model on any device.
    field_from_map : (4, 4) array
        Sim(3) from meters of the map to the frame of the model.
    device : torch.device, optional
        Device of the computation; the model moves there when it is first needed. Default: the
        device of the model.
    """

    def __init__(
        self, model: Any, field_from_map: FloatArray, device: torch.device | None = None
    ) -> None:
        self._model, self._device = model.eval(), device
        self.field_from_map = field_from_map
        self._scale = scale_of(field_from_map)

    @property
    def model(self) -> Any:
        """The model, on the device of the computation."""
        return self._model if self._device is None else self._model.to(self._device)

    @torch.no_grad()
    def render(self, map_from_camera: NDArray[np.float64], camera: Camera) -> list[Rendering]:
        """
        Render one view per pose; see `RadianceField.render`.

        Raises
        ------
        BuildError
            If the outputs of the model lack one of `REQUIRED_OUTPUTS`.
        """
        model = self.model
        intrinsics = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
        size = camera.width, camera.height
        cameras = nerfstudio_cameras(
            self.field_from_map, np.asarray(map_from_camera), intrinsics, size
        ).to(model.device)
        # Ray marching gives depth along the ray, splatting along the optical axis.
        ray_length = (
            1.0 if is_gaussian_splatting(model) else np.linalg.norm(camera.rays(), axis=-1)
        )
        views = []
        for index in range(len(map_from_camera)):
            outputs = model.get_outputs_for_camera(cameras[index : index + 1])
            if missing := REQUIRED_OUTPUTS - outputs.keys():
                raise BuildError(
                    f'{type(model).__name__} renders no {" and no ".join(sorted(missing))}:'
                    ' take a run of nerfacto, depth-nerfacto or splatfacto'
                )
            rgb = (outputs['rgb'].clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
            opacity = outputs['accumulation'][..., 0].float().cpu().numpy()
            depth = outputs['depth'][..., 0].float().cpu().numpy() / (ray_length * self._scale)
            known = (opacity >= 0.5) & np.isfinite(depth)
            views.append(Rendering(rgb, np.where(known, depth, 0).astype(np.float32), opacity))
        return views

    @torch.no_grad()
    def occupancy(self, points: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Classify points (N, 3) [m, map frame]: (N,) values of `Occupancy`."""
        model = self.model
        density_fn = getattr(getattr(model, 'field', None), 'density_fn', None)
        if density_fn is None:  # splats and surface models have no density at a point
            return np.full(len(points), Occupancy.UNKNOWN, np.uint8)
        in_field = transform_points(self.field_from_map, points)
        positions = torch.tensor(in_field, dtype=torch.float32, device=model.device)
        density = torch.cat([density_fn(part) for part in positions.split(POINTS_PER_BATCH)])[:, 0]
        occupied = density.cpu().numpy() * self._scale * OCCUPANCY_STEP_M > np.log(2.0)
        return np.where(occupied, Occupancy.OCCUPIED, Occupancy.FREE).astype(np.uint8)
