"""Launch files start their nodes with the described parameters and topics."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
import launch_standin
from nav_msgs.msg import Odometry
import numpy as np
import pytest
from rcl_interfaces.srv import GetParameters
from ros_rig import camera_info, compressed_image, odometry, Process, raw_image, Rig, wait_until
import yaml

from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig, RECORD3D_TOPICS
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.odometry.config import LoopClosureConfig, OdometryConfig
from nerf_reversal_ros.odometry.map_from_odom import TfSmoothingConfig
from nerf_reversal_ros.ros.node_config import (
    LocalizerNodeConfig,
    LoopCloserNodeConfig,
    ProcessingLimits,
)

LAUNCH = Path(__file__).resolve().parents[2] / 'launch'
FILES = (
    'build_map.launch.py',
    'close_loops.launch.py',
    'evaluate.launch.py',
    'localize.launch.py',
    'play.launch.py',
    'record.launch.py',
    'rviz.launch.py',
)


@pytest.fixture(autouse=True)
def _standin(monkeypatch):
    launch_standin.install(monkeypatch)


def single_process(file, folder, /, **arguments):
    """Return the one process that a launch file starts."""
    (process,) = launch_standin.started_nodes(
        launch_standin.load(LAUNCH / file), folder, **arguments
    )
    return process


@pytest.mark.parametrize('name', FILES)
def test_a_launch_file_is_short_and_describes_each_argument(name):
    assert len((LAUNCH / name).read_text().splitlines()) <= 40
    arguments = launch_standin.declared_arguments(launch_standin.load(LAUNCH / name))
    assert arguments
    assert all(len(description) > 10 for _, description in arguments.values())


def test_localize_starts_a_localizer_on_the_given_topics(tmp_path):
    (tmp_path / 'slow0').mkdir()
    (tmp_path / 'reliable.yaml').write_text(
        '/**/localizer:\n  ros__parameters: {reliability: reliable, min_inliers: 17}\n'
    )
    executable, words, environment = single_process(
        'localize.launch.py',
        tmp_path,
        map=str(tmp_path / 'slow0'),
        image='/front/image',
        camera_info='/front/info',
        namespace='robot1',
        params_file=str(tmp_path / 'reliable.yaml'),
    )
    assert (executable, environment) == ('localizer', {})
    rig = Rig('/robot1')
    poses = rig.collect(PoseStamped, 'nerf_pose')
    with Process('localizer', *words[1:]) as process:
        rig.publish('/front/info', camera_info())
        rig.publish('/front/image', compressed_image(second=3))
        assert wait_until(lambda: poses), process.output
    assert poses[0].header.stamp.sec == 3
    rig.close()


def test_localize_takes_a_building_as_its_map(flat, tmp_path):
    _, words, _ = single_process('localize.launch.py', tmp_path, map=str(flat.path))
    with Process('localizer', *words[1:]) as process:
        process.wait_for_output(f'loaded the building {flat.path}: east, west, hall')
        process.wait_for_output('localizing the images of')


@pytest.mark.parametrize(
    ('arguments', 'topic', 'make_image'),
    [
        ({}, '/image/compressed', compressed_image),
        ({'transport': 'raw'}, '/image', raw_image),
        ({'transport': 'raw', 'image': '/front'}, '/front', raw_image),
    ],
)
def test_the_image_topic_follows_the_transport(tmp_path, arguments, topic, make_image):
    (tmp_path / 'slow0').mkdir()
    file = tmp_path / 'reliable.yaml'
    file.write_text('/**/localizer:\n  ros__parameters: {reliability: reliable}\n')
    launch_arguments = {'map': str(tmp_path / 'slow0'), 'params_file': str(file), **arguments}
    _, words, _ = single_process('localize.launch.py', tmp_path, **launch_arguments)
    rig = Rig()
    poses = rig.collect(PoseStamped, 'nerf_pose')
    with Process('localizer', *words[1:]) as process:
        process.wait_for_output(f'localizing the images of {topic}\n')
        rig.publish('camera_info', camera_info())
        rig.publish(topic, make_image())
        assert wait_until(lambda: poses), process.output
    rig.close()


@pytest.mark.parametrize(
    ('node', 'classes'),
    [
        (
            'localizer',
            (
                LocalizerNodeConfig,
                ProcessingLimits,
                LocalizerConfig,
                OdometryConfig,
                TfSmoothingConfig,
            ),
        ),
        ('loop_closer', (LoopCloserNodeConfig, LoopClosureConfig, TfSmoothingConfig)),
    ],
)
def test_a_parameter_file_of_config_has_all_names_and_their_defaults(node, classes):
    file = LAUNCH.parent / f'config/{node}.yaml'
    parameters = yaml.safe_load(file.read_text())[f'/**/{node}']['ros__parameters']
    defaults = {name: value for cls in classes for name, value in vars(cls()).items()}
    assert parameters == {
        name: defaults[name] for name in defaults.keys() - {'map_dir', 'autostart'}
    }


def test_close_loops_starts_a_loop_closer_on_the_given_topics(tmp_path):
    pytest.importorskip('gtsam', reason='pip install -r requirements/loop_closer.txt')
    launch_arguments = {'odom': '/wheels', 'pose': '/where', 'base_frame': 'base_footprint'}
    executable, words, _ = single_process('close_loops.launch.py', tmp_path, **launch_arguments)
    assert executable == 'loop_closer'
    rig = Rig()
    corrected = rig.collect(Odometry, 'loop_closer/odometry')
    pose = PoseWithCovarianceStamped()
    pose.header.frame_id, pose.header.stamp.sec = 'map', 1
    pose.pose.pose.orientation.w = 1.0
    pose.pose.covariance = np.diag([1e-4] * 6).ravel()
    with Process(executable, *words[1:]) as process:

        def publish_and_wait():
            rig.publish('/wheels', odometry(1, 0.0, child='base_footprint'))
            rig.publish('/where', pose)
            return wait_until(lambda: corrected, 0.5)

        assert wait_until(publish_and_wait), process.output  # the odometry is best effort
    assert corrected[0].child_frame_id == 'base_footprint'
    rig.close()


def test_close_loops_keeps_the_params_file_for_arguments_that_are_not_given(tmp_path):
    file = tmp_path / 'user.yaml'
    file.write_text('/**/loop_closer:\n  ros__parameters: {base_frame: base_footprint}\n')
    launch_arguments = {'params_file': str(file), 'publish_tf': 'true', 'use_sim_time': 'false'}
    _, words, _ = single_process('close_loops.launch.py', tmp_path, **launch_arguments)
    files = [Path(word) for at, word in enumerate(words) if words[at - 1] == '--params-file']
    assert files[0] == file
    (overrides,) = [
        yaml.safe_load(other.read_text())['/**']['ros__parameters'] for other in files[1:]
    ]
    assert overrides == {'publish_tf': True, 'use_sim_time': False}
    _, words, _ = single_process('close_loops.launch.py', tmp_path, params_file=str(file))
    assert words.count('--params-file') == 1


MAP = {'localize': {'map': 'room'}}
"""Arguments that a launch file needs."""


@pytest.mark.parametrize('file', ['localize', 'close_loops', 'rviz'])
def test_tf_is_that_of_the_namespace_or_that_of_all(tmp_path, file):
    of_namespace = ['/tf:=tf', '/tf_static:=tf_static']
    for tf, expected in (('namespaced', of_namespace), ('shared', [])):
        _, words, _ = single_process(f'{file}.launch.py', tmp_path, tf=tf, **MAP.get(file, {}))
        assert [word for word in words if word.startswith('/tf')] == expected
    declared = launch_standin.declared_arguments(launch_standin.load(LAUNCH / f'{file}.launch.py'))
    assert declared['tf'][0] == 'namespaced'
    with pytest.raises(AssertionError, match=r"tf must be one of \['namespaced', 'shared'\]"):
        single_process(f'{file}.launch.py', tmp_path, tf='global', **MAP.get(file, {}))


@pytest.mark.parametrize('file', ['localize', 'close_loops'])
def test_a_second_node_on_one_robot_has_a_name_of_its_own(tmp_path, file):
    _, words, _ = single_process(f'{file}.launch.py', tmp_path, name='rear', **MAP.get(file, {}))
    assert '__node:=rear' in words


@pytest.mark.parametrize('namespace', ['', '/robot1'])
@pytest.mark.parametrize('name', ['localize', 'close_loops'])
def test_tf_is_in_the_namespace_of_the_node(tmp_path, name, namespace):
    pytest.importorskip('tf2_msgs', reason='`make setup` builds it for the tests')
    launch_arguments = {'namespace': namespace}
    if name == 'localize':
        (tmp_path / 'slow0').mkdir()
        file = tmp_path / 'based.yaml'
        parameters = '{base_frame: base_link, publish_tf: true}'
        file.write_text(f'/**/localizer:\n  ros__parameters: {parameters}\n')
        launch_arguments |= {'map': str(tmp_path / 'slow0'), 'params_file': str(file)}
    else:
        pytest.importorskip('gtsam', reason='pip install -r requirements/loop_closer.txt')
        launch_arguments |= {'publish_tf': 'true', 'odometry_source': 'tf'}
    executable, words, _ = single_process(f'{name}.launch.py', tmp_path, **launch_arguments)
    with contextlib.closing(Rig()) as rig, Process(executable, *words[1:]) as process:
        node = rig.node

        def uses_tf():
            subscribed = all(
                node.count_subscribers(f'{namespace}/{tf}') for tf in ('tf', 'tf_static')
            )
            return subscribed and node.count_publishers(f'{namespace}/tf') == 1

        assert wait_until(uses_tf), process.output
        assert not namespace or not node.count_publishers('/tf') + node.count_subscribers('/tf')


def test_localize_with_large_messages_sets_both_profile_variables_of_fast_dds(tmp_path):
    _, words, environment = single_process(
        'localize.launch.py', tmp_path, map='kitchen', transport='raw', large_messages='true'
    )
    profile = str(LAUNCH.parent / 'config/fastdds_large_messages.xml')
    assert environment == {
        'FASTDDS_DEFAULT_PROFILES_FILE': profile,
        'FASTRTPS_DEFAULT_PROFILES_FILE': profile,
    }
    assert Path(profile).is_file()
    assert str(LAUNCH.parent / 'config/localizer.yaml') in words


def test_localize_keeps_the_params_file_for_arguments_that_are_not_given(tmp_path):
    (tmp_path / 'slow0').mkdir()
    file = tmp_path / 'user.yaml'
    parameters = '{image_transport: raw, reliability: reliable, use_sim_time: true}'
    file.write_text(f'/**/localizer:\n  ros__parameters: {parameters}\n')
    launch_arguments = {'map': str(tmp_path / 'slow0'), 'params_file': str(file)}
    _, words, _ = single_process(
        'localize.launch.py', tmp_path, **launch_arguments, autostart='false'
    )
    assert not any('image' in word for word in words)  # nor are the topics remapped
    rig = Rig()
    with Process('localizer', *words[1:]) as process:
        process.wait_for_output('waiting to be configured')
        names = ['image_transport', 'autostart', 'use_sim_time', 'map_dir']
        values = rig.call(GetParameters, 'localizer/get_parameters', names=names).values
        assert values[0].string_value == 'raw'
        assert (values[1].bool_value, values[2].bool_value) == (False, True)
        assert values[3].string_value == launch_arguments['map']
    rig.close()
    launch_arguments |= {'transport': 'compressed', 'image': '/front'}  # overrides the file
    _, words, _ = single_process('localize.launch.py', tmp_path, **launch_arguments)
    with Process('localizer', *words[1:]) as process:
        process.wait_for_output('localizing the images of /front')


def test_rviz_starts_in_the_namespace_of_a_localizer(tmp_path):
    launch_arguments = {'namespace': '/robot1', 'use_sim_time': 'true'}
    executable, words, _ = single_process('rviz.launch.py', tmp_path, **launch_arguments)
    assert (executable, words[0]) == ('rviz2', '-d')
    assert Path(words[1]).samefile(LAUNCH.parent / 'rviz/nerf_reversal.rviz')
    assert {'__ns:=/robot1', '/tf:=tf', '/tf_static:=tf_static'} <= set(words)
    (file,) = [word for at, word in enumerate(words) if words[at - 1] == '--params-file']
    assert yaml.safe_load(Path(file).read_text())['/**']['ros__parameters'] == {
        'use_sim_time': True
    }


def test_the_localizer_publishes_every_topic_of_the_rviz_configuration(tmp_path):
    configuration = yaml.safe_load((LAUNCH.parent / 'rviz/nerf_reversal.rviz').read_text())
    displays = configuration['Visualization Manager']['Displays']
    topics = {
        display['Name']: display['Topic']['Value'] for display in displays if 'Topic' in display
    }
    assert not any(topic.startswith('/') for topic in topics.values())
    (tmp_path / 'slow0').mkdir()
    _, words, _ = single_process(
        'localize.launch.py', tmp_path, map=str(tmp_path / 'slow0'), namespace='/robot1'
    )
    rig = Rig('/robot1')
    with Process('localizer', *words[1:]) as process:
        process.wait_for_output('localizing the images of')
        for topic in topics.values():
            assert wait_until(lambda topic=topic: rig.node.count_publishers(topic) == 1), topic
    rig.close()


def test_evaluate_plays_a_bag_in_lockstep_and_evaluates_the_localizer(tmp_path):
    (tmp_path / 'slow0').mkdir()
    with BagWriter(tmp_path / 'bag') as writer:
        for second, red in ((1, 100), (2, 200), (3, 0)):
            rgb = np.full((48, 64, 3), (red, 0, 0), np.uint8)
            camera = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
            writer.write(second * 1_000_000_000, rgb, None, camera, np.eye(4))
    description = launch_standin.load(LAUNCH / 'evaluate.launch.py')
    nodes = {
        name: words[1:]
        for name, words, _ in launch_standin.started_nodes(
            description,
            tmp_path,
            map=str(tmp_path / 'slow0'),
            bag=str(tmp_path / 'bag'),
            json=str(tmp_path / 'metrics.json'),
        )
    }
    assert list(nodes) == ['localizer', 'player', 'evaluator']
    with (
        Process('localizer', *nodes['localizer']) as localizer,
        Process('player', *nodes['player']) as player,
        Process('evaluator', *nodes['evaluator']) as evaluator,
    ):
        is_done = wait_until(lambda: 'were localized' in evaluator.output, 60)
        assert is_done, (evaluator.output, localizer.output, player.output)
        assert evaluator.wait() == 0, evaluator.output
        assert player.wait() == 0, player.output
        assert 'got no status' not in player.output
    assert '2 of 3 images were localized' in evaluator.output


def test_evaluate_ends_with_any_failed_node_but_not_with_the_end_of_the_bag():
    """The evaluator would otherwise wait in vain, or end before its evaluation."""
    description = launch_standin.load(LAUNCH / 'evaluate.launch.py')
    ends = {
        entity.named['name']: entity.named['on_exit']
        for entity in description.entities
        if isinstance(entity, launch_standin.Node)
    }
    assert list(ends) == ['localizer', 'player', 'evaluator']
    assert isinstance(ends['localizer'], launch_standin.Shutdown)
    assert isinstance(ends['evaluator'], launch_standin.Shutdown)
    exited = SimpleNamespace  # the part of launch's event that is used
    (end,) = ends['player'](exited(returncode=1), None)
    assert isinstance(end, launch_standin.Shutdown)
    assert not ends['player'](exited(returncode=0), None)


def test_record_records_the_topics_that_the_builder_reads(tmp_path):
    description = launch_standin.load(LAUNCH / 'record.launch.py')
    commands = launch_standin.started_commands(description, bag='capture')
    assert commands == [
        [
            *('ros2', 'bag', 'record', '--storage', 'mcap', '--output', 'capture'),
            '/record3d/device_0/rgb/img',
            '/record3d/device_0/rgb/image_raw/compressed',
            '/record3d/device_0/rgb/camera_info',
            '/record3d/device_0/depth/img',
            '/record3d/device_0/depth/image_raw',
            '/record3d/device_0/depth/camera_info',
            '/record3d/device_0/camera_pose',
        ]
    ]
    read = CaptureConfig()
    needed = {read.image_topic, read.depth_topic, read.camera_info_topic, read.pose_topic}
    assert {*needed, *RECORD3D_TOPICS.values()} <= set(commands[0])


def test_build_map_builds_a_map_and_ends(tmp_path):
    bag = tmp_path / 'bag'
    bag.write_text('3')
    executable, words, _ = single_process(
        'build_map.launch.py', tmp_path, bag=str(bag), map=str(tmp_path / '2024')
    )
    with Process(executable, *words[1:]) as process:
        assert process.wait() == 0, process.output
    assert (tmp_path / '2024').is_dir()


def test_build_map_without_a_bag_starts_the_action_server(tmp_path):
    executable, words, _ = single_process('build_map.launch.py', tmp_path)
    with Process(executable, *words[1:]) as process:
        process.wait_for_output('waiting for goals')


def test_play_remaps_the_topics_of_record3d(tmp_path):
    executable, words, _ = single_process('play.launch.py', tmp_path, bag='/no/bag', rate='2')
    assert '/record3d/device_0/rgb/img:=/image/compressed' in words
    assert '/record3d/device_0/rgb/image_raw/compressed:=/image/compressed' in words
    with Process(executable, *words[1:]) as process:
        assert process.wait() == 1
        assert '/no/bag' in process.output
