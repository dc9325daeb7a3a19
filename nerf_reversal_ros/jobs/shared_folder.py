"""Whether a machine of a cluster sees a folder of the machine that gives the jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
import secrets

from nerf_reversal_ros.core.errors import NerfReversalError

_TOKEN = '.jobs-token'


@dataclass(frozen=True)
class SharedFolder:
    """A folder with a text in a file, by which another machine knows it."""

    path: Path
    text: str

    @property
    def is_here(self) -> bool:
        """Whether this machine sees the folder."""
        try:
            return (self.path / _TOKEN).read_text(encoding='ascii') == self.text
        except (OSError, UnicodeDecodeError):
            return False


@contextmanager
def share(folder: Path) -> Iterator[SharedFolder]:
    """Let machines know a folder in a ``with`` block; NerfReversalError if it is read-only."""
    shared = SharedFolder(folder.absolute(), secrets.token_hex(16))
    file = folder / _TOKEN
    try:
        file.write_text(shared.text, encoding='ascii')
    except OSError as error:
        raise NerfReversalError(f'cannot write {file}: {error.strerror}') from error
    try:
        yield shared
    finally:
        file.unlink(missing_ok=True)
