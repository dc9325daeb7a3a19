"""Work on all cores, from whatever thread, and in order."""

from concurrent.futures import ThreadPoolExecutor
import multiprocessing
import threading
import time

import pytest
from threadpoolctl import threadpool_info, threadpool_limits
import torch

from nerf_reversal_ros.core import parallel
from nerf_reversal_ros.core.parallel import (
    one_blas_thread,
    parallel_map,
    parallel_stream,
    start,
)


def threads_used(count: int = 8) -> int:
    """Return how many threads a parallel map works in at once."""
    barrier = threading.Barrier(2)

    def work(_: int) -> int:
        try:
            barrier.wait(timeout=2.0)
        except threading.BrokenBarrierError:
            pass
        return threading.get_ident()

    return len(set(parallel_map(work, range(count))))


def test_a_thread_that_comes_after_the_pool_uses_all_cores_too() -> None:
    assert torch.get_num_threads() == 2 and threads_used() == 2
    for _ in range(2):
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
            assert later.submit(threads_used).result() == 2


def test_work_of_the_pool_may_map_in_parallel_itself() -> None:
    nested = parallel_map(lambda item: sum(parallel_map(lambda x: x * item, range(9))), range(9))
    assert nested == [36 * item for item in range(9)]


def test_results_are_in_the_order_of_the_items() -> None:
    assert parallel_map(lambda item: item**2, range(50)) == [item**2 for item in range(50)]
    assert list(parallel_stream(str, range(50))) == [str(item) for item in range(50)]


def test_started_work_is_waited_for_in_any_thread() -> None:
    waits = [start(lambda n=n: n**2) for n in range(5)]
    assert [wait() for wait in waits] == [0, 1, 4, 9, 16]
    assert parallel_map(lambda n: start(lambda: n + 1)(), range(4)) == [1, 2, 3, 4]
    failed = start(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failed()


def test_matrices_are_multiplied_on_one_core_meanwhile() -> None:
    def blas_threads() -> set[int]:
        return {lib['num_threads'] for lib in threadpool_info() if lib['user_api'] == 'blas'}

    while parallel._blas_users.count:  # a thread that an earlier test left behind
        time.sleep(0.05)
    with threadpool_limits(2, 'blas'):
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)  # as another thread may, in any order
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == {2}


def test_a_forked_process_starts_threads_of_its_own() -> None:
    assert start(lambda: 3)() == 3
    context = multiprocessing.get_context('fork')
    results = context.SimpleQueue()
    child = context.Process(target=lambda: results.put(start(lambda: 4)()))
    child.start()
    child.join(20)
    child.kill()
    assert child.exitcode == 0 and results.get() == 4
