"""The judge over DDS: a localizer's answers against known poses, by their stamps."""

import contextlib
import json

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseWithCovarianceStamped
from map_folders import build, edit_manifest
import pytest
from rcl_interfaces.srv import GetParameters
import rclpy
from room_bags import IMAGE, INFO, rewrite, write_room_bag
from rooms import walk
from ros_rig import camera_info, DARK, picture, Process, Rig, wait_until
from std_msgs.msg import Header

from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.evaluator_node import EvaluatorConfig, EvaluatorNode, load_ground_truth
from nerf_reversal_ros.ros.node_runner import LAST_TEN_QOS

RED_1M = (100, 0, 0)
"""Of a picture that the small localizer finds at x = 1 m."""


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    rig.close()


def answer(rig, second, x=None):
    """Say what a localizer says of a picture: a pose at x [m], or too dark."""
    header = Header(frame_id='camera_optical')
    header.stamp.sec = second
    if x is not None:
        message = PoseWithCovarianceStamped(header=header)
        message.pose.pose.position.x, message.pose.pose.orientation.w = x, 1.0
        message.pose.covariance[::7] = [1e-4] * 3 + [1e-6] * 3
        rig.publish('localizer/sensor_pose', message)
    status = LocalizerStatus(header=header, accepted=x is not None)
    status.reason = '' if status.accepted else 'low contrast'
    status.latency_stages, status.latency_ms = ['total'], [20.0]
    rig.publish('localizer/status', status)


@pytest.mark.parametrize(('asked', 'status'), [(0.6, 0), (0.7, 1)])
def test_it_judges_by_stamps_writes_the_figures_and_tells_whether_they_are_enough(
    rig, tmp_path, asked, status
):
    file = tmp_path / 'metrics.json'
    rig.stand_in('localizer', map_from_nerf='')
    with Process('evaluator', bag='bag', map_dir='map', json=file, min_recall=asked) as process:
        process.says('judges 3 pictures')  # at x = 1, 2 and 3 in the seconds 1, 2 and 3
        answer(rig, 3, 3.01)
        answer(rig, 9, 5.0)  # of no picture of the bag
        answer(rig, 1, 1.02)
        answer(rig, 2)
        assert process.ended() == status
        assert '2 of 3 pictures were localized' in process.output
        assert 'rejected 1: too dark or flat' in process.output
        assert 'did not answer' not in process.output
    metrics = json.loads(file.read_text())
    assert metrics['recall']['5cm_5deg'] == pytest.approx(2 / 3)
    assert metrics['worst_published_translation_m'] == pytest.approx(0.02)
    assert metrics['latency_ms']['p50'] == 20.0


def test_pictures_that_were_dropped_count_as_not_localized(rig):
    with Process('evaluator', bag='bag', map_dir='map', idle_timeout_s=0.5) as process:
        process.says('judges 3 pictures')
        answer(rig, 1, 1.0)
        assert process.ended() == 0
        assert '1 of 3 pictures were localized' in process.output
        assert 'rejected 2: dropped' in process.output
        told = '/localizer/get_parameters did not answer: map_from_nerf is taken to be empty'
        assert told in process.output


def test_what_it_has_heard_it_repeats_from_when_on_the_localizer_knows_it(tmp_path):
    """A player in lockstep on that begins when nothing can be lost any more."""
    (tmp_path / 'slow0').mkdir()
    given = {'map_dir': tmp_path / 'slow0', 'autostart': True, 'reliability': 'reliable'}
    with (
        contextlib.closing(Rig()) as rig,
        Process('evaluator', bag='bag', map_dir='map') as judge,
    ):
        judge.says('judges 3 pictures')
        heard = rig.collect(LocalizerStatus, 'evaluator/ack', LAST_TEN_QOS)
        rig.knows('evaluator')
        assert not wait_until(lambda: rig.node.count_publishers('evaluator/ack'), 2)
        with Process('localizer', **given) as localizer:
            assert wait_until(lambda: rig.node.count_publishers('evaluator/ack')), judge.output
            localizer.says('localizes the pictures of')
            rig.publish('camera_info', camera_info())
            shown = {1: RED_1M, 2: DARK, 8: RED_1M, 3: RED_1M}  # 8 is of no picture of the bag
            for count, (second, colour) in enumerate(shown.items(), start=1):
                rig.publish('image/compressed', picture(colour, second))
                assert wait_until(lambda count=count: len(heard) == count)
            assert judge.ended() == 0
    assert [status.header.stamp.sec for status in heard] == list(shown)
    assert [status.accepted for status in heard] == [True, False, True, True]
    assert '2 of 3 pictures were localized' in judge.output


def test_a_localizer_whose_map_is_placed_is_judged_where_it_is_placed(tmp_path):
    (tmp_path / 'slow0').mkdir()
    given = {'map_dir': tmp_path / 'slow0', 'autostart': True, 'reliability': 'reliable'}
    with (
        contextlib.closing(Rig()) as rig,
        Process('localizer', map_from_nerf='10 20 0.5 90', **given) as localizer,
        Process('evaluator', bag='bag', map_dir='map') as judge,
    ):
        localizer.says('localizes the pictures of')
        heard = rig.collect(LocalizerStatus, 'evaluator/ack', LAST_TEN_QOS)
        assert wait_until(lambda: rig.node.count_publishers('evaluator/ack')), judge.output
        rig.publish('camera_info', camera_info())
        for second in (1, 2, 3):
            rig.publish('image/compressed', picture((100 * min(second, 2), 0, 0), second))
            assert wait_until(lambda n=second: len(heard) == n)
        assert judge.ended() == 0
    # Those of seconds 1 and 2 are right, that of second 3 a metre off.
    assert 'half of all are within 0 cm' in judge.output
    assert 'The worst published answer is 100 cm' in judge.output
    assert 'did not answer' not in judge.output


def test_it_waits_to_be_told_where_the_map_is_placed(rig):
    """It may have heard all before, as when it reads a long bag meanwhile."""
    with Process('evaluator', bag='bag', map_dir='map') as process:
        process.says('judges 3 pictures')
        for second in (1, 2, 3):
            answer(rig, second, 5.0 + second)
        assert not wait_until(lambda: 'published' in process.output, 2)
        rig.stand_in('localizer', map_from_nerf='5 0 0 0')
        assert process.ended() == 0
        assert 'The worst published answer is 0 cm' in process.output


def test_an_accepted_picture_whose_pose_was_lost_counts_as_dropped(rig):
    with Process('evaluator', bag='bag', map_dir='map', idle_timeout_s=0.5) as process:
        process.says('judges 3 pictures')
        answer(rig, 1, 1.0)
        answer(rig, 2)
        header = Header(stamp=Time(sec=3))
        rig.publish('localizer/status', LocalizerStatus(header=header, accepted=True))
        assert process.ended() == 0
        assert '1 of 3 pictures were localized' in process.output
        assert 'rejected 1: dropped' in process.output
        assert 'Traceback' not in process.output


@pytest.mark.parametrize(
    ('localizer', 'startup_timeout_s', 'sentence'),
    [
        (
            False,
            0.5,
            'nobody offers /localizer/get_parameters within startup_timeout_s = 0.5 s: start',
        ),
        (
            True,
            15.0,
            'no answer came on /localizer/status within startup_timeout_s = 15 s: see in its log',
        ),
    ],
)
def test_it_gives_up_where_nobody_answers_and_writes_nothing(
    tmp_path, localizer, startup_timeout_s, sentence
):
    file = tmp_path / 'metrics.json'
    given = {'bag': 'bag', 'map_dir': 'map', 'json': file, 'startup_timeout_s': startup_timeout_s}
    with contextlib.ExitStack() as stack:
        if localizer:
            stack.enter_context(Process('localizer')).says('waits to be configured')
        process = stack.enter_context(Process('evaluator', **given))
        assert process.ended() == 1
        assert sentence in process.output
        assert 'Traceback' not in process.output
    assert not file.exists()


def test_it_asks_the_localizer_after_it_has_subscribed(monkeypatch):
    """Else an answer would not tell that its subscriptions are known."""
    made = []

    def recording(make):
        def recorded(node, kind, *more, **given):
            made.append(kind)
            return make(node, kind, *more, **given)

        return recorded

    for what in ('create_subscription', 'create_client'):
        monkeypatch.setattr(EvaluatorNode, what, recording(getattr(EvaluatorNode, what)))
    rclpy.init(args=['evaluator', '--ros-args', '-p', 'bag:=bag', '-p', 'map_dir:=map'])
    try:
        EvaluatorNode(lambda _: {}).destroy_node()
    finally:
        rclpy.try_shutdown()
    assert made == [LocalizerStatus, PoseWithCovarianceStamped, GetParameters]


@pytest.mark.parametrize('given', [{}, {'bag': 'walk'}])
def test_nothing_to_judge_is_refused_by_name(given):
    with Process('evaluator', **given) as process:
        assert process.ended() == 1
        assert f'{"map_dir" if given else "bag"} is not set' in process.output
        assert 'Traceback' not in process.output


@pytest.mark.parametrize('way', ['map', 'parameters', 'file'])
def test_a_bag_of_other_topics_is_read_as_the_map_a_parameter_or_a_file_says(tmp_path, way):
    other = {IMAGE: '/front/picture', INFO: '/front/info'}
    bag = rewrite(
        write_room_bag(tmp_path / 'room', walk(24)[:3]),
        tmp_path / 'bag',
        lambda topic, message, _: [(other.get(topic, topic), message)],
    )
    map_ = build(tmp_path / 'room.map')
    given = {'bag': str(bag), 'map_dir': str(map_.path)}
    topics = {'image_topic': '/front/picture', 'camera_info_topic': '/front/info'}
    if way == 'map':
        config = {'config': {'capture': topics}}
        edit_manifest(map_.path, lambda manifest: manifest.update(built=config))
    elif way == 'parameters':
        given |= topics
    else:
        (tmp_path / 'query.yaml').write_text(json.dumps({'capture': topics}))
        given['config'] = str(tmp_path / 'query.yaml')
    assert len(load_ground_truth(EvaluatorConfig(**given))) == 3
    (tmp_path / 'odd.yaml').write_text('capture: [1]')
    odd = {**given, 'config': str(tmp_path / 'odd.yaml')}
    with pytest.raises(ConfigError, match=r'capture must hold names and values, got \[1\]'):
        load_ground_truth(EvaluatorConfig(**odd))


def test_a_map_that_was_built_without_a_bag_is_not_judged_by_the_poses_of_one(tmp_path):
    map_ = build(tmp_path / 'room.map')
    edit_manifest(map_.path, lambda manifest: manifest['convention'].update(of_bag=False))
    with pytest.raises(CaptureError, match='the map was built without a bag, so that the pose of'):
        load_ground_truth(EvaluatorConfig(bag=str(tmp_path / 'bag'), map_dir=str(map_.path)))
