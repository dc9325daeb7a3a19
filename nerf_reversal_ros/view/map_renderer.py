"""Renderings of a map at a pose, to compare images with."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.surface import Surface

SURFACE_PX = 160
"""Longer side at which the points of the walls are drawn [px]: they are far apart."""
Render = Callable[[FloatArray, Camera], NDArray[np.uint8]]
"""Renders a view (h, w, 3) of a map, of a pose (4, 4) and a camera."""
SMALL_PX = 320
"""Longer side of images and renderings that stand side by side [px]."""


def map_renderer(field: VoxelField | None, surface: Surface) -> Render:
    """Return what renders the field, or draws the points of the walls where there is none."""
    if field is not None:
        return lambda pose, camera: field.render(pose[None], camera)[0].rgb

    def draw_points(map_from_camera: FloatArray, camera: Camera) -> NDArray[np.uint8]:
        view = surface.render(map_from_camera, camera.downscaled_to(SURFACE_PX))
        size = (camera.width, camera.height)
        enlarged = cv2.resize(view.rgb, size, interpolation=cv2.INTER_NEAREST)
        return np.asarray(enlarged, dtype=np.uint8)

    return draw_points


def small_rendering(
    render: Render, map_from_camera: FloatArray, camera: Camera
) -> NDArray[np.uint8]:
    """Render a view (h, w, 3) of a camera at a pose (4, 4), reduced to `SMALL_PX`."""
    return render(map_from_camera, camera.downscaled_to(SMALL_PX))


def small_image(rgb: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) of a camera, reduced to `SMALL_PX`."""
    small = camera.downscaled_to(SMALL_PX)
    size = (small.width, small.height)
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
