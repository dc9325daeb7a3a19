"""Pictures that come through DDS are answered as those that are read from the bag."""

from pathlib import Path
import sys

import pytest

pytest.importorskip('rclpy', reason='needs a ROS 2: make test brings one')

sys.path.append(str(Path(__file__).resolve().parents[1] / 'demo'))

from room_bags import write_room_bag
from rooms import walk
from small_map import CAMERA
from through_ros import DemoError, differences, Heard, play

from nerf_reversal_ros.capture import iter_images
from nerf_reversal_ros.config import CaptureConfig, LocalizerConfig
from nerf_reversal_ros.localization import open_localizer
from nerf_reversal_ros.outcome import PoseEstimate

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
def outcomes(bag, small_map) -> dict:
    """The outcomes without ROS, by the stamp of the picture."""
    localizer = open_localizer(small_map, LocalizerConfig())
    return {
        picture.stamp_ns: localizer.localize(picture.rgb, picture.camera)
        for picture in iter_images(bag, CaptureConfig())
    }


def test_poses_through_dds_are_those_of_the_bag_at_the_stamps_of_its_pictures(heard, outcomes):
    found = [isinstance(outcome, PoseEstimate) for outcome in outcomes.values()]
    assert len(found) == PICTURES
    assert sum(found) >= PICTURES - 2, 'else there is little to compare'
    metres, degrees = differences(heard, poses_of(outcomes))
    assert metres.max() < 0.001
    assert degrees.max() < 0.1
    assert {pose.header.frame_id for pose in heard.poses.values()} == {'map'}


def test_so_are_covariances_and_reasons(heard, outcomes):
    for stamp, message in heard.poses_with_covariance.items():
        assert message.pose.pose == heard.poses[stamp].pose
        covariance = outcomes[stamp].covariance.ravel()
        assert message.pose.covariance == pytest.approx(covariance, rel=1e-3, abs=1e-9)
    for stamp, status in heard.statuses.items():
        assert status.reason == getattr(outcomes[stamp], 'reason', '')


def test_a_pose_that_is_missing_on_one_side_is_told(heard, outcomes):
    offline = poses_of(outcomes)
    stamp = next(iter(heard.poses))
    with pytest.raises(DemoError, match='1 pictures were localized only by ROS, or only without'):
        differences(heard, {**offline, stamp: None})
    with pytest.raises(DemoError, match=f'of {PICTURES + 1} pictures, {PICTURES} were answered'):
        differences(heard, {**offline, 1: None})


def test_a_node_that_ends_is_told_with_its_last_lines(bag, small_map, tmp_path):
    with pytest.raises(DemoError, match=r'(?s)the localizer node has ended.*nowhere'):
        play(bag, tmp_path / 'nowhere', tmp_path)
    with pytest.raises(DemoError, match=r'(?s)the player node failed.*no_bag'):
        play(tmp_path / 'no_bag', small_map.path, tmp_path)


def poses_of(outcomes: dict) -> dict:
    return {stamp: getattr(o, 'map_from_camera', None) for stamp, o in outcomes.items()}
