"""The wheel and the source distribution install the command and the API without a ROS 2."""

import os
from pathlib import Path
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

import nerf_reversal_ros

REPOSITORY = Path(__file__).resolve().parents[2]
NOT_COPIED = {'benchmark', 'build', 'demo', 'demo_output', 'docs', 'test'}
"""Folders of the repository that no distribution needs."""
SDIST = "from setuptools import build_meta; build_meta.build_sdist('dist')"


def ignored(folder, names):
    at_root = NOT_COPIED if Path(folder) == REPOSITORY else set()
    return {n for n in names if n in at_root or n.startswith('.') or n == '__pycache__'}


def run(*command, cwd, **environment):
    completed = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': '', 'NERF_REVERSAL_ROS_INTERFACES': '0', **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    """Build the source distribution, and the wheel from nothing but that."""
    folder = tmp_path_factory.mktemp('wheel')
    shutil.copytree(REPOSITORY, folder / 'source', ignore=ignored)
    run(sys.executable, '-c', SDIST, cwd=folder / 'source')
    (archive,) = folder.glob('source/dist/*.tar.gz')
    offline = ('--no-deps', '--no-build-isolation', '--no-index')
    run(sys.executable, '-m', 'pip', 'wheel', *offline, '-w', folder, archive, cwd=folder)
    (built,) = folder.glob('*.whl')
    return built


@pytest.fixture(scope='module')
def environment(wheel, tmp_path_factory) -> Path:
    """Install the wheel into a new environment; its requirements are those of this one."""
    folder = tmp_path_factory.mktemp('environment')
    run(sys.executable, '-m', 'venv', '--without-pip', folder / 'venv', cwd=folder)
    paths = sysconfig.get_paths(vars={'base': str(folder / 'venv')})
    pip = (sys.executable, '-m', 'pip', '--python', folder / 'venv/bin/python')
    run(*pip, 'install', '--no-deps', '--no-index', wheel, cwd=folder)
    requirements = sysconfig.get_paths()['purelib']
    Path(paths['purelib'], 'requirements.pth').write_text(requirements)  # searched last
    return folder / 'venv'


def test_the_wheel_is_for_every_machine_and_names_its_extras(wheel):
    assert wheel.name == f'nerf_reversal_ros-{nerf_reversal_ros.__version__}-py3-none-any.whl'
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith('METADATA')]
        lines = archive.read(metadata).decode().splitlines()
        packed = {name for name in archive.namelist() if name.startswith('nerf_reversal_ros/')}
    sources = {
        file.relative_to(REPOSITORY).as_posix()
        for file in REPOSITORY.glob('nerf_reversal_ros/**/*.py')
    }
    assert packed == {*sources, 'nerf_reversal_ros/py.typed'}
    extras = {line.split(': ')[1] for line in lines if line.startswith('Provides-Extra')}
    assert {'view', 'mesh', 'rerun', 'record3d', 'nerfstudio', 'ray'} <= {
        name.lower() for name in extras
    }


def test_the_installed_command_and_api_open_a_map(environment, small_map, tmp_path):
    command = environment / 'bin/nerf-reversal'
    assert nerf_reversal_ros.__version__ in run(command, '--version', cwd=tmp_path)
    assert 'landmarks' in run(command, 'info', small_map.path, cwd=tmp_path)
    assert '--share' in run(command, 'view', '--help', cwd=tmp_path)
    code = (
        'import sys, nerf_reversal_ros as nrr;'
        'print(nrr.__file__, type(nrr.open_map(sys.argv[1]).localizer()).__name__)'
    )
    told = run(environment / 'bin/python', '-c', code, small_map.path, cwd=tmp_path)
    assert told.startswith(str(environment)) and told.endswith(' Localizer\n')
