"""Bags of three tiny rooms; Ray clusters stay on this machine."""

import os

os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
os.environ['RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'] = '0'  # binds to 127.0.0.1

import pytest
from room_bags import write_room_bag
from rooms import walk
from shared_folder import make_once
from tiny_build import CAMERA

ROOMS = ('attic', 'hall', 'lab')


@pytest.fixture(scope='session')
def room_bags(tmp_path_factory):
    """Return a folder with a bag of 20 images for each room, which tests do not change."""

    def write(folder):
        for number, name in enumerate(ROOMS):
            write_room_bag(folder / name, walk(20 + number)[:20], CAMERA, up_axis='z')

    return make_once(tmp_path_factory, 'survey_bags', write)
