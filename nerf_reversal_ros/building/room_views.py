"""Views of a room: mapping poses, each with the landmarks that a camera there sees."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.building.shown_landmarks import shown_landmarks
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import Map

MAX_LANDMARKS = 400
"""Landmarks of one view, at most, as many as an image has keypoints."""
IMAGE_SIZE_PX = 320
"""Longer side [px] of the images that views are compared with: smaller landmarks are not seen in
them."""
DEPTH_SIZE_PX = 96
"""Longer side [px] of the rendering that tells which landmarks are hidden."""


@dataclass(frozen=True)
class RoomView:
    """A mapping pose from which landmarks are seen."""

    frame: int
    """Row of the pose in `Map.mapping_poses`."""
    landmarks: NDArray[np.intp]
    """(n,) ascending rows of the landmarks in the atlas, at least one."""


def view_camera(map_: Map) -> Camera:
    """Return the intrinsics of the images of views."""
    return map_.capture_camera.downscaled_to(IMAGE_SIZE_PX)


def room_views(map_: Map, atlas: Atlas, max_count: int) -> list[RoomView]:
    """
    Return views of a room, evenly spaced along its mapping capture.

    Parameters
    ----------
    map_, atlas : Map, Atlas
        Of the room.
    max_count : int
        Views at most; those that show no landmark are left out.

    Raises
    ------
    MapError
        If the surface of the map is malformed.
    """
    surface, poses, camera = Surface.of_map(map_), map_.mapping_poses, view_camera(map_)
    small = camera.downscaled_to(DEPTH_SIZE_PX)
    views = []
    for frame in evenly_spaced_indices(len(poses), max_count):
        rendering = surface.render(poses[frame], small)
        shown, _ = shown_landmarks(atlas, poses[frame], camera, rendering, small, MAX_LANDMARKS)
        if len(shown):
            views.append(RoomView(int(frame), shown))
    return views
