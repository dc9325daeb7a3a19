"""
The sides from which the walk saw the surface of a room.

A wall has a side in each of two rooms. From outside, a map shows the inner side through the wall,
which tells nothing of what an image shows there.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.localization.surface import Surface

MAX_POSES = 64
"""Mapping poses that the sides are found from."""
SIZE_PX = 96
"""Longer side of the images of the surface at these poses [px]."""
MIN_COSINE = 0.1
"""Cosine of the angle between the directions from a point to a camera and to the mapping cameras
that saw it, from which the camera sees the same side."""


def seen_sides(surface: Surface, mapping_poses: FloatArray, camera: Camera) -> FloatArray:
    """
    Return the mean direction from each point of a surface to the cameras that saw it.

    Parameters
    ----------
    surface : Surface
        S points.
    mapping_poses : (N, 4, 4) array
        Poses in the map.
    camera : Camera
        Intrinsics of the mapping images.

    Returns
    -------
    (S, 3) array
        Sums of unit vectors; zero for points that no camera saw.
    """
    small = camera.downscaled_to(SIZE_PX)
    points, total = surface.origin_m + surface.points, np.zeros((len(surface), 3))
    numbers = np.arange(len(surface), dtype=np.uint32)
    as_bytes = numbers.view(np.uint8).reshape(-1, 4)[:, :3]  # little end first
    numbered = replace(surface, colours=np.ascontiguousarray(as_bytes))
    for index in evenly_spaced_indices(len(mapping_poses), MAX_POSES):
        pose = mapping_poses[index]
        rendering = numbered.render(pose, small)
        digits = rendering.rgb[rendering.opacity > 0].astype(np.int64)
        seen = np.unique(digits @ np.array([1, 1 << 8, 1 << 16]))
        toward = pose[:3, 3] - points[seen]
        total[seen] += toward / np.linalg.norm(toward, axis=1, keepdims=True)
    return total


def render_seen_sides(
    surface: Surface, sides: FloatArray, map_from_camera: FloatArray, camera: Camera
) -> Rendering:
    """Render a surface; what is seen from another side than on the walk counts as not covered."""
    toward = map_from_camera[:3, 3] - (surface.origin_m + surface.points)
    lengths = np.linalg.norm(toward, axis=1) * np.linalg.norm(sides, axis=1)
    is_seen: NDArray[np.bool_] = (toward * sides).sum(1) > MIN_COSINE * lengths
    marks = np.repeat(is_seen[:, None].astype(np.uint8), 3, axis=1)
    rendering = surface.render(map_from_camera, camera)
    marked = replace(surface, colours=marks).render(map_from_camera, camera)
    return replace(rendering, opacity=rendering.opacity * marked.rgb[..., 0])
