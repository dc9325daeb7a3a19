"""All nodes together, each a process of its own, and a user's script that listens to them."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

from geometry_msgs.msg import PoseStamped, TransformStamped
from nav_msgs.msg import Odometry, Path
import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_rig import camera_info, picture, Process, Rig, wait_until
from sensor_msgs.msg import CompressedImage

from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.msg import MapDescription

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
START_NS, STEP_NS, PICTURES = 5_000_000_000, 100_000_000, 240
SCRIPT = """
import rclpy
from geometry_msgs.msg import PoseStamped

rclpy.init()
node = rclpy.create_node('user')
node.create_subscription(
    PoseStamped, '/nerf_pose', lambda pose: print(pose.pose.position.x, flush=True), 10
)
rclpy.spin(node)
"""
"""What a user would write who knows nothing of this package."""


class Listener:
    """That script as a process."""

    def __enter__(self):
        self.lines = []
        self._process = subprocess.Popen(
            [sys.executable, '-c', SCRIPT], stdout=subprocess.PIPE, text=True, env=os.environ
        )
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line.strip())

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def hears_more(self, poses=3):
        """Tell whether so many further poses come."""
        heard = len(self.lines)
        return wait_until(lambda: len(self.lines) >= heard + poses)


class Robot(Rig):
    """Tells, to each picture, the odometry of a robot whose odom begins 5 m before the map."""

    def __init__(self):
        super().__init__()
        self._odometry = self.node.create_publisher(Odometry, 'odom', 100)
        self.node.create_subscription(CompressedImage, 'image/compressed', self._drive, 100)
        self.moved = self.collect(TransformStamped, 'loop_closer/map_from_odom', LATCHED)
        self.paths = self.collect(Path, 'loop_closer/path', LATCHED)

    def _drive(self, message):
        stamp = message.header.stamp
        number = (stamp.sec * 1_000_000_000 + stamp.nanosec - START_NS) // STEP_NS
        odometry = Odometry(header=message.header, child_frame_id='base_link')
        odometry.header.frame_id = 'odom'
        odometry.pose.pose.position.x = number / 100.0 + 5.0
        odometry.pose.pose.orientation.w = 1.0
        self._odometry.publish(odometry)


@pytest.fixture
def bag(tmp_path):
    """Pictures of a robot that goes a centimetre along x from one to the next."""
    with BagWriter(tmp_path / 'bag') as writer:
        for number in range(PICTURES):
            rgb = np.full((48, 64, 3), (number, 0, 0), np.uint8)
            camera = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
            writer.write(START_NS + number * STEP_NS, rgb, None, camera, np.eye(4))
    return tmp_path / 'bag'


def localizer(folder, *arguments):
    folder.mkdir(exist_ok=True)
    return Process('localizer', *arguments, map_dir=folder, autostart=True, reliability='reliable')


def test_each_may_die_and_come_back_and_the_others_go_on(bag, tmp_path):
    pytest.importorskip('gtsam', reason='pip install -r requirements/loop_closer.txt')
    renamed = [
        word
        for old, new in (('img', 'image/compressed'), ('camera_info', 'camera_info'))
        for word in ('-r', f'/record3d/device_0/rgb/{old}:=/{new}')
    ]
    room = tmp_path / 'slow10'
    # The robot and the localizer look. So slow that there are pictures for 80 s.
    playing = {'bag': bag, 'wait_for': 2, 'rate': 0.3}
    closing = {'reliability': 'reliable', 'path_period_s': 0.1}
    with (
        contextlib.closing(Robot()) as robot,
        Process('player', *renamed, **playing) as player,
        Listener() as user,
    ):
        with localizer(room) as first, Process('loop_closer', **closing):
            assert user.hears_more(), first.output
            assert wait_until(lambda: robot.moved)
            shift = robot.moved[-1].transform.translation
            assert (shift.x, shift.y) == pytest.approx((-5.0, 0.0), abs=0.05)
            first._process.send_signal(signal.SIGKILL)
            first.ended()
        with localizer(room):
            assert user.hears_more()  # of another localizer
            robot.moved.clear()
            with Process('loop_closer', **closing), Listener() as late:  # and another loop closer
                assert late.hears_more()
                assert wait_until(lambda: robot.moved)
                assert robot.moved[-1].transform.translation.x == pytest.approx(-5.0, abs=0.05)
        player.interrupt()
        assert 'Traceback' not in player.output


def test_two_localizers_with_two_maps_see_the_same_camera(tmp_path):
    names = ('attic', 'cellar')
    shared = ('-r', 'image/compressed:=/camera/image', '-r', 'camera_info:=/camera/info')
    with (
        contextlib.closing(Rig()) as rig,
        localizer(tmp_path / 'attic', '-r', '__ns:=/attic', *shared) as attic,
        localizer(tmp_path / 'cellar', '-r', '__ns:=/cellar', *shared) as cellar,
    ):
        poses = {name: rig.collect(PoseStamped, f'/{name}/nerf_pose') for name in names}
        attic.says('localizes the pictures of /camera/image')
        cellar.says('localizes the pictures of /camera/image')
        maps = [
            rig.collect(MapDescription, f'/{name}/localizer/map_description', LATCHED)
            for name in names
        ]
        assert wait_until(lambda: all(maps))
        assert [told[-1].path.rsplit('/')[-1] for told in maps] == ['attic', 'cellar']
        topic = '/camera/image'
        rig.publish('/camera/info', camera_info())
        rig.publish(topic, picture((10, 20, 30), 1))
        rig.publish(topic, picture((20, 20, 30), 2))
        assert wait_until(lambda: all(heard for heard in poses.values()))
