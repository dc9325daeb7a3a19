"""Group and sum array rows by integer labels, among them the cells of a regular grid."""

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.geometry import FloatArray

_CELL_BITS = 21
_CELL_STRIDES = np.array([1 << 2 * _CELL_BITS, 1 << _CELL_BITS, 1], dtype=np.int64)
_MIN_CELL = -(1 << _CELL_BITS - 1)


def cell_keys(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pack cell indices (N, 3), each from -2^20 to 2^20 - 1, into one key (N,) in their order."""
    return cells @ _CELL_STRIDES


def cells_of_keys(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the cell indices (N, 3) of keys (N,) of `cell_keys`."""
    nonnegative = keys - _MIN_CELL * np.sum(_CELL_STRIDES)
    return nonnegative[:, None] // _CELL_STRIDES % (1 << _CELL_BITS) + _MIN_CELL


def sum_by_label(labels: NDArray[np.integer], values: FloatArray, count: int) -> FloatArray:
    """Sum values (N, ...) by their labels (N,) from 0 to ``count - 1``: (count, ...) sums."""
    shape = values.shape[1:]
    columns = values.reshape(len(values), int(np.prod(shape))).T
    sums: list[FloatArray] = [
        np.bincount(labels, column, count).astype(np.float64) for column in columns
    ]
    return np.stack(sums, axis=1).reshape(count, *shape)


def sum_by_key(
    keys: NDArray[np.int64], values: FloatArray
) -> tuple[NDArray[np.int64], FloatArray]:
    """Sum values (N, ...) of equal keys (N,): distinct keys (K,), ascending, and (K, ...) sums."""
    distinct, labels = np.unique(keys, return_inverse=True)
    return distinct, sum_by_label(labels.ravel(), values, len(distinct))
