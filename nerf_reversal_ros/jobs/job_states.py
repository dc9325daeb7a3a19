"""Jobs as a user follows them: where each is, and the time that is left of all."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
import time

from nerf_reversal_ros.core.progress import Progress

WAITING, BUILDING, BUILT, UNCHANGED = 'waiting', 'building', 'built', 'unchanged'
GIVEN, FAILED, DONE = 'given', 'failed', 'done'
"""States of a job; ``given`` is a room whose map the plan names."""
ENDED = (BUILT, UNCHANGED, GIVEN, FAILED, DONE)
MIN_FRACTION = 0.03
"""Progress of a job below which it says nothing about its time."""

MAX_STEP = 0.1
"""Progress between two reports beyond which a stage was not done but found finished."""


@dataclass
class JobState:
    """One row of the table."""

    name: str
    state: str = WAITING
    stage: str = ''
    fraction: float = 0.0
    """Part of the build that is done, from 0 to 1; it never falls."""
    begin_s: float = 0.0
    begin_fraction: float = 0.0
    """Where the build began: a resumed one is not at 0."""
    seconds: float = 0.0
    """Duration of an ended job [s]."""
    note: str = ''
    worker: str = ''

    def left_s(self, now_s: float) -> float | None:
        """Estimate the time left of a build [s]; None if it is too early."""
        done = self.fraction - self.begin_fraction
        if self.state != BUILDING or done < MIN_FRACTION:
            return None
        return (now_s - self.begin_s) * (1 - self.fraction) / done


def done_fraction(progress: Progress) -> float | None:
    """Return the part of a job that is done, from 0 to 1, where a job has one stage."""
    return min(1.0, progress.done / max(1, progress.total))


class JobStates:
    """
    All jobs of a command.

    Parameters
    ----------
    names : iterable of str
        Of the jobs.
    changed : callable, optional
        Is called after each change.
    fraction : callable, optional
        Returns the part of a job that is done, from 0 to 1, at a report; None if it tells nothing.
    """

    def __init__(
        self,
        names: Iterable[str],
        changed: Callable[['JobStates'], None] = lambda _: None,
        fraction: Callable[[Progress], float | None] = done_fraction,
    ) -> None:
        self.rows = {name: JobState(name) for name in names}
        self._changed, self._fraction = changed, fraction

    def report(self, name: str, progress: Progress, worker: str = '') -> None:
        """Take a progress report of a job."""
        row = self.rows[name]
        if row.state in ENDED:
            return
        fraction = max(row.fraction, self._fraction(progress) or 0.0)
        if row.state != BUILDING or worker != row.worker:  # begins, or begins anew elsewhere
            fraction = row.fraction = self._fraction(progress) or 0.0
            row.begin_s, row.begin_fraction = time.monotonic(), fraction
        elif fraction - row.fraction > MAX_STEP:  # a stage was finished before
            row.begin_s, row.begin_fraction = time.monotonic(), fraction
        row.state, row.worker, row.fraction = BUILDING, worker, fraction
        row.stage, row.note = progress.stage, progress.note
        self._changed(self)

    def end(self, name: str, state: str, seconds: float = 0.0, note: str = '') -> None:
        """Set the end of a job."""
        row = self.rows[name]
        row.state, row.seconds, row.note, row.fraction = state, seconds, note, 1.0
        self._changed(self)

    def refresh(self) -> None:
        """Show the passing of time."""
        self._changed(self)

    @property
    def ended(self) -> int:
        """Number of jobs that have ended."""
        return sum(row.state in ENDED for row in self.rows.values())

    def left_s(self) -> float | None:
        """
        Estimate the time that is left of all jobs [s]; None if it is too early.

        Waiting jobs take as long as the others, and as many run at once as now.
        """
        now_s = time.monotonic()
        rows = list(self.rows.values())
        running = [row for row in rows if row.state == BUILDING]
        left_s = [row.left_s(now_s) for row in running]
        known = [value for value in left_s if value is not None]
        whole_s = [row.seconds for row in rows if row.state == BUILT]
        whole_s += [
            now_s - row.begin_s + left
            for row, left in zip(running, left_s, strict=True)
            if left is not None
        ]
        if not whole_s:
            return None
        mean_s = sum(whole_s) / len(whole_s)
        waiting = sum(row.state == WAITING for row in rows)
        total_s = sum(known) + mean_s * (waiting + len(running) - len(known))
        return max([total_s / max(1, len(running)), *known])
