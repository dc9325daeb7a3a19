"""
Which rooms of a building look alike, found from their maps when the building is written.

A view of a room is taken for an image of another room: its landmarks, seen from a mapping pose,
are matched with all landmarks of the other room. The most that agree with one pose there are what
both have in common. An image that is localized in the wrong room shows no more than that. So a
room that has less in common with that of an accepted pose is not asked for a rival. Rooms that
were never compared count as alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.building.room_rivals import is_one_place
from nerf_reversal_ros.building.room_views import MAX_LANDMARKS, room_views, view_camera
from nerf_reversal_ros.capture.keypoints import match_descriptors
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, inverse, pose_distance, transform_points
from nerf_reversal_ros.core.parallel import one_blas_thread, parallel_map
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.localization.atlas import Atlas, normalize, quantize
from nerf_reversal_ros.localization.matching import (
    MAX_LANDMARKS_OF_MAP,
    RATIO_TEST_EXCLUSION,
    RATIO_THRESHOLD,
    REFERENCE_SIZE_PX,
)
from nerf_reversal_ros.localization.pnp import (
    MAX_ERROR_PX,
    MIN_MATCHES,
    RansacOptions,
    reprojection_errors_px,
    solve_pnp_ransac,
)
from nerf_reversal_ros.maps.building_folder import Building, Room
from nerf_reversal_ros.maps.map_folder import Map

CLOSER = 2.0
"""What an image and a room have in common, over the most that a view of another room has in common
with it, at most: an image may be taken closer to what both rooms have than any view was."""
MAX_VIEWS = 150
"""Views of one room, at most."""
MAX_POSES = 3
"""Poses in another room that are looked for in one view: the first may be at the same place."""
ROWS_PER_CHUNK = 1000
"""Landmarks that are matched at once, a bound on memory."""
MOVED_M, MOVED_DEG = 0.05, 1.0
"""Change of how two rooms lie to each other from which they are compared anew."""


@dataclass(frozen=True)
class _View:
    map_from_camera: FloatArray
    """(4, 4)."""
    rows: NDArray[np.intp]
    """(n,) rows of the landmarks that it shows in `_Contents.shown`."""
    pixels: FloatArray
    """(n, 2)."""


@dataclass(frozen=True)
class _Contents:
    """What of a room is compared; descriptors with 8 bit, for all rooms are in memory."""

    points: FloatArray
    """(L, 3) landmarks in the map [m], at most `MAX_LANDMARKS_OF_MAP`."""
    distances: FloatArray
    """(L,) mean distance to the cameras that observed them [m]."""
    descriptors: NDArray[np.uint8]
    """(L, 128)."""
    shown: NDArray[np.uint8]
    """(S, 128) descriptors of the landmarks that the views show."""
    views: list[_View]
    camera: Camera
    """Intrinsics of the views."""


@one_blas_thread()
def find_look_alikes(
    rooms: Mapping[str, Map],
    building_from_room: Mapping[str, FloatArray | None],
    before: Building | None = None,
    *,
    progress: ProgressCallback = no_progress,
) -> list[dict[str, Any]]:
    """
    Compare all rooms of a building with each other.

    Parameters
    ----------
    rooms : mapping of Map
        Maps by name of the room.
    building_from_room : mapping of (4, 4) arrays
        Where the rooms lie; None if nothing links a room.
    before : Building, optional
        The building that is replaced: pairs whose maps and places are as before are not compared
        again.
    progress : callback
        Receives reports of the stage ``look_alikes``.

    Returns
    -------
    list of dict
        Plain JSON, an entry for each pair: ``rooms``, and ``common``, the most landmarks of one
        view of either room that agree with one pose in the other, but for the same place.

    Raises
    ------
    MapError
        If a file of a map is malformed.
    """
    placed = {
        name: Room(name, map_.path, map_.identity, building_from_room.get(name))
        for name, map_ in rooms.items()
    }
    pairs = list(combinations(rooms, 2))
    common = {pair: _common_before(before, *(placed[name] for name in pair)) for pair in pairs}
    missing = [pair for pair in pairs if common[pair] is None]
    compared = {name for pair in missing for name in pair}
    names = [name for name in rooms if name in compared]
    loaded = parallel_map(lambda name: _contents(rooms[name]), names)
    contents = dict(zip(names, loaded, strict=True))
    for done, (first, second) in enumerate(missing):
        progress(Progress('look_alikes', done, len(missing), f'{first}, {second}'))
        common[first, second] = max(
            _most_in_common(placed[a], contents[a], placed[b], contents[b])
            for a, b in ((first, second), (second, first))
        )
    return [{'rooms': list(pair), 'common': common[pair]} for pair in pairs]


def common_landmarks(building: Building, name: str) -> dict[str, float]:
    """
    Return how many landmarks each other room has in common with one: infinite if unknown.

    The order is that of the numbers, the largest first.
    """
    known = {
        other: float(entry['common'])
        for entry in building.look_alikes
        if name in entry['rooms']
        for other in entry['rooms']
    }
    others = (other for other in building.rooms if other != name)
    common = {other: known.get(other, math.inf) for other in others}
    return dict(sorted(common.items(), key=lambda item: -item[1]))


def rooms_alike(common: Mapping[str, float], inliers: int, keypoints: int) -> list[str]:
    """
    Return the rooms that an image may show although another room explains it.

    Parameters
    ----------
    common : mapping of float
        Landmarks that other rooms have in common with that room, see `common_landmarks`.
    inliers : int
        Keypoints of the image that agree with the pose there. If it shows another room, both have
        all of these in common.
    keypoints : int
        Keypoints of the image, which may be more than the landmarks that a view shows.
    """
    most = CLOSER * max(1.0, keypoints / MAX_LANDMARKS)
    return [name for name, count in common.items() if inliers <= most * count]


def _common_before(before: Building | None, first: Room, second: Room) -> int | None:
    """Return what the building before says of two rooms; None if it does not hold any more."""
    if before is None:
        return None
    names = first.name, second.name
    old_first, old_second = (before.rooms.get(name) for name in names)
    if old_first is None or old_second is None:
        return None
    if (old_first.map_id, old_second.map_id) != (first.map_id, second.map_id):
        return None
    old_pose, pose = _relative_pose(old_first, old_second), _relative_pose(first, second)
    if old_pose is None or pose is None:
        has_moved = old_pose is not pose
    else:
        moved_m, moved_deg = pose_distance(old_pose, pose)
        has_moved = moved_m > MOVED_M or moved_deg > MOVED_DEG
    known = (pair['common'] for pair in before.look_alikes if {*pair['rooms']} == {*names})
    return None if has_moved else next(known, None)


def _relative_pose(first: Room, second: Room) -> FloatArray | None:
    """Return second_from_first (4, 4), if both are placed."""
    if first.building_from_room is None or second.building_from_room is None:
        return None
    return inverse(second.building_from_room) @ first.building_from_room


def _contents(map_: Map) -> _Contents:
    """Load what of a room is compared."""
    atlas, camera = Atlas.load(map_.file('atlas.safetensors')), view_camera(map_)
    views = room_views(map_, atlas, MAX_VIEWS)
    shown = np.unique(np.concatenate([np.empty(0, int), *(view.landmarks for view in views)]))
    kept = atlas.most_confirmed(np.arange(len(atlas)), MAX_LANDMARKS_OF_MAP)
    points = atlas.origin_m + atlas.points
    found = []
    for view in views:
        pose = map_.mapping_poses[view.frame]
        pixels = camera.project(transform_points(inverse(pose), points[view.landmarks]))
        found.append(_View(pose, np.searchsorted(shown, view.landmarks), pixels))
    stored = quantize(atlas.descriptors)
    return _Contents(
        points[kept],
        atlas.distances[kept].astype(np.float64),
        stored[kept],
        stored[shown],
        found,
        camera,
    )


def _most_in_common(first: Room, views: _Contents, second: Room, other: _Contents) -> int:
    """Return the most landmarks of a view of the first room that agree with a pose in another."""
    matches = _matches(views, other)
    count = partial(_common_landmarks, first, views.camera, second, other.points, matches)
    return max(parallel_map(count, views.views), default=0)


def _matches(views: _Contents, other: _Contents) -> NDArray[np.intp]:
    """Return the landmark of another room that each shown one (S,) matches; -1 if none does."""
    descriptors = normalize(other.descriptors.astype(np.float32))
    same_point_m = RATIO_TEST_EXCLUSION * other.distances
    matches = np.full(len(views.shown), -1)

    def match(start: int) -> None:
        part = normalize(views.shown[start : start + ROWS_PER_CHUNK].astype(np.float32))
        pairs = match_descriptors(
            part, descriptors, RATIO_THRESHOLD, other.points, same_point_m, mutual=False
        )
        matches[start + pairs[:, 0]] = pairs[:, 1]

    parallel_map(match, range(0, len(views.shown), ROWS_PER_CHUNK))
    return matches


def _common_landmarks(
    first: Room,
    camera: Camera,
    second: Room,
    points: FloatArray,
    matches: NDArray[np.intp],
    view: _View,
) -> int:
    """Return the landmarks of a view that agree with one pose elsewhere in the other room."""
    matched = matches[view.rows]
    points, pixels = points[matched[matched >= 0]], view.pixels[matched >= 0]
    max_error_px = MAX_ERROR_PX * max(camera.width, camera.height) / REFERENCE_SIZE_PX
    for _ in range(MAX_POSES):
        if len(points) < MIN_MATCHES:
            return 0
        found = solve_pnp_ransac(points, pixels, camera, RansacOptions(max_error_px))
        if found is None:
            return 0
        pose = found.map_from_camera
        if not is_one_place(first, view.map_from_camera, second, pose):
            return found.inliers
        is_other = reprojection_errors_px(points, pixels, camera, pose) > max_error_px
        points, pixels = points[is_other], pixels[is_other]
    return 0
