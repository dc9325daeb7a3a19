"""The bag and the map of the tiny build, made once; tests change copies of the map."""

import pytest
from shared_folder import make_once
from tiny_build import SETTINGS, write_tiny_bag

from nerf_reversal_ros.mapping.pipeline import build_map
from nerf_reversal_ros.maps.map_folder import open_map


@pytest.fixture(scope='session')
def tiny_folder(tmp_path_factory):
    def build(folder):
        bag = write_tiny_bag(folder / 'walk')
        build_map(bag, folder / 'room.map', SETTINGS, device='cpu')

    return make_once(tmp_path_factory, 'tiny_map', build)


@pytest.fixture(scope='session')
def tiny_bag(tiny_folder):
    return tiny_folder / 'walk'


@pytest.fixture(scope='session')
def tiny_map(tiny_folder):
    return open_map(tiny_folder / 'room.map')
