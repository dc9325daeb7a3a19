"""
Errors a user can cause, and nothing else.

Every message is one sentence that names the thing, the value and the remedy. The command line
and the nodes catch `NerfReversalError` once, at their edge, and print it without a traceback;
anything else that escapes is a bug and keeps its traceback.
"""

MAX_MESSAGE_CHARS = 1500
"""Characters of a message, at most."""


class NerfReversalError(Exception):
    """Base of everything that is the input's fault rather than the program's."""

    def __init__(self, message: str = '') -> None:
        """Keep the sentence, on one line and short: it may quote what damaged files hold."""
        line = ' '.join(message.splitlines())
        super().__init__(
            line if len(line) <= MAX_MESSAGE_CHARS else f'{line[:MAX_MESSAGE_CHARS]} ...'
        )


class ConfigError(NerfReversalError):
    """A setting is unknown or has an impossible value."""


class CaptureError(NerfReversalError):
    """A bag, or what it is to be converted from, cannot be used as a capture."""


class ImageError(NerfReversalError):
    """A single picture cannot be used; the next one may be."""


class MapError(NerfReversalError):
    """A map folder is missing, damaged, or of another version."""


class BuildError(NerfReversalError):
    """A build cannot go on, or its result is not fit to be used."""
