"""Which frames of a capture no training sees."""

import numpy as np
from numpy.typing import NDArray


def held_out_mask(count: int, fraction: float) -> NDArray[np.bool_]:
    """Return which of ``count`` frames no training sees: one stretch of the walk, (N,) bool."""
    held_out = np.zeros(count, dtype=bool)
    size = max(1, round(count * fraction)) if fraction > 0 else 0
    start = min(int(count * 0.6), count - size)
    held_out[start : start + size] = True
    return held_out
