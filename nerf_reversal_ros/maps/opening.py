"""Open a map or a building, whichever a folder is."""

from pathlib import Path

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.maps import map_folder
from nerf_reversal_ros.maps.building_folder import Building, is_building, open_building
from nerf_reversal_ros.maps.map_folder import Map


def open_map(path: str | Path) -> Map | Building:
    """
    Open the map of a room, or the building map of several rooms; verify it.

    Raises
    ------
    MapError
        If it does not exist, or is unfinished, corrupt, or of another format version.
    """
    path = Path(path)
    return open_building(path) if is_building(path) else map_folder.open_map(path)


def open_room_map(path: str | Path) -> Map:
    """
    Open the map of one room, for what takes no building.

    Raises
    ------
    MapError
        As `open_map` raises it; and if the folder is a building, with the names of its rooms.
    """
    map_ = open_map(path)
    if isinstance(map_, Map):
        return map_
    first = next(iter(map_.rooms.values()))
    raise MapError(
        f'{path} is the building of several rooms ({", ".join(map_.rooms)}), and here the map of'
        f' one is needed: {remedies.GIVE_ROOM.format(map=first.map_dir)}'
    )
