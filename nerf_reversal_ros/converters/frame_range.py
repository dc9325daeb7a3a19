"""Selection of a range of frame numbers."""

from pathlib import Path
from typing import TypeVar

from nerf_reversal_ros.core.errors import CaptureError

T = TypeVar('T')


def select_frame_range(entries: dict[int, T], frames: slice | None, source: Path) -> dict[int, T]:
    """
    Select the entries whose frame number is in ``frames``, in ascending order.

    Raises
    ------
    CaptureError
        If none is selected; the message gives the first and the last frame number.
    """
    numbers = range(max(entries) + 1)[frames or slice(None)]
    selected = {number: entries[number] for number in sorted(entries) if number in numbers}
    if not selected and frames is not None:
        raise CaptureError(
            f'{source} has frames {min(entries)} to {max(entries)}, none of them in'
            f' {frames.start}:{frames.stop}: give another range'
        )
    return selected
