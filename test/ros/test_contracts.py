"""
Parameters of the nodes with their defaults, and the types of their topics and services.

Expected values are written out, so that a name that changes in the code cannot change them.
"""

import importlib.util

import pytest
import rclpy
from ros_small import small_build, small_localizer

from nerf_reversal_ros.msg import LoopClosure
from nerf_reversal_ros.odometry.loop_closure import ClosureResult
from nerf_reversal_ros.ros.builder_node import BuilderNode
from nerf_reversal_ros.ros.conversions import loop_closure_message
from nerf_reversal_ros.ros.evaluator_node import EvaluatorNode
from nerf_reversal_ros.ros.localizer_node import LocalizerNode
from nerf_reversal_ros.ros.loop_closer_node import LoopCloserNode
from nerf_reversal_ros.ros.player_node import PlayerNode

OF_ROS = {'use_sim_time': False, 'start_type_description_service': True}
DRIFT = {
    'odometry_drift': 0.05,
    'odometry_drift_m': 0.05,
    'odometry_drift_deg': 2.0,
    'odometry_witnesses': 3,
    'odometry_tolerance_s': 0.1,
}
SMOOTHING = {
    'tf_smoothing': 0.3,
    'tf_max_jump_m': 0.3,
    'tf_max_jump_deg': 10.0,
    'tf_rate_hz': 20.0,
    'tf_tolerance_s': 0.1,
    'tf_jump_poses': 3,
    'tf_planar': False,
    'tf_max_age_s': 0.0,
}


@pytest.fixture
def make_node():
    """Return a function that makes a node with parameters; the fixture ends the nodes."""
    nodes = []

    def make(node, **overrides):
        rules = [word for name, value in overrides.items() for word in ('-p', f'{name}:={value}')]
        rclpy.init(args=['node', '--ros-args', *rules] if rules else None)
        nodes.append(node())
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()
        node.destroy_node()
    rclpy.try_shutdown()


def parameters(node):
    """Return names and values of the parameters that ROS does not declare."""
    values = {name: p.value for name, p in node.get_parameters_by_prefix('').items()}
    return {name: value for name, value in values.items() if name not in OF_ROS}


def kind(cls):
    return f'{cls.__module__.partition(".")[0]}/{cls.__name__}'


def topics(endpoints):
    """Return types by topic, except those of ROS itself; a star marks a latched topic."""
    return {
        each.topic_name: kind(each.msg_type)
        + '*' * (each.qos_profile.durability.name == 'TRANSIENT_LOCAL')
        for each in endpoints
        if each.topic_name not in ('/parameter_events', '/rosout')
    }


def services(node):
    """Return types by service, except those of parameters and life cycle."""
    of_ros = ('rcl_interfaces/', 'type_description_interfaces/', 'lifecycle_msgs/')
    types = {each.srv_name: kind(each.srv_type) for each in node.services}
    return {name: kind for name, kind in types.items() if not kind.startswith(of_ros)}


# ---- localizer


def test_the_parameters_of_the_localizer(make_node):
    node = make_node(lambda: LocalizerNode(small_localizer))
    assert node.get_name() == 'localizer'
    assert parameters(node) == {
        'map_dir': '',
        'autostart': False,
        'image_transport': 'compressed',
        'reliability': 'best_effort',
        'map_frame': 'map',
        'map_from_nerf': '',
        'base_frame': '',
        'camera_frame': '',
        'mounting': '',
        'publish_tf': False,
        'odom_frame': 'odom',
        'use_odometry': False,
        'use_tracking': True,
        'max_rate_hz': 0.0,
        'path_poses': 1000,
        'rectified': False,
        'camera_info_file': '',
        'camera_info_size': '',
        'camera_info_timeout_s': 1.0,
        'device': 'auto',
        'hypotheses': 4,
        'query_size': 320,
        'retry_size': 640,
        'whole_map': True,
        'time_limit_s': 1.0,
        'tracking_timeout_s': 1.0,
        'min_probability': 0.95,
        'min_inliers': 15,
        'min_inlier_ratio': 0.15,
        'min_spread': 0.25,
        'max_disagreement_m': 0.1,
        'max_disagreement_deg': 3.0,
        'max_camera_deviation': 0.02,
        'min_similarity': 0.3,
        'max_std_m': 0.03,
        'max_distance_m': 1.5,
        'max_novelty': 8.0,
        'memory_limit_mb': 1000,
        **DRIFT,
        'min_confirmed_probability': 0.9,
        **SMOOTHING,
    }


def test_the_topics_and_services_of_the_localizer(make_node, tmp_path):
    (tmp_path / 'slow0').mkdir()
    overrides = {'base_frame': 'base_link', 'mounting': '0 0 0 0 0 0 1', 'use_odometry': 'true'}
    node = make_node(
        lambda: LocalizerNode(small_localizer), map_dir=tmp_path / 'slow0', **overrides
    )
    node.trigger_configure()
    node.trigger_activate()
    has_bond = importlib.util.find_spec('bond') is not None
    assert topics(node.publishers) == {
        **({'/bond': 'bond/Status'} if has_bond else {}),
        '/diagnostics': 'diagnostic_msgs/DiagnosticArray',
        '/nerf_pose': 'geometry_msgs/PoseStamped',
        '/nerf_pose_with_covariance': 'geometry_msgs/PoseWithCovarianceStamped',
        '/localizer/coverage': 'sensor_msgs/PointCloud2*',
        '/localizer/debug_image': 'sensor_msgs/Image',
        '/localizer/map_description': 'nerf_reversal_ros/MapDescription*',
        '/localizer/markers': 'visualization_msgs/MarkerArray',
        '/localizer/path': 'nav_msgs/Path',
        '/localizer/sensor_pose': 'geometry_msgs/PoseWithCovarianceStamped',
        '/localizer/status': 'nerf_reversal_ros/LocalizerStatus*',
        '/localizer/surface': 'sensor_msgs/PointCloud2*',
        '/localizer/walk': 'nav_msgs/Path*',
    }
    assert topics(node.subscriptions) == {
        '/camera_info': 'sensor_msgs/CameraInfo',
        '/image/compressed': 'sensor_msgs/CompressedImage',
        '/odom': 'nav_msgs/Odometry',
    }
    assert services(node) == {
        '~/load_map': 'nerf_reversal_ros/LoadMap',
        '~/localize': 'nerf_reversal_ros/Localize',
        '~/reset': 'std_srvs/Trigger',
    }


def test_the_topic_of_raw_images(make_node, tmp_path):
    (tmp_path / 'slow0').mkdir()
    overrides = {'map_dir': tmp_path / 'slow0', 'image_transport': 'raw'}
    node = make_node(lambda: LocalizerNode(small_localizer), **overrides)
    node.trigger_configure()
    node.trigger_activate()
    assert topics(node.subscriptions)['/image'] == 'sensor_msgs/Image'


# ---- loop closer


def test_the_parameters_topics_and_services_of_the_loop_closer(make_node):
    node = make_node(LoopCloserNode)
    assert node.get_name() == 'loop_closer'
    assert parameters(node) == {
        'map_frame': 'map',
        'odom_frame': 'odom',
        'base_frame': 'base_link',
        'odometry_source': 'topic',
        'tf_lookup_hz': 50.0,
        'reliability': 'best_effort',
        'publish_tf': False,
        'path_period_s': 1.0,
        **DRIFT,
        'keyframe_m': 0.2,
        'keyframe_deg': 10.0,
        'window': 100,
        'path_poses': 2000,
        'gate': 0.999,
        'min_std_m': 0.01,
        'min_std_deg': 0.2,
        **SMOOTHING,
    }
    assert topics(node.publishers) == {
        '/diagnostics': 'diagnostic_msgs/DiagnosticArray',
        '/loop_closer/closures': 'nerf_reversal_ros/LoopClosure',
        '/loop_closer/map_from_odom': 'geometry_msgs/TransformStamped*',
        '/loop_closer/odometry': 'nav_msgs/Odometry',
        '/loop_closer/path': 'nav_msgs/Path*',
    }
    assert topics(node.subscriptions) == {
        '/nerf_pose_with_covariance': 'geometry_msgs/PoseWithCovarianceStamped',
        '/odom': 'nav_msgs/Odometry',
    }
    assert services(node) == {'~/reset': 'std_srvs/Trigger'}


def test_every_field_of_a_closure_result_is_in_its_message():
    closure = ClosureResult(2_000_000_003, True, 'why', 'told', True, 4_000_000_005, *range(1, 8))
    message = loop_closure_message(closure, 'map', None)
    assert isinstance(message, LoopClosure)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (2, 3)
    assert (message.keyframe_stamp.sec, message.keyframe_stamp.nanosec) == (4, 5)
    assert (message.accepted, message.reason, message.detail) == (True, 'why', 'told')
    assert message.reanchored is True
    assert (message.residual_m, message.residual_deg, message.chi2, message.chi2_limit) == (
        1,
        2,
        3,
        4,
    )
    assert (message.travelled_m, message.correction_m, message.correction_deg) == (5, 6, 7)


# ---- builder and player


def test_the_parameters_of_the_builder(make_node):
    node = make_node(lambda: BuilderNode(small_build))
    assert node.get_name() == 'builder'
    assert parameters(node) == {
        'bag': '',
        'map': '',
        'field': 'voxel',
        'device': 'auto',
        'config': '',
        'overwrite': False,
    }
    assert (topics(node.publishers), topics(node.subscriptions), services(node)) == ({}, {}, {})


def test_the_parameters_and_topics_of_the_player(make_node, tmp_path):
    node = make_node(PlayerNode, bag=tmp_path, clock='true', lockstep_topic='/localizer/status')
    assert node.get_name() == 'player'
    overrides = {'bag': str(tmp_path), 'clock': True, 'lockstep_topic': '/localizer/status'}
    assert parameters(node) == {
        'topics': '',
        'rate': 1.0,
        'loop': False,
        'wait_for': 1,
        'wait_timeout_s': 60.0,
        'lockstep_timeout_s': 20.0,
        **overrides,
    }
    assert topics(node.publishers) == {'/clock': 'rosgraph_msgs/Clock'}
    assert topics(node.subscriptions) == {
        '/localizer/status': 'nerf_reversal_ros/LocalizerStatus*'
    }


# ---- evaluator: its names may be changed on purpose, and then here as well


def test_the_parameters_and_topics_of_the_evaluator(make_node, tmp_path):
    node = make_node(lambda: EvaluatorNode(lambda _: {}), bag=tmp_path, map_dir=tmp_path)
    assert node.get_name() == 'evaluator'
    assert parameters(node) == {
        'bag': str(tmp_path),
        'map_dir': str(tmp_path),
        'image_topic': '',
        'camera_info_topic': '',
        'config': '',
        'json': '',
        'startup_timeout_s': 120.0,
        'idle_timeout_s': 30.0,
        'min_recall': 0.0,
    }
    assert topics(node.subscriptions) == {
        '/localizer/sensor_pose': 'geometry_msgs/PoseWithCovarianceStamped',
        '/localizer/status': 'nerf_reversal_ros/LocalizerStatus',
    }
    assert [each.srv_name for each in node.clients] == ['localizer/get_parameters']
