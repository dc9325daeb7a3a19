"""Parameters are declared from the settings; unknown and invalid ones are errors with a remedy."""

import contextlib
import importlib.util

import pytest
from rcl_interfaces.msg import ParameterType
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Header
import yaml

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.odometry.config import OdometryConfig
from nerf_reversal_ros.odometry.map_from_odom import TfSmoothingConfig
from nerf_reversal_ros.ros.live_config import Live
from nerf_reversal_ros.ros.node_config import (
    BuilderNodeConfig,
    LocalizerNodeConfig,
    LoopCloserNodeConfig,
    PlayerConfig,
)
from nerf_reversal_ros.ros.parameters import NodeParameters
from nerf_reversal_ros.ros.params_files import names_under_wildcards
from nerf_reversal_ros.ros.robot_frames import RobotFrames
from nerf_reversal_ros.ros.tf_io import MapFromOdomBroadcaster, TfOdometry


@pytest.fixture
def node():
    """Return a function that makes a node with parameters, as ``-p name:=value`` does."""
    context = rclpy.Context()
    rclpy.init(context=context)

    def make_node(**overrides):
        rules = [word for k, v in overrides.items() for word in ('-p', f'{k}:={v}')]
        return Node(
            'tested',
            context=context,
            cli_args=['--ros-args', *rules],
            automatically_declare_parameters_from_overrides=True,
        )

    yield make_node
    context.try_shutdown()


def localizer_parameters(node, **options):
    return NodeParameters(node, LocalizerNodeConfig, LocalizerConfig, OdometryConfig, **options)


def test_settings_come_from_the_parameters_or_the_defaults(node):
    parameters = localizer_parameters(node(map_dir='kitchen', hypotheses=7, use_sim_time='true'))
    assert parameters.get(LocalizerNodeConfig).map_dir == 'kitchen'
    assert parameters.get(LocalizerConfig) == LocalizerConfig(hypotheses=7)


def test_an_integer_is_converted_for_a_float_parameter(node):
    tested = node(max_std_m=1)
    assert localizer_parameters(tested).get(LocalizerConfig).max_std_m == 1.0
    assert tested.get_parameter('max_std_m').value == 1.0


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        ({'min_inlers': 3}, 'unknown parameter min_inlers: did you mean min_inliers?'),
        ({'zzz': 3}, 'unknown parameter zzz: known are rectified, '),
        ({'map_from_nerf': '1 2 3'}, 'map_from_nerf must be four numbers "x y z yaw", got'),
        ({'map_from_nerf': '1 2 3 nan'}, 'map_from_nerf must be four numbers "x y z yaw", got'),
        ({'min_inliers': 3}, 'min_inliers must be >= 12, got 3'),
        ({'map_dir': 2024}, 'map_dir must be of type str, got 2024'),
        ({'publish_tf': "'yes'"}, "publish_tf must be of type bool, got 'yes'"),
        ({'publish_tf': 'true'}, 'publish_tf needs base_frame'),
        ({'image_transport': 'theora'}, 'image_transport must be one of compressed, raw'),
        ({'mounting': '1 2 3', 'base_frame': 'b'}, 'mounting must be seven numbers'),
        ({'mounting': '0 0 0 0 0 0 2', 'base_frame': 'b'}, 'must have length 1, got 2.000'),
        ({'mounting': '0 0 0 0 0 0 1'}, 'mounting is set but base_frame is not'),
        ({'use_odometry': 'true'}, 'use_odometry needs base_frame'),
        ({'odometry_witnesses': 1}, 'odometry_witnesses must be >= 2, got 1'),
    ],
)
def test_wrong_parameters_are_rejected(node, overrides, message):
    with pytest.raises(ConfigError) as rejected:
        localizer_parameters(node(**overrides))
    assert message in str(rejected.value)


FOREIGN = 'robot_name: r2\ncontroller: {gain: 3.0}\nmin_inlers: 3'


@pytest.mark.parametrize(
    ('pattern', 'ignored'),
    [
        ('**', True),
        ('*', True),
        ('**/tested', False),
        ('tested', False),
    ],
)
def test_foreign_parameters_are_ignored_where_a_file_means_all_nodes(
    tmp_path, pattern, ignored, monkeypatch, capfd
):
    file = tmp_path / 'shared.yaml'
    own = yaml.safe_load(f'hypotheses: 7\n{FOREIGN}')
    file.write_text(yaml.safe_dump({'/robot1': {pattern: {'ros__parameters': own}}}))
    words = ['tested', '--ros-args', '-r', '__ns:=/robot1', '--params-file', str(file)]
    monkeypatch.setattr('sys.argv', words)
    with contextlib.ExitStack() as stack:
        context = rclpy.Context()
        rclpy.init(args=words, context=context)
        stack.callback(context.try_shutdown)
        options = {'automatically_declare_parameters_from_overrides': True}
        tested = Node('tested', context=context, **options)
        if not ignored:
            with pytest.raises(ConfigError, match='unknown parameter'):
                localizer_parameters(tested)
            return
        assert localizer_parameters(tested).get(LocalizerConfig).hypotheses == 7
        assert not tested.has_parameter('robot_name')
    (line,) = (line for line in capfd.readouterr().err.splitlines() if 'unknown here' in line)
    assert 'controller.gain, min_inlers: did you mean min_inliers?, robot_name' in line


def test_a_parameter_of_the_command_line_is_of_this_node(tmp_path):
    file = tmp_path / 'shared.yaml'
    file.write_text('/**: {ros__parameters: {zzz: 1, yyy: 2}}')
    words = ['node', '--ros-args', '--params-file', str(file), '-p', 'zzz:=3']
    assert names_under_wildcards(words) == {'yyy'}
    assert names_under_wildcards(['node', '--params-file', '/no/file']) == set()


def test_other_nodes_reject_incomplete_settings(node):
    with pytest.raises(ConfigError, match='bag is set but map is not'):
        NodeParameters(node(bag='b'), BuilderNodeConfig)
    with pytest.raises(ConfigError, match=f'not set: {remedies.FOLDER.format(name="bag")}'):
        NodeParameters(node(), PlayerConfig)
    assert NodeParameters(node(bag='b'), PlayerConfig)


@pytest.mark.parametrize(
    ('settings', 'remedy'),
    [
        ({'mounting': '0 0 0 0 0 0 1'}, remedies.BASE_FRAME),
        ({'publish_tf': True}, remedies.BASE_FRAME),
        ({'use_odometry': True}, remedies.ODOMETRY_CHILD),
    ],
)
def test_settings_that_need_the_base_are_accepted_with_it(settings, remedy):
    with pytest.raises(ConfigError, match=remedy):
        LocalizerNodeConfig(**settings)
    assert LocalizerNodeConfig(**settings, base_frame='base_link')


BASE = {'base_frame': 'base_link'}
SMOOTHING = Live(TfSmoothingConfig)
MOUNTING = {**BASE, 'mounting': '0 0 0 0 0 0 1'}


@pytest.mark.skipif(importlib.util.find_spec('tf2_ros') is not None, reason='tf2_ros is here')
@pytest.mark.parametrize(
    ('make', 'remedy'),
    [
        (
            lambda node: RobotFrames(node, LocalizerNodeConfig(**BASE), SMOOTHING),
            remedies.MOUNTING_PARAMETER,
        ),
        (
            lambda node: RobotFrames(
                node, LocalizerNodeConfig(**MOUNTING, publish_tf=True), SMOOTHING
            ),
            remedies.NO_TF,
        ),
        (
            lambda node: MapFromOdomBroadcaster(node, 'map', 'odom', SMOOTHING),
            remedies.NO_TF,
        ),
        (
            lambda node: TfOdometry(node, LoopCloserNodeConfig(), print),
            remedies.ODOMETRY_TOPIC,
        ),
    ],
)
def test_a_missing_tf2_ros_is_an_error_with_a_remedy(node, make, remedy):
    with pytest.raises(ConfigError, match=f'needs tf2_ros, which is not installed.*{remedy}'):
        make(node())


def test_tf2_ros_is_not_needed_without_publish_tf_and_with_a_mounting(node):
    for config in (LocalizerNodeConfig(), LocalizerNodeConfig(**MOUNTING)):
        frames = RobotFrames(node(), config, SMOOTHING)
        frames.start()
        assert (frames.base_from_camera(Header()) is None) == (not config.mounting)
        frames.close()


def test_parameters_have_descriptions_and_limits(node):
    tested = node()
    localizer_parameters(tested)
    ratio, transport, inliers = tested.describe_parameters(
        ['min_inlier_ratio', 'image_transport', 'min_inliers']
    )
    description = 'reject a pose with a smaller fraction of inliers among the matches'
    assert ratio.description == description
    assert (ratio.type, ratio.read_only) == (ParameterType.PARAMETER_DOUBLE, False)
    limits = ratio.floating_point_range[0]
    assert (limits.from_value, limits.to_value) == (0.0, 1.0)
    assert transport.read_only
    assert transport.additional_constraints == 'one of compressed, raw'
    assert not inliers.integer_range  # a range needs both limits
    assert inliers.additional_constraints == 'at least 12'


def test_only_changeable_parameters_change_and_live_settings_follow(node):
    tested = node()
    parameters = localizer_parameters(tested)
    live, snapshot = parameters.live(LocalizerConfig), parameters.get(LocalizerConfig)

    def set_to(name, value):
        return tested.set_parameters_atomically([Parameter(name, value=value)]).successful

    assert set_to('hypotheses', 9)
    assert parameters.get(LocalizerConfig).hypotheses == 9
    assert not set_to('hypotheses', 65)
    assert not set_to('hypotheses', 1.5)
    assert not set_to('map_dir', 'elsewhere')
    assert parameters.get(LocalizerConfig).hypotheses == live.current.hypotheses == 9
    assert snapshot.hypotheses == LocalizerConfig().hypotheses


def test_read_only_parameters_change_while_the_node_allows_it(node):
    tested, allowed = node(), True
    parameters = localizer_parameters(tested, allow_read_only=lambda: allowed)

    def set_to(name, value):
        return tested.set_parameters_atomically([Parameter(name, value=value)])

    descriptor = tested.describe_parameters(['map_dir'])[0]
    assert not descriptor.read_only
    assert descriptor.description.endswith('(may change while the node is unconfigured)')
    assert set_to('map_dir', 'kitchen').successful
    allowed = False
    assert 'clean it up, set map_dir' in set_to('map_dir', 'attic').reason
    parameters.set_internal('map_dir', 'cellar')  # by the node itself
    assert parameters.get(LocalizerNodeConfig).map_dir == 'cellar'


def test_qos_overrides_without_effect_are_rejected(node):
    with pytest.raises(ConfigError, match=f'is not supported: {remedies.RELIABILITY}'):
        localizer_parameters(node(**{'qos_overrides./image.subscription.depth': 3}))
    localizer_parameters(node(**{'qos_overrides./clock.subscription.depth': 3}))
    localizer_parameters(node(reliability='best_effort'))
