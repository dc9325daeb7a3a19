"""``nerf-reversal view``: its messages, and a map of a robot with a file of poses in a browser."""

import re
import signal
import subprocess
import sys

from browser import open_browser, pixels
from command_line import COMMAND, ENVIRONMENT, run_command, user_error
import numpy as np
from photos import write_photo
import pytest
from room_bags import write_room_bag
from rooms import render_box_room, walk
from small_map import CAMERA

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.maps.map_export import export_for_robot

pytest.importorskip('viser', reason='pip install -r requirements/view.txt')


def test_wrong_input_is_told_before_a_page_is_opened(small_map, tmp_path, monkeypatch):
    assert 'does not exist' in user_error('view', tmp_path / 'no.map')
    assert 'is no file of poses' in user_error('view', small_map.path, tmp_path / 'no.json')
    assert 'there is nothing at' in user_error('view', small_map.path, tmp_path / 'no.jpg')
    assert 'field of view of 200 deg' in user_error('view', small_map.path, '--fov', 200)
    bag = write_room_bag(tmp_path / 'bag', walk(37)[3:5], CAMERA, up_axis='z')
    assert remedies.CAMERA_OF_BAG in user_error('view', small_map.path, bag, '--fov', 60)
    other = user_error('view', small_map.path, '--reference', bag)
    assert 'has only 2 of the 48 mapping images' in other and remedies.REFERENCE in other
    monkeypatch.setitem(sys.modules, 'nerf_reversal_ros.ros.pose_listener', None)
    assert remedies.SOURCE_ROS in user_error('view', small_map.path, '--ros', '--port', 0)
    assert remedies.OTHER_PORT in user_error('view', small_map.path, '--port', 70_000)


def test_a_map_of_a_robot_and_poses_are_shown_until_ctrl_c(small_map, tmp_path):
    robot, poses, photos = tmp_path / 'robot.map', tmp_path / 'poses.json', tmp_path / 'photos'
    export_for_robot(small_map, robot)
    photos.mkdir()
    rgb, _ = render_box_room(walk(37)[3], CAMERA)
    write_photo(photos / 'a.jpg', rgb)
    write_photo(photos / 'b.jpg', np.zeros_like(rgb))
    numbers = f'{CAMERA.fx} {CAMERA.fy} {CAMERA.cx} {CAMERA.cy}'
    localize = ['localize', robot, photos, '--camera', numbers, '--out', poses]
    assert run_command(*localize).returncode == 0
    command = [*COMMAND, 'view', str(robot), str(poses), '--port', '0', '--share']
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            missing, here, there = (process.stdout.readline() for _ in range(3))
            assert remedies.MAP_WITH_FIELD in missing
            url = re.match(r'(http://localhost:\d+) shows the map until Ctrl-C', here)[1]
            assert 'without a password or encryption' in there
            with open_browser(url) as browser:
                browser.get_by_text('1 of 2 images were localized; low contrast: 1').wait_for()
                browser.get_by_text('b.jpg: not localized, low contrast').wait_for()
                browser.get_by_text(remedies.MAP_WITH_FIELD).wait_for()
                while (with_walls := pixels(browser)[200:, :500].astype(float)).std() < 20:
                    browser.wait_for_timeout(500)
                browser.get_by_role('checkbox', name='Walls as points').uncheck()
                change = np.zeros(1)
                while np.mean(change > 20) < 0.1:  # the walls disappear
                    browser.wait_for_timeout(500)
                    change = np.abs(with_walls - pixels(browser)[200:, :500]).max(2)
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0
