"""The bag and the map of the tiny build, made once; tests change copies of the map."""

import pytest
from tiny_build import SETTINGS, write_tiny_bag

from nerf_reversal_ros.mapping.pipeline import build_map


@pytest.fixture(scope='session')
def tiny_bag(tmp_path_factory):
    return write_tiny_bag(tmp_path_factory.mktemp('tiny') / 'walk')


@pytest.fixture(scope='session')
def tiny_map(tiny_bag):
    return build_map(tiny_bag, tiny_bag.parent / 'room.map', SETTINGS, device='cpu')
