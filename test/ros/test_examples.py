"""Examples and parameter files for other packages: initial_pose, nav2, robot_localization."""

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

from nerf_reversal_ros.ros.lifecycle_bond import HEARTBEAT_TIMEOUT_S
from nerf_reversal_ros.ros.node_config import LoopCloserNodeConfig

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def run_example(name, *words, **options):
    command = [sys.executable, str(ROOT / 'examples' / name), *words]
    environment = {**os.environ, 'PYTHONPATH': PYTHONPATH, 'PYTHONUNBUFFERED': '1'}
    process = subprocess.Popen(command, env=environment, **options)
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


def pose_message(second, std_m, *, std_deg=1.0, frame='map', roll_deg=0.0):
    message = PoseWithCovarianceStamped()
    message.header.frame_id, message.header.stamp.sec = frame, second
    message.pose.pose.position.x = float(second)
    q = message.pose.pose.orientation
    q.x, q.y, q.z, q.w = Rotation.from_euler('ZX', (30, roll_deg), degrees=True).as_quat()
    message.pose.covariance[0] = message.pose.covariance[7] = std_m**2
    message.pose.covariance[35] = np.radians(std_deg) ** 2
    return message


def test_initial_pose_publishes_the_first_certain_pose_once_and_ends(rig):
    initial_poses = rig.collect(PoseWithCovarianceStamped, '/initialpose')
    with run_example('initial_pose.py', stderr=subprocess.PIPE, text=True) as process:
        rig.publish('nerf_pose_with_covariance', pose_message(1, 0.2))
        assert logs(process, 'a pose has a standard deviation of 0.200 m and 1.0 deg')
        rig.publish('nerf_pose_with_covariance', pose_message(2, 0.01))
        _, output = process.communicate(timeout=30)
        assert process.returncode == 0
    assert 'sent x 2.00 m, y 0.00 m, yaw 30 deg' in output
    assert wait_until(lambda: initial_poses, 5)
    assert [(m.header.frame_id, m.header.stamp.sec) for m in initial_poses] == [('map', 2)]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'roll_deg': -90.0}, 'is tilted by 90 deg, like that of a camera: set base_frame and'),
        ({'frame': 'nerf_map'}, 'is in the frame nerf_map, not in map: set map_frame of the'),
        ({'std_deg': 170.0}, 'has a standard deviation of 0.010 m and 170.0 deg'),
        ({'std_deg': np.nan}, 'has a standard deviation of 0.010 m and nan deg'),
    ],
)
def test_initial_pose_rejects_poses_that_amcl_would_misread(rig, changes, message):
    initial_poses = rig.collect(PoseWithCovarianceStamped, '/initialpose')
    with run_example('initial_pose.py', stderr=subprocess.PIPE, text=True) as process:
        rig.publish('nerf_pose_with_covariance', pose_message(1, 0.01, **changes))
        assert logs(process, f'a pose {message}')
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 1
    assert not initial_poses


def test_initial_pose_accepts_poses_in_global_frame(rig):
    initial_poses = rig.collect(PoseWithCovarianceStamped, '/initialpose')
    with run_example('initial_pose.py', '--ros-args', '-p', 'global_frame:=grid') as process:
        rig.publish('nerf_pose_with_covariance', pose_message(1, 0.01, frame='grid'))
        assert process.wait(30) == 0
    assert wait_until(lambda: initial_poses, 5)


def logs(process, text):
    """Return whether a text is in the next lines of the log, one each LOG_PERIOD_S."""
    return any(text in line for line in itertools.islice(process.stderr, 10))


def test_initial_pose_in_a_namespace_logs_what_it_waits_for_and_publishes():
    words = ('--ros-args', '-r', '__ns:=/robot1')
    with (
        contextlib.closing(Rig('/robot1')) as rig,
        run_example('initial_pose.py', *words, stderr=subprocess.PIPE, text=True) as process,
    ):
        waiting = 'waiting for a pose more certain than 0.05 m, 5.0 deg on /robot1/nerf_pose'
        assert logs(process, waiting)
        rig.publish('nerf_pose_with_covariance', pose_message(2, 0.01))
        assert logs(process, 'has a pose; waiting for a subscriber of /robot1/initialpose')
        initial_poses = rig.collect(PoseWithCovarianceStamped, 'initialpose')
        assert process.wait(30) == 0
        assert wait_until(lambda: initial_poses, 5)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_initial_pose_logs_that_no_pose_was_sent(number):
    with run_example('initial_pose.py', stderr=subprocess.PIPE, text=True) as process:
        assert logs(process, 'waiting for a pose more certain than')
        process.send_signal(number)
        _, output = process.communicate(timeout=30)
        assert process.returncode == 1
        assert 'no pose was sent' in output
        assert 'Traceback' not in output


def test_the_lifecycle_manager_of_nav2_manages_the_localizer_by_a_bond():
    text = (ROOT / 'config/lifecycle_manager.yaml').read_text(encoding='utf-8')
    parameters = yaml.safe_load(text)['/**/lifecycle_manager_localizer']['ros__parameters']
    launch_file = (ROOT / 'launch/localize.launch.py').read_text(encoding='utf-8')
    (name,) = parameters['node_names']
    assert f"'name': ('{name}', " in launch_file  # the default of the argument
    assert (parameters['autostart'], parameters['bond_timeout']) == (True, HEARTBEAT_TIMEOUT_S)


def test_the_filter_of_robot_localization_accepts_the_first_pose_at_any_place():
    text = (ROOT / 'config/robot_localization.yaml').read_text(encoding='utf-8')
    parameters = yaml.safe_load(text)['/**/ekf_map']['ros__parameters']
    covariance = np.reshape(parameters['initial_estimate_covariance'], (15, 15))
    assert np.array_equal(covariance, np.diag(np.diag(covariance)))
    # 20 m from the origin and rotated by 180 degrees: within the Mahalanobis threshold.
    offset = np.array([20.0, 20.0, 0.0, 0.0, 0.0, np.pi])
    distance = np.sqrt(offset @ np.linalg.solve(covariance[:6, :6], offset))
    assert distance < parameters['pose0_rejection_threshold']
    assert all(type(value) is float for value in parameters['initial_estimate_covariance'])


def test_the_filter_of_robot_localization_uses_the_topics_and_frames_of_this_package():
    text = (ROOT / 'config/robot_localization.yaml').read_text(encoding='utf-8')
    parameters = yaml.safe_load(text)['/**/ekf_map']['ros__parameters']
    frames = LoopCloserNodeConfig()
    assert parameters['pose0'] == 'nerf_pose_with_covariance'
    assert parameters['pose0_config'] == [True] * 6 + [False] * 9
    assert [len(parameters[name]) for name in ('odom0_config', 'pose0_config')] == [15, 15]
    assert (parameters['map_frame'], parameters['world_frame']) == (
        frames.map_frame,
        frames.map_frame,
    )
    assert (parameters['odom_frame'], parameters['base_link_frame']) == (
        frames.odom_frame,
        frames.base_frame,
    )
