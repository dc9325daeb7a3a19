"""The answers that all browsers see, as they come."""

from collections import Counter, deque
from collections.abc import Iterable
from threading import Lock

from nerf_reversal_ros.core.outcome import Outcome, Rejection
from nerf_reversal_ros.view.listeners import Listeners
from nerf_reversal_ros.view.shown_poses import ShownPose

MAX_POSES = 5_000
"""Poses that are kept, the newest; those of a robot go on and on."""


class Answers:
    """Outcomes of images, the newest of them; the others are counted."""

    def __init__(self) -> None:
        self._poses: deque[ShownPose] = deque(maxlen=MAX_POSES)
        self._counts: Counter[str] = Counter()
        self._lock = Lock()
        self.listeners = Listeners()
        """Called when answers were added."""

    def add(self, poses: Iterable[ShownPose]) -> None:
        """Add outcomes, the newest last."""
        with self._lock:
            for pose in poses:
                self._poses.append(pose)
                self._counts[_reason(pose.outcome)] += 1
        self.listeners.call()

    def snapshot(self) -> tuple[list[ShownPose], Counter[str]]:
        """Return the newest outcomes, and the number of all by their reason; empty for a pose."""
        with self._lock:
            return list(self._poses), self._counts.copy()


def _reason(outcome: Outcome) -> str:
    """Return the reason of a rejection; empty for a pose."""
    return str(outcome.reason) if isinstance(outcome, Rejection) else ''
