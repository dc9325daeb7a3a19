"""The robot's half of a map localizes alike, and names what it lacks."""

import os
from pathlib import Path

from command_line import run_command, user_error
from map_folders import build, MANIFEST
import numpy as np
import pytest
from room_bags import write_room_bag
from rooms import walk
from small_map import CAMERA

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.maps.map_export import export_for_robot
from nerf_reversal_ros.maps.map_folder import Map, open_map
from nerf_reversal_ros.maps.map_writer import MapWriter


def test_a_copy_for_a_robot_lacks_the_field_and_localizes_alike(
    small_map: Map, tmp_path: Path
) -> None:
    completed = run_command('export', small_map.path, tmp_path / 'robot.map', '--to', 'robot')
    assert completed.returncode == 0 and 'robot.map: ' in completed.stdout
    robot = open_map(tmp_path / 'robot.map')
    missing = set(small_map.manifest['files']) - set(robot.manifest['files'])
    assert missing == {'field.safetensors'} and os.listdir(tmp_path) == ['robot.map']
    assert 'without its field' in run_command('info', robot.path).stdout
    info = run_command('info', small_map.path).stdout
    assert 'A robot needs ' in info and remedies.EXPORT_FOR_ROBOT in info
    bag = write_room_bag(tmp_path / 'walk', walk(48)[:2], CAMERA, up_axis='z')
    frame = open_capture(bag, CaptureConfig(up_axis='z')).frame(0)
    poses = [
        map_.localizer().localize(frame.rgb, frame.camera).map_from_camera
        for map_ in (small_map, robot)
    ]
    np.testing.assert_array_equal(*poses)
    refused = run_command('evaluate', robot.path, bag)
    assert refused.returncode == 1
    assert refused.stderr.endswith(f'{remedies.MAP_WITH_FIELD}\n')
    assert run_command('evaluate', small_map.path, bag).returncode == 0


def test_nothing_of_an_unfinished_build_is_exported_or_replaced(tmp_path: Path) -> None:
    with MapWriter(tmp_path / 'room.map', {'bag': 'walk'}) as writer:
        writer.path('atlas.bin').write_bytes(b'landmarks')
        writer.publish_first({**MANIFEST, 'stage': 'first'}, {})
        writer.finish_stage('first_map')
    first, finished = open_map(tmp_path / 'room.map'), build(tmp_path / 'other.map')
    for source, target in ((first, 'robot.map'), (finished, 'room.map')):
        with pytest.raises(BuildError) as error:
            export_for_robot(source, tmp_path / target, overwrite=True)
        assert str(error.value).endswith(remedies.RESUME)
    with MapWriter(tmp_path / 'room.map', {'bag': 'walk'}) as writer:  # the remedy
        assert writer.is_done('first_map')
        writer.finish({**MANIFEST, 'stage': 'complete'})
    export_for_robot(open_map(tmp_path / 'room.map'), tmp_path / 'robot.map')


def test_a_copy_does_not_replace_a_map(small_map: Map, tmp_path: Path) -> None:
    command = ['export', small_map.path, tmp_path / 'robot.map', '--to', 'robot']
    assert run_command(*command).returncode == 0
    assert user_error(*command).endswith(f'{remedies.OVERWRITE}\n')
    assert run_command(*command, '--overwrite').returncode == 0
