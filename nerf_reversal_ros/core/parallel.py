"""
Thread parallelism over whole work items, one item per core.

PyTorch and OpenCV parallelize single operations. That gains little for the many small operations
of ray marching or of an image, and slows down inference on one image. Whole items, each on one
core, scale nearly with the number of cores, because PyTorch, OpenCV and NumPy release the GIL
while they compute.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, wraps
import os
import sys
from threading import Barrier, local, Lock
from typing import Any, cast, ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar('Item')
Result = TypeVar('Result')
Arguments = ParamSpec('Arguments')

_of_thread = local()

AHEAD_PER_THREAD, MAX_AHEAD = 2, 16
"""Items that `parallel_stream` works on or keeps ahead of its consumer, for each thread and in
all, which bounds the memory."""


def parallel_map(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """
    Return ``work(item)`` of all items, in their order.

    The number of threads is OMP_NUM_THREADS, else that of the cores; where PyTorch is loaded, it
    is ``torch.get_num_threads()``. With one thread the items run in the caller's thread.
    """
    threads = _thread_count()
    items = list(items)
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    return list(_pool_of(threads).map(work, items))


def parallel_stream(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """
    Yield ``work(item)`` of each item in order, as `parallel_map` does, with few items in memory.

    The items are taken in the caller's thread, `AHEAD_PER_THREAD` for each thread ahead of the
    results. An error of an item is raised where its result would come.
    """
    threads = _thread_count()
    if threads == 1:
        yield from map(work, items)
        return
    pool, pending = _pool_of(threads), deque[Future[Result]]()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > min(AHEAD_PER_THREAD * threads, max(threads, MAX_AHEAD)):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def start(work: Callable[[], Result]) -> Callable[[], Result]:
    """
    Start work in a thread; return a function that waits for its result.

    With one thread the work is done at the wait.
    """
    threads = _thread_count()
    return work if threads == 1 else _pool_of(threads).submit(work).result


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """
    Let NumPy and SciPy multiply matrices on one core; also a decorator.

    Their threads wait for each other: with two of them a narrow matrix takes twenty times longer.
    The limit is one of the process: the first that enters sets it, the last that leaves lifts it.
    """
    with _blas_users.lock:
        _blas_users.count += 1
        if _blas_users.count == 1:
            _blas_users.limit = _blas().limit(limits=1, user_api='blas')
    try:
        yield
    finally:
        with _blas_users.lock:
            _blas_users.count -= 1
            if not _blas_users.count:
                _blas_users.limit.restore_original_limits()


class _BlasUsers:
    """Those that need one thread of BLAS now."""

    def __init__(self) -> None:
        self.lock, self.count, self.limit = Lock(), 0, cast(Any, None)


_blas_users = _BlasUsers()


@cache
def _blas() -> ThreadpoolController:
    import numpy  # noqa: F401
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()  # of the libraries that are loaded


def single_threaded(work: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a function so that its PyTorch operations run single-threaded."""

    @wraps(work)
    def run_single_threaded(*args: Arguments.args, **named: Arguments.kwargs) -> Result:
        import torch

        threads = torch.get_num_threads()
        if threads == 1:
            return work(*args, **named)
        torch.set_num_threads(1)
        try:
            return work(*args, **named)
        finally:
            torch.set_num_threads(threads)

    return run_single_threaded


def _thread_count() -> int:
    if getattr(_of_thread, 'is_in_pool', False):  # its items would wait for each other
        return 1
    if (torch := _loaded_torch()) is not None:
        return int(torch.get_num_threads())
    stated = os.environ.get('OMP_NUM_THREADS', '')
    return int(stated) if stated.isdigit() and int(stated) else len(os.sched_getaffinity(0))


def _loaded_torch() -> Any:
    """Return PyTorch if something has imported it: other work does not wait for that."""
    torch = sys.modules.get('torch')
    return torch if hasattr(torch, 'get_num_threads') else None


def _pool_of(threads: int) -> ThreadPoolExecutor:
    return _pool(threads, _loaded_torch() is not None)


@cache
def _pool(threads: int, with_torch: bool) -> ThreadPoolExecutor:
    def start() -> None:
        if with_torch:
            torch.get_num_threads()  # takes the default, which it would do later instead
            torch.set_num_threads(1)
        _of_thread.is_in_pool = True

    torch = _loaded_torch()
    # The thread count of PyTorch is set per thread, and is the default of threads that come later:
    # it is set again once all threads of the pool have started.
    pool = ThreadPoolExecutor(threads, 'cores', initializer=start)
    started = Barrier(threads + 1)
    for _ in range(threads):
        pool.submit(started.wait)
    started.wait()
    if with_torch:
        torch.set_num_threads(threads)
    return pool


def _forget_threads() -> None:
    """Start anew in a forked process: the threads of its parent do not run there."""
    global _blas_users
    _pool.cache_clear()
    _of_thread.is_in_pool = False
    _blas_users = _BlasUsers()


os.register_at_fork(after_in_child=_forget_threads)
