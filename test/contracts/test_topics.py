"""
Topics and services in the policy of SROS 2, read without ROS 2.

Expected values are literals, so that a rename in the code cannot change them. Those of the
evaluator are in a test of their own, because its names may change on purpose. `ros/test_security`
compares the policy with the nodes.
"""

import json
from pathlib import Path
import re
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = [
    '~/describe_parameters',
    '~/get_parameter_types',
    '~/get_parameters',
    '~/get_type_description',
    '~/list_parameters',
    '~/set_parameters',
    '~/set_parameters_atomically',
]
LIFECYCLE = [
    '~/change_state',
    '~/get_available_states',
    '~/get_available_transitions',
    '~/get_state',
    '~/get_transition_graph',
]
EVERY_NODE = ['/parameter_events', '/rosout']


def policy(node):
    """Return the names that the policy allows a node, by kind."""
    root = ElementTree.parse(ROOT / 'config/sros2/policy.xml').getroot()
    profile = root.find(f".//profile[@node='{node}']")
    return {
        f'{name.tag} {how}': [item.text for item in name]
        for name in profile
        for how in name.attrib
    }


def test_the_topics_and_services_of_the_localizer():
    assert policy('localizer') == {
        'topics subscribe': [
            '/clock',
            '/tf',
            '/tf_static',
            'camera_info',
            'image',
            'image/compressed',
            'odom',
        ],
        'topics publish': [
            *EVERY_NODE,
            '/diagnostics',
            '/tf',
            'bond',
            'nerf_pose',
            'nerf_pose_with_covariance',
            '~/coverage',
            '~/debug_image',
            '~/map_description',
            '~/markers',
            '~/path',
            '~/sensor_pose',
            '~/status',
            '~/surface',
            '~/transition_event',
            '~/walk',
        ],
        'services reply': [
            *LIFECYCLE,
            *PARAMETERS,
            '~/load_map',
            '~/localize',
            '~/reset',
        ],
    }


def test_the_action_of_the_builder():
    assert policy('builder') == {
        'topics subscribe': ['/clock'],
        'topics publish': EVERY_NODE,
        'services reply': PARAMETERS,
        'actions execute': ['~/build'],
    }


def test_the_topics_and_services_of_the_loop_closer():
    assert policy('loop_closer') == {
        'topics subscribe': [
            '/clock',
            '/tf',
            '/tf_static',
            'nerf_pose_with_covariance',
            'odom',
        ],
        'topics publish': [
            *EVERY_NODE,
            '/diagnostics',
            '/tf',
            '~/closures',
            '~/map_from_odom',
            '~/odometry',
            '~/path',
        ],
        'services reply': [*PARAMETERS, '~/reset'],
    }


def test_the_topics_of_the_player():
    found = policy('player')
    assert [topic for topic in found['topics subscribe'] if 'evaluator' not in topic] == [
        '/clock',
        '/localizer/status',
    ]
    assert found['topics publish'][:3] == ['/clock', *EVERY_NODE]
    assert found['services reply'] == PARAMETERS


def test_the_topics_and_services_of_the_evaluator():
    assert policy('evaluator') == {
        'topics subscribe': ['/clock', 'localizer/sensor_pose', 'localizer/status'],
        'topics publish': [*EVERY_NODE, '~/ack'],
        'services request': ['localizer/get_parameters'],
        'services reply': PARAMETERS,
    }
    assert '/evaluator/ack' in policy('player')['topics subscribe']


def named_topics(value):
    """Yield the topics, and fields of topics, in a part of a layout of Foxglove."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (text for text in (key, inner) if str(text).startswith('/'))
            yield from named_topics(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from named_topics(inner)


def test_the_localizer_publishes_the_topics_of_the_foxglove_layout():
    layout = json.loads((ROOT / 'config/foxglove.json').read_text())
    published = {
        name.replace('~', '/localizer') if name.startswith('~') else f'/{name.lstrip("/")}'
        for name in policy('localizer')['topics publish']
    }
    named = [text.partition('.') for text in named_topics(layout['configById'])]
    assert len(named) >= 9 and {topic for topic, _, _ in named} <= published
    fields = {field for _, _, field in named if field}
    status = (ROOT / 'msg/LocalizerStatus.msg').read_text()
    declared = set(re.findall(r'^[\w/\[\]]+\s+(\w+)\s*(?:#.*)?$', status, re.MULTILINE))
    assert fields == {'inliers', 'accepted', 'reason'} <= declared


def test_the_foxglove_layout_shows_every_panel_once():
    layout = json.loads((ROOT / 'config/foxglove.json').read_text())

    def panels(part):
        if isinstance(part, str):
            return [part]
        assert part['direction'] in ('row', 'column') and 0 < part['splitPercentage'] < 100
        return panels(part['first']) + panels(part['second'])

    assert sorted(panels(layout['layout'])) == sorted(layout['configById'])
