"""Work that a browser asks for, done in a thread: only the newest counts."""

from collections.abc import Callable
from threading import Lock, Timer

IsNewest = Callable[[], bool]


class NewestTask:
    """Does what was asked last; earlier work is left out, or finds out that it is late."""

    def __init__(self) -> None:
        self._working = Lock()
        self._newest: Timer | None = None

    def ask(self, work: Callable[[IsNewest], None], wait_s: float = 0.0) -> None:
        """
        Do some work after a time, unless something newer is asked meanwhile.

        Parameters
        ----------
        work : callable
            Receives a function that returns whether nothing newer was asked.
        wait_s : float
            Time before it begins [s].
        """
        timer = Timer(wait_s, lambda: self._work(timer, work))
        timer.daemon = True
        self._newest = timer
        timer.start()

    def drop(self) -> None:
        """Do nothing of what was asked."""
        self._newest = None

    def _work(self, timer: Timer, work: Callable[[IsNewest], None]) -> None:
        with self._working:
            if self._newest is timer:
                work(lambda: self._newest is timer)
