"""Renderings of a map as a camera would see it: of its field, or of the points of its surface."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import FIELD_FILE, Map

SURFACE_SIDE_PX = 160
"""Longer side of a rendering of the surface [px], which is enlarged: its points are too far apart
for more."""
Renderer = Callable[[FloatArray, Camera], NDArray[np.uint8]]
"""From ``map_from_camera`` (4, 4) and a camera to an image (H, W, 3)."""


def open_renderer(map_: Map) -> Renderer:
    """Load what is rendered, see `Map.renderer`; MapError if its file is malformed."""
    if FIELD_FILE in map_.manifest['files']:
        try:
            from nerf_reversal_ros.fields.voxel import VoxelField
        except ModuleNotFoundError as error:
            if error.name != 'torch':
                raise
        else:
            field = VoxelField.load(map_.file(FIELD_FILE))
            return lambda pose, camera: field.render(pose[None], camera)[0].rgb
    surface = Surface.of_map(map_)

    def render_surface(pose: FloatArray, camera: Camera) -> NDArray[np.uint8]:
        rendering: Rendering = surface.render(pose, camera.downscaled_to(SURFACE_SIDE_PX))
        size = (camera.width, camera.height)
        enlarged = cv2.resize(rendering.rgb, size, interpolation=cv2.INTER_NEAREST)
        return np.asarray(enlarged, dtype=np.uint8)

    return render_surface
