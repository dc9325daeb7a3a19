"""Launch files under the real launch, where it is installed, as on a robot."""

from pathlib import Path
import subprocess

import pytest

sources = pytest.importorskip(
    'launch.launch_description_sources',
    reason='needs launch, which comes with a ROS 2 of apt; test_launch uses a stand-in',
)
packages = pytest.importorskip('ament_index_python.packages')

LAUNCH = Path(__file__).resolve().parents[2] / 'launch'
FILES = sorted(file.name for file in LAUNCH.glob('*.launch.py'))


@pytest.fixture(scope='module')
def nodes():
    """Return the executables that this package installs for its nodes."""
    prefix = Path(packages.get_package_prefix('nerf_reversal_ros'))
    return {file.name for file in (prefix / 'lib/nerf_reversal_ros').iterdir()}


@pytest.mark.parametrize('name', FILES)
def test_launch_loads_a_file_with_described_arguments(name):
    path = str(LAUNCH / name)
    description = sources.get_launch_description_from_python_launch_file(path)
    arguments = description.get_launch_arguments()
    assert arguments
    assert all(len(argument.description) > 10 for argument in arguments)


@pytest.mark.parametrize('name', FILES)
def test_every_node_of_this_package_in_a_file_is_installed(name, nodes):
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch_ros.actions import Node

    path = str(LAUNCH / name)
    description = sources.get_launch_description_from_python_launch_file(path)
    context, entities = LaunchContext(), []
    for entity in description.entities:
        if isinstance(entity, OpaqueFunction):
            entities += entity.visit(context)
        elif not isinstance(entity, DeclareLaunchArgument):
            entities.append(entity)
        elif entity.default_value is not None:
            entity.visit(context)
        else:
            context.launch_configurations[entity.name] = 'given'
    executables = [
        entity.node_executable
        for entity in entities
        if isinstance(entity, Node) and entity.node_package == 'nerf_reversal_ros'
    ]
    assert set(executables) <= nodes
    assert executables or name in ('record.launch.py', 'rviz.launch.py')


@pytest.mark.parametrize('name', FILES)
def test_ros2_launch_shows_the_arguments_of_a_file(name):
    pytest.importorskip('ros2launch')
    command = ['ros2', 'launch', str(LAUNCH / name), '--show-args']
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert 'no description given' not in result.stdout


def test_a_failed_evaluation_ends_by_itself(tmp_path):
    pytest.importorskip('ros2launch')
    command = ['ros2', 'launch', str(LAUNCH / 'evaluate.launch.py')]
    command += [f'map:={tmp_path}/no_map', f'bag:={tmp_path}/no_bag', f'json:={tmp_path}/json']
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    output = result.stdout + result.stderr
    assert 'no_map' in output or 'no_bag' in output  # whichever node fails first ends the others
    assert 'Traceback' not in output
    assert not (tmp_path / 'json').exists()


@pytest.mark.parametrize('name', ['localize', 'close_loops', 'rviz'])
def test_a_wrong_tf_ends_with_one_sentence_that_names_the_choices(name):
    pytest.importorskip('ros2launch')
    command = ['ros2', 'launch', str(LAUNCH / f'{name}.launch.py'), 'tf:=global', 'map:=room']
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode != 0
    output = result.stdout + result.stderr
    assert 'Traceback' not in output
    *_, line = (line for line in output.splitlines() if 'ERROR' in line)
    assert 'Argument "tf" provided value "global" is not valid' in line
    assert "['namespaced', 'shared']" in line
