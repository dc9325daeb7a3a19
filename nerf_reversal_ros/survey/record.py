"""
What the maps of a survey were built from: ``survey.json`` in its folder.

A map is up to date if it was built from the same files with the same settings and version. The
record is written before a build and read after it, so that a survey may end at any moment.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import fcntl
import json
import os
from pathlib import Path
from typing import Any

from nerf_reversal_ros.core.errors import BuildError, MapError
from nerf_reversal_ros.core.files import atomic_write, fsync
from nerf_reversal_ros.maps.map_folder import Map, open_map

RECORD_FILE, ROOMS_FOLDER = 'survey.json', 'rooms'
_LOCK, _VERSION = '.survey.lock', 1


class SurveyRecord:
    """The record of a survey; each change is on the disk when the call returns."""

    def __init__(self, out: Path) -> None:
        """Read the record in a folder; without one, or with a damaged one, all is built."""
        self._file = out / RECORD_FILE
        self._rooms: dict[str, dict[str, Any]] = {}
        try:
            content = json.loads(self._file.read_text(encoding='utf-8'))
            if content['format_version'] == _VERSION:
                self._rooms = {
                    str(name): {
                        'fingerprint': str(entry['fingerprint']),
                        'replaces': entry['replaces'],
                    }
                    for name, entry in content['rooms'].items()
                }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass

    def finished_map(self, name: str, map_dir: Path, fingerprint: str) -> Map | None:
        """Return the map of a room if it is whole and of these inputs."""
        entry = self._rooms.get(name)
        if entry is None or entry['fingerprint'] != fingerprint:
            return None
        map_ = whole_map(map_dir)
        return None if map_ is None or map_.identity == entry['replaces'] else map_

    def begin(self, name: str, map_dir: Path, fingerprint: str) -> None:
        """Record that a map of these inputs is about to be built."""
        entry = self._rooms.get(name)
        if entry is not None and entry['fingerprint'] == fingerprint:
            return  # is resumed
        before = whole_map(map_dir)
        identity = None if before is None else before.identity
        self._rooms[name] = {'fingerprint': fingerprint, 'replaces': identity}
        text = json.dumps({'format_version': _VERSION, 'rooms': self._rooms}, indent=1)
        try:
            atomic_write(self._file, text + '\n')
            fsync(self._file.parent)
        except OSError as error:
            raise BuildError(f'cannot write {self._file}: {error.strerror}') from error


def whole_map(map_dir: Path) -> Map | None:
    """Return a map that is finished and undamaged; None if there is none."""
    try:
        map_ = open_map(map_dir)
    except MapError:
        return None
    return None if map_.is_first else map_


@contextmanager
def only_survey(out: Path) -> Iterator[None]:
    """Create the folder of a survey, and keep other surveys out of it in a ``with`` block."""
    try:
        (out / ROOMS_FOLDER).mkdir(parents=True, exist_ok=True)
        lock = os.open(out / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise BuildError(
            f'cannot write the survey {out}: {error.strerror}, choose another folder'
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BuildError(
            f'another survey is writing {out}: wait for it, or choose another folder'
        ) from None
    finally:
        os.close(lock)
