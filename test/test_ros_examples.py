"""What is given to other packages comes out as they want it."""

import contextlib
import os
from pathlib import Path
import subprocess
import sys

from geometry_msgs.msg import PoseWithCovarianceStamped
import pytest
from ros_rig import Rig, wait_until
import yaml

from nerf_reversal_ros.ros.settings import LoopCloserNodeConfig

ROOT = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def example(name, *words):
    command = [sys.executable, str(ROOT / 'examples' / name), *words]
    process = subprocess.Popen(command, env={**os.environ, 'PYTHONPATH': str(ROOT)})
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


def where(second, std_m):
    message = PoseWithCovarianceStamped()
    message.header.frame_id, message.header.stamp.sec = 'map', second
    message.pose.pose.position.x = float(second)
    message.pose.covariance[0] = message.pose.covariance[7] = std_m**2
    return message


def test_initial_pose_sends_the_first_sure_pose_once_and_ends(rig):
    heard = rig.collect(PoseWithCovarianceStamped, '/initialpose')
    with example('initial_pose.py') as process:
        rig.publish('nerf_pose_with_covariance', where(1, 0.2))
        rig.publish('nerf_pose_with_covariance', where(2, 0.01))
        assert process.wait(30) == 0
    assert wait_until(lambda: heard, 5)
    assert [(m.header.frame_id, m.header.stamp.sec) for m in heard] == [('map', 2)]


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
