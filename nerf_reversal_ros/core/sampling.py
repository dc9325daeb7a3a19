"""Some of many, evenly from the first to the last."""

import numpy as np
from numpy.typing import NDArray


def evenly_spaced_indices(count: int, max_count: int) -> NDArray[np.int64]:
    """Return the indices of up to ``max_count`` of ``count`` items: ascending, none of them twice."""
    return np.linspace(0, max(0, count - 1), min(max_count, count)).astype(np.int64)
