"""Images that arrive over DDS give the same poses as images that are read from the bag."""

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
from through_ros import DemoError, LocalizerOutputs, play, pose_differences, read_poses

from nerf_reversal_ros.cli.main import main

IMAGE_COUNT = 8


@pytest.fixture(scope='module')
def bag(tmp_path_factory) -> Path:
    """Write a bag of images with poses between those of the mapping capture."""
    path = tmp_path_factory.mktemp('parity') / 'test'
    return write_room_bag(path, walk(96)[1::12], CAMERA, up_axis='z')


@pytest.fixture(scope='module')
def outputs(bag, small_map) -> LocalizerOutputs:
    """Return everything that the localizer node published."""
    return play(bag, small_map.path, bag.parent)


@pytest.fixture(scope='module')
def offline(bag, small_map) -> Path:
    """Return the poses.json that localize writes."""
    file = bag.parent / 'poses.json'
    assert main(['localize', str(small_map.path), str(bag), '--out', str(file)]) == 0
    return file


def test_poses_over_dds_equal_those_of_the_bag_at_the_stamps_of_its_images(outputs, offline):
    poses = read_poses(offline)
    assert list(poses) == [EPOCH_NS + i * 100_000_000 for i in range(IMAGE_COUNT)]
    difference_m, difference_deg = pose_differences(outputs, poses)
    assert len(difference_m) >= IMAGE_COUNT - 2, 'too few poses to compare'
    assert difference_m.max() < 0.001
    assert difference_deg.max() < 0.1
    assert {pose.header.frame_id for pose in outputs.poses.values()} == {'map'}


def test_covariances_and_reasons_over_dds_equal_those_of_the_bag(outputs, offline):
    entries = {entry['stamp_ns']: entry for entry in json.loads(offline.read_text())['poses']}
    for stamp, message in outputs.poses_with_covariance.items():
        assert message.pose.pose == outputs.poses[stamp].pose
        covariance = np.ravel(entries[stamp]['covariance'])
        assert message.pose.covariance == pytest.approx(covariance, rel=1e-3, abs=1e-9)
    for stamp, status in outputs.statuses.items():
        assert status.reason == entries[stamp].get('rejected', '')


def test_evaluate_writes_the_same_poses_as_localize(bag, small_map, offline, tmp_path):
    words = ['evaluate', small_map.path, bag, '--baselines', 'none', '--out-poses', tmp_path / 'p']
    assert main([str(word) for word in words]) == 0
    assert (tmp_path / 'p').read_text() == offline.read_text()


def test_a_node_that_tracks_gives_the_poses_of_localize_with_track(small_map, tmp_path):
    bag = write_room_bag(tmp_path / 'sequence', walk(400)[40:44], CAMERA, up_axis='z')
    outputs, file = play(bag, small_map.path, tmp_path, track=True), tmp_path / 'poses.json'
    assert main(['localize', str(small_map.path), str(bag), '--track', '--out', str(file)]) == 0
    difference_m, difference_deg = pose_differences(outputs, read_poses(file))
    assert len(difference_m) >= 3, 'too few poses to compare'
    assert difference_m.max() < 0.001
    assert difference_deg.max() < 0.1


def test_a_pose_or_an_image_on_one_side_only_is_reported(outputs, offline):
    poses = read_poses(offline)
    with pytest.raises(DemoError, match='1 images were localized only with ROS, or only without'):
        pose_differences(outputs, {**poses, next(iter(outputs.poses)): None})
    with pytest.raises(DemoError, match=f'processed {IMAGE_COUNT} of {IMAGE_COUNT + 1} images'):
        pose_differences(outputs, {**poses, 1: None})


def test_a_node_that_fails_is_reported_with_its_last_lines(bag, small_map, tmp_path):
    with pytest.raises(DemoError, match=r'(?s)the localizer node has ended.*nowhere'):
        play(bag, tmp_path / 'nowhere', tmp_path)
    with pytest.raises(DemoError, match=r'(?s)the player node failed.*no_bag'):
        play(tmp_path / 'no_bag', small_map.path, tmp_path)
