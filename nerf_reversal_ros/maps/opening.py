"""Open a map or a building, whichever a folder is."""

from pathlib import Path

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
