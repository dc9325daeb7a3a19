"""What a map holds, as a scene: walls, landmarks, and the walk of the mapping capture."""

from functools import partial
from threading import Lock
from typing import Any, TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, quaternion_xyzw
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import Map

if TYPE_CHECKING:
    from viser import CameraFrustumHandle, ClientHandle, ViserServer

MAX_LANDMARKS = 40_000
"""Landmarks that are drawn, those of the most views: a browser on a phone draws no more."""
MAX_FRUSTUMS = 40
"""Frustums along the walk, evenly spaced."""
FRUSTUM_SIZE = 0.02
"""Size of a frustum, as a fraction of the median distance of landmarks."""
WALK_COLOR = 240, 130, 30


class MapScene:
    """
    Shows a map on a page.

    Parameters
    ----------
    server : ViserServer
    map_ : Map
        An opened map.

    Raises
    ------
    MapError
        If a file of the map is malformed.
    """

    def __init__(self, server: 'ViserServer', map_: Map) -> None:
        self._server = server
        self.surface = Surface.load(map_.file('surface.safetensors'))
        self.atlas = Atlas.load(map_.file('atlas.safetensors'))
        self.walk = map_.mapping_poses
        self.camera = map_.capture_camera
        depths = self.atlas.distances
        self.depth_m = float(np.median(depths)) if len(depths) else 3.0
        """Usual distance of what is seen [m]."""
        self.frustum_m = FRUSTUM_SIZE * self.depth_m
        """Size of a frustum [m]."""
        self._heights = self.surface.points[:, 2] + self.surface.origin_m[2]
        self._lock = Lock()  # callbacks of viser come in threads
        self._walls = self._add_walls(np.ones(len(self.surface), bool))
        self._landmarks = self._add_landmarks()
        self._walk_nodes = self._add_walk()

    @property
    def height_range_m(self) -> tuple[float, float]:
        """Lowest and highest z of the walls [m]."""
        heights = self._heights if len(self._heights) else self.walk[:, 2, 3]
        return float(heights.min()), float(heights.max())

    @property
    def walk_height_m(self) -> float:
        """Greatest z of the walk [m]: what is above it is left out in the view from above."""
        return float(self.walk[:, 2, 3].max())

    def show_walls(self, is_shown: bool) -> None:
        """Show or hide the points of the walls."""
        with self._lock:
            self._walls.visible = is_shown

    def show_landmarks(self, is_shown: bool) -> None:
        """Show or hide the landmarks."""
        self._landmarks.visible = is_shown

    def show_walk(self, is_shown: bool) -> None:
        """Show or hide the walk and its frustums."""
        for node in self._walk_nodes:
            node.visible = is_shown

    def cut_walls(self, height_m: float) -> None:
        """Leave out the points above a height, such as the ceiling [m, map frame]."""
        with self._lock:
            is_shown = self._walls.visible
            self._walls = self._add_walls(self._heights <= height_m)
            self._walls.visible = is_shown

    def start_pose(self) -> FloatArray:
        """Return a pose (4, 4) a step behind the mapping pose that sees the most landmarks."""
        poses = self.walk[evenly_spaced_indices(len(self.walk), MAX_FRUSTUMS)]
        wide = self.camera.scaled_to_width(320)
        seen = [len(self.atlas.visible_indices(pose, wide, len(self.atlas))) for pose in poses]
        start: FloatArray = poses[int(np.argmax(seen))].copy()
        start[:3, 3] -= 4 * self.frustum_m * start[:3, 2]
        return start

    def look_from(self, client: 'ClientHandle | None', map_from_camera: FloatArray) -> None:
        """Move the camera of a browser to a pose (4, 4), upright."""
        position = map_from_camera[:3, 3]
        aim = position + self.depth_m * map_from_camera[:3, 2]
        self._look(client, position, aim)

    def look_from_above(self, client: 'ClientHandle | None') -> None:
        """Move the camera of a browser to where it sees the whole walk from above."""
        low, high = self.surface_box()
        middle, size = (low + high) / 2, float(np.linalg.norm((high - low)[:2]))
        self._look(client, middle + size * np.array([0.0, -0.45, 0.75]), middle)

    def surface_box(self) -> tuple[FloatArray, FloatArray]:
        """Return the least and greatest corner (3,) of nearly all walls [m]."""
        points = self.surface.points + self.surface.origin_m
        if not len(points):
            points = self.walk[:, :3, 3]
        return np.percentile(points, 2, axis=0), np.percentile(points, 98, axis=0)

    def _look(self, client: 'ClientHandle | None', position: FloatArray, aim: FloatArray) -> None:
        if client is None:  # an event of the program itself
            return
        with client.atomic():
            client.camera.up_direction = np.array([0.0, 0.0, 1.0])
            client.camera.position = position
            client.camera.look_at = aim

    def _on_click(self, map_from_camera: FloatArray, event: Any) -> None:
        self.look_from(event.client, map_from_camera)

    def _add_walls(self, chosen: NDArray[np.bool_]) -> Any:
        return self._server.scene.add_point_cloud(
            '/walls',
            self.surface.points[chosen],
            self.surface.colours[chosen],
            point_size=0.6 * self.surface.spacing_m,
            position=self.surface.origin_m,
        )

    def _add_landmarks(self) -> Any:
        chosen = self.atlas.most_confirmed(np.arange(len(self.atlas)), MAX_LANDMARKS)
        return self._server.scene.add_point_cloud(
            '/landmarks',
            self.atlas.points[chosen],
            view_colors(self.atlas.views[chosen]),
            point_size=0.004 * self.depth_m,
            point_shape='circle',
            position=self.atlas.origin_m,
        )

    def _add_walk(self) -> list[Any]:
        nodes: list[Any] = []
        if len(self.walk) > 1:
            nodes.append(
                self._server.scene.add_spline_catmull_rom(
                    '/walk/path',
                    tuple(map(tuple, self.walk[:, :3, 3])),
                    color=WALK_COLOR,
                    segments=2 * len(self.walk),
                )
            )
        for index in evenly_spaced_indices(len(self.walk), MAX_FRUSTUMS):
            frustum = add_frustum(
                self._server,
                f'/walk/{index}',
                self.walk[index],
                self.camera,
                self.frustum_m,
                WALK_COLOR,
            )
            frustum.on_click(partial(self._on_click, self.walk[index]))
            nodes.append(frustum)
        return nodes


def add_frustum(
    page: 'ViserServer | ClientHandle',
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
    page : ViserServer or ClientHandle
        All browsers, or one.
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
    return page.scene.add_camera_frustum(
        name,
        fov=2 * float(np.arctan(half_height)),
        aspect=camera.width / camera.fx / (2 * half_height),
        scale=size_m,
        color=color,
        image=image,
        format='jpeg',
        wxyz=(w, x, y, z),
        position=map_from_camera[:3, 3],
    )


def view_colors(views: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return colors (N, 3) by numbers of views (N,): from violet for few to yellow for many."""
    if not len(views):
        return np.empty((0, 3), np.uint8)
    scale = np.log(np.maximum(views, 1).astype(np.float64))
    low, high = np.percentile(scale, [2, 98])
    levels = np.clip((scale - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    bgr = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_VIRIDIS)
    return np.asarray(bgr[:, 0, ::-1], dtype=np.uint8)
