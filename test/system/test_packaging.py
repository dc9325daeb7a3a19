"""ROS 2, pip and a source tree find the same package, executables and interfaces."""

import ast
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
from xml.etree import ElementTree

import pytest

import nerf_reversal_ros
from nerf_reversal_ros.core.outcome import RejectionReason

REPOSITORY = Path(__file__).resolve().parents[2]

packages = pytest.importorskip(
    'ament_index_python.packages', reason='needs a ROS 2: make test brings one'
)


@pytest.fixture(scope='module')
def prefix() -> Path:
    """Return the installation prefix of the package from the ament index."""
    return Path(packages.get_package_prefix('nerf_reversal_ros'))


def field_names(interface) -> set[str]:
    return set(interface.get_fields_and_field_types())


def test_status_names_every_reason_that_a_node_publishes():
    from nerf_reversal_ros.msg import LocalizerStatus

    published = set(RejectionReason) - {RejectionReason.DROPPED, RejectionReason.NO_ANSWER}
    assert {getattr(LocalizerStatus, reason.name) for reason in published} == published


def test_status_carries_scores_and_latencies_of_any_number():
    from nerf_reversal_ros.msg import LocalizerStatus

    status = LocalizerStatus(score_names=['ncc'], score_values=[0.5], received=2**40)
    assert list(status.score_values) == [0.5]
    assert status.received == 2**40


def test_services_and_action_have_the_fields_of_the_contract():
    from nerf_reversal_ros.action import BuildMap
    from nerf_reversal_ros.srv import LoadMap, Localize

    assert field_names(LoadMap.Request) == {'map_dir'}
    assert field_names(LoadMap.Response) == {'success', 'message'}
    assert {'accepted', 'reason', 'pose'} <= field_names(Localize.Response)
    assert {'bag', 'map', 'field', 'device', 'config', 'overwrite'} == field_names(BuildMap.Goal)
    assert {'stage', 'done', 'total', 'fraction', 'eta_s'} <= field_names(BuildMap.Feedback)


def test_config_and_launch_files_are_installed_in_share(prefix):
    share = Path(packages.get_package_share_directory('nerf_reversal_ros'))
    assert (share / 'package.xml').is_file()
    for folder in ('config', 'launch'):
        for source in REPOSITORY.joinpath(folder).glob('*.*'):
            assert (share / folder / source.name).read_bytes() == source.read_bytes()


@pytest.mark.parametrize('node', ['builder', 'localizer', 'loop_closer', 'player'])
def test_ros2_run_finds_an_executable_of_each_node(prefix, node):
    executable = prefix / 'lib' / 'nerf_reversal_ros' / node
    assert os.access(executable, os.X_OK)
    assert f'nerf_reversal_ros.ros.{node}_node import main' in executable.read_text()


def test_ros2_run_finds_the_example_of_an_initial_pose(prefix):
    assert os.access(prefix / 'lib/nerf_reversal_ros/initial_pose.py', os.X_OK)


def imported_packages(folders: tuple[str, ...]) -> set[str]:
    """Return the packages that Python files of folders import, without the standard library."""
    found = set()
    for folder in folders:
        for file in REPOSITORY.joinpath(folder).rglob('*.py'):
            for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition('.')[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    found.add(node.module.partition('.')[0])
    return found - sys.stdlib_module_names - {'nerf_reversal_ros'}


def test_package_xml_names_every_ros_package_that_is_imported_or_launched():
    manifest = ElementTree.parse(REPOSITORY / 'package.xml').getroot()
    named = {item.text for item in manifest if item.tag in ('depend', 'exec_depend')}
    of_pip = {'cv2', 'numpy', 'scipy', 'yaml'}
    of_ros = imported_packages(('nerf_reversal_ros/ros', 'launch', 'examples')) - of_pip
    assert {'rclpy', 'rcl_interfaces', 'rosgraph_msgs', 'launch_ros', 'tf2_ros'} <= of_ros
    in_python = {'tf2_ros': 'tf2_ros_py'}  # the package that holds the Python of that name
    assert {in_python.get(name, name) for name in of_ros} <= named
    # What `ros2 launch` of our files starts beside our nodes, and README names.
    assert {'ros2launch', 'ros2bag', 'rosbag2_storage_mcap', 'rviz2'} <= named


def test_package_xml_names_the_plugins_that_the_pytest_settings_need():
    """`colcon test` fails without them: --strict-config rejects unknown settings."""
    manifest = ElementTree.parse(REPOSITORY / 'package.xml').getroot()
    named = {item.text for item in manifest.iter('test_depend')}
    assert {'python3-pytest', 'python3-pytest-timeout'} <= named
    assert 'hypothesis' not in imported_packages(('test',)) or 'python3-hypothesis' in named


def test_the_command_is_installed(prefix):
    assert os.access(prefix / 'bin' / 'nerf-reversal', os.X_OK)


def test_ctrl_c_ends_the_imports_of_an_executable_without_a_traceback(tmp_path):
    template = (REPOSITORY / 'scripts/entry_point.in').read_text(encoding='utf-8')
    script = template.replace('@Python3_EXECUTABLE@', sys.executable)
    (tmp_path / 'script').write_text(script.replace('@ENTRY_MODULE@', 'slow'))
    (tmp_path / 'slow.py').write_text(
        'import time\nprint("importing", flush=True)\ntime.sleep(60)'
    )
    process = subprocess.Popen(
        [sys.executable, tmp_path / 'script'], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b'importing\n'
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == b''
    assert process.returncode == -signal.SIGINT


def test_all_files_name_the_same_version():
    manifest = ElementTree.parse(REPOSITORY / 'package.xml').getroot()
    project = (REPOSITORY / 'pyproject.toml').read_text(encoding='utf-8')
    changes = (REPOSITORY / 'CHANGELOG.rst').read_text(encoding='utf-8')
    assert {
        manifest.findtext('version'),
        re.search(r"^version = '(.+)'$", project, re.MULTILINE)[1],
        re.search(r'^(\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)$', changes, re.MULTILINE)[1],
    } == {nerf_reversal_ros.__version__}


@pytest.mark.parametrize('where', [REPOSITORY, Path('/')], ids=['source tree', 'elsewhere'])
def test_a_source_tree_in_front_of_the_installed_package_does_not_hide_the_messages(where):
    program = (
        'import nerf_reversal_ros, nerf_reversal_ros.core.geometry\n'
        'from nerf_reversal_ros.msg import LocalizerStatus\n'
        'print(nerf_reversal_ros.__version__)'
    )
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONSAFEPATH'}
    answer = subprocess.run(
        [sys.executable, '-c', program],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout.strip() == nerf_reversal_ros.__version__, answer.stderr
