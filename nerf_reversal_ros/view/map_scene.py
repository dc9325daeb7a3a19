"""What a map holds, as the scene of one browser: walls, landmarks, and the walk."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from threading import Lock
from typing import Any, TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, quaternion_xyzw
from nerf_reversal_ros.view.map_content import MapContent

if TYPE_CHECKING:
    from viser import CameraFrustumHandle, ClientHandle

MAX_LANDMARKS = 40_000
"""Landmarks that are drawn, those of the most views: a browser on a phone draws no more."""
WALK_COLOR = 240, 130, 30
LINE_PX = 1.5
"""Width of lines on the screen [px]."""


class MapScene:
    """
    Shows a map in a browser.

    Parameters
    ----------
    client : ClientHandle
    content : MapContent
    """

    def __init__(self, client: 'ClientHandle', content: MapContent) -> None:
        self._client, self.content = client, content
        self._lock = Lock()  # callbacks of viser come in threads
        self._walls = self._add_walls(np.ones(len(content.surface), bool))
        self._landmarks = self._add_landmarks()
        self._path = self._add_path()
        self._frustums = [self._add_frustum(index) for index in content.frustums.tolist()]

    def on_click(self, function: Callable[[int], None]) -> None:
        """Call a function with the number of the mapping image whose frustum is clicked."""
        for index, frustum in zip(self.content.frustums.tolist(), self._frustums, strict=True):
            frustum.on_click(partial(_call_with, function, index))

    def show_walls(self, is_shown: bool) -> None:
        """Show or hide the points of the walls."""
        with self._lock:
            self._walls.visible = is_shown

    def show_landmarks(self, is_shown: bool) -> None:
        """Show or hide the landmarks."""
        self._landmarks.visible = is_shown

    def show_walk(self, is_shown: bool) -> None:
        """Show or hide the walk and its frustums."""
        for node in (*self._path, *self._frustums):
            node.visible = is_shown

    def cut_walls(self, height_m: float) -> None:
        """Leave out the points above a height, such as the ceiling [m, map frame]."""
        with self._lock:
            is_shown = self._walls.visible
            self._walls = self._add_walls(self.content.heights_m <= height_m)
            self._walls.visible = is_shown

    def look_from(self, map_from_camera: FloatArray) -> None:
        """Move the camera of the browser to a pose (4, 4), upright."""
        position = map_from_camera[:3, 3]
        aim = position + self.content.depth_m * map_from_camera[:3, 2]
        self._look(position, aim)

    def look_from_above(self) -> None:
        """Move the camera of the browser to where it sees the whole walk from above."""
        low, high = self.content.surface_box()
        middle, size = (low + high) / 2, float(np.linalg.norm((high - low)[:2]))
        self._look(middle + size * np.array([0.0, -0.45, 0.75]), middle)

    def _look(self, position: FloatArray, aim: FloatArray) -> None:
        with self._client.atomic():
            self._client.camera.up_direction = np.array([0.0, 0.0, 1.0])
            self._client.camera.position = position
            self._client.camera.look_at = aim

    def _add_walls(self, chosen: NDArray[np.bool_]) -> Any:
        surface = self.content.surface
        return self._client.scene.add_point_cloud(
            '/walls',
            surface.points[chosen],
            surface.colours[chosen],
            point_size=0.6 * surface.spacing_m,
            position=surface.origin_m,
        )

    def _add_landmarks(self) -> Any:
        atlas = self.content.atlas
        chosen = atlas.most_confirmed(np.arange(len(atlas)), MAX_LANDMARKS)
        return self._client.scene.add_point_cloud(
            '/landmarks',
            atlas.points[chosen],
            view_colors(atlas.views[chosen]),
            point_size=0.004 * self.content.depth_m,
            point_shape='circle',
            position=atlas.origin_m,
        )

    def _add_path(self) -> list[Any]:
        """Add the line of the walk; there is none of a single image."""
        walk = self.content.walk
        if len(walk) < 2:
            return []
        add = self._client.scene.add_spline_catmull_rom
        points = tuple(map(tuple, walk[:, :3, 3]))
        segments = 2 * len(walk)
        path = add('/walk/path', points, color=WALK_COLOR, segments=segments, **line_width(add))
        return [path]

    def _add_frustum(self, index: int) -> 'CameraFrustumHandle':
        content = self.content
        return add_frustum(
            self._client,
            f'/walk/{index}',
            content.walk[index],
            content.camera,
            content.frustum_m,
            WALK_COLOR,
        )


def add_frustum(
    client: 'ClientHandle',
    name: str,
    map_from_camera: FloatArray,
    camera: Camera,
    size_m: float,
    color: tuple[int, int, int],
    image: NDArray[np.uint8] | None = None,
) -> 'CameraFrustumHandle':
    """
    Draw the frustum of a camera, with its image where that is given.

    Parameters
    ----------
    client : ClientHandle
    name : str
        Name of the node in the scene, which replaces one of the same name.
    map_from_camera : (4, 4) array
    camera : Camera
    size_m : float
        Cube root of three times its volume, about its height [m].
    color : tuple
        RGB.
    image : (H, W, 3) uint8 array, optional
    """
    x, y, z, w = quaternion_xyzw(map_from_camera)
    half_height = camera.height / 2 / camera.fy
    add = client.scene.add_camera_frustum
    return add(
        name,
        fov=2 * float(np.arctan(half_height)),
        aspect=camera.width / camera.fx / (2 * half_height),
        scale=size_m,
        color=color,
        image=image,
        format='jpeg',
        wxyz=(w, x, y, z),
        position=map_from_camera[:3, 3],
        **line_width(add),
    )


def line_width(add: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments that give lines a width on the screen: viser 0.2 has no others."""
    if 'thickness_units' not in signature(add).parameters:
        return {}
    return {'thickness': LINE_PX, 'thickness_units': 'screen'}


def view_colors(views: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return colors (N, 3) by numbers of views (N,): from violet for few to yellow for many."""
    if not len(views):
        return np.empty((0, 3), np.uint8)
    scale = np.log(np.maximum(views, 1).astype(np.float64))
    low, high = np.percentile(scale, [2, 98])
    levels = np.clip((scale - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    bgr = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_VIRIDIS)
    return np.asarray(bgr[:, 0, ::-1], dtype=np.uint8)


def _call_with(function: Callable[[int], None], index: int, _: Any) -> None:
    """Call a function with an index, for an event."""
    function(index)
