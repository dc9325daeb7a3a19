"""Evaluator node over DDS: results of a localizer against ground truth, matched by stamps."""

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
from ros_rig import camera_info, compressed_image, DARK, Process, Rig, wait_until
from std_msgs.msg import Header

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError, ConfigError, MapError
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.evaluator_node import EvaluatorConfig, EvaluatorNode, load_ground_truth
from nerf_reversal_ros.ros.node_runner import LAST_TEN_QOS

RED_1M = (100, 0, 0)
"""Color of an image that the small localizer places at x = 1 m."""


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    rig.close()


def publish_result(
    rig, second, x_m=None, reason=LocalizerStatus.LOW_CONTRAST, *, name='localizer'
):
    """Publish the result of a localizer for one image: a pose at x_m [m], or a rejection."""
    header = Header(frame_id='camera_optical')
    header.stamp.sec = second
    if x_m is not None:
        message = PoseWithCovarianceStamped(header=header)
        message.pose.pose.position.x, message.pose.pose.orientation.w = x_m, 1.0
        message.pose.covariance[::7] = [1e-4] * 3 + [1e-6] * 3
        rig.publish(f'{name}/sensor_pose', message)
    status = LocalizerStatus(header=header, accepted=x_m is not None)
    status.reason = '' if status.accepted else reason
    status.latency_stages, status.latency_ms = ['total'], [20.0]
    rig.publish(f'{name}/status', status)


@pytest.mark.parametrize(('min_recall', 'status'), [(0.6, 0), (0.7, 1)])
def test_metrics_are_written_and_the_exit_status_tells_whether_min_recall_is_reached(
    rig, tmp_path, min_recall, status
):
    file = tmp_path / 'metrics.json'
    rig.add_parameter_node('localizer', map_from_nerf='')
    with Process(
        'evaluator', bag='bag', map_dir='map', json=file, min_recall=min_recall
    ) as process:
        process.wait_for_output(
            'evaluating 3 images'
        )  # at x = 1, 2 and 3 in the seconds 1, 2 and 3
        publish_result(rig, 3, 3.01)
        publish_result(rig, 9, 5.0)  # not an image of the bag
        publish_result(rig, 1, 1.02)
        publish_result(rig, 2)
        assert process.wait() == status
        assert '2 of 3 images were localized' in process.output
        assert 'rejected 1: low contrast' in process.output
        assert 'did not respond' not in process.output
    metrics = json.loads(file.read_text())
    assert metrics['recall']['5cm_5deg'] == pytest.approx(2 / 3)
    assert metrics['worst_published_translation_m'] == pytest.approx(0.02)
    assert metrics['latency_ms']['p50'] == 20.0


def test_ground_truth_in_another_frame_is_told_and_scored_before_and_after(rig, tmp_path):
    """Four images that the localizer places 5 m away, at the distances of the ground truth."""
    file = tmp_path / 'metrics.json'
    rig.add_parameter_node('localizer', map_from_nerf='')
    with Process('evaluator', bag='four', map_dir='map', json=file, min_recall=0.5) as process:
        process.wait_for_output('evaluating 4 images')
        for second in (1, 2, 3, 4):
            publish_result(rig, second, second + 5.0)
        assert process.wait() == 1  # the recall is that of the ground truth as it is
        sentence = 'One rigid motion of 5 m and 0\u00b0 explains 100 % of the accepted poses: the'
        assert sentence in process.output
        assert 'The largest errors of accepted poses are 500 cm' in process.output
        assert 'The largest errors of accepted poses are 0 cm' in process.output
    metrics = json.loads(file.read_text())
    assert metrics['recall']['5cm_5deg'] == 0.0
    assert metrics['aligned']['recall']['5cm_5deg'] == 1.0
    assert metrics['aligned']['explained'] == 1.0


def test_a_localizer_of_another_name_is_given_by_remappings(rig):
    rig.add_parameter_node('other', map_from_nerf='')
    names = ('get_parameters', 'status', 'sensor_pose')
    words = [word for n in names for word in ('-r', f'localizer/{n}:=other/{n}')]
    with Process('evaluator', *words, bag='bag', map_dir='map') as process:
        process.wait_for_output('evaluating 3 images')
        for second in (1, 2, 3):
            publish_result(rig, second, float(second), name='other')
        assert process.wait() == 0, process.output
        assert '3 of 3 images were localized' in process.output
        assert 'did not respond' not in process.output


def test_images_without_a_status_count_as_dropped(rig):
    with Process('evaluator', bag='bag', map_dir='map', idle_timeout_s=0.5) as process:
        process.wait_for_output('evaluating 3 images')
        publish_result(rig, 1, 1.0)
        assert process.wait() == 0
        assert '1 of 3 images were localized' in process.output
        assert 'rejected 2: dropped' in process.output
        warning = '/localizer/get_parameters did not respond: map_from_nerf is assumed to be empty'
        assert warning in process.output


def test_images_before_the_first_camera_info_are_left_out(rig):
    rig.add_parameter_node('localizer', map_from_nerf='')
    with Process('evaluator', bag='four', map_dir='map', min_recall=1.0) as process:
        process.wait_for_output('evaluating 4 images')
        for second in (1, 2):
            publish_result(rig, second, reason=LocalizerStatus.NO_CAMERA_INFO)
        for second in (3, 4):
            publish_result(rig, second, float(second))
        assert process.wait() == 0, process.output
        assert '2 images came before the first camera_info: they are left out' in process.output
        assert '2 of 2 images were localized' in process.output


def test_without_any_camera_info_all_images_are_rejected(rig):
    rig.add_parameter_node('localizer', map_from_nerf='')
    with Process('evaluator', bag='bag', map_dir='map') as process:
        process.wait_for_output('evaluating 3 images')
        for second in (1, 2, 3):
            publish_result(rig, second, reason=LocalizerStatus.NO_CAMERA_INFO)
        assert process.wait() == 0
        assert 'rejected 3: no camera_info yet' in process.output


def test_results_are_acknowledged_once_the_localizer_has_discovered_the_subscriptions(tmp_path):
    """A player in lockstep on ~/ack therefore loses no result."""
    (tmp_path / 'slow0').mkdir()
    parameters = {'map_dir': tmp_path / 'slow0', 'autostart': True, 'reliability': 'reliable'}
    with (
        contextlib.closing(Rig()) as rig,
        Process('evaluator', bag='bag', map_dir='map') as evaluator,
    ):
        evaluator.wait_for_output('evaluating 3 images')
        acknowledged = rig.collect(LocalizerStatus, 'evaluator/ack', LAST_TEN_QOS)
        rig.wait_for_discovery_by('evaluator')
        assert not wait_until(lambda: rig.node.count_publishers('evaluator/ack'), 2)
        with Process('localizer', **parameters) as localizer:
            assert wait_until(lambda: rig.node.count_publishers('evaluator/ack')), evaluator.output
            localizer.wait_for_output('localizing the images of')
            rig.publish('camera_info', camera_info())
            colors = {1: RED_1M, 2: DARK, 8: RED_1M, 3: RED_1M}  # 8 is not in the bag
            for count, (second, color) in enumerate(colors.items(), start=1):
                rig.publish('image/compressed', compressed_image(color, second))
                assert wait_until(lambda count=count: len(acknowledged) == count)
            assert evaluator.wait() == 0
    assert [status.header.stamp.sec for status in acknowledged] == list(colors)
    assert [status.accepted for status in acknowledged] == [True, False, True, True]
    assert '2 of 3 images were localized' in evaluator.output


def test_ground_truth_is_transformed_by_map_from_nerf_of_the_localizer(tmp_path):
    (tmp_path / 'slow0').mkdir()
    parameters = {'map_dir': tmp_path / 'slow0', 'autostart': True, 'reliability': 'reliable'}
    with (
        contextlib.closing(Rig()) as rig,
        Process('localizer', map_from_nerf='10 20 0.5 90', **parameters) as localizer,
        Process('evaluator', bag='bag', map_dir='map') as evaluator,
    ):
        localizer.wait_for_output('localizing the images of')
        acknowledged = rig.collect(LocalizerStatus, 'evaluator/ack', LAST_TEN_QOS)
        assert wait_until(lambda: rig.node.count_publishers('evaluator/ack')), evaluator.output
        rig.publish('camera_info', camera_info())
        for second in (1, 2, 3):
            rig.publish('image/compressed', compressed_image((100 * min(second, 2), 0, 0), second))
            assert wait_until(lambda n=second: len(acknowledged) == n)
        assert evaluator.wait() == 0
    # The poses of seconds 1 and 2 are correct, that of second 3 is off by a meter.
    assert 'half of all are within 0 cm' in evaluator.output
    assert 'The largest errors of accepted poses are 100 cm' in evaluator.output
    assert 'did not respond' not in evaluator.output


def test_the_evaluation_waits_for_map_from_nerf(rig):
    """All results may arrive before, while a long bag is read."""
    with Process('evaluator', bag='bag', map_dir='map') as process:
        process.wait_for_output('evaluating 3 images')
        for second in (1, 2, 3):
            publish_result(rig, second, 5.0 + second)
        assert not wait_until(lambda: 'were localized' in process.output, 2)
        rig.add_parameter_node('localizer', map_from_nerf='5 0 0 0')
        assert process.wait() == 0
        assert 'The largest errors of accepted poses are 0 cm' in process.output


def test_an_accepted_image_without_a_pose_counts_as_dropped(rig):
    with Process('evaluator', bag='bag', map_dir='map', idle_timeout_s=0.5) as process:
        process.wait_for_output('evaluating 3 images')
        publish_result(rig, 1, 1.0)
        publish_result(rig, 2)
        header = Header(stamp=Time(sec=3))
        rig.publish('localizer/status', LocalizerStatus(header=header, accepted=True))
        assert process.wait() == 0
        assert '1 of 3 images were localized' in process.output
        assert 'rejected 1: dropped' in process.output
        assert 'Traceback' not in process.output


@pytest.mark.parametrize(
    ('has_localizer', 'startup_timeout_s', 'message'),
    [
        (
            False,
            0.5,
            'nobody offers /localizer/get_parameters within startup_timeout_s = 0.5 s:'
            f' {remedies.LOCALIZER_NAME}',
        ),
        (
            True,
            6.0,
            'no result arrived on /localizer/status within startup_timeout_s = 6 s: check the log',
        ),
    ],
)
def test_without_any_result_the_node_ends_with_an_error_and_writes_nothing(
    tmp_path, has_localizer, startup_timeout_s, message
):
    file = tmp_path / 'metrics.json'
    parameters = {
        'bag': 'bag',
        'map_dir': 'map',
        'json': file,
        'startup_timeout_s': startup_timeout_s,
    }
    with contextlib.ExitStack() as stack:
        if has_localizer:
            stack.enter_context(Process('localizer')).wait_for_output('waiting to be configured')
        process = stack.enter_context(Process('evaluator', **parameters))
        assert process.wait() == 1
        assert message in process.output
        assert 'Traceback' not in process.output
    assert not file.exists()


def test_the_client_of_the_localizer_is_made_after_the_subscriptions(monkeypatch):
    """Otherwise a response would not prove that the subscriptions are discovered."""
    kinds = []

    def record(create):
        def create_and_record(node, kind, *args, **kwargs):
            kinds.append(kind)
            return create(node, kind, *args, **kwargs)

        return create_and_record

    for name in ('create_subscription', 'create_client'):
        monkeypatch.setattr(EvaluatorNode, name, record(getattr(EvaluatorNode, name)))
    rclpy.init(args=['evaluator', '--ros-args', '-p', 'bag:=bag', '-p', 'map_dir:=map'])
    try:
        EvaluatorNode(lambda _: {}).destroy_node()
    finally:
        rclpy.try_shutdown()
    assert kinds == [LocalizerStatus, PoseWithCovarianceStamped, GetParameters]


@pytest.mark.parametrize('parameters', [{}, {'bag': 'bag'}])
def test_a_missing_bag_or_map_is_an_error_that_names_it(parameters):
    name = 'map_dir' if parameters else 'bag'
    with Process('evaluator', **parameters) as process:
        assert process.wait() == 1
        assert f'{name} is not set: {remedies.FOLDER.format(name=name)}' in process.output
        assert 'Traceback' not in process.output


@pytest.mark.parametrize('source', ['map', 'parameters', 'file'])
def test_topics_of_the_bag_come_from_the_map_parameters_or_a_file(tmp_path, source):
    names = {IMAGE: '/front/image', INFO: '/front/info'}
    bag = rewrite(
        write_room_bag(tmp_path / 'room', walk(24)[:3]),
        tmp_path / 'bag',
        lambda topic, message, _: [(names.get(topic, topic), message)],
    )
    map_ = build(tmp_path / 'room.map')
    parameters = {'bag': str(bag), 'map_dir': str(map_.path)}
    topics = {'image_topic': '/front/image', 'camera_info_topic': '/front/info'}
    if source == 'map':
        config = {'config': {'capture': topics}}
        edit_manifest(map_.path, lambda manifest: manifest.update(built=config))
    elif source == 'parameters':
        parameters |= topics
    else:
        (tmp_path / 'query.yaml').write_text(json.dumps({'capture': topics}))
        parameters['config'] = str(tmp_path / 'query.yaml')
    assert len(load_ground_truth(EvaluatorConfig(**parameters))) == 3
    (tmp_path / 'odd.yaml').write_text('capture: [1]')
    odd = {**parameters, 'config': str(tmp_path / 'odd.yaml')}
    with pytest.raises(ConfigError, match=r'capture must hold names and values, got \[1\]'):
        load_ground_truth(EvaluatorConfig(**odd))


def test_a_map_built_without_a_bag_is_not_evaluated_with_poses_of_a_bag(tmp_path):
    map_ = build(tmp_path / 'room.map')
    edit_manifest(map_.path, lambda manifest: manifest['convention'].update(of_bag=False))
    with pytest.raises(CaptureError, match='the map was built without a bag, so that the pose of'):
        load_ground_truth(EvaluatorConfig(bag=str(tmp_path / 'bag'), map_dir=str(map_.path)))


def test_a_building_is_not_evaluated_as_one_room(flat, tmp_path):
    first = next(iter(flat.rooms.values())).map_dir
    message = f'several rooms \\(east, west, hall\\), .*{remedies.GIVE_ROOM.format(map=first)}$'
    with pytest.raises(MapError, match=message):
        load_ground_truth(EvaluatorConfig(bag=str(tmp_path / 'bag'), map_dir=str(flat.path)))
