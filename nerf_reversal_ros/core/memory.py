"""Memory of the arrays that an object holds."""

from typing import Any

import numpy as np

_PACKAGES = ('nerf_reversal_ros', 'scipy', 'torch')
"""Packages whose objects are searched for arrays."""


def array_bytes(owner: object) -> int:
    """Return the size of all arrays and tensors that an object refers to [bytes], each once."""
    seen: set[int] = set()
    pending: list[Any] = [owner]
    total = 0
    while pending:
        item = pending.pop()
        while isinstance(item, np.ndarray) and isinstance(item.base, np.ndarray):
            item = item.base
        if id(item) in seen or isinstance(item, type):
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            total += item.nbytes
        elif hasattr(item, 'untyped_storage'):
            total += item.untyped_storage().nbytes()
        elif isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, list | tuple | set):
            pending += item
        elif type(item).__module__.split('.')[0] in _PACKAGES and hasattr(item, '__dict__'):
            pending += vars(item).values()
    return total
