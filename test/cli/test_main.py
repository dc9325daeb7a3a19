"""The command line as a whole: help, exit status, and one line for a user's error."""

import os
from pathlib import Path
import subprocess
import sys

from command_line import COMMAND, ENVIRONMENT, run_command, user_error
import pytest


def test_help_lists_the_commands_without_importing_heavy_modules() -> None:
    heavy = "{'numpy', 'torch', 'cv2', 'scipy', 'rosbags', 'matplotlib', 'rclpy'}"
    code = (
        'import sys\n'
        'from nerf_reversal_ros.cli.main import build_parser\n'
        'print(build_parser().format_help())\n'
        f'assert not {heavy} & set(sys.modules)'
    )
    completed = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert completed.returncode == 0, completed.stderr
    for command in (
        'convert',
        'check',
        'build',
        'survey',
        'localize',
        'evaluate',
        'info',
        'view',
        'export',
        'study',
    ):
        assert f'\n    {command} ' in completed.stdout


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['fly'],
        ['info'],
        ['view'],
        ['view', 'a.map', '--port', 'any'],
        ['localize', 'a.map'],
        ['localize', 'a.map', 'a.jpg', '--fov', '60', '--camera', '1 1 1 1'],
        ['view', 'a.map', '--fov', '60', '--camera', '1 1 1 1'],
        ['build', 'a.bag', 'a.map', '--device', 'tpu'],
        ['convert', 'a', 'b', '--format', 'zip'],
        ['convert', 'a', 'b', '--frames', '9:5'],
        ['build', 'a.bag', 'a.map', '--field', 'mesh'],
        ['evaluate', 'a.map', 'a.bag', '--baselines', 'sift'],
        ['study', 'a.bag', 'out', '--views', 'many'],
        ['survey', 'plan.yaml'],
    ],
)
def test_invalid_arguments_give_status_2_and_the_usage(arguments: list[str]) -> None:
    completed = run_command(*arguments)
    assert completed.returncode == 2
    assert completed.stderr.startswith('usage: nerf-reversal')


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    assert 'there is no map and no bag at' in user_error('info', tmp_path / 'nowhere')
    assert 'does not exist' in user_error('evaluate', tmp_path / 'no.map', tmp_path / 'no.bag')
    assert 'there is no recording at' in user_error('convert', tmp_path / 'no', tmp_path / 'bag')


def test_verbose_prints_a_traceback_before_the_error_line(tmp_path: Path) -> None:
    completed = run_command('info', tmp_path / 'nowhere', '-v')
    assert completed.returncode == 1
    assert completed.stderr.startswith('Traceback')
    assert completed.stderr.splitlines()[-1].startswith('nerf-reversal: there is no map')


def test_the_exit_status_is_that_of_the_process(tmp_path: Path) -> None:
    command = [*COMMAND, 'info', str(tmp_path / 'nowhere')]
    completed = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert completed.returncode == 1
    assert completed.stderr == (
        f'nerf-reversal: there is no map and no bag at {command[-1]}: give an existing path\n'
    )


def test_a_closed_stdout_is_no_error(bag: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, 'w') as closed_pipe:
        completed = subprocess.run(
            [*COMMAND, 'info', str(bag)],
            stdout=closed_pipe,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            timeout=60,
        )
    assert (completed.returncode, completed.stderr) == (0, '')
