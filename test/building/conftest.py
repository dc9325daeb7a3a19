"""A building of two twin rooms that lack different furniture, and of a third room."""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from twin_rooms import join_rooms, map_without, other_map

from nerf_reversal_ros.building.building_localizer import BuildingLocalizer
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, make_pose
from nerf_reversal_ros.maps.building_folder import Building
from nerf_reversal_ros.maps.map_folder import Map

PLACEMENT = make_pose(Rotation.from_euler('z', 90, degrees=True), np.array([5.0, -1.0, 0.2]))
"""Of the room ``east`` in the building."""


@pytest.fixture(scope='session')
def placement() -> FloatArray:
    """Return building_from_room (4, 4) of the room ``east``."""
    return PLACEMENT


@pytest.fixture(scope='session')
def room_maps(small_map: Map, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Map]:
    """Return the maps of three rooms: twins without box 0 and box 1, and one of other things."""
    folder = tmp_path_factory.mktemp('rooms')
    return {
        'east': map_without(small_map, folder / 'east.map', 0),
        'west': map_without(small_map, folder / 'west.map', 1),
        'hall': other_map(small_map, folder / 'hall.map', seed=3),
    }


@pytest.fixture(scope='session')
def flat(room_maps: dict[str, Map], tmp_path_factory: pytest.TempPathFactory) -> Building:
    """Return the building of the three rooms; ``east`` is placed and linked with ``hall``."""
    folder = tmp_path_factory.mktemp('building') / 'flat'
    links = [
        {'rooms': ['east', 'hall'], 'taken': True},
        {'rooms': ['east', 'west'], 'taken': False, 'reason': 'they contradict each other'},
    ]
    return join_rooms(folder, room_maps, {'east': PLACEMENT, 'hall': np.eye(4)}, links)


@pytest.fixture(scope='session')
def flat_localizer(flat: Building) -> Iterator[BuildingLocalizer]:
    """Return the localizer of the building, with memory for all rooms."""
    localizer = flat.localizer(LocalizerConfig(device='cpu'))
    yield localizer
    localizer.close()
