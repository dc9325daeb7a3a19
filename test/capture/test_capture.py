"""A capture returns the frames of a bag, one by one or in one pass."""

import numpy as np
import pytest
from room_bags import write_room_bag, Z_UP
from rooms import phone_camera, render_box_room, walk

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('raw_depth', [False, True])
def test_a_capture_returns_the_images_depths_and_poses_written_to_the_bag(
    tmp_path, storage, raw_depth
):
    poses = walk(24)[:12]
    bag = write_room_bag(tmp_path / 'bag', poses, storage=storage, raw_depth=raw_depth)
    capture = open_capture(bag, Z_UP)
    assert len(capture) == len(list(capture)) == 12
    assert capture.has_depth
    for frame in capture:
        rgb, depth = render_box_room(poses[frame.index], phone_camera())
        assert np.abs(frame.depth - depth).max() < (1e-6 if raw_depth else 6e-4)
        assert np.abs(frame.rgb.mean(axis=2) - rgb.mean(axis=2)).mean() < 6
        assert frame.camera == frame.depth_camera == phone_camera()
        assert np.allclose(frame.map_from_camera, poses[frame.index], atol=1e-6)
    assert np.all(np.diff(capture.stamps_ns) == 100_000_000)


def test_random_access_returns_the_same_frame_as_iteration(room_bag):
    capture = open_capture(room_bag, CaptureConfig())
    frames = list(capture)
    for index in (7, 0, 23):
        alone = capture.frame(index)
        assert np.array_equal(alone.rgb, frames[index].rgb)
        assert np.array_equal(alone.depth, frames[index].depth)
        assert alone.stamp_ns == frames[index].stamp_ns == capture.stamps_ns[index]
    with pytest.raises(IndexError, match='frame 24 of a capture of 24'):
        capture.frame(24)
