"""
The plan of a survey: rooms with their bags and settings, from a YAML file or a folder of bags.

Everything that can be wrong with a plan is found here, before anything is built. Paths are
relative to the folder of the plan.
"""

from collections.abc import Iterable, Mapping
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerf_reversal_ros.bags.storage_files import is_bag
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.config import BuildConfig, DEVICES
from nerf_reversal_ros.core.errors import ConfigError, MapError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.validated_config import config_from_dict, read_yaml
from nerf_reversal_ros.fields import FIELD_KINDS
from nerf_reversal_ros.jobs.resources import Resources
from nerf_reversal_ros.localization.map_placement import parse_upright_pose
from nerf_reversal_ros.maps.building_folder import is_room_name
from nerf_reversal_ros.maps.map_folder import open_map

_Settings = dict[str, Any]


@dataclass(frozen=True)
class RoomPlan:
    """A room of a plan, checked: its bags, or its map."""

    name: str
    bags: tuple[Path, ...]
    """Bags of one world; empty for a room with a map."""
    map_dir: Path | None
    """An existing map."""
    config: BuildConfig
    field_kind: str
    device: str
    building_from_room: FloatArray | None
    """(4, 4) known placement; None if it is to be found."""
    resources: Resources


@dataclass(frozen=True)
class SurveyPlan:
    """Rooms in the order of the plan."""

    path: Path
    rooms: tuple[RoomPlan, ...]


@dataclass(frozen=True)
class _CommonEntries:
    """Entries of a plan."""

    rooms: _Settings | None = None
    settings: _Settings | None = None
    field: str = 'voxel'
    device: str = 'auto'
    resources: Resources = dataclasses.field(default_factory=Resources)


@dataclass(frozen=True)
class _RoomEntries:
    """Entries of a room in a plan."""

    bag: str | None = None
    bags: list[str] | None = None
    map: str | None = None
    settings: _Settings | None = None
    field: str | None = None
    device: str | None = None
    placement: Any = None
    resources: Resources = dataclasses.field(default_factory=Resources)


def read_plan(path: Path) -> SurveyPlan:
    """
    Read a plan, or make one of a folder of bags; check it.

    Raises
    ------
    ConfigError, MapError
        The sentence names the room, the value and the remedy.
    """
    path = Path(path)
    if path.is_dir():
        values, folder = {'rooms': _rooms_of_folder(path)}, path
    elif path.exists():
        values, folder = read_yaml(path), path.parent
    else:
        raise ConfigError(f'there is no plan at {path}: {remedies.GIVE_PLAN}')
    common = _entries(_CommonEntries, values, str(path))
    if not common.rooms:
        raise ConfigError(f'the plan {path} has no rooms: {remedies.ROOMS_OF_PLAN}')
    if not isinstance(common.rooms, Mapping):
        raise ConfigError(
            f'rooms of the plan {path} must hold names and bags, got {common.rooms!r}:'
            f' {remedies.ROOMS_OF_PLAN}'
        )
    _check_names(common.rooms)
    rooms = tuple(
        _room(name, value, values, common, folder) for name, value in common.rooms.items()
    )
    _check_no_repetition(rooms)
    return SurveyPlan(path, rooms)


def _rooms_of_folder(folder: Path) -> dict[str, str]:
    """Return the bags in a folder by the names of their rooms."""
    if (folder / 'metadata.yaml').exists():
        raise ConfigError(f'{folder} is one bag: {remedies.GIVE_PLAN}')
    rooms: dict[str, str] = {}
    for item in sorted(folder.iterdir()):
        if item.name.startswith('.') or not is_bag(item):
            continue
        name = item.name if item.is_dir() else item.stem
        if name in rooms:
            raise ConfigError(
                f'{folder / rooms[name]} and {item} would both be the room {name}: rename one'
            )
        rooms[name] = item.name
    if not rooms:
        raise ConfigError(f'{folder} holds no bags: {remedies.GIVE_PLAN}')
    return rooms


def _entries(kind: type[Any], values: Any, prefix: str) -> Any:
    """Return the entries of a plan or of a room; their unknown names are refused."""
    try:
        return config_from_dict(kind, values, prefix)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if prefix in text else f'{prefix}: {text}') from error


def _check_names(names: Iterable[Any]) -> None:
    """Require that names are fit for files and frames, and differ by more than their case."""
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(
                f'the room {name!r} is not named by a text: write its name in quotes'
            )
        if not is_room_name(name):
            raise ConfigError(
                f'{name!r} cannot be the name of a room: use letters, digits and ._-, begin with a'
                ' letter, a digit or _, and leave map, which is the frame of the building'
            )
        if (other := seen.get(name.lower())) is not None:
            raise ConfigError(f'two rooms are named {other} and {name}: rename one')
        seen[name.lower()] = name


def _room(
    name: str, value: Any, values: _Settings, common: _CommonEntries, folder: Path
) -> RoomPlan:
    """Check one room; the settings of the plan are those of the room unless it has its own."""
    where = f'rooms.{name}'
    if isinstance(value, str):
        value = {'bag': value}
    if not isinstance(value, Mapping):
        raise ConfigError(f'{where} must be a bag, or hold names and values, got {value!r}')
    shared = values.get('resources') or {}
    own = value.get('resources') or {}
    if isinstance(own, Mapping):
        value = {**value, 'resources': {**shared, **own}}
    entries = _entries(_RoomEntries, value, where)
    bags, map_dir = _sources(where, entries, folder)
    try:
        config = config_from_dict(BuildConfig, _merged(common.settings, entries.settings, where))
    except ConfigError as error:
        raise ConfigError(f'settings of {where}: {error}') from error
    field_kind = common.field if entries.field is None else entries.field
    device = common.device if entries.device is None else entries.device
    for text, option, known in ((field_kind, 'field', FIELD_KINDS), (device, 'device', DEVICES)):
        if text not in known:
            raise ConfigError(
                f'{option} of {where} must be one of {", ".join(known)}, got {text!r}'
            )
    placement = None if entries.placement is None else _placement(where, entries.placement)
    return RoomPlan(name, bags, map_dir, config, field_kind, device, placement, entries.resources)


def _sources(
    where: str, entries: _RoomEntries, folder: Path
) -> tuple[tuple[Path, ...], Path | None]:
    """Return the bags of a room, or its map; ConfigError unless they exist."""
    given = [item for item in (entries.bag, entries.bags, entries.map) if item is not None]
    if len(given) != 1:
        raise ConfigError(f'{where} needs one of bag, bags and map, got {len(given)} of them')
    if entries.map is not None:
        if not isinstance(entries.map, str):
            raise ConfigError(f'map of {where} must be a folder, got {entries.map!r}')
        return (), _checked_map(where, folder / entries.map)
    names = [entries.bag] if entries.bag is not None else entries.bags
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ConfigError(f'the bags of {where} must be paths, got {given[0]!r}')
    bags = tuple(folder / str(name) for name in names)
    for bag in bags:
        if not bag.exists() or not is_bag(bag):
            problem = 'is not a bag' if bag.exists() else 'does not exist'
            raise ConfigError(f'the bag {bag} of {where} {problem}: {remedies.PATHS_OF_PLAN}')
    if len(set(bags)) < len(bags):
        raise ConfigError(f'{where} names one bag twice: name each once')
    return bags, None


def _checked_map(where: str, path: Path) -> Path:
    """Return the path of a finished map; MapError with the name of the room."""
    try:
        map_ = open_map(path)
    except MapError as error:
        raise MapError(f'map of {where}: {error}') from error
    if map_.is_first:
        raise MapError(f'the map {path} of {where} is unfinished: {remedies.RESUME}')
    return path


def _merged(common: Any, own: Any, where: str) -> _Settings:
    """Return settings of a room over those of the plan, value by value."""
    merged: _Settings = {}
    for values in (common, own):
        if values is None:
            continue
        if not isinstance(values, Mapping):
            raise ConfigError(f'settings of {where} must hold names and values, got {values!r}')
        for name, value in values.items():
            before = merged.get(name)
            both = isinstance(before, Mapping) and isinstance(value, Mapping)
            merged[name] = {**before, **value} if both and before is not None else value
    return merged


def _placement(where: str, value: Any) -> FloatArray:
    """Return building_from_room (4, 4) of ``x y z yaw`` [m], [deg]."""
    text = ' '.join(map(str, value)) if isinstance(value, list) else str(value)
    pose = parse_upright_pose(text)
    if pose is None:
        raise ConfigError(
            f'placement of {where} must be four numbers "x y z yaw" in meters and degrees, got'
            f' {value!r}'
        )
    return pose


def _check_no_repetition(rooms: Iterable[RoomPlan]) -> None:
    """Refuse a bag or a map of two rooms: no image could tell them apart."""
    owners: dict[Path, str] = {}
    for room in rooms:
        for source in (*room.bags, *([room.map_dir] if room.map_dir else [])):
            other = owners.setdefault(source.resolve(), room.name)
            if other != room.name:
                raise ConfigError(
                    f'{source} is named by two rooms, {other} and {room.name}: name it once'
                )
