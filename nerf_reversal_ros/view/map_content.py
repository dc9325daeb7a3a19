"""What a map holds to be shown, loaded once for all browsers."""

import numpy as np

from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import Map

MAX_FRUSTUMS = 40
"""Frustums along the walk, evenly spaced."""
FRUSTUM_SIZE = 0.02
"""Size of a frustum, as a fraction of the median distance of landmarks."""


class MapContent:
    """
    Walls, landmarks and walk of a map.

    Parameters
    ----------
    map_ : Map
        An opened map.

    Raises
    ------
    MapError
        If a file of the map is malformed.
    """

    def __init__(self, map_: Map) -> None:
        self.surface = Surface.of_map(map_)
        self.atlas = Atlas.load(map_.file('atlas.safetensors'))
        self.walk = map_.mapping_poses
        """(N, 4, 4) map_from_camera of the mapping images."""
        self.frustums = evenly_spaced_indices(len(self.walk), MAX_FRUSTUMS)
        """(K,) mapping images that have a frustum."""
        self.camera = map_.capture_camera
        depths = self.atlas.distances
        self.depth_m = float(np.median(depths)) if len(depths) else 3.0
        """Usual distance of what is seen [m]."""
        self.frustum_m = FRUSTUM_SIZE * self.depth_m
        """Size of a frustum [m]."""
        self.heights_m = self.surface.points[:, 2] + self.surface.origin_m[2]
        """(M,) z of the points of the walls [m]."""
        self.start_pose = self._find_start_pose()
        """(4, 4) a step behind the mapping pose that sees the most landmarks."""

    @property
    def height_range_m(self) -> tuple[float, float]:
        """Lowest and highest z of the walls [m]."""
        heights = self.heights_m if len(self.heights_m) else self.walk[:, 2, 3]
        return float(heights.min()), float(heights.max())

    @property
    def walk_height_m(self) -> float:
        """Greatest z of the walk [m]: what is above it is left out in the view from above."""
        return float(self.walk[:, 2, 3].max())

    def surface_box(self) -> tuple[FloatArray, FloatArray]:
        """Return the least and greatest corner (3,) of nearly all walls [m]."""
        points = self.surface.points + self.surface.origin_m
        if not len(points):
            points = self.walk[:, :3, 3]
        return np.percentile(points, 2, axis=0), np.percentile(points, 98, axis=0)

    def _find_start_pose(self) -> FloatArray:
        poses = self.walk[self.frustums]
        wide = self.camera.scaled_to_width(320)
        seen = [len(self.atlas.visible_indices(pose, wide, len(self.atlas))) for pose in poses]
        start: FloatArray = poses[int(np.argmax(seen))].copy()
        start[:3, 3] -= 4 * self.frustum_m * start[:3, 2]
        return start
