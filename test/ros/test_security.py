"""The SROS 2 policy allows exactly the endpoints that the nodes have on the graph."""

import itertools
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
import rclpy
from rclpy.action import get_action_server_names_and_types_by_node
from rclpy.task import Future
from room_bags import write_room_bag
from rooms import walk
from ros_rig import wait_until
from ros_small import small_build, small_localizer

from nerf_reversal_ros.ros.builder_node import BuilderNode
from nerf_reversal_ros.ros.evaluator_node import EvaluatorNode
from nerf_reversal_ros.ros.localizer_node import LocalizerNode
from nerf_reversal_ros.ros.loop_closer_node import LoopCloserNode
from nerf_reversal_ros.ros.node_runner import NodeFinished
from nerf_reversal_ros.ros.player_node import PlayerNode

DOMAINS = ((int(os.environ['ROS_DOMAIN_ID']) + n) % 101 for n in itertools.count(1))
"""One domain for each node: the graph looks a node up by name, and may still have an old one."""
POLICY = Path(__file__).resolve().parents[2] / 'config' / 'sros2' / 'policy.xml'
KINDS = {
    ('topic', 'publish'): 'get_publisher_names_and_types_by_node',
    ('topic', 'subscribe'): 'get_subscriber_names_and_types_by_node',
    ('service', 'reply'): 'get_service_names_and_types_by_node',
    ('service', 'request'): 'get_client_names_and_types_by_node',
}


def allowed(node):
    """Return full names by kind that the policy allows a node."""
    profile = ElementTree.parse(POLICY).getroot().find(f".//profile[@node='{node}']")
    names = {}
    for group in profile:
        ((direction, permission),) = group.attrib.items()
        assert permission == 'ALLOW'
        for item in group:
            name = item.text.replace('~', f'/{node}') if item.text[0] == '~' else item.text
            full = name if name.startswith('/') else f'{profile.get("ns")}{name}'
            names.setdefault((item.tag, direction), set()).add(full)
    return names


def endpoints(node):
    """Return full names by kind of a node, actions apart from their topics and services."""
    own = node.get_name(), node.get_namespace()
    names = {
        kind: {name for name, _ in getattr(node, method)(*own) if '/_action/' not in name}
        for kind, method in KINDS.items()
    }
    actions = get_action_server_names_and_types_by_node(node, *own)
    names['action', 'execute'] = {name for name, _ in actions}
    return {kind: group for kind, group in names.items() if group}


def subscribed_topics(node):
    """Return the topics of a node's subscriptions in the graph, which lags behind the node."""
    return endpoints(node).get(('topic', 'subscribe'), set())


def endpoints_of_running(make, **parameters):
    """Run a node with parameters; return its endpoints."""
    words = [word for item in parameters.items() for word in ('-p', '{}:={}'.format(*item))]
    args = ['node', '--ros-args', '-p', 'use_sim_time:=true', *words]
    rclpy.init(args=args, domain_id=next(DOMAINS))
    try:
        node = make()
        if isinstance(node, LocalizerNode):
            node.trigger_configure()
            node.trigger_activate()
        assert wait_until(
            lambda: {each.topic_name for each in node.subscriptions} <= subscribed_topics(node)
        )
        names = endpoints(node)
        node.close()
        node.destroy_node()
        return names
    finally:
        rclpy.try_shutdown()


def union(*groups):
    return {kind: set().union(*(group.get(kind, set()) for group in groups)) for kind in groups[0]}


def test_the_policy_of_the_localizer_is_exact(tmp_path, tf2_ros):
    pytest.importorskip('bond', reason='`make setup` builds it for the tests')
    (tmp_path / 'slow0').mkdir()
    with_odometry = {
        'use_odometry': 'true',
        'base_frame': 'base_link',
        'mounting': '0 0 0 0 0 0 1',
    }
    variants = [
        endpoints_of_running(
            lambda: LocalizerNode(small_localizer), map_dir=tmp_path / 'slow0', **parameters
        )
        for parameters in (
            {'image_transport': 'raw', 'base_frame': 'base_link', 'publish_tf': 'true'},
            {'image_transport': 'compressed', **with_odometry},
        )
    ]
    assert union(*variants) == allowed('localizer')


def test_the_policy_of_the_builder_is_exact():
    assert endpoints_of_running(lambda: BuilderNode(small_build)) == allowed('builder')


def test_the_policy_of_the_player_is_exact_for_a_bag_of_the_default_topics(tmp_path):
    bag = write_room_bag(tmp_path / 'bag', walk(24)[:2])

    def make_player():
        """Make the publishers, which need a started player, and end before the first message."""
        node = PlayerNode()
        node._stopping.set()
        with pytest.raises(NodeFinished):
            node._play()
        return node

    parameters, permitted = {'bag': bag, 'clock': 'true'}, allowed('player')
    lockstep_topics = ('/localizer/status', '/evaluator/ack')
    names = union(
        *(
            endpoints_of_running(make_player, **parameters, lockstep_topic=topic)
            for topic in lockstep_topics
        )
    )
    assert names['topic', 'publish'] == permitted['topic', 'publish'] - {
        '/record3d/device_0/depth/camera_info'  # missing in bags written by BagWriter
    }
    assert names['topic', 'subscribe'] == permitted['topic', 'subscribe']
    assert names['service', 'reply'] == permitted['service', 'reply']


def test_the_policy_of_the_evaluator_is_exact(tmp_path):
    def make_evaluator():
        """Make the acknowledging publisher, which needs a response of the localizer."""
        node = EvaluatorNode(lambda _: {})
        node._localizer_probe._response = Future()
        node._check_completion()
        return node

    parameters = {'bag': tmp_path / 'bag', 'map_dir': tmp_path / 'map'}
    assert endpoints_of_running(make_evaluator, **parameters) == allowed('evaluator')


def test_the_policy_of_the_loop_closer_is_exact(tf2_ros):
    variants = [
        endpoints_of_running(LoopCloserNode, odometry_source=source, publish_tf='true')
        for source in ('topic', 'tf')
    ]
    assert union(*variants) == allowed('loop_closer')


def test_every_node_has_its_enclave():
    enclaves = [item.get('path') for item in ElementTree.parse(POLICY).iter('enclave')]
    folder = POLICY.parents[2] / 'nerf_reversal_ros/ros'
    nodes = sorted(path.stem[:-5] for path in folder.glob('*_node.py'))
    assert sorted(path.rsplit('/', 1)[-1] for path in enclaves) == nodes
