"""Addition of a file to a finished map, which stays whole at every moment."""

from collections.abc import Iterator
from contextlib import contextmanager
import fcntl
import hashlib
import os
from pathlib import Path

from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.files import atomic_write, fsync
from nerf_reversal_ros.maps.map_folder import MANIFEST, Map
from nerf_reversal_ros.maps.map_writer import manifest_text


def add_file(map_: Map, name: str, content: bytes) -> Map:
    """
    Add a file to a map, or replace one that was added, and return the map with it.

    The manifest names the file only while its content is what the manifest says. So the map can
    be opened meanwhile, and after a crash.

    Parameters
    ----------
    map_ : Map
        An opened map.
    name : str
        Name of the file, in the map folder itself.
    content : bytes

    Raises
    ------
    BuildError
        If the file cannot be written, as on a read-only disk.
    MapError
        If another map was put in the place of the map.
    """
    files = {other: entry for other, entry in map_.manifest['files'].items() if other != name}
    entry = {'bytes': len(content), 'sha256': hashlib.sha256(content).hexdigest()}
    before = {**map_.manifest, 'files': files}
    after = {**map_.manifest, 'files': dict(sorted({**files, name: entry}.items()))}
    try:
        with _locked_folder(map_.path, min(files)) as folder:
            map_.check_unchanged()
            for target, data in (
                (MANIFEST, manifest_text(before)),
                (name, content),
                (MANIFEST, manifest_text(after)),
            ):
                atomic_write(folder / target, data)
                fsync(folder)
    except OSError as error:
        raise BuildError(f'cannot write the map {map_.path}: {error.strerror}') from error
    return Map(map_.path, after)


@contextmanager
def _locked_folder(path: Path, name: str) -> Iterator[Path]:
    """
    Yield the present folder of a map to one writer at a time, by a lock on one of its files.

    It stays that folder, though a build puts another map in its place.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        folder = Path(f'/proc/self/fd/{descriptor}')
        with (folder / name).open('r+b') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        os.close(descriptor)
