"""All nodes together, each a process of its own, with a subscriber script of a user."""

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
from ros_rig import camera_info, compressed_image, Process, Rig, wait_until
from sensor_msgs.msg import CompressedImage

from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.msg import MapDescription

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
START_NS, STEP_NS, IMAGES = 5_000_000_000, 100_000_000, 240
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
"""Script of a user who knows only the topic /nerf_pose."""


class PoseSubscriber:
    """The script as a process."""

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

    def receives_more(self, poses=3):
        """Wait for a number of further poses; return whether they have arrived."""
        count = len(self.lines)
        return wait_until(lambda: len(self.lines) >= count + poses)


class OdometryRig(Rig):
    """Publishes odometry with each image; the origin of odom is 5 m from that of map."""

    def __init__(self):
        super().__init__()
        self._odometry = self.node.create_publisher(Odometry, 'odom', 100)
        self.node.create_subscription(
            CompressedImage, 'image/compressed', self._publish_odometry, 100
        )
        self.corrections = self.collect(TransformStamped, 'loop_closer/map_from_odom', LATCHED)
        self.paths = self.collect(Path, 'loop_closer/path', LATCHED)

    def _publish_odometry(self, message):
        stamp = message.header.stamp
        number = (stamp.sec * 1_000_000_000 + stamp.nanosec - START_NS) // STEP_NS
        odometry = Odometry(header=message.header, child_frame_id='base_link')
        odometry.header.frame_id = 'odom'
        odometry.pose.pose.position.x = number / 100.0 + 5.0
        odometry.pose.pose.orientation.w = 1.0
        self._odometry.publish(odometry)


@pytest.fixture
def bag(tmp_path):
    """Write images of a robot that moves a centimeter along x between two of them."""
    with BagWriter(tmp_path / 'bag') as writer:
        for number in range(IMAGES):
            rgb = np.full((48, 64, 3), (number, 0, 0), np.uint8)
            camera = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
            writer.write(START_NS + number * STEP_NS, rgb, None, camera, np.eye(4))
    return tmp_path / 'bag'


def localizer(folder, *arguments):
    folder.mkdir(exist_ok=True)
    return Process('localizer', *arguments, map_dir=folder, autostart=True, reliability='reliable')


def test_nodes_continue_when_others_end_and_start_again(bag, tmp_path):
    pytest.importorskip('gtsam', reason='pip install -r requirements/loop_closer.txt')
    remappings = [
        word
        for old, new in (('img', 'image/compressed'), ('camera_info', 'camera_info'))
        for word in ('-r', f'/record3d/device_0/rgb/{old}:=/{new}')
    ]
    room = tmp_path / 'slow10'
    # Two subscribers of the images: rig and localizer. At this rate they last for 80 s.
    playing = {'bag': bag, 'wait_for': 2, 'rate': 0.3}
    loop_closer = {'reliability': 'reliable', 'path_period_s': 0.1}
    with (
        contextlib.closing(OdometryRig()) as rig,
        Process('player', *remappings, **playing) as player,
        PoseSubscriber() as user,
    ):
        with localizer(room) as first, Process('loop_closer', **loop_closer):
            assert user.receives_more(), first.output
            assert wait_until(lambda: rig.corrections)
            shift = rig.corrections[-1].transform.translation
            assert (shift.x, shift.y) == pytest.approx((-5.0, 0.0), abs=0.05)
            first.interrupt(signal.SIGKILL)
            first.wait()
        with localizer(room):
            assert user.receives_more()  # from another localizer
            rig.corrections.clear()
            with (
                Process('loop_closer', **loop_closer),
                PoseSubscriber() as late,
            ):  # and another loop closer
                assert late.receives_more()
                assert wait_until(lambda: rig.corrections)
                assert rig.corrections[-1].transform.translation.x == pytest.approx(-5.0, abs=0.05)
        player.interrupt()
        assert 'Traceback' not in player.output


def test_two_localizers_with_two_maps_use_the_same_camera(tmp_path):
    names = ('attic', 'cellar')
    shared = ('-r', 'image/compressed:=/camera/image', '-r', 'camera_info:=/camera/info')
    with (
        contextlib.closing(Rig()) as rig,
        localizer(tmp_path / 'attic', '-r', '__ns:=/attic', *shared) as attic,
        localizer(tmp_path / 'cellar', '-r', '__ns:=/cellar', *shared) as cellar,
    ):
        poses = {name: rig.collect(PoseStamped, f'/{name}/nerf_pose') for name in names}
        attic.wait_for_output('localizing the images of /camera/image')
        cellar.wait_for_output('localizing the images of /camera/image')
        maps = [
            rig.collect(MapDescription, f'/{name}/localizer/map_description', LATCHED)
            for name in names
        ]
        assert wait_until(lambda: all(maps))
        assert [descriptions[-1].path.rsplit('/')[-1] for descriptions in maps] == [
            'attic',
            'cellar',
        ]
        topic = '/camera/image'
        rig.publish('/camera/info', camera_info())
        rig.publish(topic, compressed_image((10, 20, 30), 1))
        rig.publish(topic, compressed_image((20, 20, 30), 2))
        assert wait_until(lambda: all(poses.values()))
