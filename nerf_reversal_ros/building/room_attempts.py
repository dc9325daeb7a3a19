"""The searches for the pose of one image in several rooms."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
import math
from time import perf_counter

from nerf_reversal_ros.building.room_comparison import RoomPose
from nerf_reversal_ros.building.view_descriptors import RoomScore
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, pose_distance
from nerf_reversal_ros.core.stage_timer import StageTimer
from nerf_reversal_ros.localization.image_queries import ImageQueries
from nerf_reversal_ros.localization.pose_search import NO_RIVALS, PoseSearch

LOOK_ALIKE_GAP = 0.05
"""Rooms whose score is less than this below that of another one look like it in an image."""
MIN_RIVAL_INLIERS = 0.3
"""Inliers of a rejected pose, over those of the accepted one, from which it is a rival."""
EXPECTED_WITHIN_M, EXPECTED_WITHIN_DEG = 1.0, 60.0
"""Distance from the expected pose up to which it decides between rooms that are alike: a hand may
have turned since then."""
EXPECTED_RATIO = 2.0
"""How much farther off, over these limits, the pose in the other room must be."""


@dataclass
class RoomAttempts:
    """The searches for the pose of one image in several rooms."""

    queries: ImageQueries
    config: LocalizerConfig
    deadline: float
    contrast: float
    timer: StageTimer
    expected_pose: FloatArray | None
    rank: Callable[[], list[RoomScore]]
    """Ranks the rooms, which an image that tracking finds does not need."""
    prepared: tuple[str, PoseSearch] | None = None
    """Search in the present room, with the regressed pose."""
    searches: dict[str, PoseSearch] = field(default_factory=dict)
    """By room, in the order in which they were begun."""
    seen_sides: dict[str, FloatArray] = field(default_factory=dict)
    """Sides of the surfaces of the rooms that were looked at."""
    not_loaded: dict[str, None] = field(default_factory=dict)
    """Rooms that could not be tried, in the order in which they were wanted."""
    completed: set[str] = field(default_factory=set)
    """Rooms that were tried with full effort."""

    @cached_property
    def scores(self) -> list[RoomScore]:
        """Rooms, the most similar one first."""
        scores = self.rank()
        self.timer.lap('rank')
        return scores

    @property
    def known_scores(self) -> dict[str, float]:
        """Scores of the rooms by name, if they were ranked."""
        return {s.name: s.score for s in self.scores} if 'scores' in vars(self) else {}

    @property
    def is_late(self) -> bool:
        """Whether no further attempt may start."""
        return perf_counter() > self.deadline

    def score(self, name: str) -> float:
        """Return the score of a room; of one that is not among the best, the least of theirs."""
        found = (score.score for score in self.scores if score.name == name)
        return next(found, self.scores[-1].score)

    def looks_like(self, name: str, other: str) -> bool:
        """Return whether a room explains the keypoints as well as another one, or nearly so."""
        return self.score(name) >= self.score(other) - LOOK_ALIKE_GAP

    def complete(self, name: str, *, ignore_time: bool = False) -> None:
        """Try a room, which was tried cheaply, with full effort; once."""
        if name not in self.completed:
            self.completed.add(name)
            self.searches[name].complete(math.inf if ignore_time else self.deadline)

    def is_clear(self, name: str) -> bool:
        """Return whether a room is far more similar than all others: it alone is tried at once."""
        best = self.scores[0]
        second = max((score.score for score in self.scores[1:]), default=-1.0)
        return best.name == name and best.score - second > LOOK_ALIKE_GAP

    def is_rival(self, search: PoseSearch, winner: PoseSearch) -> bool:
        """Return whether the pose in a room may be the right one, not that in another room."""
        if search.best is None or winner.best is None or search.is_novel:
            return False
        if search.best.rejection is None:
            return True
        enough = MIN_RIVAL_INLIERS * winner.best.solution.inliers
        reason = search.best.rejection[0]
        return reason not in NO_RIVALS and search.best.solution.inliers >= enough

    def room_pose(self, name: str) -> RoomPose:
        """Return the best pose in a room, to compare it with that in another one."""
        search = self.searches[name]
        assert search.best is not None
        return RoomPose(search.refiner, self.seen_sides[name], search.best)

    def expected_room(self, first: str, second: str) -> str | None:
        """Return that of two rooms whose pose tracking expects; None if it does not decide."""
        deviations = {name: self._deviation(name) for name in (first, second)}
        name = min(deviations, key=lambda room: deviations[room])
        other = deviations[second if name == first else first]
        return name if deviations[name] < 1 and other > EXPECTED_RATIO else None

    def _deviation(self, name: str) -> float:
        """Return how far the pose in a room is from the expected one, over the limits of that."""
        search = self.searches[name]
        if search.expected_pose is None or search.best is None:
            return math.inf
        pose = search.best.solution.map_from_camera
        distance_m, angle_deg = pose_distance(search.expected_pose, pose)
        return max(distance_m / EXPECTED_WITHIN_M, angle_deg / EXPECTED_WITHIN_DEG)

    def best_room(self) -> str | None:
        """Return the room whose pose explains the image best; None if no room was tried."""
        best: str | None = None
        for name, search in self.searches.items():
            other = None if best is None else self.searches[best].best
            is_better = search.best is not None and (
                other is None or search.best.is_better_than(other)
            )
            if best is None or is_better:
                best = name
        return best
