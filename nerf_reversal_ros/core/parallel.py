"""
Work spread over the cores by threads, one part a core.

PyTorch spreads a single operation over the cores, which gains little for the many small
operations of a ray marcher, and loses where the operations are as small as a network's for one
picture. Whole parts of the work, each on one core, gain nearly the number of cores; PyTorch lets
go of Python's lock while it computes.
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
    Return ``work(item)`` for all items, in their order.

    The number of threads is PyTorch's (``torch.get_num_threads()``, set by OMP_NUM_THREADS); with
    one, nothing is threaded.
    """
    threads = torch.get_num_threads()
    items = list(items)
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    return list(_pool(threads).map(work, items))


def single_threaded(work: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a function's operations of PyTorch each run on one core."""

    @wraps(work)
    def alone(*args: Arguments.args, **named: Arguments.kwargs) -> Result:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return work(*args, **named)
        finally:
            torch.set_num_threads(threads)

    return alone


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    # Set in a thread, the number of threads of PyTorch is that thread's own.
    return ThreadPoolExecutor(threads, 'cores', initializer=torch.set_num_threads, initargs=(1,))
