"""Which frames of a recording the user asked for."""

from pathlib import Path
from typing import TypeVar

from nerf_reversal_ros.core.errors import CaptureError

T = TypeVar('T')


def select_frame_range(entries: dict[int, T], frames: slice | None, source: Path) -> dict[int, T]:
    """
    Keep the frames whose number is in ``frames``, in the order of their numbers.

    Raises
    ------
    CaptureError
        If none is left; the sentence names the numbers there are.
    """
    wanted = range(max(entries) + 1)[frames or slice(None)]
    chosen = {number: entries[number] for number in sorted(entries) if number in wanted}
    if not chosen and frames is not None:
        raise CaptureError(
            f'{source} has frames {min(entries)} to {max(entries)}, none of them in'
            f' {frames.start}:{frames.stop}'
        )
    return chosen
