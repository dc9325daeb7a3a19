"""Lines of the text files of recordings."""

from pathlib import Path

from nerf_reversal_ros.core.errors import CaptureError


def read_lines(path: Path) -> list[tuple[int, str]]:
    """
    Return the lines of a text file with their numbers, without comments, which begin with #.

    Raises
    ------
    CaptureError
        If it cannot be read, or is no text.
    """
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except OSError as error:
        raise CaptureError(f'cannot read {path}: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise CaptureError(f'{path} is no text: export it again') from error
    stripped = ((number, line.strip()) for number, line in enumerate(lines, start=1))
    return [(number, line) for number, line in stripped if not line.startswith('#')]
