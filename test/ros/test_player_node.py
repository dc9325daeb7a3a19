"""Player node over DDS: a bag played at its rate, or in lockstep with a localizer."""

import time

from geometry_msgs.msg import PoseStamped
import numpy as np
import pytest
from room_bags import message, rewrite
from ros_rig import Process, Rig, SOON_S, wait_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage

from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.conversions import stamp_to_ns
from nerf_reversal_ros.ros.node_runner import LAST_TEN_QOS

COLORS = [(20 * i, 100, 50) for i in range(10)]
START_NS = 5_000_000_000
TRANSFORMS = 100
"""Transforms with each image: a robot with many joints."""


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp('bags'), 'mcap')


def write_bag(folder, storage):
    """Write ten images, 100 ms apart, each with its own focal length."""
    path = folder / storage
    with BagWriter(path, storage=storage) as writer:
        for i, color in enumerate(COLORS):
            rgb = np.full((48, 64, 3), color, np.uint8)
            camera = Camera(64, 48, 50.0 + i, 50.0, 31.5, 23.5)
            writer.write(START_NS + i * 100_000_000, rgb, None, camera, np.eye(4))
    return path


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    rig.close()


def player(bag, *, image_topic='/image/compressed', **parameters):
    """Play a bag with its images on a topic."""
    remappings = [
        ('-r', f'/record3d/device_0/rgb/img:={image_topic}'),
        ('-r', '/record3d/device_0/rgb/camera_info:=/camera_info'),
    ]
    return Process(
        'player', *[word for pair in remappings for word in pair], bag=bag, **parameters
    )


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_in_lockstep_a_slow_localizer_gets_every_image(storage, rig, tmp_path):
    bag = write_bag(tmp_path, storage)
    (tmp_path / 'slow100').mkdir()
    poses = rig.collect(PoseStamped, '/nerf_pose')
    statuses = rig.collect(LocalizerStatus, '/localizer/status')
    with Process(
        'localizer', map_dir=tmp_path / 'slow100', autostart=True, reliability='reliable'
    ):
        rig.wait_for_discovery_by('/localizer')  # otherwise its first results may be lost
        with player(bag, lockstep_topic='/localizer/status', rate=100.0) as process:
            assert process.wait() == 0
            assert 'got no status' not in process.output
        assert wait_until(lambda: len(poses) == len(COLORS)), process.output
    stamps = [pose.header.stamp.sec * 10**9 + pose.header.stamp.nanosec for pose in poses]
    assert stamps == [START_NS + i * 100_000_000 for i in range(len(COLORS))]
    scores = [dict(zip(s.score_names, s.score_values, strict=True)) for s in statuses]
    assert [score['fx'] for score in scores] == [50.0 + i for i in range(len(COLORS))]
    xyz = [(p.pose.position.x, p.pose.position.y, p.pose.position.z) for p in poses]
    assert np.array(xyz) == pytest.approx(np.array(COLORS) / 100.0, abs=0.03)


def test_in_lockstep_a_late_camera_info_comes_before_the_first_image(bag, rig, tmp_path):
    def keep_the_eighth(topic, original, number):
        return [(topic, original)] if 'camera_info' not in topic or number == 7 else []

    sparse = rewrite(bag, tmp_path / 'sparse', keep_the_eighth)
    map_dir = tmp_path / 'slow0'
    map_dir.mkdir()
    statuses = rig.collect(LocalizerStatus, '/localizer/status')
    with Process('localizer', map_dir=map_dir, autostart=True, reliability='reliable'):
        rig.wait_for_discovery_by('/localizer')
        with player(sparse, lockstep_topic='/localizer/status') as process:
            assert process.wait() == 0
        assert wait_until(lambda: len(statuses) == len(COLORS))
    assert all(status.accepted for status in statuses), [status.reason for status in statuses]


def test_a_bag_is_played_at_its_rate_and_publishes_its_clock(bag, rig):
    images = rig.collect(CompressedImage, '/image/compressed')
    clocks = rig.collect(Clock, '/clock')
    with player(bag, rate=2.0, clock=True) as process:
        assert wait_until(lambda: images)
        start_s = time.monotonic()
        assert process.wait() == 0
        assert time.monotonic() - start_s > 0.3  # 0.9 s of images at twice the speed
    end = (5, 900_000_000)
    assert wait_until(lambda: len(images) >= len(COLORS)), images
    assert wait_until(lambda: (clocks[-1].clock.sec, clocks[-1].clock.nanosec) == end), clocks
    assert [image.header.stamp.nanosec // 100_000_000 for image in images] == list(range(10))


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'bag': '/no/such/bag'}, '/no/such/bag'),
        ({'topics': '/nope'}, 'the bag has no topic /nope: set topics to some of /record3d'),
        ({'wait_timeout_s': 0.1}, f'/no/subscriber after 0.1 s: {remedies.SUBSCRIBER}'),
        (
            {'wait_for': 0, 'wait_timeout_s': 0.1, 'lockstep_topic': '/localizer/status'},
            f'nobody publishes /localizer/status after 0.1 s: {remedies.LOCKSTEP}',
        ),
    ],
)
def test_an_error_of_the_user_ends_the_player_with_one_sentence(bag, parameters, message):
    with player(**{'bag': bag, 'image_topic': '/no/subscriber', **parameters}) as process:
        assert process.wait() == 1
        assert message in process.output
        assert 'Traceback' not in process.output


def test_in_lockstep_the_next_image_waits_for_the_status_of_the_last_one(bag, rig):
    images = rig.collect(CompressedImage, '/image/compressed')
    statuses = rig.node.create_publisher(LocalizerStatus, '/localizer/status', LAST_TEN_QOS)
    with player(bag, lockstep_topic=statuses.topic_name, lockstep_timeout_s=60.0) as process:
        for count in range(1, len(COLORS) + 1):
            assert wait_until(lambda count=count: len(images) == count)
            statuses.publish(LocalizerStatus())  # of another image
            if count == 1:
                time.sleep(1.0)
                assert len(images) == 1
            statuses.publish(LocalizerStatus(header=images[-1].header))
        assert process.wait() == 0
        assert 'got no status' not in process.output


@pytest.mark.parametrize('sec', [0, 7])
def test_images_with_stamps_of_0_or_all_the_same_get_those_of_their_recording(
    bag, rig, tmp_path, sec
):
    """Otherwise no status and no ground truth would be of their stamps."""

    def stop_the_clock(topic, original, _):
        original.header.stamp.sec, original.header.stamp.nanosec = sec, 0
        return [(topic, original)] if '/rgb/' in topic else []

    unstamped = rewrite(bag, tmp_path / 'unstamped', stop_the_clock)
    images = rig.collect(CompressedImage, '/image/compressed')
    infos = rig.collect(CameraInfo, '/camera_info')
    statuses = rig.node.create_publisher(LocalizerStatus, '/localizer/status', LAST_TEN_QOS)
    with player(unstamped, lockstep_topic=statuses.topic_name) as process:
        for count in range(1, len(COLORS) + 1):
            assert wait_until(lambda count=count: len(images) == count)
            statuses.publish(LocalizerStatus(header=images[-1].header))
        assert process.wait() == 0
        assert 'got no status' not in process.output
    expected = [START_NS + i * 100_000_000 for i in range(len(COLORS))]
    assert [stamp_to_ns(image.header.stamp) for image in images] == expected
    assert wait_until(lambda: expected[-1] in {stamp_to_ns(info.header.stamp) for info in infos})


def test_in_lockstep_tf_is_played_half_a_second_ahead(bag, rig, tmp_path):
    """Otherwise moving extrinsics could not be interpolated at the stamp of an image."""
    tf2_msgs = pytest.importorskip('tf2_msgs.msg', reason='`make setup` builds it for the tests')
    rotation = message('geometry_msgs/msg/Quaternion', 0.0, 0.0, 0.0, 1.0)
    translation = message('geometry_msgs/msg/Vector3', 0.0, 0.0, 0.0)

    def add_tf(topic, original, _):
        if not topic.endswith('rgb/img'):
            return [(topic, original)]
        header = message('std_msgs/msg/Header', original.header.stamp, 'base_link')
        transform = message('geometry_msgs/msg/Transform', translation, rotation)
        edge = message('geometry_msgs/msg/TransformStamped', header, 'camera', transform)
        tf = message('tf2_msgs/msg/TFMessage', [edge])
        return [(topic, original), *[('/tf', tf)] * TRANSFORMS]

    bag_with_tf = rewrite(bag, tmp_path / 'with_tf', add_tf)
    images = rig.collect(CompressedImage, '/image/compressed')
    edges = rig.collect(tf2_msgs.TFMessage, '/tf', 400)
    statuses = rig.node.create_publisher(LocalizerStatus, '/localizer/status', LAST_TEN_QOS)
    with player(bag_with_tf, lockstep_topic=statuses.topic_name) as process:
        for count in range(1, len(COLORS) + 1):
            assert wait_until(lambda count=count: len(images) == count)
            # Images are 100 ms apart: TF of the next half second has arrived.
            expected = min(count + 5, len(COLORS)) * TRANSFORMS
            assert wait_until(lambda expected=expected: len(edges) >= expected), (
                count,
                len(edges),
            )
            statuses.publish(LocalizerStatus(header=images[-1].header))
        assert process.wait() == 0
    assert len(edges) == len(COLORS) * TRANSFORMS


def test_in_lockstep_the_player_stops_when_no_publisher_of_statuses_is_left(bag, rig):
    images = rig.collect(CompressedImage, '/image/compressed')
    statuses = rig.node.create_publisher(LocalizerStatus, '/evaluator/ack', LAST_TEN_QOS)
    with player(bag, lockstep_topic='/evaluator/ack') as process:
        assert wait_until(lambda: len(images) == 1)
        statuses.publish(LocalizerStatus(header=images[0].header))
        assert wait_until(lambda: len(images) == 2)
        rig.node.destroy_publisher(statuses)
        process.wait_for_output('nobody publishes /evaluator/ack any more: stopped playing')
        assert process.wait() == 0
        assert '1 images got no status' in process.output
    assert len(images) == 2


def test_a_bag_is_played_without_a_subscriber_when_the_player_does_not_wait(bag):
    with player(bag, image_topic='/no/subscriber', wait_for=0) as process:
        assert process.wait() == 0, process.output


def test_the_log_tells_what_the_player_waits_for(bag):
    with player(bag, image_topic='/no/subscriber') as process:
        process.wait_for_output('waiting: nobody subscribes to')
        assert '/no/subscriber: start the localizer, remap the topics' in process.output
        assert process.interrupt() < SOON_S


def test_ctrl_c_ends_a_bag_played_in_a_loop(bag, rig):
    images = rig.collect(CompressedImage, '/image/compressed')
    with player(bag, rate=20.0, loop=True) as process:
        assert wait_until(lambda: len(images) > len(COLORS))
        assert process.interrupt() < SOON_S
        assert process.wait() == 0
        assert 'Traceback' not in process.output
