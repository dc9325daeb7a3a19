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


def silent(_: Progress) -> None:
    """Report to nobody."""
