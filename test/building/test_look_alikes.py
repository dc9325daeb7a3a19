"""Rooms that look alike are found from their maps; others are not asked for a rival."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rooms import walk
from small_map import CAMERA
from twin_rooms import join_rooms, render_without

from nerf_reversal_ros.building import look_alikes
from nerf_reversal_ros.building.look_alikes import (
    common_landmarks,
    find_look_alikes,
    rooms_alike,
)
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.maps.building_folder import Building
from nerf_reversal_ros.maps.map_folder import Map

UNPLACED = {'east': None, 'west': None, 'hall': None}
POSES = walk(37)


@pytest.fixture(scope='module')
def compared(room_maps: dict[str, Map], tmp_path_factory: pytest.TempPathFactory) -> Building:
    """Return the building of the twins and the hall, which are all placed and were compared."""
    placed = {'east': np.eye(4), 'west': shifted(9.0), 'hall': shifted(-9.0)}
    pairs = find_look_alikes(room_maps, placed)
    folder = tmp_path_factory.mktemp('compared') / 'flat'
    return join_rooms(folder, room_maps, placed, look_alikes=pairs)


def shifted(meters: float) -> FloatArray:
    pose = np.eye(4)
    pose[0, 3] = meters
    return pose


def in_common(building: Building) -> dict[tuple[str, str], int]:
    return {tuple(pair['rooms']): pair['common'] for pair in building.look_alikes}


def test_twins_have_much_in_common_and_other_rooms_next_to_nothing(compared: Building) -> None:
    common = in_common(compared)
    assert list(common) == [('east', 'west'), ('east', 'hall'), ('west', 'hall')]
    assert common['east', 'west'] > 100
    assert max(common['east', 'hall'], common['west', 'hall']) < 12
    assert list(common_landmarks(compared, 'west')) == ['east', 'hall']  # the most alike first


def test_what_two_rooms_see_of_one_place_makes_them_no_look_alikes(
    room_maps: dict[str, Map],
) -> None:
    maps = {name: room_maps[name] for name in ('east', 'west')}
    (pair,) = find_look_alikes(maps, {'east': np.eye(4), 'west': np.eye(4)})
    assert pair['common'] < 12


def test_a_well_explained_image_asks_fewer_rooms() -> None:
    common = {'twin': 380.0, 'other': 20.0, 'unknown': np.inf}
    assert rooms_alike(common, 35, 400) == ['twin', 'other', 'unknown']
    assert rooms_alike(common, 60, 400) == ['twin', 'unknown']
    assert rooms_alike(common, 60, 1200) == ['twin', 'other', 'unknown']  # of more keypoints
    assert rooms_alike(common, 900, 400) == ['unknown']


def test_rooms_that_were_never_compared_count_as_alike(flat: Building) -> None:
    assert flat.look_alikes == []
    assert rooms_alike(common_landmarks(flat, 'hall'), 900, 400) == ['east', 'west']


def test_only_what_changed_is_compared_again(
    compared: Building, room_maps: dict[str, Map], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        look_alikes, '_most_in_common', lambda a, _, b, __: asked.append((a.name, b.name)) or 7
    )
    placed = {name: room.building_from_room for name, room in compared.rooms.items()}
    assert find_look_alikes(room_maps, placed, compared) == compared.look_alikes
    assert not asked
    pairs = find_look_alikes(room_maps, {**placed, 'hall': shifted(-8.9)}, compared)
    assert asked == [('east', 'hall'), ('hall', 'east'), ('west', 'hall'), ('hall', 'west')]
    assert pairs[0] == compared.look_alikes[0] and pairs[1]['common'] == 7
    newer = {**room_maps, 'west': replace(room_maps['west'], manifest={'files': {}})}
    monkeypatch.setattr(look_alikes, '_contents', lambda _: None)
    asked.clear()
    find_look_alikes(newer, placed, compared)
    assert {frozenset(pair) for pair in asked} == {
        frozenset({'west', 'east'}),
        frozenset({'west', 'hall'}),
    }


def test_an_image_that_tracking_finds_ranks_no_room_and_wants_no_other(
    compared: Building, room_maps: dict[str, Map]
) -> None:
    rooms = [compared.rooms[name] for name in ('east', 'hall')]
    maps = {room.name: room_maps[room.name] for room in rooms}
    placed = {room.name: room.building_from_room for room in rooms}
    pairs = [pair for pair in compared.look_alikes if pair['rooms'] == ['east', 'hall']]
    building = join_rooms(compared.path.parent / 'two', maps, placed, look_alikes=pairs)
    localizer = building.localizer(LocalizerConfig(device='cpu'))
    image = render_without(POSES[9], CAMERA, 0)
    first = localizer.localize(image, CAMERA)
    tracked = localizer.localize(image, CAMERA, expected_pose=POSES[9])
    assert [outcome.diagnostics.room for outcome in (first, tracked)] == ['east', 'east']
    assert 'room_score' in first.diagnostics.scores
    assert not {'room_score'} & {*tracked.diagnostics.scores}
    assert not {'rank', 'other_room'} & {*tracked.diagnostics.latency_ms}
    assert localizer.rooms.loaded == ['east']
    localizer.close()


def test_twins_that_were_compared_are_told_apart_as_before(compared: Building) -> None:
    localizer = compared.localizer(LocalizerConfig(device='cpu'))
    for room, number, missing in (('east', 33, 0), ('west', 15, 1)):
        image = render_without(POSES[number], CAMERA, missing)
        assert localizer.localize(image, CAMERA).diagnostics.room == room
    common = localizer.localize(render_without(POSES[3], CAMERA, 0), CAMERA)
    assert common.reason == 'ambiguous view', common
    localizer.close()


def test_a_room_that_looks_like_the_present_one_is_loaded_beside_it(
    compared: Building, tmp_path: Path
) -> None:
    localizer = compared.localizer(LocalizerConfig(device='cpu'))
    localizer.rooms.localizer('east')
    localizer.rooms.stay_in('east')
    assert localizer.rooms.neighbors == ['west']
    localizer.close()
