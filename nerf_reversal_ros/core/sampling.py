"""Select by position or stamp: evenly spaced indices, and the nearest of stamps."""

import numpy as np
from numpy.typing import NDArray


def evenly_spaced_indices(count: int, max_count: int) -> NDArray[np.int64]:
    """
    Choose up to ``max_count`` of ``count`` indices, evenly spaced from the first to the last.

    The indices ascend strictly.
    """
    return np.linspace(0, max(0, count - 1), min(max_count, count)).astype(np.int64)


def middle_indices(count: int, max_count: int) -> NDArray[np.int64]:
    """Choose up to ``max_count`` of ``count`` indices, each in the middle of an equal part."""
    parts = min(max_count, count)
    return ((np.arange(parts) + 0.5) * count / max(1, parts)).astype(np.int64)


def nearest_stamp_indices(
    stamps_ns: NDArray[np.int64], query_ns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the index (M,) of the nearest of N > 0 ascending stamps to each query (M,) [ns]."""
    after = np.clip(np.searchsorted(stamps_ns, query_ns), 0, len(stamps_ns) - 1)
    before = np.clip(after - 1, 0, None)
    is_before_nearer = query_ns - stamps_ns[before] < stamps_ns[after] - query_ns
    return np.where(is_before_nearer, before, after)
