"""Limits of the process, for libraries that decompress input of unknown size."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import resource


@contextmanager
def memory_limit(extra_bytes: int) -> Iterator[None]:
    """
    Limit the additional address space of the process (RLIMIT_AS) in a ``with`` block.

    An allocation beyond it raises MemoryError. The limit also applies to other threads.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[0])
    limit = pages * resource.getpagesize() + extra_bytes
    if soft == resource.RLIM_INFINITY or limit < soft:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
