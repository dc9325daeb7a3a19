"""Run jobs of several threads one at a time, and changes of shared state between two jobs."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
import threading
from typing import TypeVar

T = TypeVar('T')


class ExclusiveJobs:
    """
    Serializes jobs, and runs submitted changes between them.

    A job runs in the thread of its caller. A change runs in the thread of its caller if no job
    runs, and otherwise in the thread that ends or begins the next job. Jobs that follow each
    other without a pause therefore never delay a change by more than one job. Neither jobs nor
    changes may call `run` themselves: the lock is not reentrant.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: deque[tuple[Callable[[], None], Future[None]]] = deque()

    def run(self, job: Callable[[], T]) -> T:
        """Make the waiting changes, run a job, and return its result."""
        try:
            with self._lock:
                self._make_changes()
                return job()
        finally:
            self._make_changes_if_idle()

    def submit_change(self, change: Callable[[], None]) -> 'Future[None]':
        """Make a change now, or after the running job; return a future of its end or error."""
        made: Future[None] = Future()
        self._changes.append((change, made))
        self._make_changes_if_idle()
        return made

    def _make_changes_if_idle(self) -> None:
        # A change submitted after this loop finds the lock free. One submitted while another
        # thread holds the lock is made by that thread, which runs this loop after its release.
        while self._changes and self._lock.acquire(blocking=False):
            try:
                self._make_changes()
            finally:
                self._lock.release()

    def _make_changes(self) -> None:
        while self._changes:
            change, made = self._changes.popleft()
            try:
                change()
            except Exception as error:  # belongs to the thread that submitted the change
                made.set_exception(error)
            else:
                made.set_result(None)
