"""Small bags in both storages, and what they hold."""

import shutil

import pytest
from room_bags import IMAGE, rewrite, write_room_bag
from rooms import phone_camera, walk
import yaml

from nerf_reversal_ros.bags.bag_reader import BagReader

CAMERA = phone_camera(48, 64)
FRAMES = 6
SUFFIX = {'mcap': '.mcap', 'sqlite3': '.db3'}
storages = pytest.mark.parametrize('storage', list(SUFFIX))


@pytest.fixture(scope='session')
def recordings(tmp_path_factory):
    """Bags of the same frames in both storages, by storage and number of the first frame."""
    folder = tmp_path_factory.mktemp('recordings')
    source = write_room_bag(folder / 'source', walk(24)[:FRAMES], CAMERA)
    bags = {}
    for storage in SUFFIX:
        for first, last in [(0, FRAMES), (0, 2), (2, 4), (4, 6)]:
            bags[storage, first, last] = rewrite(
                source,
                folder / f'bag_{first}_{last}_{storage}',
                lambda topic, item, n, kept=range(first, last): [(topic, item)] * (n in kept),
                storage=storage,
            )
    return bags


@pytest.fixture
def write_bag(recordings, tmp_path):
    """Return a function that copies a recording to tmp_path."""

    def write(storage='mcap', first=0, last=FRAMES, name='bag'):
        bag = shutil.copytree(recordings[storage, first, last], tmp_path / name)
        file = storage_file(bag)
        edit_metadata(bag, lambda info: info.update(relative_file_paths=[name + file.suffix]))
        file.rename(bag / (name + file.suffix))
        return bag

    return write


def storage_file(bag):
    return next(file for file in bag.iterdir() if file.suffix in SUFFIX.values())


def contents(path):
    """Return the sorted (topic, log time, data) of all messages, and the warnings."""
    with BagReader(path) as bag:
        messages = [tuple(raw) for raw in bag.messages(list(bag.topics))]
        assert [raw[1] for raw in messages] == sorted(raw[1] for raw in messages)
        for topic in bag.topics:
            assert bag.count(topic) == sum(raw[0] == topic for raw in messages)
        for raw in bag.messages([IMAGE]):
            bag.decode(raw)
        return sorted(messages), bag.warnings


def edit_metadata(bag, change):
    file = bag / 'metadata.yaml'
    content = yaml.safe_load(file.read_text())
    change(content['rosbag2_bagfile_information'])
    file.write_text(yaml.safe_dump(content))
