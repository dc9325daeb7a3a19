"""An evaluation is recorded for Rerun, where its package is installed."""

import importlib.util
from pathlib import Path
import subprocess
import sys

from command_line import run_command, user_error
import pytest
from room_bags import write_room_bag
from rooms import walk
from small_map import CAMERA

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.maps.map_folder import Map

IS_INSTALLED = importlib.util.find_spec('rerun') is not None


@pytest.mark.skipif(IS_INSTALLED, reason='rerun-sdk is installed')
def test_without_the_package_its_installation_is_advised_before_any_work(tmp_path: Path) -> None:
    file = tmp_path / 'walk.rrd'
    error = user_error('evaluate', tmp_path / 'no.map', tmp_path / 'no.bag', '--rerun', file)
    assert error.endswith(f'{remedies.INSTALL_RERUN}\n')


@pytest.mark.skipif(not IS_INSTALLED, reason='pip install -r requirements/rerun.txt')
def test_the_recording_holds_map_images_answers_and_errors(small_map: Map, tmp_path: Path) -> None:
    bag = write_room_bag(tmp_path / 'walk', walk(48)[1:5:2], CAMERA, up_axis='z')
    file = tmp_path / 'walk.rrd'
    arguments = ['evaluate', small_map.path, bag, '--baselines', 'none', '--rerun', file]
    completed = run_command(*arguments)
    assert completed.returncode == 0, completed.stderr
    assert f'wrote {file}' in completed.stdout and not list(tmp_path.glob('.*'))
    printed = subprocess.run(
        [sys.executable, '-m', 'rerun_cli', 'rrd', 'print', '-v', file],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in ('/map/surface', '/map/walk', '/map/truth', '/map/image', '/map/answer/camera'):
        assert name in printed, name
    assert '/error/position_m' in printed and '/outcome' in printed
