"""The player: a bag through DDS, as it was recorded, to a localizer in another process."""

import time

from geometry_msgs.msg import PoseStamped
import numpy as np
import pytest
from room_bags import message, rewrite
from ros_rig import Process, Rig, SOON_S, wait_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage

from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.node_runner import LAST_TEN_QOS

COLOURS = [(20 * i, 100, 50) for i in range(10)]
START_NS = 5_000_000_000
TRANSFORMS = 100
"""Of each picture: a robot of many joints."""


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp('bags'), 'mcap')


def recorded(folder, storage):
    """Ten pictures, 100 ms apart, each with its own focal length."""
    path = folder / storage
    with BagWriter(path, storage=storage) as writer:
        for i, colour in enumerate(COLOURS):
            rgb = np.full((48, 64, 3), colour, np.uint8)
            camera = Camera(64, 48, 50.0 + i, 50.0, 31.5, 23.5)
            writer.write(START_NS + i * 100_000_000, rgb, None, camera, np.eye(4))
    return path


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    rig.close()


def player(bag, *, pictures='/image/compressed', **parameters):
    """Play a bag, its pictures as some topic."""
    renamed = [
        ('-r', f'/record3d/device_0/rgb/img:={pictures}'),
        ('-r', '/record3d/device_0/rgb/camera_info:=/camera_info'),
    ]
    return Process('player', *[word for pair in renamed for word in pair], bag=bag, **parameters)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_in_lockstep_each_picture_is_answered_however_slow_the_localizer(storage, rig, tmp_path):
    bag = recorded(tmp_path, storage)
    (tmp_path / 'slow100').mkdir()
    poses = rig.collect(PoseStamped, '/nerf_pose')
    statuses = rig.collect(LocalizerStatus, '/localizer/status')
    with Process(
        'localizer', map_dir=tmp_path / 'slow100', autostart=True, reliability='reliable'
    ):
        rig.knows('/localizer')  # else the first answers may be lost to it
        with player(bag, lockstep_topic='/localizer/status', rate=100.0) as process:
            assert process.ended() == 0
            assert 'were not answered' not in process.output
        assert wait_until(lambda: len(poses) == len(COLOURS)), process.output
    stamps = [pose.header.stamp.sec * 10**9 + pose.header.stamp.nanosec for pose in poses]
    assert stamps == [START_NS + i * 100_000_000 for i in range(len(COLOURS))]
    scores = [dict(zip(s.score_names, s.score_values, strict=True)) for s in statuses]
    assert [score['fx'] for score in scores] == [50.0 + i for i in range(len(COLOURS))]
    xyz = [(p.pose.position.x, p.pose.position.y, p.pose.position.z) for p in poses]
    assert np.array(xyz) == pytest.approx(np.array(COLOURS) / 100.0, abs=0.03)


def test_a_bag_is_played_at_its_rate_with_its_clock(bag, rig):
    pictures = rig.collect(CompressedImage, '/image/compressed')
    clocks = rig.collect(Clock, '/clock')
    with player(bag, rate=2.0, clock=True) as process:
        assert wait_until(lambda: pictures)
        started = time.monotonic()
        assert process.ended() == 0
        assert time.monotonic() - started > 0.3  # 0.9 s of pictures at twice the speed
    end = (5, 900_000_000)
    assert wait_until(lambda: len(pictures) >= len(COLOURS)), pictures
    assert wait_until(lambda: (clocks[-1].clock.sec, clocks[-1].clock.nanosec) == end), clocks
    assert [p.header.stamp.nanosec // 100_000_000 for p in pictures] == list(range(10))


@pytest.mark.parametrize(
    ('parameters', 'sentence'),
    [
        ({'bag': '/no/such/bag'}, '/no/such/bag'),
        ({'topics': '/nope'}, 'the bag has no topic /nope: topics is to name some of /record3d'),
        ({'wait_timeout_s': 0.1}, '/nobody/hears after 0.1 s: start the localizer, remap'),
        (
            {'wait_for': 0, 'wait_timeout_s': 0.1, 'lockstep_topic': '/localizer/status'},
            'nobody publishes /localizer/status after 0.1 s: start the localizer',
        ),
    ],
)
def test_what_cannot_be_played_ends_with_one_sentence(bag, parameters, sentence):
    with player(**{'bag': bag, 'pictures': '/nobody/hears', **parameters}) as process:
        assert process.ended() == 1
        assert sentence in process.output
        assert 'Traceback' not in process.output


def test_in_lockstep_only_the_status_of_the_picture_that_was_sent_lets_the_next_go(bag, rig):
    pictures = rig.collect(CompressedImage, '/image/compressed')
    answers = rig.node.create_publisher(LocalizerStatus, '/localizer/status', LAST_TEN_QOS)
    with player(bag, lockstep_topic=answers.topic_name, lockstep_timeout_s=60.0) as process:
        for count in range(1, len(COLOURS) + 1):
            assert wait_until(lambda count=count: len(pictures) == count)
            answers.publish(LocalizerStatus())  # of another one
            if count == 1:
                time.sleep(1.0)
                assert len(pictures) == 1
            answers.publish(LocalizerStatus(header=pictures[-1].header))
        assert process.ended() == 0
        assert 'were not answered' not in process.output


def test_in_lockstep_tf_goes_half_a_second_ahead(bag, rig, tmp_path):
    """Else a mounting that moves would not be known for the time of a picture."""
    tf2_msgs = pytest.importorskip('tf2_msgs.msg', reason='`make setup` builds it for the tests')
    turn = message('geometry_msgs/msg/Quaternion', 0.0, 0.0, 0.0, 1.0)
    place = message('geometry_msgs/msg/Vector3', 0.0, 0.0, 0.0)

    def with_tf(topic, told, _):
        if not topic.endswith('rgb/img'):
            return [(topic, told)]
        header = message('std_msgs/msg/Header', told.header.stamp, 'base_link')
        moved = message('geometry_msgs/msg/Transform', place, turn)
        edge = message('geometry_msgs/msg/TransformStamped', header, 'camera', moved)
        tf = message('tf2_msgs/msg/TFMessage', [edge])
        return [(topic, told), *[('/tf', tf)] * TRANSFORMS]

    moving = rewrite(bag, tmp_path / 'moving', with_tf)
    pictures = rig.collect(CompressedImage, '/image/compressed')
    edges = rig.collect(tf2_msgs.TFMessage, '/tf', 400)
    answers = rig.node.create_publisher(LocalizerStatus, '/localizer/status', LAST_TEN_QOS)
    with player(moving, lockstep_topic=answers.topic_name) as process:
        for count in range(1, len(COLOURS) + 1):
            assert wait_until(lambda count=count: len(pictures) == count)
            # Pictures are 100 ms apart: TF of the next half a second is there.
            known = min(count + 5, len(COLOURS)) * TRANSFORMS
            assert wait_until(lambda known=known: len(edges) >= known), (count, len(edges))
            answers.publish(LocalizerStatus(header=pictures[-1].header))
        assert process.ended() == 0
    assert len(edges) == len(COLOURS) * TRANSFORMS


def test_in_lockstep_it_stops_where_nobody_is_left_to_answer(bag, rig):
    pictures = rig.collect(CompressedImage, '/image/compressed')
    answers = rig.node.create_publisher(LocalizerStatus, '/evaluator/ack', LAST_TEN_QOS)
    with player(bag, lockstep_topic='/evaluator/ack') as process:
        assert wait_until(lambda: len(pictures) == 1)
        answers.publish(LocalizerStatus(header=pictures[0].header))
        assert wait_until(lambda: len(pictures) == 2)
        rig.node.destroy_publisher(answers)
        process.says('nobody publishes /evaluator/ack any more: plays no further')
        assert process.ended() == 0
        assert '1 pictures were not answered' in process.output
    assert len(pictures) == 2


def test_it_says_whom_it_waits_for(bag):
    with player(bag, pictures='/nobody/hears') as process:
        process.says('waits, for nobody subscribes to')
        assert '/nobody/hears: start the localizer, remap the topics' in process.output
        assert process.interrupt() < SOON_S


def test_ctrl_c_ends_a_loop(bag, rig):
    pictures = rig.collect(CompressedImage, '/image/compressed')
    with player(bag, rate=20.0, loop=True) as process:
        assert wait_until(lambda: len(pictures) > len(COLOURS))
        assert process.interrupt() < SOON_S
        assert process.ended() == 0
        assert 'Traceback' not in process.output
