"""Which frames of a recording the user asked for."""

from pathlib import Path
from typing import TypeVar

from nerf_reversal_ros.errors import CaptureError

T = TypeVar('T')


def selected(found: dict[int, T], frames: slice | None, source: Path) -> dict[int, T]:
    """
    Keep the frames whose number is in ``frames``, in the order of their numbers.

    Raises
    ------
    CaptureError
        If none is left; the sentence names the numbers there are.
    """
    start = None if frames is None else frames.start
    stop = None if frames is None else frames.stop
    chosen = {
        number: found[number]
        for number in sorted(found)
        if (start is None or number >= start) and (stop is None or number < stop)
    }
    if not chosen:
        wanted = f'{"" if start is None else start}:{"" if stop is None else stop}'
        raise CaptureError(
            f'{source} has frames {min(found)} to {max(found)}, none of them in {wanted}'
        )
    return chosen
