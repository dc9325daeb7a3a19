"""The landmarks that a view shows: those that the surface does not hide."""

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, inverse, transform_points
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.localization.atlas import Atlas

MAX_DEPTH_RATIO = 1.08
"""Depth of a landmark that is not hidden, over that of the surface in front of it, at most."""


def shown_landmarks(
    atlas: Atlas,
    map_from_camera: FloatArray,
    camera: Camera,
    rendering: Rendering,
    rendered_camera: Camera,
    max_count: int,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """
    Return the landmarks that a camera sees at a pose.

    Parameters
    ----------
    atlas : Atlas
        Of the map.
    map_from_camera : (4, 4) array
        The pose.
    camera : Camera
        Intrinsics of the image, which tell which landmarks are large enough.
    rendering, rendered_camera : Rendering, Camera
        The surface as seen from the pose, and the intrinsics of that rendering.
    max_count : int
        Landmarks at most, those that most views confirm.

    Returns
    -------
    (n,) array, (n, 2) array
        Ascending indices of landmarks; their column and row in the rendering.
    """
    indices = atlas.visible_indices(map_from_camera, camera, len(atlas))
    in_camera = transform_points(inverse(map_from_camera), atlas.origin_m + atlas.points[indices])
    pixels = np.rint(rendered_camera.project(in_camera)).astype(np.intp)
    size = rendered_camera.width, rendered_camera.height
    inside = np.all((pixels >= 0) & (pixels < size), axis=1)
    indices, pixels, depth = indices[inside], pixels[inside], in_camera[inside, 2]
    limit = MAX_DEPTH_RATIO * rendering.depth[pixels[:, 1], pixels[:, 0]]
    is_shown = (limit == 0) | (depth < limit)
    indices, pixels = indices[is_shown], pixels[is_shown]
    kept = np.isin(indices, atlas.most_confirmed(indices, max_count))
    return indices[kept], pixels[kept]
