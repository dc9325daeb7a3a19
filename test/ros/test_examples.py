"""What is given to other packages comes out as they want it."""

import contextlib
import itertools
import os
from pathlib import Path
import signal
import subprocess
import sys

from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
import pytest
from ros_rig import PYTHONPATH, Rig, wait_until
from scipy.spatial.transform import Rotation
import yaml

from nerf_reversal_ros.ros.node_config import LoopCloserNodeConfig

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def example(name, *words, **how):
    command = [sys.executable, str(ROOT / 'examples' / name), *words]
    environment = {**os.environ, 'PYTHONPATH': PYTHONPATH, 'PYTHONUNBUFFERED': '1'}
    process = subprocess.Popen(command, env=environment, **how)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    rig.close()


def where(second, std_m, *, std_deg=1.0, frame='map', roll_deg=0.0):
    message = PoseWithCovarianceStamped()
    message.header.frame_id, message.header.stamp.sec = frame, second
    message.pose.pose.position.x = float(second)
    q = message.pose.pose.orientation
    q.x, q.y, q.z, q.w = Rotation.from_euler('ZX', (30, roll_deg), degrees=True).as_quat()
    message.pose.covariance[0] = message.pose.covariance[7] = std_m**2
    message.pose.covariance[35] = np.radians(std_deg) ** 2
    return message


def test_initial_pose_sends_the_first_sure_pose_once_and_ends(rig):
    heard = rig.collect(PoseWithCovarianceStamped, '/initialpose')
    with example('initial_pose.py', stderr=subprocess.PIPE, text=True) as process:
        rig.publish('nerf_pose_with_covariance', where(1, 0.2))
        rig.publish('nerf_pose_with_covariance', where(2, 0.01))
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0
    assert 'a pose is unsure by 0.200 m and 1.0 deg' in said
    assert 'sent x 2.00 m, y 0.00 m, yaw 30 deg' in said
    assert wait_until(lambda: heard, 5)
    assert [(m.header.frame_id, m.header.stamp.sec) for m in heard] == [('map', 2)]


@pytest.mark.parametrize(
    ('given', 'sentence'),
    [
        ({'roll_deg': -90.0}, 'is tilted by 90 deg, as that of a camera is: set base_frame and'),
        ({'frame': 'nerf_map'}, 'is in the frame nerf_map, not in map: set map_frame of the'),
        ({'std_deg': 170.0}, 'is unsure by 0.010 m and 170.0 deg'),
        ({'std_deg': np.nan}, 'is unsure by 0.010 m and nan deg'),
    ],
)
def test_initial_pose_sends_nothing_that_amcl_would_misread(rig, given, sentence):
    heard = rig.collect(PoseWithCovarianceStamped, '/initialpose')
    with example('initial_pose.py', stderr=subprocess.PIPE, text=True) as process:
        rig.publish('nerf_pose_with_covariance', where(1, 0.01, **given))
        assert says(process, f'a pose {sentence}')
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 1
    assert not heard


def test_initial_pose_takes_the_frame_that_it_is_told(rig):
    heard = rig.collect(PoseWithCovarianceStamped, '/initialpose')
    with example('initial_pose.py', '--ros-args', '-p', 'global_frame:=grid') as process:
        rig.publish('nerf_pose_with_covariance', where(1, 0.01, frame='grid'))
        assert process.wait(30) == 0
    assert wait_until(lambda: heard, 5)


def says(process, text):
    """Tell whether a text is in what it says next, every REMIND_S."""
    return any(text in line for line in itertools.islice(process.stderr, 10))


def test_initial_pose_of_a_namespaced_robot_says_what_it_waits_for_and_is_heard():
    words = ('--ros-args', '-r', '__ns:=/robot1')
    with (
        contextlib.closing(Rig('/robot1')) as rig,
        example('initial_pose.py', *words, stderr=subprocess.PIPE, text=True) as process,
    ):
        wanted = 'waits for a pose surer than 0.05 m, 5.0 deg on /robot1/nerf_pose_with_covariance'
        assert says(process, wanted)
        rig.publish('nerf_pose_with_covariance', where(2, 0.01))
        assert says(process, 'has a pose; waits for somebody on /robot1/initialpose')
        heard = rig.collect(PoseWithCovarianceStamped, 'initialpose')
        assert process.wait(30) == 0
        assert wait_until(lambda: heard, 5)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_initial_pose_that_is_ended_says_that_it_sent_nothing(number):
    with example('initial_pose.py', stderr=subprocess.PIPE, text=True) as process:
        assert says(process, 'waits for a pose surer than')
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 1
        assert 'no pose was sent' in said
        assert 'Traceback' not in said


def test_nav2s_lifecycle_manager_is_given_our_node_and_expects_no_bond_of_it():
    text = (ROOT / 'config/lifecycle_manager.yaml').read_text(encoding='utf-8')
    given = yaml.safe_load(text)['/**/lifecycle_manager_localizer']['ros__parameters']
    started = (ROOT / 'launch/localize.launch.py').read_text(encoding='utf-8')
    (name,) = given['node_names']
    assert f"name='{name}'" in started
    assert (given['autostart'], given['bond_timeout']) == (True, 0.0)


def test_the_filter_of_robot_localization_believes_the_first_pose_wherever_it_is():
    text = (ROOT / 'config/robot_localization.yaml').read_text(encoding='utf-8')
    given = yaml.safe_load(text)['/**/ekf_map']['ros__parameters']
    covariance = np.reshape(given['initial_estimate_covariance'], (15, 15))
    assert np.array_equal(covariance, np.diag(np.diag(covariance)))
    # 20 m from the origin and turned about, as the filter measures it: within the threshold.
    offset = np.array([20.0, 20.0, 0.0, 0.0, 0.0, np.pi])
    distance = np.sqrt(offset @ np.linalg.solve(covariance[:6, :6], offset))
    assert distance < given['pose0_rejection_threshold']
    assert all(type(value) is float for value in given['initial_estimate_covariance'])


def test_the_filter_of_robot_localization_takes_our_topics_and_frames():
    text = (ROOT / 'config/robot_localization.yaml').read_text(encoding='utf-8')
    given = yaml.safe_load(text)['/**/ekf_map']['ros__parameters']
    frames = LoopCloserNodeConfig()
    assert given['pose0'] == 'nerf_pose_with_covariance'
    assert given['pose0_config'] == [True] * 6 + [False] * 9
    assert [len(given[name]) for name in ('odom0_config', 'pose0_config')] == [15, 15]
    assert (given['map_frame'], given['world_frame']) == (frames.map_frame, frames.map_frame)
    assert (given['odom_frame'], given['base_link_frame']) == (
        frames.odom_frame,
        frames.base_frame,
    )
