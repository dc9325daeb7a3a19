"""The SROS 2 policy allows what the nodes do, by their own account, and not more."""

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
"""One for each node: the graph looks one up by its name, and may remember who had it before."""
POLICY = Path(__file__).resolve().parents[2] / 'config' / 'sros2' / 'policy.xml'
KINDS = {
    ('topic', 'publish'): 'get_publisher_names_and_types_by_node',
    ('topic', 'subscribe'): 'get_subscriber_names_and_types_by_node',
    ('service', 'reply'): 'get_service_names_and_types_by_node',
    ('service', 'request'): 'get_client_names_and_types_by_node',
}


def allowed(node):
    """Full names by kind that the policy allows a node."""
    profile = ElementTree.parse(POLICY).getroot().find(f".//profile[@node='{node}']")
    found = {}
    for group in profile:
        ((how, what),) = group.attrib.items()
        assert what == 'ALLOW'
        for item in group:
            name = item.text.replace('~', f'/{node}') if item.text[0] == '~' else item.text
            full = name if name.startswith('/') else f'{profile.get("ns")}{name}'
            found.setdefault((item.tag, how), set()).add(full)
    return found


def done(node):
    """Full names by kind that a node makes, actions apart from their topics and services."""
    own = node.get_name(), node.get_namespace()
    found = {
        kind: {name for name, _ in getattr(node, ask)(*own) if '/_action/' not in name}
        for kind, ask in KINDS.items()
    }
    actions = get_action_server_names_and_types_by_node(node, *own)
    found['action', 'execute'] = {name for name, _ in actions}
    return {kind: names for kind, names in found.items() if names}


def topics(node):
    """Return the topics that the graph knows a node to subscribe to, which takes a while."""
    return done(node).get(('topic', 'subscribe'), set())


def started(make, **parameters):
    """Make a node with parameters; return what it does on the graph."""
    words = [word for item in parameters.items() for word in ('-p', '{}:={}'.format(*item))]
    args = ['node', '--ros-args', '-p', 'use_sim_time:=true', *words]
    rclpy.init(args=args, domain_id=next(DOMAINS))
    try:
        node = make()
        if isinstance(node, LocalizerNode):
            node.trigger_configure()
            node.trigger_activate()
        assert wait_until(lambda: {each.topic_name for each in node.subscriptions} <= topics(node))
        found = done(node)
        node.close()
        node.destroy_node()
        return found
    finally:
        rclpy.try_shutdown()


def united(*found):
    return {kind: set().union(*(one.get(kind, set()) for one in found)) for kind in found[0]}


def test_the_policy_of_the_localizer_is_what_it_does(tmp_path, tf2_ros):
    (tmp_path / 'slow0').mkdir()
    more = {'use_odometry': 'true', 'base_frame': 'base_link', 'mounting': '0 0 0 0 0 0 1'}
    ways = [
        started(lambda: LocalizerNode(small_localizer), map_dir=tmp_path / 'slow0', **how)
        for how in (
            {'image_transport': 'raw', 'base_frame': 'base_link', 'publish_tf': 'true'},
            {'image_transport': 'compressed', **more},
        )
    ]
    assert united(*ways) == allowed('localizer')


def test_the_policy_of_the_builder_is_what_it_does():
    assert started(lambda: BuilderNode(small_build)) == allowed('builder')


def test_the_policy_of_the_player_is_what_it_does_with_a_bag_of_the_default_topics(tmp_path):
    bag = write_room_bag(tmp_path / 'bag', walk(24)[:2])

    def playing():
        """It makes its publishers when it plays; it ends before it sends anything."""
        node = PlayerNode()
        node._stopping.set()
        with pytest.raises(NodeFinished):
            node._play()
        return node

    told, permitted = {'bag': bag, 'clock': 'true'}, allowed('player')
    answers = ('/localizer/status', '/evaluator/ack')
    found = united(*(started(playing, **told, lockstep_topic=topic) for topic in answers))
    assert found['topic', 'publish'] == permitted['topic', 'publish'] - {
        '/record3d/device_0/depth/camera_info'  # which our own bags lack
    }
    assert found['topic', 'subscribe'] == permitted['topic', 'subscribe']
    assert found['service', 'reply'] == permitted['service', 'reply']


def test_the_policy_of_the_judge_is_what_it_does(tmp_path):
    def judging():
        """It offers what it has heard when the localizer knows it."""
        node = EvaluatorNode(lambda _: {})
        node._localizer_probe._response = Future()
        node._check_completion()
        return node

    told = {'bag': tmp_path / 'bag', 'map_dir': tmp_path / 'map'}
    assert started(judging, **told) == allowed('evaluator')


def test_the_policy_of_the_loop_closer_is_what_it_does(tf2_ros):
    ways = [
        started(LoopCloserNode, odometry_source=source, publish_tf='true')
        for source in ('topic', 'tf')
    ]
    assert united(*ways) == allowed('loop_closer')


def test_every_node_has_its_enclave():
    enclaves = [item.get('path') for item in ElementTree.parse(POLICY).iter('enclave')]
    nodes = sorted(path.stem[:-5] for path in POLICY.parents[2].glob('*/ros/*_node.py'))
    assert sorted(path.rsplit('/', 1)[-1] for path in enclaves) == nodes
