"""
Writing of a map folder: staged, resumable, and published by one atomic rename.

A build writes to ``<map>.partial/``. The staging folder survives a killed build, and `MapWriter`
resumes it. The rename to ``<map>`` follows the last fsync, so a partial map never exists. A first
map may be published before: a whole map, in whose place the finished one is put.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
import ctypes
import fcntl
import hashlib
import json
import os
from pathlib import Path
import shutil
from time import perf_counter
from typing import Any

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import BuildError, MapInUseError
from nerf_reversal_ros.core.files import atomic_write, fsync, is_full_disk, remove, sha256
from nerf_reversal_ros.maps.map_folder import (
    FIRST,
    FORMAT_VERSION,
    is_file_name,
    iter_map_files,
    MANIFEST,
    Map,
    staging_dir,
)

_STATE, _LOCK, _WORK, _FIRST = '.state.json', '.lock', '.work', '.first'
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""Arguments of renameat2 from <fcntl.h> and <linux/fs.h>."""


def is_being_built(map_dir: Path) -> bool:
    """Return whether an unfinished build of a map can be resumed."""
    try:
        text = (staging_dir(map_dir) / _STATE).read_text(encoding='utf-8')
        return bool(json.loads(text)['stages'])
    except (OSError, ValueError, KeyError, TypeError):
        return False


class MapWriter:
    """
    Context manager that stages the files of a map and resumes an unfinished build.

    Its block spans the whole build. A file lock excludes a second build of the same map. Errors
    of a full disk, raised anywhere in the block, become a BuildError.

    Parameters
    ----------
    map_dir : Path
        Map folder to write. It must not exist, be empty, or hold a first map with the same
        fingerprint, unless ``overwrite``.
    fingerprint : dict
        Inputs that determine the result (bag, settings, versions), as JSON. An unfinished build
        with the same fingerprint is resumed; one with another fingerprint is deleted.
    overwrite : bool
        Replace an existing map. The old map stays in place until the new one is complete.

    Attributes
    ----------
    note : str
        Sentence about the unfinished build that was found; empty if there was none.
    work_dir : Path
        Folder for intermediate files; they do not become part of the map.

    Raises
    ------
    BuildError
        If ``map_dir`` exists or cannot be written.
    MapInUseError
        If another build is writing it.
    """

    def __init__(
        self, map_dir: Path, fingerprint: dict[str, Any], *, overwrite: bool = False
    ) -> None:
        self.map_dir = Path(os.path.abspath(map_dir))
        self._staging_dir = staging_dir(self.map_dir)
        self._overwrite = overwrite
        self._state: dict[str, Any] = {
            'fingerprint': json.loads(json.dumps(fingerprint)),
            'stages': {},
            'seconds': {},
        }
        self.note = ''
        self.work_dir = self._staging_dir / _WORK
        try:
            self._check_target()
            self._lock = _acquire_lock(self._staging_dir)
        except OSError as error:
            raise self._failure(error) from error
        try:
            self._resume_or_reset()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise self._failure(error) from error
            raise

    def _resume_or_reset(self) -> None:
        """Take up the state of an unfinished build of the same fingerprint, or delete it."""
        unfinished = self._read_state()
        if unfinished is not None and unfinished['fingerprint'] == self._state['fingerprint']:
            self._state = unfinished
            stages = ', '.join(unfinished['stages']) or 'none'
            self.note = f'resuming an unfinished build (finished stages: {stages})'
        else:
            leftovers = [item for item in self._staging_dir.iterdir() if item.name != _LOCK]
            if leftovers:
                self.note = (
                    'starting over: the unfinished build has another bag or nerfstudio run, other'
                    ' settings or another version'
                )
            for item in leftovers:
                remove(item)
            self._write_state()
        self.work_dir.mkdir(exist_ok=True)

    def path(self, name: str) -> Path:
        """Return the staging path of the map's file ``name``; create its parent folder."""
        if not is_file_name(name) or name == MANIFEST:
            raise ValueError(f'{name!r} cannot be a file of a map')
        file = self._staging_dir / name
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def is_done(self, stage: str) -> bool:
        """Return whether this build, or the one that it resumes, finished a stage."""
        return stage in self._state['stages']

    def stage_info(self, stage: str) -> dict[str, Any]:
        """Return the information that `finish_stage` stored for a finished stage."""
        return dict(self._state['stages'][stage])

    def finish_stage(self, stage: str, info: dict[str, Any] | None = None) -> None:
        """Record that a stage is finished, with information for later stages (JSON)."""
        self._state['stages'][stage] = json.loads(json.dumps(info or {}))
        self._write_state()

    @contextmanager
    def time_stage(self, stage: str) -> Iterator[None]:
        """
        Add the duration of the block to the time of the stage, over all resumed builds.

        A block that ends by an error or an interrupt counts. The time of a killed one is lost.
        """
        start = perf_counter()
        try:
            yield
        finally:
            before: float = self._state['seconds'].get(stage, 0.0)
            self._state['seconds'][stage] = before + perf_counter() - start
            self._write_state()

    @property
    def seconds(self) -> dict[str, float]:
        """Time of each stage so far [s], in the order of the stages; see `time_stage`."""
        return dict(self._state['seconds'])

    @property
    def takes_first_map(self) -> bool:
        """Whether `publish_first` may write: a finished map stays until the new one is."""
        return not (self.map_dir / MANIFEST).exists() or self._is_first()

    def publish_first(
        self, manifest: dict[str, Any], more: Mapping[str, Callable[[Path], None]]
    ) -> Path:
        """
        Publish a first map of the files that are staged, and return its folder.

        The build goes on in the staging folder, and `finish` puts the finished map in its place.

        Parameters
        ----------
        manifest : dict
            As that of `finish`.
        more : mapping
            Further files of the first map alone: their names, and what writes each.
        """
        folder = self._staging_dir / _FIRST
        try:
            remove(folder)
            folder.mkdir()
            for file in iter_map_files(self._staging_dir):
                target = folder / file.relative_to(self._staging_dir)
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.name not in more:
                    shutil.copyfile(file, target)
            for name, write in more.items():
                write(folder / name)
            _write_manifest(folder, {**manifest, 'fingerprint': self._fingerprint_sha256})
            self._check_target()
            publish_folder(folder, self.map_dir)
            fsync(self.map_dir.parent)
        except OSError as error:
            raise self._failure(error) from error
        return self.map_dir

    @property
    def _fingerprint_sha256(self) -> str:
        """Checksum of the inputs, by which a first map is known to be of this build."""
        text = json.dumps(self._state['fingerprint'], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _is_first(self, fingerprint_sha256: str | None = None) -> bool:
        """Whether a first map is in place, and of a build with a fingerprint if that is given."""
        try:
            manifest = json.loads((self.map_dir / MANIFEST).read_text(encoding='utf-8'))
            found = manifest.get('fingerprint')
            return bool(manifest['stage'] == FIRST) and fingerprint_sha256 in (None, found)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def _check_target(self) -> None:
        """Raise BuildError unless the map may be written."""
        folder = self.map_dir
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        if not (folder / MANIFEST).is_file():
            raise BuildError(f'{folder} exists and is not a map: choose another folder')
        if self._overwrite or self._is_first(self._fingerprint_sha256):
            return
        if self._is_first():
            raise BuildError(
                f'{folder} is the first map of another build, with another bag, other settings or'
                f' another version: {remedies.FINISH_OR_OVERWRITE}'
            )
        raise BuildError(f'the map {folder} exists: {remedies.OVERWRITE}')

    def finish(self, manifest: dict[str, Any]) -> Map:
        """
        Write the manifest with the checksums of all files, and publish the map.

        ``format_version`` and ``files`` are added to the manifest.
        """
        try:
            complete = _write_manifest(self._staging_dir, manifest)
            self._check_target()
            for name in (_WORK, _FIRST):
                remove(self._staging_dir / name)
            publish_folder(self._staging_dir, self.map_dir)
            for name in (_STATE, _LOCK):
                (self.map_dir / name).unlink()
            fsync(self.map_dir.parent)
        except OSError as error:
            raise self._failure(error) from error
        finally:
            self.close()
        return Map(self.map_dir, complete)

    def close(self) -> None:
        """Release the lock; keep the staging folder if there is something to resume."""
        if self._lock >= 0:
            with suppress(OSError):
                self._remove_if_empty()
            os.close(self._lock)
            self._lock = -1

    def _remove_if_empty(self) -> None:
        """Remove the staging folder if the lock is still its own and nothing can be resumed."""
        lock = self._staging_dir / _LOCK
        if self._state['stages'] or not os.path.samestat(lock.stat(), os.fstat(self._lock)):
            return
        items = [item for item in self._staging_dir.rglob('*') if item.is_file()]
        if any(item.name not in (_STATE, _LOCK) for item in items):
            return
        for item in self._staging_dir.iterdir():
            if item != lock:
                remove(item)
        # Without the lock another build may enter the empty folder; its own lock file then makes
        # rmdir fail, and the folder stays.
        lock.unlink()
        self._staging_dir.rmdir()

    def __enter__(self) -> 'MapWriter':
        """Return the writer; the lock is held until the end of the block."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Release the lock; raise BuildError for a full disk."""
        self.close()
        if error is not None and is_full_disk(error):
            raise self._failure(error) from error

    def _failure(self, error: BaseException) -> BuildError:
        if is_full_disk(error):
            return BuildError(f'no space left for {self._staging_dir}: {remedies.FREE_DISK_SPACE}')
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return BuildError(f'cannot write the map {self.map_dir}: {reason}')

    def _read_state(self) -> dict[str, Any] | None:
        try:
            state = json.loads((self._staging_dir / _STATE).read_text(encoding='utf-8'))
            return {
                'fingerprint': state['fingerprint'],
                'stages': dict(state['stages']),
                'seconds': dict(state['seconds']),
            }
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write_state(self) -> None:
        try:
            atomic_write(self._staging_dir / _STATE, json.dumps(self._state))
        except OSError as error:
            raise self._failure(error) from error


def manifest_text(manifest: dict[str, Any]) -> str:
    """Return the content of the file `MANIFEST`."""
    return json.dumps(manifest, indent=1, allow_nan=False) + '\n'


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """
    Complete the manifest by format version and checksums, and flush all files to the disk.

    Returns the manifest as a reader finds it.
    """
    files = {
        file.relative_to(folder).as_posix(): {'bytes': file.stat().st_size, 'sha256': sha256(file)}
        for file in iter_map_files(folder)
        if file.name != MANIFEST
    }
    complete = {'format_version': FORMAT_VERSION, **manifest, 'files': files}
    text = manifest_text(complete)
    (folder / MANIFEST).write_text(text, encoding='utf-8')
    for path in (*iter_map_files(folder), folder):
        fsync(path)
    return dict(json.loads(text))


def _acquire_lock(staging: Path) -> int:
    """Return a file descriptor that holds the only lock on the staging folder."""
    while True:
        with suppress(FileExistsError):
            staging.mkdir(parents=True)
        try:
            lock = os.open(staging / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            if staging.is_symlink():
                raise
            continue  # a build with nothing to resume has just removed the folder
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink == 1:
                return lock
        except BlockingIOError:
            os.close(lock)
            raise MapInUseError(
                f'another build is writing {staging}: wait for it, or choose another folder'
            ) from None
        except OSError:
            os.close(lock)
            raise
        os.close(lock)  # the other build has just renamed or removed its folder: retry


def publish_folder(staging: Path, map_dir: Path) -> None:
    """Rename a folder to the map; exchange it atomically with an existing map."""
    if not map_dir.exists() or not any(map_dir.iterdir()):
        staging.replace(map_dir)
        return
    replaced = map_dir.with_name(map_dir.name + '.replaced')
    remove(replaced)
    libc = ctypes.CDLL(None)
    source, target = os.fsencode(staging), os.fsencode(map_dir)
    if libc.renameat2(_AT_FDCWD, source, _AT_FDCWD, target, _RENAME_EXCHANGE) == 0:
        staging.replace(replaced)
    else:  # the file system cannot exchange: there is no map for a moment
        map_dir.replace(replaced)
        staging.replace(map_dir)
    remove(replaced)
