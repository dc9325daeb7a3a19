"""Several bags of one room are one recording if images confirm that they share a world."""

import numpy as np
import pytest
from room_bags import EPOCH_NS
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation
from small_map import CAMERA

from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.progress import no_progress
from nerf_reversal_ros.survey.bag_joining import check_one_world, join_bags

CONFIG = CaptureConfig()
FIRST, SECOND, OTHER = slice(0, 14), slice(8, 22), slice(26, 36)
"""Parts of a walk: the second sees much of what the first sees, the other looks elsewhere."""
MOVED = make_pose(Rotation.from_euler('z', 20, degrees=True), np.array([0.7, 0.2, 0.0]))


def write(path, part, start_s, world_from_room=None, up_axis='z'):
    """Record a part of a walk; its poses are in another world if one is given."""
    with BagWriter(path, up_axis=up_axis) as bag:
        for number, pose in enumerate(walk(48)[part]):
            rgb, depth_m = render_box_room(pose, CAMERA)
            recorded = pose if world_from_room is None else world_from_room @ pose
            stamp_ns = EPOCH_NS + int(start_s * 1e9) + number * 100_000_000
            bag.write(stamp_ns, rgb, depth_m, CAMERA, recorded)
    return path


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    """Return the bag of the first part, which begins at 0 s."""
    return write(tmp_path_factory.mktemp('joining') / 'first', FIRST, 0)


def join(bags, target):
    join_bags(bags, target, CONFIG)
    check_one_world(bags, target, CONFIG, no_progress)


def test_bags_of_one_world_become_one_capture(first, tmp_path):
    second = write(tmp_path / 'second', SECOND, 3600)
    join([first, second], tmp_path / 'both.bag')
    capture = open_capture(tmp_path / 'both.bag', CONFIG, select_frames=False)
    assert len(capture) == 28
    expected = np.concatenate([walk(48)[FIRST], walk(48)[SECOND]])
    np.testing.assert_allclose(capture.map_from_camera[:, :3, 3], expected[:, :3, 3], atol=0.02)
    with BagReader(first) as alone, BagReader(tmp_path / 'both.bag') as both:
        assert both.topics == alone.topics and both.custom_metadata == alone.custom_metadata
    join([first, second], tmp_path / 'both.bag')  # again


def test_bags_of_two_worlds_are_refused(first, tmp_path):
    second = write(tmp_path / 'second', SECOND, 3600, MOVED)
    with pytest.raises(CaptureError, match=r'do not share a world, .* by 0\.\d+ m and 20\.\d deg'):
        join([first, second], tmp_path / 'both.bag')


def test_bags_that_show_nothing_in_common_are_refused(first, tmp_path):
    other = write(tmp_path / 'other', OTHER, 3600)
    with pytest.raises(CaptureError, match=r'other shows nothing that \S+first shows'):
        join([first, other], tmp_path / 'both.bag')


def test_bags_that_overlap_in_time_are_refused(first, tmp_path):
    second = write(tmp_path / 'second', SECOND, 0.5)
    with pytest.raises(CaptureError, match=r'first and \S+second overlap in time: make each'):
        join([first, second], tmp_path / 'both.bag')


def test_bags_of_different_axes_or_topics_are_refused(first, tmp_path):
    turned = write(tmp_path / 'turned', SECOND, 3600, up_axis='y')
    with pytest.raises(CaptureError, match='name different axes'):
        join_bags([first, turned], tmp_path / 'both.bag', CONFIG)
    with BagWriter(tmp_path / 'flat', up_axis='z') as bag:
        rgb, _ = render_box_room(walk(1)[0], CAMERA)
        bag.write(EPOCH_NS + 10**13, rgb, None, CAMERA, walk(1)[0])
    with pytest.raises(CaptureError, match=rf'flat has no topic {CONFIG.depth_topic} of the type'):
        join_bags([first, tmp_path / 'flat'], tmp_path / 'both.bag', CONFIG)
