"""
Whether two rooms can lie as they are placed: neither may stand in the free space of the other.

The cameras of the mapping poses of a room saw its surface, and saw that the space before it is
free. A point of another room in that free space contradicts the placement: an image was taken for
another of a look-alike thing. And where each room lies wholly in what the other saw, both would be
one place: look-alike rooms, of which a whole walk is localized in the other.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, inverse, transform_points
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import Map

VIEWS = 32
"""Mapping poses, evenly spaced, from which a room is looked at."""
VIEW_SIZE_PX = 120
"""Longer side of these views [px]."""
MAX_POINTS = 6000
"""Points of the surface of a room that are looked for in another, at most."""
MARGIN, MARGIN_M = 0.04, 0.08
"""How far a point may be from the surface, as a fraction of its depth, and [m] in addition: errors
of both maps and of the link."""
MIN_VOTES = 2
"""Fewest views that must see through a point."""
MIN_SEEN, MIN_SEEN_SHARE = 100, 0.02
"""Fewest points of a room, and smallest share of them, that the other must see for a verdict."""
MAX_CONTRADICTING = 0.1
"""Largest share of the seen points of a room that may stand in the free space of the other."""
MAX_COINCIDING = 0.6
"""Largest share of each room that may coincide with the other: more make both one place."""


@dataclass(frozen=True)
class RoomShape:
    """What of a room is needed to see whether it stands in another."""

    surface: Surface
    map_from_camera: FloatArray
    """(V, 4, 4) some mapping poses."""
    camera: Camera
    """Of small views at these poses."""

    @classmethod
    def of_map(cls, map_: Map) -> 'RoomShape':
        """Load it from a map; MapError if a file is malformed."""
        poses = map_.mapping_poses
        return cls(
            Surface.of_map(map_),
            poses[evenly_spaced_indices(len(poses), VIEWS)],
            map_.capture_camera.downscaled_to(VIEW_SIZE_PX),
        )

    @property
    def points(self) -> FloatArray:
        """(P, 3) points of the surface in the map [m], at most `MAX_POINTS`."""
        rows = evenly_spaced_indices(len(self.surface), MAX_POINTS)
        return self.surface.origin_m + self.surface.points[rows]

    def holds(self, points: FloatArray) -> NDArray[np.bool_]:
        """Return which points (N, 3) are in the box around the surface: no others are seen."""
        own = self.points
        if not len(own):
            return np.zeros(len(points), bool)
        low, high = own.min(0) - MARGIN_M, own.max(0) + MARGIN_M
        return np.asarray(((points > low) & (points < high)).all(1))


class Overlap(NamedTuple):
    """How one room lies in what another one saw."""

    seen: float
    """Share of its points that the other's cameras see, or see through."""
    contradicting: float
    """Share of the seen points that stand in free space of the other; 0 if too few are seen."""

    @property
    def coinciding(self) -> float:
        """Share of its points that lie on the surface of the other."""
        return self.seen * (1.0 - self.contradicting)


def measure_overlap(room: RoomShape, other: RoomShape, other_from_room: FloatArray) -> Overlap:
    """
    Count the points of a room on the surface of another, and in its free space.

    A point counts as on the surface if one view of the other shows it there; as in free space if
    several views see through it and none shows it. Points behind surfaces are unknown.

    Parameters
    ----------
    room, other : RoomShape
        The rooms.
    other_from_room : (4, 4) array
        Relative pose to judge.
    """
    points = transform_points(other_from_room, room.points)
    count = len(points)
    points = points[other.holds(points)]
    if len(points) < max(MIN_SEEN, MIN_SEEN_SHARE * count):
        return Overlap(len(points) / max(1, count), 0.0)
    on_surface = np.zeros(len(points), int)
    seen_through = np.zeros(len(points), int)
    for pose in other.map_from_camera:
        depth = other.surface.render(pose, other.camera).depth
        rows, shown, through = _compare_depth(
            transform_points(inverse(pose), points), depth, other
        )
        on_surface[rows] += shown
        seen_through[rows] += through
    on_surface_count = int((on_surface > 0).sum())
    contradicting = int(((on_surface == 0) & (seen_through >= MIN_VOTES)).sum())
    seen = on_surface_count + contradicting
    if seen < max(MIN_SEEN, MIN_SEEN_SHARE * count):
        return Overlap(seen / count, 0.0)
    return Overlap(seen / count, contradicting / seen)


def _compare_depth(
    points: FloatArray, depth: NDArray[np.float32], other: RoomShape
) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]:
    """
    Compare points (P, 3) in a camera with the depth (H, W) of its view.

    Returns
    -------
    (R,) array, (R,) array, (R,) array
        Points in the image; whether they are shown; whether the camera sees through them.
    """
    camera = other.camera
    x, y, z = points.T
    in_front = np.flatnonzero(z > 2 * MARGIN_M)
    column = np.round(camera.fx * x[in_front] / z[in_front] + camera.cx).astype(int)
    row = np.round(camera.fy * y[in_front] / z[in_front] + camera.cy).astype(int)
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    rows, column, row = in_front[inside], column[inside], row[inside]
    # Around an edge a pixel has the depth of either side; beside a hole nothing is known to be
    # free, for the erosion makes its depth zero.
    kernel = np.ones((3, 3), np.uint8)
    nearest = cv2.erode(depth, kernel)[row, column]
    nearest_known = _nearest_known(depth, kernel)[row, column]
    farthest = cv2.dilate(depth, kernel)[row, column]
    margin = MARGIN_M + MARGIN * z[rows]
    is_shown = (z[rows] > nearest_known - margin) & (z[rows] < farthest + margin)
    return rows, is_shown, z[rows] < nearest - margin


def _nearest_known(depth: NDArray[np.float32], kernel: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the smallest known depth around each pixel; infinite where none is known."""
    known = np.where(depth > 0, depth, np.float32(np.inf))
    return np.asarray(cv2.erode(known, kernel), np.float32)


def overlap_fault(of_a: Overlap, of_b: Overlap) -> str:
    """Return why two rooms cannot lie so, in words; empty if they can."""
    worst = max(of_a.contradicting, of_b.contradicting)
    if worst > MAX_CONTRADICTING:
        return (
            f'{worst:.0%} of what both see of one room would stand in the free space of the other'
            f' (allowed: {MAX_CONTRADICTING:.0%})'
        )
    common = min(of_a.coinciding, of_b.coinciding)
    if common > MAX_COINCIDING:
        return (
            f'the rooms would be one place: {common:.0%} of each coincides with the other'
            f' (allowed: {MAX_COINCIDING:.0%}); they look alike, or are one room'
        )
    return ''


def overlap_figures(of_a: Overlap, of_b: Overlap) -> dict[str, Any]:
    """Return the shares of both rooms as plain values."""
    return {
        'seen': [round(of_a.seen, 4), round(of_b.seen, 4)],
        'contradicting': [round(of_a.contradicting, 4), round(of_b.contradicting, 4)],
    }
