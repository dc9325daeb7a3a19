"""
The map folder as a reader finds it: manifest, files, and the checks when it is opened.

A map is a folder with a ``manifest.json`` beside binary files. The manifest holds the format
version, how the map was built, its cameras and metrics, and size and checksum of every other file.
`nerf_reversal_ros.maps.map_writer` writes it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path
import re
from typing import Any, TYPE_CHECKING
import zipfile

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import LocalizerConfig, QueryConfig
from nerf_reversal_ros.core.errors import ConfigError, ImageError, MapError
from nerf_reversal_ros.core.files import is_within, sha256
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.validated_config import config_from_dict

if TYPE_CHECKING:
    from nerf_reversal_ros.localization.localizer import Localizer
    from nerf_reversal_ros.localization.map_renderer import Renderer

FORMAT_VERSION = 3
"""Version of the map folder that this program writes and reads."""

MAX_POSES_BYTES = 1 << 28
"""Unpacked size of the mapping poses [bytes]; a larger archive is rejected as a zip bomb."""

MANIFEST = 'manifest.json'
FIRST, COMPLETE = 'first', 'complete'
"""Stages of a map: written while its build goes on, and finished, as older maps all are."""
FIELD_FILE = 'field.safetensors'
"""The radiance field, which the localizer does not read; a map for a robot lacks it."""
COVERAGE_FILE = 'coverage.safetensors'
"""Where the map localizes, which is measured on request and added to the finished map."""
MAPPING_POSES = 'walked_poses.npz'
"""File of the map with the arrays ``map_from_camera`` of the mapping poses, and ``stamps_ns``."""
_FILE_NAME_PATTERN = re.compile(r'[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*')


@dataclass(frozen=True)
class Map:
    """A complete map on disk, its files verified."""

    path: Path
    """The map folder."""
    manifest: dict[str, Any]
    """Contents of ``manifest.json``."""

    @property
    def camera(self) -> Camera:
        """Canonical camera that the regressor was trained for."""
        return Camera(**self.manifest['camera'])

    @property
    def capture_camera(self) -> Camera:
        """Camera of the mapping images; maps of early versions store the canonical one alone."""
        return Camera(**self.manifest.get('capture_camera', self.manifest['camera']))

    @property
    def is_first(self) -> bool:
        """Whether the map was written while its build went on."""
        return bool(self.manifest.get('stage') == FIRST)

    @property
    def convention(self) -> PoseConvention:
        """Pose convention and gravity alignment of the mapping capture."""
        return PoseConvention.from_dict(self.manifest['convention'])

    @property
    def identity(self) -> str:
        """Checksum of what the build wrote, in hexadecimal; an added file does not change it."""
        text = json.dumps(_without_added(self.manifest), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def mapping_poses(self) -> FloatArray:
        """(N, 4, 4) map_from_camera of the mapping images; MapError if the file is corrupt."""
        return self._mapping_poses_and_stamps()[0]

    @property
    def mapping_stamps_ns(self) -> NDArray[np.int64]:
        """
        (K,) stamps in the mapping bag of the first K mapping poses [ns].

        Empty without a bag and in maps of early versions; MapError if the file is corrupt.
        """
        return self._mapping_poses_and_stamps()[1]

    def _mapping_poses_and_stamps(self) -> tuple[FloatArray, NDArray[np.int64]]:
        file = self.file(MAPPING_POSES)
        try:
            with zipfile.ZipFile(file) as archive:
                if sum(item.file_size for item in archive.infolist()) > MAX_POSES_BYTES:
                    raise ValueError(f'it would unpack to more than {MAX_POSES_BYTES} bytes')
            with np.load(file, allow_pickle=False) as stored:
                poses = np.asarray(stored['map_from_camera'], dtype=np.float64)
                stamps_ns = np.asarray(stored.get('stamps_ns', ()), dtype=np.int64)
            if poses.shape[1:] != (4, 4) or not len(poses) or not np.isfinite(poses).all():
                raise ValueError(f'poses of the shape {poses.shape}, or not finite')
            if stamps_ns.ndim != 1 or len(stamps_ns) > len(poses):
                raise ValueError(f'{len(poses)} poses have stamps of the shape {stamps_ns.shape}')
        except Exception as error:  # zipfile and NumPy raise nearly any type for a corrupt file
            raise MapError(f'{file} is corrupt ({error}): {remedies.BUILD_AGAIN}') from error
        return poses, stamps_ns

    @property
    def coverage_file(self) -> Path | None:
        """The file that says where the map localizes; None if that was not measured."""
        return self.file(COVERAGE_FILE) if COVERAGE_FILE in self.manifest['files'] else None

    def query_config(
        self, user: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]] | None = None
    ) -> QueryConfig:
        """
        Merge the settings for a query capture.

        Precedence: ``overrides``, then ``user``, then the defaults. Settings of the capture
        default to those that the map was built with.

        Raises
        ------
        ConfigError
            If ``user`` has an unknown setting or a value out of range.
        MapError
            If the map was built with settings that this version does not know.
        """
        _check_user_settings(user)
        defaults = {'capture': self._capture_settings(), 'localizer': {}}
        return config_from_dict(
            QueryConfig,
            {
                section: {
                    **settings,
                    **(user.get(section) or {}),
                    **(overrides or {}).get(section, {}),
                }
                for section, settings in defaults.items()
            },
        )

    def _capture_settings(self) -> Mapping[str, Any]:
        """Return the settings of the mapping capture; MapError if this version lacks one."""
        settings: Mapping[str, Any] = (
            self.manifest.get('built', {}).get('config', {}).get('capture', {})
        )
        try:
            config_from_dict(QueryConfig, {'capture': settings})
        except ConfigError as error:
            raise MapError(f'the map {self.path} has settings unknown here: {error}') from error
        return settings

    def localizer(self, config: LocalizerConfig | None = None) -> 'Localizer':
        """
        Load the localizer of the map; the default config is `LocalizerConfig()`.

        Raises
        ------
        MapError, ConfigError
            If a file of the map is corrupt, the map was replaced while it was read, or the device
            is not available.
        """
        from nerf_reversal_ros.localization.localizer import open_localizer

        try:
            return open_localizer(self, config or LocalizerConfig())
        finally:
            self.check_unchanged()

    def renderer(self) -> 'Renderer':
        """
        Load what the map looks like, as a function that renders it.

        Returns
        -------
        callable
            From ``map_from_camera`` (4, 4) and a `Camera` to an RGB image (H, W, 3) of uint8. It
            renders the field. The points of the surface stand in for it in a map without a field,
            or without PyTorch.

        Raises
        ------
        MapError
            If a file of the map is corrupt, or the map was replaced while it was read.
        """
        from nerf_reversal_ros.localization.map_renderer import open_renderer

        try:
            return open_renderer(self)
        finally:
            self.check_unchanged()

    def check_unchanged(self) -> None:
        """
        Raise MapError if another map was put in the place of this one since it was opened.

        A file that was added meanwhile makes no other map.
        """
        if _without_added(_read_manifest(self.path)) != _without_added(self.manifest):
            raise MapError(
                f'the map {self.path} was replaced by a newer one while it was read:'
                f' {remedies.READ_AGAIN}'
            )

    def file(self, name: str) -> Path:
        """Return the path of one of the map's files; MapError when the map has no such file."""
        if name == FIELD_FILE and name not in self.manifest['files']:
            raise MapError(
                f'the map {self.path} is without its field, as a robot needs it:'
                f' {remedies.MAP_WITH_FIELD}'
            )
        if name not in self.manifest['files']:
            raise MapError(
                f'the map {self.path} holds no {name} (it holds'
                f' {", ".join(sorted(self.manifest["files"]))}): {remedies.BUILD_AGAIN}'
            )
        return self.path / name


def open_map(path: Path) -> Map:
    """
    Open a map folder; verify its version, and the size and checksum of every file.

    Raises
    ------
    MapError
        If the map does not exist, or is unfinished, corrupt, or of another format version.
    """
    path = Path(path)
    try:
        opened = Map(path, _read_manifest(path))
        try:
            for name, expected in opened.manifest['files'].items():
                _check_file(path, name, expected)
        except (MapError, OSError):
            if _read_manifest(path) == opened.manifest:
                raise
            return open_map(path)  # a build has just put a newer map in its place
    except OSError as error:
        raise MapError(
            f'cannot read the map {path}: {error.strerror} ({error.filename})'
        ) from error
    return opened


def staging_dir(map_dir: Path) -> Path:
    """Return the folder of an unfinished build, ``<map>.partial``, for an absolute path."""
    return map_dir.with_name(map_dir.name + '.partial')


def is_file_name(name: str) -> bool:
    """Return whether a name may stand for a file of a map: relative, no hidden part, no link."""
    return _FILE_NAME_PATTERN.fullmatch(name) is not None


def iter_map_files(folder: Path) -> Iterator[Path]:
    """Iterate over the files of a map folder in order of their names, without hidden ones."""
    for file in sorted(folder.rglob('*')):
        if file.is_file() and not any(p.startswith('.') for p in file.relative_to(folder).parts):
            yield file


def _without_added(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest without the file that may be added to a finished map."""
    files = {k: v for k, v in manifest['files'].items() if k != COVERAGE_FILE}
    return {**manifest, 'files': files}


def _check_user_settings(user: Mapping[str, Any]) -> None:
    """Raise ConfigError for the user's own mistakes alone, before the map's settings are read."""
    config_from_dict(QueryConfig, user)


def _read_manifest(path: Path) -> dict[str, Any]:
    """Read and validate ``manifest.json``; MapError names the defect and the remedy."""
    file = path / MANIFEST
    if not file.is_file():
        if staging_dir(Path(os.path.abspath(path))).is_dir():
            raise MapError(f'the map {path} is unfinished: {remedies.RESUME}')
        problem = 'is not a map: it holds no manifest.json' if path.exists() else 'does not exist'
        raise MapError(f'{path} {problem}; {remedies.GIVE_MAP}')
    try:
        manifest = json.loads(file.read_text(encoding='utf-8'))
        version = manifest['format_version']
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise MapError(
            f'{file} is corrupt or not of a map ({_format_error(error)}): {remedies.BUILD_AGAIN}'
        ) from error
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        remedy = ('update nerf_reversal_ros, or ' if newer else '') + remedies.BUILD_AGAIN
        raise MapError(
            f'the map {path} has format version {version!r} and this program reads'
            f' {FORMAT_VERSION}: {remedy}'
        )
    try:
        for camera in ('camera', 'capture_camera'):
            Camera(**manifest.get(camera, manifest['camera']))
        PoseConvention.from_dict(manifest['convention'])
        if not all(_is_checksum(expected) for expected in manifest['files'].values()):
            raise TypeError('files need bytes and sha256')
        if not all(isinstance(warning, str) for warning in [*manifest.get('warnings', [])]):
            raise TypeError('warnings need to be texts')
    except (KeyError, TypeError, ValueError, AttributeError, ImageError) as error:
        raise MapError(
            f'{file} is incomplete or was edited ({_format_error(error)}): {remedies.BUILD_AGAIN}'
        ) from error
    return dict(manifest)


def _check_file(path: Path, name: str, expected: dict[str, Any]) -> None:
    """Verify name, presence, size and checksum of a file that the manifest lists."""
    file = path / name
    if not is_file_name(name) or not is_within(file, path):
        raise MapError(
            f'{path / MANIFEST} names a file outside the map, {name!r}: do not trust this map,'
            f' {remedies.BUILD_AGAIN}'
        )
    if not file.is_file():
        raise MapError(
            f'the map {path} lacks its file {name}: copy it again, or {remedies.BUILD_AGAIN}'
        )
    size = file.stat().st_size
    if size != expected['bytes']:
        raise MapError(
            f'{file} has {size} bytes instead of {expected["bytes"]} (truncated?): copy the map'
            f' again, or {remedies.BUILD_AGAIN}'
        )
    if sha256(file) != expected['sha256']:
        raise MapError(
            f'the contents of {file} have changed since the build: copy the map again,'
            f' or {remedies.BUILD_AGAIN}'
        )


def _is_checksum(expected: Any) -> bool:
    """Return whether a manifest entry of a file has its size and checksum."""
    return (
        isinstance(expected, dict)
        and isinstance(expected.get('bytes'), int)
        and isinstance(expected.get('sha256'), str)
    )


def _format_error(error: Exception) -> str:
    """Return the text of an error on one line; a KeyError names the missing key."""
    text = ' '.join(str(error).split())
    return f'{text} is missing' if isinstance(error, KeyError) else text
