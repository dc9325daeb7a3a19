"""ARCHITECTURE.md and the layers that import-linter holds are the same; nodes import little."""

import os
from pathlib import Path
import re
import subprocess
import sys

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip('tomli')

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_lists_the_layers_in_their_order():
    settings = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))
    (contract,) = (c for c in settings['tool']['importlinter']['contracts'] if 'layers' in c)
    layers = [layer.split(' | ') for layer in contract['layers']]
    page = (ROOT / 'ARCHITECTURE.md').read_text(encoding='utf-8')
    cells = re.findall(r'^\| (`[^|]*/`) \|', page, re.MULTILINE)
    assert [re.findall(r'`(\w+)/`', cell) for cell in cells] == layers


def test_each_module_that_the_page_names_exists():
    page = (ROOT / 'ARCHITECTURE.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| (`[^|]*/`) \|[^|]*\| (.*) \|$', page, re.MULTILINE)
    for folders, modules in rows:
        for module in re.findall(r'`(\w+)`', modules):
            places = [ROOT / 'nerf_reversal_ros' / f for f in re.findall(r'`(\w+)/`', folders)]
            assert any((place / f'{module}.py').is_file() for place in places), module


def test_only_the_public_api_lies_at_the_top_of_the_package():
    assert [p.name for p in (ROOT / 'nerf_reversal_ros').glob('*.py')] == ['__init__.py']


def test_nodes_check_their_parameters_before_they_import_heavy_modules():
    """A wrong parameter is told at once: PyTorch and what builds maps take seconds to load."""
    pytest.importorskip('rclpy', reason='needs ROS 2: make test brings it')
    nodes = ', '.join(path.stem for path in (ROOT / 'nerf_reversal_ros/ros').glob('*_node.py'))
    program = f'import sys; from nerf_reversal_ros.ros import {nodes}; print(*sys.modules)'
    path = os.pathsep.join([str(ROOT), *sys.path])
    loaded = subprocess.run(
        [sys.executable, '-c', program],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': path},
    ).stdout.split()
    assert 'nerf_reversal_ros.ros.evaluator_node' in loaded
    assert not {'torch', 'sklearn', 'matplotlib', 'numba'} & {*loaded}
