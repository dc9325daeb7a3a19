"""Work on the newest item only: a queue never builds up."""

from collections.abc import Callable
import math
import threading
import time
from typing import Generic, TypeVar

T = TypeVar('T')

MAX_WAIT_S = 1.0
"""Until then a shorter period is noticed."""


class LatestItemWorker(Generic[T]):
    """
    One thread that works on items; of those that wait, only the newest is kept.

    Parameters
    ----------
    work : callable
        Called in the thread with each item that is worked on. It must not raise.
    period_s : callable, optional
        Returns how long after an item the next one may be begun with [s].
    """

    def __init__(
        self, work: Callable[[T], None], period_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.received = 0
        """Items that came since the start or the last `reset`."""
        self.dropped = 0
        """Of these, items that were replaced by a newer one before they were worked on."""
        self._work, self._period_s = work, period_s
        self._pending: list[T] = []
        self._rate_limit_bypassed = False
        self._changed = threading.Condition()
        self._closed = False
        # A daemon, for a long computation must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def queue_depth(self) -> int:
        """How many items wait: none or one."""
        return len(self._pending)

    @property
    def closed(self) -> bool:
        """Whether `close` was called: long work should end."""
        return self._closed

    def submit(self, item: T) -> None:
        """Leave an item; returns at once."""
        with self._changed:
            self.received += 1
            self.dropped += len(self._pending)
            self._pending = [item]
            self._changed.notify()

    def bypass_rate_limit(self) -> None:
        """Let the next item be worked on at once, for somebody waits for it."""
        with self._changed:
            self._rate_limit_bypassed = True
            self._changed.notify()

    def reset(self) -> None:
        """Forget the waiting item and count from zero."""
        with self._changed:
            self._pending = []
            self.received = self.dropped = 0

    def close(self, timeout_s: float = 1.0) -> bool:
        """End the thread after the present item; tell whether it ended in time."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        begun_s = -math.inf
        while (item := self._next(begun_s)) is not None:
            begun_s = time.monotonic()
            self._work(item)

    def _next(self, begun_s: float) -> T | None:
        """Wait for an item whose time has come; None when closed."""
        with self._changed:
            while not self._closed:
                rest_s = begun_s + self._period_s() - time.monotonic()
                if self._pending and (rest_s <= 0.0 or self._rate_limit_bypassed):
                    self._rate_limit_bypassed = False
                    return self._pending.pop()
                self._changed.wait(min(rest_s, MAX_WAIT_S) if self._pending else None)
        return None
