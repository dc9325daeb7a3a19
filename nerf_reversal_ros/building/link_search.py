"""
Search images of one walk that show another room: the evidence for how two rooms lie.

Rooms see each other through doors, so few images of a walk do. View descriptors rank the rooms for
some images of each walk, and the most promising ones are localized in the map of the other room.
Around an image that is localized, its neighbors are tried too.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, pose_distance
from nerf_reversal_ros.core.outcome import PoseEstimate
from nerf_reversal_ros.core.progress import Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.localization.localizer import Localizer
from nerf_reversal_ros.localization.localizer_protocol import localize_or_reject
from nerf_reversal_ros.localization.matching import make_query
from nerf_reversal_ros.maps.map_folder import Map

STAGE = 'placement'
"""Stage of the progress reports."""
MAX_RANKED = 48
"""Images of a walk, evenly spaced, that rooms are ranked for."""
MAX_RANKED_ENDS = 4
"""Images at each end of a walk that are ranked in addition: walks begin and end at doors."""
MAX_NEIGHBORS = 8
"""Other rooms in whose maps the images of a walk are tried: those ranked best."""
BEST_VIEWS = 3
"""Best scores of an image that rank a room for a whole walk."""
GIVE_UP_AFTER = 12
"""Images without any pose after which no more are tried."""
MAX_TRIED = 48
"""Images of a walk that are tried in the map of one other room, at most."""
ENOUGH_VIEWS = 16
"""Images with a pose that are enough."""
MAX_HOME_M, MAX_HOME_DEG = 0.3, 10.0
"""How far the pose of an image in its own map may be from that of the capture [m], [deg]."""


class ScoredRoom(Protocol):
    """A room as a ranking gives it."""

    @property
    def name(self) -> str:
        """Name of the room."""

    @property
    def score(self) -> float:
        """Similarity of its best view; comparable between images."""


class RoomRanking(Protocol):
    """Ranks rooms by how much their views resemble an image, such as `ViewIndex`."""

    def rank(self, descriptors: NDArray[np.float32], /) -> Sequence[ScoredRoom]:
        """Return rooms, best first, for the RootSIFT descriptors (n, 128) of an image."""


class SharedView(NamedTuple):
    """An image of the walk through one room, localized in the map of another."""

    frame: int
    """Index in the capture of the walk."""
    room_from_camera: FloatArray
    """(4, 4) in the map of the room that was walked."""
    other_from_camera: FloatArray
    """(4, 4) in the map of the other room."""
    covariance: FloatArray
    """(6, 6) of ``other_from_camera``, as in `PoseEstimate.covariance`."""
    room_covariance: FloatArray = np.zeros((6, 6))
    """(6, 6) of ``room_from_camera``; zero for the pose of the capture."""


@dataclass
class ViewSearch:
    """What the images of one walk gave in the map of another room."""

    tried: int = 0
    """Images that were localized or rejected."""
    views: list[SharedView] = field(default_factory=list)
    """The localized ones."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Numbers of rejected images by reason."""


Direction = tuple[str, str]
"""Names of the room that was walked, and of the room in whose map its images are localized."""


def search_shared_views(
    rooms: Mapping[str, Map],
    captures: Mapping[str, Capture],
    ranking: RoomRanking,
    progress: ProgressCallback,
) -> dict[Direction, ViewSearch]:
    """
    Localize images of each walk in the maps of other rooms.

    Parameters
    ----------
    rooms : mapping of Map
        Maps by name of the room; one localizer is loaded at a time.
    captures : mapping of Capture
        The walk through each room, with poses in the frame of its map. A room without one is only
        looked for in the images of others.
    ranking : RoomRanking
        Of the same rooms.
    progress : callback
        Receives reports of the stage `STAGE`.

    Returns
    -------
    dict of ViewSearch
        For each direction that was tried.
    """
    walked = [name for name in rooms if name in captures]
    total = 2 * len(walked) + len(rooms)
    candidates: dict[Direction, list[int]] = {}
    for number, name in enumerate(walked):
        candidates.update(_rank_frames(name, captures[name], rooms, ranking))
        progress(Progress(STAGE, number + 1, total, f'images of {name} ranked'))
    searches = {}
    for number, other in enumerate(rooms, len(walked)):
        directions = [direction for direction in candidates if direction[1] == other]
        if directions:
            localizer = rooms[other].localizer()
            for direction in directions:
                capture = captures[direction[0]]
                searches[direction] = search_walk(localizer, capture, candidates[direction])
        progress(Progress(STAGE, number + 1, total, f'looked for {other} in other walks'))
    for number, name in enumerate(walked, len(walked) + len(rooms)):
        found = [search for (room, _), search in searches.items() if room == name and search.views]
        if found:
            _localize_at_home(rooms[name].localizer(), captures[name], found)
        progress(Progress(STAGE, number + 1, total, f'images of {name} localized at home'))
    return searches


def search_walk(localizer: Localizer, capture: Capture, frames: Sequence[int]) -> ViewSearch:
    """
    Localize frames of a walk in the map of another room, the most promising first.

    The frames half a step and a step beside a localized one come next: a door is seen in passing.
    """
    result, queue, known = ViewSearch(), list(frames), set(frames)
    step = max(1, len(capture) // MAX_RANKED)
    while queue and result.tried < MAX_TRIED and len(result.views) < ENOUGH_VIEWS:
        if not result.views and result.tried >= GIVE_UP_AFTER:
            break
        index = queue.pop(0)
        frame = capture.frame(index)
        outcome = localize_or_reject(localizer, frame.rgb, frame.camera)
        result.tried += 1
        if not isinstance(outcome, PoseEstimate):
            result.reasons[str(outcome.reason)] += 1
            continue
        result.views.append(
            SharedView(index, frame.map_from_camera, outcome.map_from_camera, outcome.covariance)
        )
        beside = {index + sign * d for sign in (-1, 1) for d in (step, max(1, step // 2))}
        new = sorted(k for k in beside - known if 0 <= k < len(capture))
        known.update(new)
        queue[:0] = new
    return result


def _localize_at_home(
    localizer: Localizer, capture: Capture, searches: Sequence[ViewSearch]
) -> None:
    """
    Replace the poses of localized images in their own room by those that its map gives.

    A build adjusts the poses of its walk, so those of the capture may be some centimeters off. A
    pose that is far from that of the capture is not taken.
    """
    at_home: dict[int, PoseEstimate] = {}
    for index in sorted({view.frame for search in searches for view in search.views}):
        frame = capture.frame(index)
        outcome = localize_or_reject(localizer, frame.rgb, frame.camera, frame.map_from_camera)
        if isinstance(outcome, PoseEstimate):
            moved_m, moved_deg = pose_distance(outcome.map_from_camera, frame.map_from_camera)
            if moved_m < MAX_HOME_M and moved_deg < MAX_HOME_DEG:
                at_home[index] = outcome
    for search in searches:
        search.views = [
            view._replace(
                room_from_camera=at_home[view.frame].map_from_camera,
                room_covariance=at_home[view.frame].covariance,
            )
            if view.frame in at_home
            else view
            for view in search.views
        ]


def _rank_frames(
    name: str, capture: Capture, rooms: Mapping[str, Map], ranking: RoomRanking
) -> dict[Direction, list[int]]:
    """Return the frames of a walk to try in each of its neighbors, the most promising first."""
    scores: dict[str, dict[int, float]] = {}
    for index in _ranked_frames(len(capture)):
        frame = capture.frame(index)
        query = make_query(frame.rgb, frame.camera, LocalizerConfig().query_size)
        if not len(query.keypoints.descriptors):
            continue
        for scored in ranking.rank(query.keypoints.descriptors):
            if scored.name != name and scored.name in rooms:
                scores.setdefault(scored.name, {})[index] = scored.score
    neighbors = sorted(
        scores, key=lambda other: -float(np.sum(sorted(scores[other].values())[-BEST_VIEWS:]))
    )
    return {
        (name, other): sorted(scores[other], key=lambda index: -scores[other][index])
        for other in neighbors[:MAX_NEIGHBORS]
    }


def _ranked_frames(count: int) -> list[int]:
    """Return frames of a walk, evenly spaced, and all at its ends."""
    ends = [*range(MAX_RANKED_ENDS), *range(count - MAX_RANKED_ENDS, count)]
    spaced = evenly_spaced_indices(count, MAX_RANKED).tolist()
    return sorted({index for index in (*spaced, *ends) if 0 <= index < count})
