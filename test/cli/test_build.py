"""``nerf-reversal build``: arguments, settings and resuming."""

import importlib.util
import os
from pathlib import Path
import signal
import subprocess
import time

from command_line import COMMAND, ENVIRONMENT, run_command, user_error
import pytest

from nerf_reversal_ros.core.config import BuildConfig, load_build_config


@pytest.mark.parametrize(
    'arguments',
    [
        ['--device', 'cpu', 'walk.bag', 'room.map'],
        ['walk.bag', '--device', 'cpu', 'room.map'],
        ['walk.bag', 'room.map', '--device', 'cpu'],
        ['--overwrite', 'walk.bag', '--device', 'cpu', 'room.map', '--field', 'voxel'],
    ],
)
def test_options_may_stand_between_bag_and_map(arguments: list[str]) -> None:
    assert 'there is no bag at walk.bag' in user_error('build', *arguments)


@pytest.mark.skipif(
    importlib.util.find_spec('nerfstudio') is None,
    reason='nerfstudio is not installed: make test brings it',
)
def test_a_nerfstudio_run_needs_no_bag_wherever_the_options_are() -> None:
    options = ['--field', 'nerfstudio:nowhere/config.yml']
    for arguments in ([*options, 'room.map'], ['room.map', *options]):
        assert 'nowhere/config.yml' in user_error('build', *arguments)


@pytest.mark.parametrize(
    'arguments', [['a.bag', 'b.bag', 'c.map'], ['a.bag', '--device', 'cpu', 'b.bag', 'c.map']]
)
def test_a_third_path_is_invalid(arguments: list[str]) -> None:
    completed = run_command('build', *arguments)
    assert completed.returncode == 2 and '[BAG] MAP' in ' '.join(completed.stderr.split())
    assert completed.stderr.splitlines()[-1] == (
        'nerf-reversal build: error: 3 paths given, a.bag, b.bag, c.map: give BAG and MAP, or MAP'
        ' alone'
    )


def test_unreadable_and_unknown_settings_are_named(bag: Path, tmp_path: Path) -> None:
    settings = tmp_path / 'settings.yaml'
    assert 'cannot read the settings' in user_error('build', bag, 'm', '--config', settings)
    settings.write_text('field: [')
    assert 'are not YAML' in user_error('build', bag, 'm', '--config', settings)
    settings.write_text('field: {voxels_m: 0.02}')
    assert 'did you mean voxel_m?' in user_error('build', bag, 'm', '--config', settings)


def test_empty_sections_of_settings_change_nothing(tmp_path: Path) -> None:
    settings = tmp_path / 'build.yaml'
    settings.write_text('field:\ncapture:\n')
    assert load_build_config(settings) == BuildConfig()


def open_when_read(fifo: Path, child: subprocess.Popen) -> int:
    """Return the writing end of a FIFO as soon as a child process has opened it for reading."""
    while child.poll() is None:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f'ended too early: {child.communicate()[1]}')


def test_an_interrupted_build_says_that_it_can_be_resumed(bag: Path, tmp_path: Path) -> None:
    settings = tmp_path / 'settings.yaml'
    os.mkfifo(settings)  # the command blocks until they are written
    command = [*COMMAND, 'build', str(bag), str(tmp_path / 'm'), '--config', str(settings)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as child:
        writing = open_when_read(settings, child)
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate(timeout=60)
        os.close(writing)
    assert child.returncode == 130
    assert stderr == 'nerf-reversal: interrupted; the same command resumes the build\n'
