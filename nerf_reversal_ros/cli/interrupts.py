"""Ctrl-C ends a command soon, also when native code, threads or processes of it are at work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
import signal
import sys
import threading
import time
from typing import Any

INTERRUPTED = 130
EXIT_DELAY_S = 1.5


@contextmanager
def exit_soon_on_interrupt(notify: Callable[[], None]) -> Iterator[None]:
    """
    End the process `EXIT_DELAY_S` after Ctrl-C, unless it has ended by itself until then.

    Python raises KeyboardInterrupt only when native code has returned, and waits for threads at
    its end. What is cut off here is as safe as in a kill: results appear whole or not at all.

    Parameters
    ----------
    notify : callable
        Tells the user of it, once, whoever calls first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    unraisable, sys.unraisablehook = sys.unraisablehook, _ignore_interrupts(sys.unraisablehook)
    threading.Thread(target=_watch, args=(reading, notify), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        sys.unraisablehook = unraisable
        os.close(writing)  # which ends the thread, unless it counts already


def _ignore_interrupts(hook: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Say nothing of a Ctrl-C that came in a callback of Python's own, which swallows it."""

    def told(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            hook(unraisable)

    return told


def _watch(reading: int, tell: Callable[[], None]) -> None:
    while number := os.read(reading, 1):
        if number[0] == signal.SIGINT:
            time.sleep(EXIT_DELAY_S)
            tell()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
    os.close(reading)
