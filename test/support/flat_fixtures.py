"""
Fixtures of a building of two twin rooms that lack different furniture, and of a third room.

The conftest of a folder imports them.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from shared_folder import make_once
from twin_rooms import join_rooms, map_without, other_map

from nerf_reversal_ros.building.building_localizer import BuildingLocalizer
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, make_pose
from nerf_reversal_ros.maps.building_folder import Building, open_building
from nerf_reversal_ros.maps.map_folder import Map, open_map

PLACEMENT = make_pose(Rotation.from_euler('z', 90, degrees=True), np.array([5.0, -1.0, 0.2]))
"""Of the room ``east`` in the building."""


@pytest.fixture(scope='session')
def placement() -> FloatArray:
    """Return building_from_room (4, 4) of the room ``east``."""
    return PLACEMENT


@pytest.fixture(scope='session')
def flat_folder(small_map: Map, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the maps of three rooms and their building; ``east`` is linked with ``hall``."""

    def write(folder: Path) -> None:
        maps = {
            'east': map_without(small_map, folder / 'east.map', 0),
            'west': map_without(small_map, folder / 'west.map', 1),
            'hall': other_map(small_map, folder / 'hall.map', seed=3),
        }
        links = [
            {'rooms': ['east', 'hall'], 'taken': True},
            {'rooms': ['east', 'west'], 'taken': False, 'reason': 'they contradict each other'},
        ]
        join_rooms(folder / 'flat', maps, {'east': PLACEMENT, 'hall': np.eye(4)}, links)

    return make_once(tmp_path_factory, 'building', write)


@pytest.fixture(scope='session')
def room_maps(flat_folder: Path) -> dict[str, Map]:
    """Return the maps of three rooms: twins without box 0 and box 1, and one of other things."""
    return {name: open_map(flat_folder / f'{name}.map') for name in ('east', 'west', 'hall')}


@pytest.fixture(scope='session')
def flat(flat_folder: Path) -> Building:
    """Return the building of the three rooms; ``east`` is placed and linked with ``hall``."""
    return open_building(flat_folder / 'flat')


@pytest.fixture(scope='session')
def flat_localizer(flat: Building) -> Iterator[BuildingLocalizer]:
    """Return the localizer of the building, with memory for all rooms."""
    localizer = flat.localizer(LocalizerConfig(device='cpu'))
    yield localizer
    localizer.close()
