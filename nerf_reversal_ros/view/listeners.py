"""What the page tells to all browsers: each panel listens until its browser is closed."""

from collections.abc import Callable
from threading import Lock


class Listeners:
    """Functions without arguments that are called when something shared has changed."""

    def __init__(self) -> None:
        self._functions: list[Callable[[], None]] = []
        self._lock = Lock()

    def add(self, function: Callable[[], None]) -> None:
        """Call a function from now on."""
        with self._lock:
            self._functions.append(function)

    def remove(self, function: Callable[[], None]) -> None:
        """Call a function no longer."""
        with self._lock:
            self._functions.remove(function)

    def call(self) -> None:
        """Call all functions."""
        with self._lock:
            functions = list(self._functions)
        for function in functions:
            function()
