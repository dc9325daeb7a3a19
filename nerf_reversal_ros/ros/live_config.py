"""Settings that may change while a node runs, as a type apart from fixed settings."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar('T')


class Live(Generic[T]):
    """
    Read access to a frozen config whose parameters may change at run time.

    A constructor that takes a plain config keeps its values for the lifetime of the object. A
    constructor that takes ``Live[Config]`` reads `current` again for each image or message.

    Parameters
    ----------
    read : callable
        Returns the present config.
    """

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read

    @property
    def current(self) -> T:
        """Return the present values, as one immutable snapshot."""
        return self._read()
