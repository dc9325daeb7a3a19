"""Split of a capture into training frames and a held-out segment."""

import numpy as np
from numpy.typing import NDArray


def held_out_mask(count: int, fraction: float) -> NDArray[np.bool_]:
    """
    Select a contiguous held-out segment of ``count`` frames, as a mask (N,).

    It starts at 60 % of the frames and has ``fraction`` of them, at least one; none if 0.
    """
    held_out = np.zeros(count, dtype=bool)
    size = max(1, round(count * fraction)) if fraction > 0 else 0
    start = min(int(count * 0.6), count - size)
    held_out[start : start + size] = True
    return held_out
