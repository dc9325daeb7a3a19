"""Freed memory does not stay with the process."""

import gc
from pathlib import Path
import platform

import pytest

from nerf_reversal_ros.core.devices import free_memory

PAGE_BYTES = 4096
KEPT = 200_000
SIZE_BYTES = 1000


def resident_bytes():
    return int(Path('/proc/self/statm').read_text().split()[1]) * PAGE_BYTES


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other C libraries keep no memory')
def test_memory_of_many_small_objects_goes_back_to_the_system():
    objects = [bytes(SIZE_BYTES) for _ in range(KEPT)]
    last = bytes(SIZE_BYTES)  # lies above all others, so that they cannot be returned from the top
    del objects
    gc.collect()
    before = resident_bytes()

    free_memory()

    assert resident_bytes() < before - KEPT * SIZE_BYTES / 2
    assert len(last) == SIZE_BYTES
