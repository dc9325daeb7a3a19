"""
Thread parallelism over whole work items, one item per core.

PyTorch parallelizes single operations. That gains little for the many small operations of ray
marching, and slows down inference on one image. Whole items, each on one core, scale nearly with
the number of cores, because PyTorch releases the GIL while it computes.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from typing import ParamSpec, TypeVar

import torch

Item = TypeVar('Item')
Result = TypeVar('Result')
Arguments = ParamSpec('Arguments')


def parallel_map(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """
    Return ``work(item)`` of all items, in their order.

    The number of threads is that of PyTorch (``torch.get_num_threads()``, set by
    OMP_NUM_THREADS). With one thread the items run in the caller's thread.
    """
    threads = torch.get_num_threads()
    items = list(items)
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    return list(_pool(threads).map(work, items))


def single_threaded(work: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a function so that its PyTorch operations run single-threaded."""

    @wraps(work)
    def run_single_threaded(*args: Arguments.args, **named: Arguments.kwargs) -> Result:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return work(*args, **named)
        finally:
            torch.set_num_threads(threads)

    return run_single_threaded


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    # The thread count of PyTorch is set per thread.
    return ThreadPoolExecutor(threads, 'cores', initializer=torch.set_num_threads, initargs=(1,))
