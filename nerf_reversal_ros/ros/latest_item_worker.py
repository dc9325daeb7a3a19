"""Process the newest item in a worker thread and drop older ones, so that no queue builds up."""

from collections.abc import Callable
import math
import threading
import time
from typing import Generic, TypeVar

T = TypeVar('T')

MAX_WAIT_S = 1.0
"""Longest wait before the period is read again [s], so that a shorter one takes effect."""


class LatestItemWorker(Generic[T]):
    """
    One thread that processes items; only the newest waiting item is kept.

    Parameters
    ----------
    work : callable
        Called in the thread with each item that is processed. It must not raise.
    period_s : callable, optional
        Returns the least time between the starts of two items [s]; read before each item.
    """

    def __init__(
        self, work: Callable[[T], None], period_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.received = 0
        """Items submitted since the start or the last `reset`."""
        self.dropped = 0
        """Of these, items replaced by a newer one before they were processed."""
        self._work, self._period_s = work, period_s
        self._pending: list[T] = []
        self._rate_limit_bypassed = False
        self._changed = threading.Condition()
        self._closed = False
        # A daemon: a long computation must not delay the end of the process.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def queue_depth(self) -> int:
        """Number of waiting items: 0 or 1."""
        return len(self._pending)

    @property
    def closed(self) -> bool:
        """Whether `close` was called; long work should then end."""
        return self._closed

    def submit(self, item: T) -> None:
        """Replace the waiting item; return at once."""
        with self._changed:
            self.received += 1
            self.dropped += len(self._pending)
            self._pending = [item]
            self._changed.notify()

    def submit_again(self, item: T) -> None:
        """Add an item that was processed before, uncounted, unless a newer one waits."""
        with self._changed:
            self._pending = self._pending or [item]
            self._changed.notify()

    def bypass_rate_limit(self) -> None:
        """Process the next item without waiting for the period."""
        with self._changed:
            self._rate_limit_bypassed = True
            self._changed.notify()

    def reset(self) -> None:
        """Drop the waiting item and set the counts to zero."""
        with self._changed:
            self._pending = []
            self.received = self.dropped = 0

    def close(self, timeout_s: float = 0.3) -> bool:
        """End the thread after the present item; return whether it ended in time."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        start_s = -math.inf
        while (item := self._next(start_s)) is not None:
            start_s = time.monotonic()
            self._work(item)

    def _next(self, last_start_s: float) -> T | None:
        """Wait for an item and for the end of the period; return None when closed."""
        with self._changed:
            while not self._closed:
                remaining_s = last_start_s + self._period_s() - time.monotonic()
                if self._pending and (remaining_s <= 0.0 or self._rate_limit_bypassed):
                    self._rate_limit_bypassed = False
                    return self._pending.pop()
                self._changed.wait(min(remaining_s, MAX_WAIT_S) if self._pending else None)
        return None
