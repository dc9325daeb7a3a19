"""
Errors that a user can cause.

Each message is one sentence that names the object, the value and the remedy. The command line and
the nodes catch `NerfReversalError` once, at their outermost level, and print it without a
traceback. Any other exception is a defect and keeps its traceback.
"""

MAX_MESSAGE_CHARS = 1500
"""Characters kept of a message, because it may quote the content of damaged files."""


class NerfReversalError(Exception):
    """Base class of errors in the input, as opposed to defects of the program."""

    def __init__(self, message: str = '') -> None:
        """Store the message on one line of at most `MAX_MESSAGE_CHARS` characters."""
        line = ' '.join(message.splitlines())
        super().__init__(
            line if len(line) <= MAX_MESSAGE_CHARS else f'{line[:MAX_MESSAGE_CHARS]} ...'
        )


class ConfigError(NerfReversalError):
    """A setting is unknown or has a value outside its limits."""


class CaptureError(NerfReversalError):
    """A bag, or a recording to convert to a bag, cannot be used as a capture."""


class ImageError(NerfReversalError):
    """A single image cannot be used; later images may be usable."""


class MapError(NerfReversalError):
    """A map folder is missing, damaged, or of another format version."""


class BuildError(NerfReversalError):
    """A build cannot continue, or its result is not usable."""


class MapInUseError(BuildError):
    """Another process is writing the map; it can be written when that has ended."""
