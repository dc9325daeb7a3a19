"""Deterministic subsampling."""

import numpy as np
from numpy.typing import NDArray


def evenly_spaced_indices(count: int, max_count: int) -> NDArray[np.int64]:
    """
    Choose up to ``max_count`` of ``count`` indices, evenly spaced from the first to the last.

    The indices ascend strictly.
    """
    return np.linspace(0, max(0, count - 1), min(max_count, count)).astype(np.int64)
