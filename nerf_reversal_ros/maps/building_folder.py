"""
The building map: a folder with ``building.json``, which joins the maps of several rooms.

The rooms stay maps of their own, in the folder or elsewhere: a building copies none of them. It
holds where each lies in the frame of the building, how that was found, and a file with the view
descriptors of all rooms, by which an image finds its room. Every write replaces the building at
once; the map of a room is never touched.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path, PurePosixPath
import re
from typing import Any, TYPE_CHECKING

import numpy as np

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.config import LocalizerConfig, QueryConfig
from nerf_reversal_ros.core.errors import BuildError, MapError
from nerf_reversal_ros.core.files import atomic_write, fsync, sha256
from nerf_reversal_ros.core.geometry import FloatArray, orthonormalize
from nerf_reversal_ros.maps.map_folder import Map, open_map

if TYPE_CHECKING:
    from nerf_reversal_ros.building.building_localizer import BuildingLocalizer

BUILDING_VERSION = 2
"""Version of the building map that this program writes; it also reads version 1, which does not
tell which rooms look alike."""
BUILDING_MANIFEST = 'building.json'
MAX_ROTATION_ERROR = 1e-6
"""Largest deviation of a stored rotation from an orthonormal matrix."""
_ROOM_NAME_PATTERN = re.compile(r'[A-Za-z0-9_][A-Za-z0-9._-]*')
_VIEWS_PATTERN = 'views-*.safetensors'


@dataclass(frozen=True)
class Room:
    """A room of a building."""

    name: str
    """Unique in the building: letters, digits, and ``._-``."""
    map_dir: Path
    """The folder of its map."""
    map_id: str
    """`Map.identity` of that map."""
    building_from_room: FloatArray | None = None
    """(4, 4) pose of the room's map frame in the building; None if nothing links the room."""

    @property
    def frame(self) -> str:
        """Frame of poses in the room: ``map``, the building's, or its own, named after it."""
        return self.name if self.building_from_room is None else 'map'

    def open(self) -> Map:
        """
        Open the map of the room.

        Raises
        ------
        MapError
            If the map is missing or damaged, or was built anew since the building was written.
        """
        map_ = open_map(self.map_dir)
        if map_.identity != self.map_id:
            raise MapError(
                f'the map {self.map_dir} of the room {self.name} is not the one that the building'
                f' was made of: {remedies.SURVEY_AGAIN}'
            )
        return map_


@dataclass(frozen=True)
class Building:
    """A building map on disk; the maps of its rooms are checked when they are opened."""

    path: Path
    """The folder."""
    rooms: Mapping[str, Room]
    """Rooms by name, in the order of the plan."""
    views_file: Path
    """View descriptors of all rooms."""
    manifest: dict[str, Any]
    """Contents of ``building.json``."""

    @property
    def links(self) -> list[dict[str, Any]]:
        """Relative poses that were found between rooms: taken or refused, with figures."""
        return list(self.manifest['links'])

    @property
    def look_alikes(self) -> list[dict[str, Any]]:
        """What pairs of rooms have in common, as far as they were compared."""
        return list(self.manifest.get('look_alikes', []))

    def localizer(
        self, config: LocalizerConfig | None = None, *, wait: bool = True
    ) -> 'BuildingLocalizer':
        """
        Make the localizer of the building; the default config is `LocalizerConfig()`.

        Rooms are loaded when they are wanted. An image waits for them, or with ``wait=False`` is
        rejected meanwhile.

        Raises
        ------
        MapError, ConfigError
            If the view descriptors are malformed, no room can be opened, or the device is not
            available.
        """
        from nerf_reversal_ros.building.building_localizer import BuildingLocalizer

        return BuildingLocalizer(self, config or LocalizerConfig(), wait=wait)

    def query_config(
        self, user: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]] | None = None
    ) -> QueryConfig:
        """
        Merge the settings for a query capture as `Map.query_config` does for the first room.

        Raises
        ------
        ConfigError
            If ``user`` has an unknown setting or a value out of range.
        MapError
            If no room can be opened.
        """
        error: MapError | None = None
        for room in self.rooms.values():
            try:
                return room.open().query_config(user, overrides)
            except MapError as failed:
                error = error or failed
        assert error is not None  # there are rooms
        raise error

    @property
    def frames(self) -> list[str]:
        """Frames of poses in the rooms, each once: ``map``, and those of unlinked rooms."""
        return list(dict.fromkeys(room.frame for room in self.rooms.values()))

    def room(self, name: str) -> Room:
        """Return a room; MapError if there is none of that name."""
        if name not in self.rooms:
            raise MapError(
                f'the building {self.path} has no room {name!r}: it has {", ".join(self.rooms)}'
            )
        return self.rooms[name]


def is_building(path: Path) -> bool:
    """Return whether a folder is a building map."""
    return (path / BUILDING_MANIFEST).is_file()


def open_building(path: Path) -> Building:
    """
    Open a building map and verify its own files.

    Raises
    ------
    MapError
        If it does not exist, is corrupt or edited, or of another format version.
    """
    path = Path(path)
    file = path / BUILDING_MANIFEST
    try:
        text = file.read_text(encoding='utf-8')
        building = _parse(path, text)
        entry = building.manifest['views']
        found = building.views_file
        if found.is_file() and (found.stat().st_size, sha256(found)) == (
            entry['bytes'],
            entry['sha256'],
        ):
            return building
        if file.read_text(encoding='utf-8') != text:
            return open_building(path)  # it has just been replaced
    except OSError as error:
        raise MapError(
            f'cannot read the building {path}: {error.strerror} ({error.filename})'
        ) from error
    raise MapError(
        f'{found} of the building {path} is missing or was changed: {remedies.SURVEY_AGAIN}'
    )


def write_building(
    path: Path,
    rooms: Sequence[Room],
    views: bytes,
    links: Iterable[Mapping[str, Any]] = (),
    details: Mapping[str, Any] | None = None,
    look_alikes: Iterable[Mapping[str, Any]] = (),
) -> Building:
    """
    Write a building map, or replace it at once; return it as a reader finds it.

    Parameters
    ----------
    path : Path
        The folder; created if it does not exist.
    rooms : sequence of Room
        Rooms of different names.
    views : bytes
        View descriptors of all rooms, a safetensors file.
    links : iterable of dict
        Plain JSON, one entry for each pair of rooms that was tried.
    details : dict, optional
        Plain JSON, kept in the manifest: versions, settings, residuals.
    look_alikes : iterable of dict, optional
        Plain JSON, one entry for each pair of rooms that was compared.

    Raises
    ------
    BuildError
        If the files cannot be written; the building is as before.
    """
    digest = hashlib.sha256(views).hexdigest()
    name = _VIEWS_PATTERN.replace('*', digest[:12])
    manifest = {
        'format_version': BUILDING_VERSION,
        **(details or {}),
        'rooms': [_room_entry(room, path) for room in rooms],
        'links': [dict(link) for link in links],
        'look_alikes': [dict(pair) for pair in look_alikes],
        'views': {'file': name, 'bytes': len(views), 'sha256': digest},
    }
    text = json.dumps(manifest, indent=1, allow_nan=False) + '\n'
    try:
        path.mkdir(parents=True, exist_ok=True)
        for target, content in ((name, views), (BUILDING_MANIFEST, text)):
            atomic_write(path / target, content)
            fsync(path)
        for old in path.glob(_VIEWS_PATTERN):
            if old.name != name:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise BuildError(f'cannot write the building {path}: {error.strerror}') from error
    return _parse(path, text)


def is_room_name(name: str) -> bool:
    """
    Return whether a name may be that of a room: it is part of paths, and names a frame.

    ``map`` is the frame of the building.
    """
    return _ROOM_NAME_PATTERN.fullmatch(name) is not None and name != 'map'


def _room_entry(room: Room, path: Path) -> dict[str, Any]:
    pose = room.building_from_room
    return {
        'name': room.name,
        'map': PurePosixPath(os.path.relpath(room.map_dir.resolve(), path.resolve())).as_posix(),
        'map_id': room.map_id,
        'building_from_room': None if pose is None else pose.tolist(),
    }


def _parse(path: Path, text: str) -> Building:
    """Read a manifest; MapError names the defect and the remedy."""
    try:
        manifest = json.loads(text)
        version = manifest['format_version']
        if version not in range(1, BUILDING_VERSION + 1):
            raise ValueError(f'format version {version!r}, this program reads {BUILDING_VERSION}')
        rooms = [_parse_room(path, entry) for entry in manifest['rooms']]
        by_name = {room.name: room for room in rooms}
        if not rooms or len(by_name) < len(rooms):
            raise ValueError('no room, or two of one name')
        views = manifest['views']
        if not PurePosixPath(views['file']).match(_VIEWS_PATTERN) or '/' in views['file']:
            raise ValueError(f'views in {views["file"]!r}')
        if not isinstance(views['bytes'], int) or not isinstance(views['sha256'], str):
            raise TypeError('views need bytes and sha256')
        if not all(isinstance(link, dict) for link in manifest['links']):
            raise TypeError('links need objects')
        for pair in manifest.get('look_alikes', []):
            if not isinstance(pair['rooms'], list) or not isinstance(pair['common'], int):
                raise TypeError('look_alikes need rooms and a number')
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        message = f'{error} is missing' if isinstance(error, KeyError) else error
        raise MapError(
            f'{path / BUILDING_MANIFEST} is corrupt or not of a building ({message}):'
            f' {remedies.SURVEY_AGAIN}'
        ) from error
    return Building(path, by_name, path / views['file'], manifest)


def _parse_room(path: Path, entry: dict[str, Any]) -> Room:
    """Return a room of the manifest; raise ValueError, KeyError or TypeError where it is none."""
    name, pose = entry['name'], entry['building_from_room']
    if not is_room_name(name):
        raise ValueError(f'the name {name!r} of a room')
    if pose is not None:
        pose = np.array(pose, dtype=np.float64)
        is_rigid = (
            pose.shape == (4, 4)
            and np.isfinite(pose).all()
            and np.abs(orthonormalize(pose) - pose).max() < MAX_ROTATION_ERROR
        )
        if not is_rigid:
            raise ValueError(f'building_from_room of {name} is no pose')
    if not isinstance(entry['map_id'], str):
        raise TypeError(f'map_id of {name} is no text')
    return Room(name, Path(os.path.normpath(path / entry['map'])), entry['map_id'], pose)
