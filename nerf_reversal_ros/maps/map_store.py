"""
The map folder: how it is written so that no half map can exist, and how it is opened.

A map is a folder with a ``manifest.json`` (format version, how it was built, camera, frames,
metrics, and size and checksum of every other file) beside arrays. It is put together in
``<map>.partial/``, which survives a killed build and is renamed when the map is complete.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
import ctypes
from dataclasses import dataclass
import fcntl
import json
import os
from pathlib import Path
import re
from time import perf_counter
from typing import Any, TYPE_CHECKING
import zipfile

import numpy as np

from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import config_from_dict, LocalizerConfig, QueryConfig
from nerf_reversal_ros.core.errors import BuildError, ConfigError, ImageError, MapError
from nerf_reversal_ros.core.files import (
    atomic_write_text,
    fsync,
    is_full_disk,
    is_within,
    remove,
    sha256,
)
from nerf_reversal_ros.core.geometry import FloatArray

if TYPE_CHECKING:
    from nerf_reversal_ros.localization.localizer import Localizer

FORMAT_VERSION = 3
"""Version of the map folder that this program writes and reads."""

MAX_POSES_BYTES = 1 << 28
"""Walked poses that would unpack to more are refused."""

MANIFEST = 'manifest.json'
_STATE, _LOCK, _WORK = '.state.json', '.lock', '.work'
_FILE_NAME_PATTERN = re.compile(r'[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*')


@dataclass(frozen=True)
class Map:
    """A complete map on disk, its files checked."""

    path: Path
    """The map folder."""
    manifest: dict[str, Any]
    """The contents of ``manifest.json``."""

    @property
    def camera(self) -> Camera:
        """The canonical camera that the regressor was trained for."""
        return Camera(**self.manifest['camera'])

    @property
    def convention(self) -> PoseConvention:
        """How the poses of the bag that the map was built from became map_from_camera."""
        return PoseConvention.from_dict(self.manifest['convention'])

    @property
    def mapping_poses(self) -> FloatArray:
        """(N, 4, 4) poses of the pictures that the map was built from; MapError if damaged."""
        file = self.file('walked_poses.npz')
        try:
            with zipfile.ZipFile(file) as archive:
                if sum(item.file_size for item in archive.infolist()) > MAX_POSES_BYTES:
                    raise ValueError(f'it would unpack to more than {MAX_POSES_BYTES} bytes')
            with np.load(file, allow_pickle=False) as stored:
                poses = np.asarray(stored['map_from_camera'], dtype=np.float64)
            if poses.shape[1:] != (4, 4) or not len(poses) or not np.isfinite(poses).all():
                raise ValueError(f'poses of the shape {poses.shape}, or not finite')
        except Exception as error:  # zipfile and NumPy raise nearly anything on damage
            raise MapError(f'{file} is damaged ({error}): build the map again') from error
        return poses

    def query_config(
        self, user: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]] | None = None
    ) -> QueryConfig:
        """
        Return settings for bags that are localized.

        They are those of ``overrides``; else those given; else, for reading a bag, those of the bag
        that the map was built from; else the defaults.

        Raises
        ------
        ConfigError, MapError
            If those given, or those of the map, are not known here.
        """
        config_from_dict(QueryConfig, user)  # what is wrong with these is told before the map's
        built = self.manifest.get('built', {}).get('config', {}).get('capture', {})
        try:
            config_from_dict(QueryConfig, {'capture': built})
        except ConfigError as error:
            raise MapError(f'the map {self.path} has settings unknown here: {error}') from error
        return config_from_dict(
            QueryConfig,
            {
                part: {**below, **(user.get(part) or {}), **(overrides or {}).get(part, {})}
                for part, below in (('capture', built), ('localizer', {}))
            },
        )

    def localizer(self, config: LocalizerConfig | None = None) -> 'Localizer':
        """
        Load what the map holds for localizing; the default config is that of `LocalizerConfig`.

        Raises
        ------
        MapError, ConfigError
            If a file of the map is damaged, or the device is not available.
        """
        from nerf_reversal_ros.localization.localizer import open_localizer

        return open_localizer(self, config or LocalizerConfig())

    def file(self, name: str) -> Path:
        """Return the path of one of the map's files; MapError when the map has no such file."""
        if name not in self.manifest['files']:
            raise MapError(
                f'the map {self.path} holds no {name} (it holds'
                f' {", ".join(sorted(self.manifest["files"]))}): build it again'
            )
        return self.path / name


def open_map(path: Path) -> Map:
    """
    Open a map folder after checking its version and the size and checksum of every file.

    Raises
    ------
    MapError
        If there is no map, or it is unfinished, damaged, or of another format version.
    """
    path = Path(path)
    try:
        found = Map(path, _read_manifest(path))
        for name, expected in found.manifest['files'].items():
            _check_file(path, name, expected)
    except OSError as error:
        raise MapError(
            f'cannot read the map {path}: {error.strerror} ({error.filename})'
        ) from error
    return found


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    if not file.is_file():
        if _staging_dir(Path(os.path.abspath(path))).is_dir():
            raise MapError(
                f'the map {path} is unfinished: give the same build command again, it goes on'
                ' where it stopped'
            )
        what = 'is not a map: it holds no manifest.json' if path.exists() else 'does not exist'
        raise MapError(f'{path} {what}; give the folder written by nerf-reversal build')
    try:
        manifest = json.loads(file.read_text(encoding='utf-8'))
        version = manifest['format_version']
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise MapError(
            f'{file} is damaged or not of a map ({_format_error(error)}): build the map again'
        ) from error
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        remedy = 'update nerf_reversal_ros, or build it again' if newer else 'build it again'
        raise MapError(
            f'the map {path} has format version {version!r} and this program reads'
            f' {FORMAT_VERSION}: {remedy}'
        )
    try:
        Camera(**manifest['camera'])
        PoseConvention.from_dict(manifest['convention'])
        if not all(_is_checksum(expected) for expected in manifest['files'].values()):
            raise TypeError('files need bytes and sha256')
        if not all(isinstance(told, str) for told in [*manifest.get('warnings', [])]):
            raise TypeError('warnings need to be texts')
    except (KeyError, TypeError, ValueError, AttributeError, ImageError) as error:
        raise MapError(
            f'{file} is incomplete or was edited ({_format_error(error)}): build the map again'
        ) from error
    return dict(manifest)


def _check_file(path: Path, name: str, expected: dict[str, Any]) -> None:
    file = path / name
    if not _FILE_NAME_PATTERN.fullmatch(name) or not is_within(file, path):
        raise MapError(
            f'{path / MANIFEST} names a file outside the map, {name!r}: do not trust this map,'
            ' build it again'
        )
    if not file.is_file():
        raise MapError(f'the map {path} lacks its file {name}: copy it again, or build it again')
    size = file.stat().st_size
    if size != expected['bytes']:
        raise MapError(
            f'{file} has {size} bytes instead of {expected["bytes"]} (truncated?): copy the map'
            ' again, or build it again'
        )
    if sha256(file) != expected['sha256']:
        raise MapError(
            f'the contents of {file} have changed since the build: copy the map again, or build'
            ' it again'
        )


class MapWriter:
    """
    Puts a map together in ``<map>.partial/``, so that a killed build can go on.

    Use it as a context manager round the whole build: it holds a lock that keeps a second build
    out, and it turns a full disk, wherever it shows, into a BuildError.

    Parameters
    ----------
    map_dir : Path
        The map to write. It must not exist, unless it is an empty folder.
    fingerprint : dict
        What the result depends on (bag, settings, versions), as JSON. An unfinished build with
        the same fingerprint is resumed; another one is thrown away.
    overwrite : bool
        Allow an existing map to be replaced. The old one stays until the new one is complete.

    Attributes
    ----------
    resumed : bool
        An unfinished build is being continued.
    note : str
        What was found in ``<map>.partial/``, in words; empty for a fresh start.
    work_dir : Path
        Folder for intermediate files, which do not become part of the map.

    Raises
    ------
    BuildError
        If ``map_dir`` is taken, another build is writing it, or it cannot be written.
    """

    def __init__(
        self, map_dir: Path, fingerprint: dict[str, Any], *, overwrite: bool = False
    ) -> None:
        self.map_dir = Path(os.path.abspath(map_dir))
        self._staging_dir = _staging_dir(self.map_dir)
        self._overwrite = overwrite
        asked = json.loads(json.dumps(fingerprint))
        self._state: dict[str, Any] = {'fingerprint': asked, 'stages': {}, 'seconds': {}}
        self.is_resumed, self.note = False, ''
        self.work_dir = self._staging_dir / _WORK
        try:
            _check_target(self.map_dir, overwrite)
            self._lock = _acquire_lock(self._staging_dir)
        except OSError as error:
            raise self._failure(error) from error
        try:
            self._start()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise self._failure(error) from error
            raise

    def _start(self) -> None:
        old = self._read_state()
        if old is not None and old['fingerprint'] == self._state['fingerprint']:
            self._state, self.is_resumed = old, True
            stages = ', '.join(old['stages']) or 'none'
            self.note = f'resuming an unfinished build (finished stages: {stages})'
        else:
            leftovers = [item for item in self._staging_dir.iterdir() if item.name != _LOCK]
            if leftovers:
                self.note = (
                    'starting afresh: the unfinished build was of another bag or run, other'
                    ' settings or another version'
                )
            for item in leftovers:
                remove(item)
            self._write_state()
        self.work_dir.mkdir(exist_ok=True)

    def path(self, name: str) -> Path:
        """Return where to write the map's file ``name`` (its folder exists)."""
        if not _FILE_NAME_PATTERN.fullmatch(name) or name == MANIFEST:
            raise ValueError(f'{name!r} cannot be a file of a map')
        file = self._staging_dir / name
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def is_done(self, stage: str) -> bool:
        """Tell whether this build, or the one it resumes, finished a stage."""
        return stage in self._state['stages']

    def stage_info(self, stage: str) -> dict[str, Any]:
        """Return what `mark` was given for a finished stage."""
        return dict(self._state['stages'][stage])

    def finish_stage(self, stage: str, info: dict[str, Any] | None = None) -> None:
        """Record that a stage is finished, with what later stages need to know of it (JSON)."""
        self._state['stages'][stage] = json.loads(json.dumps(info or {}))
        self._write_state()

    @contextmanager
    def time_stage(self, stage: str) -> Iterator[None]:
        """
        Add the time of the block to what the stage took in this build and those it resumes.

        A block that ends by an error or an interrupt counts too; what a killed one took is lost.
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
        """What each stage took so far, see `timed`."""
        return dict(self._state['seconds'])

    def finish(self, manifest: dict[str, Any]) -> Map:
        """
        Complete the map: checksums, manifest, and the rename that makes it appear.

        ``format_version`` and ``files`` are added to the manifest here.
        """
        try:
            files = {
                file.relative_to(self._staging_dir).as_posix(): {
                    'bytes': file.stat().st_size,
                    'sha256': sha256(file),
                }
                for file in _map_files(self._staging_dir)
                if file.name != MANIFEST
            }
            complete = {'format_version': FORMAT_VERSION, **manifest, 'files': files}
            text = json.dumps(complete, indent=1, allow_nan=False)
            (self._staging_dir / MANIFEST).write_text(text + '\n', encoding='utf-8')
            for path in (*_map_files(self._staging_dir), self._staging_dir):
                fsync(path)
            _check_target(self.map_dir, self._overwrite)
            remove(self.work_dir)
            _publish(self._staging_dir, self.map_dir)
            for name in (_STATE, _LOCK):
                (self.map_dir / name).unlink()
            fsync(self.map_dir.parent)
        except OSError as error:
            raise self._failure(error) from error
        finally:
            self.close()
        return Map(self.map_dir, complete)

    def close(self) -> None:
        """Let go of the lock; what was written stays, to be resumed, if there is anything."""
        if self._lock >= 0:
            with suppress(OSError):
                self._remove_if_empty()
            os.close(self._lock)
            self._lock = -1

    def _remove_if_empty(self) -> None:
        """Remove the staging folder while it is ours and there is nothing in it to resume."""
        lock = self._staging_dir / _LOCK
        if self._state['stages'] or not os.path.samestat(lock.stat(), os.fstat(self._lock)):
            return
        items = [item for item in self._staging_dir.rglob('*') if item.is_file()]
        if any(item.name not in (_STATE, _LOCK) for item in items):
            return
        for item in self._staging_dir.iterdir():
            if item != lock:
                remove(item)
        # Only the lock kept other builds out: one that comes now finds the folder empty, and its
        # own lock in it keeps the folder.
        lock.unlink()
        self._staging_dir.rmdir()

    def __enter__(self) -> 'MapWriter':
        """Hold the lock until the end of the block."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Let go of the lock; a full disk becomes a BuildError."""
        self.close()
        if error is not None and is_full_disk(error):
            raise self._failure(error) from error

    def _failure(self, error: BaseException) -> BuildError:
        if is_full_disk(error):
            return BuildError(
                f'no space left for {self._staging_dir}: free some, then the same command goes on'
                ' where it stopped'
            )
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
            atomic_write_text(self._staging_dir / _STATE, json.dumps(self._state))
        except OSError as error:
            raise self._failure(error) from error


def _staging_dir(map_dir: Path) -> Path:
    return map_dir.with_name(map_dir.name + '.partial')


def _check_target(map_dir: Path, overwrite: bool) -> None:
    if not map_dir.exists() or (map_dir.is_dir() and not any(map_dir.iterdir())):
        return
    if not (map_dir / MANIFEST).is_file():
        raise BuildError(f'{map_dir} exists and is not a map: choose another folder')
    if not overwrite:
        raise BuildError(f'the map {map_dir} exists: choose another folder, or give --overwrite')


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
            continue  # a build that left nothing has just removed it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink == 1:
                return lock
        except BlockingIOError:
            os.close(lock)
            raise BuildError(
                f'another build is writing {staging}: wait for it, or choose another folder'
            ) from None
        except OSError:
            os.close(lock)
            raise
        os.close(lock)  # that build has just ended and its folder was renamed or removed


def _publish(staging: Path, map_dir: Path) -> None:
    """Rename the staging folder to the map, exchanging it with a map that is there."""
    if not map_dir.exists() or not any(map_dir.iterdir()):
        staging.replace(map_dir)
        return
    aside = map_dir.with_name(map_dir.name + '.replaced')
    remove(aside)
    libc = ctypes.CDLL(None)
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of <linux/fs.h>
    if libc.renameat2(here, os.fsencode(staging), here, os.fsencode(map_dir), exchange) == 0:
        staging.replace(aside)
    else:  # a file system that cannot exchange: for a moment there is no map
        map_dir.replace(aside)
        staging.replace(map_dir)
    remove(aside)


def _map_files(folder: Path) -> Iterator[Path]:
    """Go through the files of a map folder by name; hidden ones are not part of a map."""
    for file in sorted(folder.rglob('*')):
        if file.is_file() and not any(p.startswith('.') for p in file.relative_to(folder).parts):
            yield file


def _is_checksum(expected: Any) -> bool:
    return (
        isinstance(expected, dict)
        and isinstance(expected.get('bytes'), int)
        and isinstance(expected.get('sha256'), str)
    )


def _format_error(error: Exception) -> str:
    text = ' '.join(str(error).split())
    return f'{text} is missing' if isinstance(error, KeyError) else text
