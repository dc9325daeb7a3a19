"""Remedies of buildings: each fault is made, and its remedy followed."""

import shutil

from command_line import run_command
import pytest
from survey_plans import write_survey_plan

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.maps.building_folder import open_building
from nerf_reversal_ros.maps.opening import open_room_map


def test_a_room_without_a_place_gets_one_and_a_building_has_maps(tiny_map, tmp_path):
    """The nodes tell it of poses in the frame of such a room: see test_tf_io."""
    shutil.copytree(tiny_map.path, tmp_path / 'lab.map')
    rooms = {'hall': {'map': str(tiny_map.path)}, 'lab': {'map': 'lab.map'}}
    plan, out = write_survey_plan(tmp_path, rooms), tmp_path / 'flat'
    assert run_command('survey', plan, out).returncode == 0
    assert open_building(out).rooms['lab'].frame == 'lab'
    entry = remedies.PLACE_ROOM.split('`')[1]
    placed = {name: {**room, entry: '3 0 0 90'} for name, room in rooms.items()}
    assert run_command('survey', write_survey_plan(tmp_path, placed), out).returncode == 0
    assert open_building(out).frames == ['map']
    for command in (['view', out], ['export', out, tmp_path / 'copy.map']):
        message = run_command(*command).stderr
        assert f'{out} is the building of several rooms (hall, lab)' in message
        assert message.endswith(f'{remedies.GIVE_ROOM.format(map=tiny_map.path)}\n')
    with pytest.raises(MapError, match='such as') as error:
        open_room_map(out)
    assert open_room_map(str(error.value).rpartition(' ')[2]).identity == tiny_map.identity
