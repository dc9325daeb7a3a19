"""A model of nerfstudio as a radiance field in metres of the map."""

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
"""A point is in matter if half of the light would be gone after this far in its density [m]."""
REQUIRED_OUTPUTS = {'rgb', 'depth', 'accumulation'}
"""What a model has to render."""


def nerfstudio_cameras(
    field_from_map: FloatArray,
    map_from_camera: FloatArray,
    intrinsics: FloatArray,
    size: tuple[int, int],
) -> Cameras:
    """
    Return nerfstudio's cameras at poses in the map.

    Parameters
    ----------
    field_from_map : (4, 4) array
        Similarity.
    map_from_camera : (N, 4, 4) array
        Optical poses.
    intrinsics : (N, 4) or (4,) array
        fx, fy, cx, cy; here the first pixel's centre is at 0, nerfstudio's at one half.
    size : tuple
        Width and height of the pictures.
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
    """Tell whether a model is of splats, which are rasterised, not marched through."""
    return hasattr(model, 'gauss_params')


class NerfstudioField:
    """
    A trained model, rendered without gradients; see `RadianceField`.

    A Nerfacto's colours hang on the picture (its appearance embedding); rendered are those of the
    mean of all pictures.

    Parameters
    ----------
    model : nerfstudio.models.base_model.Model
        On any device.
    field_from_map : (4, 4) array
        Similarity from metres of the map to the model's frame.
    device : torch.device, optional
        Where to compute, if not where the model is: it is moved there when it is first needed.
    """

    def __init__(
        self, model: Any, field_from_map: FloatArray, device: torch.device | None = None
    ) -> None:
        self._model, self._device = model.eval(), device
        self.field_from_map = field_from_map
        self._scale = scale_of(field_from_map)

    @property
    def model(self) -> Any:
        """The model, where it computes."""
        return self._model if self._device is None else self._model.to(self._device)

    @torch.no_grad()
    def render(self, map_from_camera: NDArray[np.float64], camera: Camera) -> list[Rendering]:
        """
        Render one view a pose; see `RadianceField.render`.

        Raises
        ------
        BuildError
            If the model renders no colours, depth, or opacity under nerfstudio's usual names.
        """
        model = self.model
        intrinsics = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
        size = camera.width, camera.height
        cameras = nerfstudio_cameras(
            self.field_from_map, np.asarray(map_from_camera), intrinsics, size
        ).to(model.device)
        # Rays have depths along themselves, splats along the optical axis.
        along = 1.0 if is_gaussian_splatting(model) else np.linalg.norm(camera.rays(), axis=-1)
        views = []
        for index in range(len(map_from_camera)):
            seen = model.get_outputs_for_camera(cameras[index : index + 1])
            if lacking := REQUIRED_OUTPUTS - seen.keys():
                raise BuildError(
                    f'{type(model).__name__} renders no {" and no ".join(sorted(lacking))}:'
                    ' take a run of nerfacto, depth-nerfacto or splatfacto'
                )
            rgb = (seen['rgb'].clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
            opacity = seen['accumulation'][..., 0].float().cpu().numpy()
            depth = seen['depth'][..., 0].float().cpu().numpy() / (along * self._scale)
            known = (opacity >= 0.5) & np.isfinite(depth)
            views.append(Rendering(rgb, np.where(known, depth, 0).astype(np.float32), opacity))
        return views

    @torch.no_grad()
    def occupancy(self, points: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Tell for points (N, 3) [m, map frame] what is there: `DepthOccupancyGrid`."""
        model = self.model
        density_of = getattr(getattr(model, 'field', None), 'density_fn', None)
        if density_of is None:  # splats, or a surface model: only renders tell
            return np.full(len(points), Occupancy.UNKNOWN, np.uint8)
        inside = transform_points(self.field_from_map, points)
        where = torch.tensor(inside, dtype=torch.float32, device=model.device)
        density = torch.cat([density_of(part) for part in where.split(1 << 18)])[:, 0]
        matter = density.cpu().numpy() * self._scale * OCCUPANCY_STEP_M > np.log(2.0)
        return np.where(matter, Occupancy.OCCUPIED, Occupancy.FREE).astype(np.uint8)
