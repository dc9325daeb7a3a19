"""Progress reports of long-running stages to the command line and the action server."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One report from a running stage."""

    stage: str
    """Name of the stage: ``capture``, ``field``, ``synthesis``, ``regressor``, ..."""

    done: int
    """Units of work finished."""

    total: int
    """Units of work of the whole stage, > 0."""

    note: str = ''
    """A short free text, such as the current loss."""


ProgressCallback = Callable[[Progress], None]


def no_progress(_: Progress) -> None:
    """Discard a progress report."""


def eta_s(progress: Progress, initial_done: int, elapsed_s: float) -> float | None:
    """
    Estimate the remaining time of a stage [s]; None before the first unit is finished.

    The stage began ``elapsed_s`` ago with ``initial_done`` units done (> 0 if it was resumed).
    """
    finished = progress.done - initial_done
    if finished <= 0:
        return None
    return elapsed_s * max(0, progress.total - progress.done) / finished


def format_duration(seconds: float) -> str:
    """Format a time span: ``8 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60} s'
    return f'{whole // 3600} h {whole % 3600 // 60} min'
