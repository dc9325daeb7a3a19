"""Pictures that come through DDS are answered as those that are read from the bag."""

import json
from pathlib import Path
import sys

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs a ROS 2: make test brings one')

sys.path.append(str(Path(__file__).resolve().parents[2] / 'demo'))

from room_bags import EPOCH_NS, write_room_bag
from rooms import walk
from small_map import CAMERA
from through_ros import DemoError, differences, Heard, play, read_poses

from nerf_reversal_ros.cli.main import main

PICTURES = 8


@pytest.fixture(scope='module')
def bag(tmp_path_factory) -> Path:
    """Poses between those of the walk that the map was built from."""
    path = tmp_path_factory.mktemp('parity') / 'test'
    return write_room_bag(path, walk(96)[1::12], CAMERA, up_axis='z')


@pytest.fixture(scope='module')
def heard(bag, small_map) -> Heard:
    """Everything that the node published."""
    return play(bag, small_map.path, bag.parent)


@pytest.fixture(scope='module')
def offline(bag, small_map) -> Path:
    """The file of poses that localize writes."""
    file = bag.parent / 'poses.json'
    assert main(['localize', str(small_map.path), str(bag), '--out', str(file)]) == 0
    return file


def test_poses_through_dds_are_those_of_the_bag_at_the_stamps_of_its_pictures(heard, offline):
    poses = read_poses(offline)
    assert list(poses) == [EPOCH_NS + i * 100_000_000 for i in range(PICTURES)]
    metres, degrees = differences(heard, poses)
    assert len(metres) >= PICTURES - 2, 'else there is little to compare'
    assert metres.max() < 0.001
    assert degrees.max() < 0.1
    assert {pose.header.frame_id for pose in heard.poses.values()} == {'map'}


def test_so_are_covariances_and_reasons(heard, offline):
    entries = {entry['stamp_ns']: entry for entry in json.loads(offline.read_text())['poses']}
    for stamp, message in heard.poses_with_covariance.items():
        assert message.pose.pose == heard.poses[stamp].pose
        covariance = np.ravel(entries[stamp]['covariance'])
        assert message.pose.covariance == pytest.approx(covariance, rel=1e-3, abs=1e-9)
    for stamp, status in heard.statuses.items():
        assert status.reason == entries[stamp].get('rejected', '')


def test_evaluate_writes_the_same_answers_as_localize(bag, small_map, offline, tmp_path):
    words = ['evaluate', small_map.path, bag, '--baselines', 'none', '--out-poses', tmp_path / 'p']
    assert main([str(word) for word in words]) == 0
    assert (tmp_path / 'p').read_text() == offline.read_text()


def test_a_pose_that_is_missing_on_one_side_is_told(heard, offline):
    poses = read_poses(offline)
    with pytest.raises(DemoError, match='1 pictures were localized only by ROS, or only without'):
        differences(heard, {**poses, next(iter(heard.poses)): None})
    with pytest.raises(DemoError, match=f'of {PICTURES + 1} pictures, {PICTURES} were answered'):
        differences(heard, {**poses, 1: None})


def test_a_node_that_ends_is_told_with_its_last_lines(bag, small_map, tmp_path):
    with pytest.raises(DemoError, match=r'(?s)the localizer node has ended.*nowhere'):
        play(bag, tmp_path / 'nowhere', tmp_path)
    with pytest.raises(DemoError, match=r'(?s)the player node failed.*no_bag'):
        play(tmp_path / 'no_bag', small_map.path, tmp_path)
