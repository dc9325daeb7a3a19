"""Exit soon after Ctrl-C, even if native code, threads or child processes are running."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
import signal
import sys
import threading
import time
from typing import Any

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 plus the number of SIGINT, as in shells."""

EXIT_DELAY_S = 1.5
"""Time for a regular exit after Ctrl-C [s]: a user does not wait longer."""

_writes_results = threading.Event()


def write_results_first() -> None:
    """Let a command that was interrupted write its results, however long that takes."""
    _writes_results.set()


@contextmanager
def exit_soon_on_interrupt(notify: Callable[[], None]) -> Iterator[None]:
    """
    End the process `EXIT_DELAY_S` after Ctrl-C, unless it has exited by then.

    Python raises KeyboardInterrupt only after native code returns, and joins threads at exit. A
    forced exit is as safe as a kill, because results are written atomically.

    Parameters
    ----------
    notify : callable
        Called before a forced exit, to tell the user. A regular exit does not call it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _writes_results.clear()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    previous_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    unraisable, sys.unraisablehook = sys.unraisablehook, _ignore_interrupts(sys.unraisablehook)
    threading.Thread(target=_watch, args=(reading, notify), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous_fd)
        sys.unraisablehook = unraisable
        os.close(writing)  # ends the thread, unless Ctrl-C came before


def _ignore_interrupts(hook: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Wrap `sys.unraisablehook`: a KeyboardInterrupt in a weakref callback prints nothing."""

    def hook_without_interrupts(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            hook(unraisable)

    return hook_without_interrupts


def _watch(reading: int, notify: Callable[[], None]) -> None:
    """Read signal numbers from a pipe until it is closed, and exit after SIGINT."""
    while number := os.read(reading, 1):
        if number[0] == signal.SIGINT:
            time.sleep(EXIT_DELAY_S)
            if _writes_results.is_set():
                break
            notify()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
    os.close(reading)
