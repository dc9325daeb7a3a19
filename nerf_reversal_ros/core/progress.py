"""How long-running stages tell the edge (command line, action server) where they are."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One report from a running stage."""

    stage: str
    """Which stage reports: ``capture``, ``field``, ``synthesis``, ``regressor``, ..."""

    done: int
    """Units of work finished."""

    total: int
    """Units of work of the whole stage, > 0."""

    note: str = ''
    """A short free text, such as the current loss."""


ProgressCallback = Callable[[Progress], None]


def no_progress(_: Progress) -> None:
    """Report to nobody."""


def eta_s(progress: Progress, initial_done: int, elapsed_s: float) -> float | None:
    """
    Return how long a stage will still take [s], None if that is not known yet.

    It began ``elapsed_s`` ago with ``initial_done`` units done, more than 0 where it is resumed.
    """
    worked = progress.done - initial_done
    return elapsed_s * max(0, progress.total - progress.done) / worked if worked > 0 else None


def format_duration(seconds: float) -> str:
    """Write a time span: ``8 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60} s'
    return f'{whole // 3600} h {whole % 3600 // 60} min'
