"""
Decorators of functions that numba compiles, and the cache of what it compiled.

Kernels are sequential and release the GIL: callers run them at once on parts of the work, in
threads of their own. They are compiled at the first call and cached on disk.
"""

from collections.abc import Callable
from functools import cache
import hashlib
from pathlib import Path
from typing import Any, cast, TypeVar

import numba

FLOAT_RULES = {'contract', 'arcp', 'nsz', 'reassoc', 'afn'}
"""Freedom of rounding that the compiler has; NaN and infinity keep their meaning."""

Function = TypeVar('Function', bound=Callable[..., Any])

_CONFIG: Any = numba.config
_OPTIONS: dict[str, Any] = {'nogil': True, 'fastmath': FLOAT_RULES, 'error_model': 'numpy'}


def inlined(function: Function) -> Function:
    """
    Compile a function as a part of the kernels that call it.

    It is not cached by itself: what comes from the cache is called instead of inlined, which is
    slower, and rounds otherwise.
    """
    return cast(Function, numba.njit(**_OPTIONS)(function))


def kernel(function: Function) -> Function:
    """
    Compile a function at its first call; cache it beside its file, else in the user's cache.

    Numba compiles anew where the file of the function changes. The folder of the cache changes
    with every source that the function may inline: this one and those of its own folder.
    """
    folder = Path(function.__code__.co_filename).parent
    configured, _CONFIG.CACHE_DIR = _CONFIG.CACHE_DIR, _cache_dir(folder)
    try:
        return cast(Function, numba.njit(**_OPTIONS, cache=True)(function))
    except RuntimeError:  # no folder of a cache is writable: compile in each process
        return cast(Function, numba.njit(**_OPTIONS)(function))
    finally:
        _CONFIG.CACHE_DIR = configured


@cache
def _cache_dir(folder: Path) -> str:
    """Return the folder of the cache for kernels in a folder of sources."""
    digest = hashlib.sha256()
    for source in (Path(__file__), *sorted(folder.glob('*.py'))):
        digest.update(source.read_bytes())
    root = Path(_CONFIG.CACHE_DIR or folder / '__pycache__')
    return str(root / f'kernels-{digest.hexdigest()[:16]}')
