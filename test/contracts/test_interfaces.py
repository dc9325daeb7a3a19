"""
Commands, executables, messages and launch arguments, read without ROS 2.

Expected values are literals, so that a rename in the code cannot change them. Those of the
evaluator are in tests of their own, because its names may change on purpose.
"""

from pathlib import Path
import re

import launch_standin
from outlines import commands, fields, options
import pytest
import yaml

from nerf_reversal_ros.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[2]


# ---- commands and executables


def test_the_commands_and_their_options():
    assert {name: options(command) for name, command in commands(build_parser()).items()} == {
        'check': ['BAG', '--config', '--field', '--picture', '-v --verbose'],
        'convert': [
            'SOURCE',
            'BAG',
            '--format',
            '--poses',
            '--frames',
            '--max-left-out',
            '--depth-unit',
            '--camera',
            '--no-depth',
            '--exif',
            '--trust-paths',
            '-v --verbose',
        ],
        'build': [
            'BAG',
            'MAP',
            '--field',
            '--align',
            '--device',
            '--config',
            '--overwrite',
            '-v --verbose',
        ],
        'survey': ['PLAN', 'OUT', '--ray', '-v --verbose'],
        'localize': [
            'MAP',
            'SOURCE',
            '--device',
            '--config',
            '--camera',
            '--fov',
            '--out',
            '--show',
            '--track',
            '-v --verbose',
        ],
        'evaluate': [
            'MAP',
            'BAG',
            '--device',
            '--config',
            '--ray',
            '--json',
            '--report',
            '--rerun',
            '--out-poses --poses',
            '--baselines',
            '--reference',
            '--frame',
            '--truth',
            '-v --verbose',
        ],
        'info': ['PATH', '-v --verbose'],
        'view': [
            'MAP',
            'SOURCE',
            '--device',
            '--config',
            '--camera',
            '--fov',
            '--ros',
            '--reference',
            '--port',
            '--share',
            '-v --verbose',
        ],
        'export': ['MAP', 'OUT', '--to', '--for-robot', '--overwrite', '-v --verbose'],
        'study': [
            'BAG',
            'OUT',
            '--views',
            '--epochs',
            '--patience',
            '--full-views',
            '--width',
            '--full-width',
            '--only',
            '--ray',
            '--bfloat16',
            '--device',
            '--config',
            '-v --verbose',
        ],
    }
    assert '--version' in options(build_parser())


def test_the_defaults_and_choices_of_options():
    actions = {
        f'{name} {action.option_strings[-1]}': action
        for name, command in commands(build_parser()).items()
        for action in command._actions
        if action.option_strings and action.option_strings[-1] not in ('--help', '--verbose')
    }
    given = {name: a.default for name, a in actions.items() if a.default is not None}
    assert given == {
        'convert --max-left-out': 0.2,
        'convert --no-depth': False,
        'convert --exif': 'auto',
        'convert --trust-paths': False,
        'check --field': 'voxel',
        'build --field': 'voxel',
        'build --device': 'auto',
        'build --overwrite': False,
        'localize --track': False,
        'view --ros': False,
        'view --port': 8080,
        'view --share': False,
        'evaluate --baselines': 'all',
        'export --overwrite': False,
        'study --bfloat16': False,
        'study --device': 'auto',
    }
    assert [name for name, a in actions.items() if a.required] == []
    devices = ('auto', 'cpu', 'cuda')
    assert {name: a.choices for name, a in actions.items() if a.choices} == {
        'convert --exif': ('auto', 'turn', 'ignore'),
        'export --to': ('robot', 'ply', 'glb', 'tum', 'colmap'),
        'build --device': devices,
        'localize --device': devices,
        'evaluate --device': devices,
        'view --device': devices,
        'study --device': devices,
    }


def test_each_command_describes_itself():
    for name, command in commands(build_parser()).items():
        assert len((command.description or '').strip()) > 20, name


def nodes():
    (text,) = re.findall(r'foreach\(node (.*?)\)', (ROOT / 'CMakeLists.txt').read_text())
    return text.split()


def test_the_executables():
    text = (ROOT / 'CMakeLists.txt').read_text()
    assert [name for name in nodes() if name != 'evaluator'] == [
        'builder',
        'localizer',
        'loop_closer',
        'player',
    ]
    assert 'install_entry_point(nerf-reversal ' in text
    examples = ' '.join(f'examples/{path.name}' for path in sorted(ROOT.glob('examples/*.py')))
    assert f'install(PROGRAMS {examples} DESTINATION lib/' in ' '.join(text.split())
    assert '\nnerf-reversal = ' in (ROOT / 'pyproject.toml').read_text()


def test_the_executable_of_the_evaluator():
    assert 'evaluator' in nodes()


# ---- messages


def test_the_fields_of_the_messages():
    assert fields(ROOT / 'msg/LocalizerStatus.msg') == [
        [
            'std_msgs/Header header',
            'bool accepted',
            'string reason',
            'string detail',
            'string stage',
            'uint32 inliers',
            'float32 inlier_ratio',
            'string[] score_names',
            'float32[] score_values',
            'string[] latency_stages',
            'float32[] latency_ms',
            'uint64 received',
            'uint64 dropped',
            'string room',
        ]
    ]
    assert fields(ROOT / 'msg/LoopClosure.msg') == [
        [
            'std_msgs/Header header',
            'bool accepted',
            'string reason',
            'string detail',
            'bool reanchored',
            'builtin_interfaces/Time keyframe_stamp',
            'float64 residual_m',
            'float64 residual_deg',
            'float64 chi2',
            'float64 chi2_limit',
            'float64 travelled_m',
            'geometry_msgs/Transform map_from_odom',
            'float64 correction_m',
            'float64 correction_deg',
        ]
    ]
    assert fields(ROOT / 'msg/MapDescription.msg') == [
        [
            'std_msgs/Header header',
            'string path',
            'string built',
            'string package_version',
            'uint32 format_version',
            'string field',
            'uint32 walked_pictures',
            'uint32 landmarks',
            'uint32 surface_points',
            'geometry_msgs/Point lowest',
            'geometry_msgs/Point highest',
            'float32 psnr_db',
            'string[] rooms',
            'string[] room_frames',
        ]
    ]


def test_the_fields_of_the_services_and_the_action():
    assert fields(ROOT / 'srv/LoadMap.srv') == [
        ['string map_dir'],
        ['bool success', 'string message'],
    ]
    assert fields(ROOT / 'srv/Localize.srv') == [
        [
            'sensor_msgs/CompressedImage image',
            'sensor_msgs/CameraInfo camera_info',
            'float64 timeout_s',
        ],
        [
            'bool accepted',
            'string reason',
            'string detail',
            'geometry_msgs/PoseWithCovarianceStamped pose',
            'string room',
        ],
    ]
    assert fields(ROOT / 'action/BuildMap.action') == [
        [
            'string bag',
            'string map',
            'string field',
            'string device',
            'string config',
            'bool overwrite',
        ],
        ['bool success', 'string message', 'string map', 'float32 psnr_db'],
        [
            'string stage',
            'uint32 done',
            'uint32 total',
            'float32 fraction',
            'float32 eta_s',
            'string note',
        ],
    ]


def test_there_is_no_other_interface():
    found = [*ROOT.glob('msg/*'), *ROOT.glob('srv/*'), *ROOT.glob('action/*')]
    assert sorted(file.name for file in found) == [
        'BuildMap.action',
        'LoadMap.srv',
        'Localize.srv',
        'LocalizerStatus.msg',
        'LoopClosure.msg',
        'MapDescription.msg',
    ]


# ---- launch files


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('build_map', 'bag map field device config overwrite'),
        (
            'close_loops',
            'odom pose namespace name tf params_file base_frame odometry_source publish_tf'
            ' use_sim_time',
        ),
        ('evaluate', 'map bag image camera_info params_file json min_recall'),
        (
            'localize',
            'map namespace image tf camera_info odom params_file transport use_sim_time autostart'
            ' name large_messages',
        ),
        ('play', 'bag image camera_info to_image to_camera_info rate loop clock lockstep_topic'),
        (
            'record',
            'bag storage driver driver_package driver_executable image image_raw camera_info depth'
            ' depth_raw depth_info pose',
        ),
        ('rviz', 'namespace display use_sim_time tf'),
    ],
)
def test_the_arguments_of_the_launch_files(monkeypatch, name, expected):
    launch_standin.install(monkeypatch)
    found = launch_standin.load(ROOT / 'launch' / f'{name}.launch.py')
    assert list(launch_standin.declared_arguments(found)) == expected.split()


# ---- files of parameters


@pytest.mark.parametrize(
    ('node', 'left_out'), [('localizer', {'map_dir', 'autostart'}), ('loop_closer', set())]
)
def test_the_files_of_parameters_are_for_nodes_of_any_namespace(node, left_out):
    """`ros/test_launch` checks that they hold all parameters with their defaults."""
    content = yaml.safe_load((ROOT / 'config' / f'{node}.yaml').read_text())
    assert list(content) == [f'/**/{node}']
    assert list(content[f'/**/{node}']) == ['ros__parameters']
    assert not left_out & set(content[f'/**/{node}']['ros__parameters'])
