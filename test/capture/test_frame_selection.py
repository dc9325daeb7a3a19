"""Blurred frames, duplicates and frames without depth are dropped and counted."""

import cv2
import numpy as np
from room_bags import DEPTH, edit_topic, IMAGE, raw_image, write_room_bag, Z_UP
from rooms import phone_camera, render_box_room, walk

from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.capture.frame_selection import (
    is_blurred,
    is_duplicate,
    select_farthest_poses,
    sharpness,
)
from nerf_reversal_ros.capture.mapping_data import SplitCapture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig


def test_blur_is_relative_to_neighbors_so_that_a_wall_without_texture_is_kept():
    sharp = np.full(60, 100.0)
    sharp[30:] = 5.0
    sharp[[10, 45]] *= 0.1
    assert np.flatnonzero(is_blurred(sharp, 0.25)).tolist() == [10, 45]


def test_sharpness_falls_with_blur():
    gray = render_box_room(walk(4)[0], phone_camera())[0][..., 1]
    blurred = (gray[:-1] // 2 + gray[1:] // 2).astype(np.uint8)
    assert sharpness(blurred) < 0.7 * sharpness(gray)


def test_slow_motion_keeps_a_frame_whenever_it_has_moved_enough():
    poses = np.repeat(np.eye(4)[None], 11, axis=0)
    poses[:, 0, 3] = np.arange(11) * 0.002
    kept = np.flatnonzero(~is_duplicate(poses, 0.005, 1.0))
    assert kept.tolist() == [0, 3, 6, 9]


def test_blurred_frames_are_dropped_and_counted(edit_bag):
    def blur(item, number):
        if number in (5, 12):
            blurred = cv2.GaussianBlur(rgb_from_message(item), (0, 0), 4)
            return raw_image(item.header, blurred, 'rgb8')
        return raw_image(item.header, rgb_from_message(item), 'rgb8')

    bag = edit_bag(edit_topic(IMAGE, blur))
    capture = open_capture(bag, Z_UP)
    assert capture.counts['dropped as blurred'] == 2
    assert capture.counts['kept'] == len(capture) == 22
    assert len(open_capture(bag, Z_UP, select_frames=False)) == 24


def test_frames_without_motion_are_dropped_and_counted(tmp_path):
    poses = np.repeat(walk(24)[:10], 3, axis=0)
    bag = write_room_bag(tmp_path / 'slow', poses)
    capture = open_capture(bag, Z_UP)
    assert capture.counts['dropped as duplicate'] == 20
    assert np.allclose(capture.map_from_camera, walk(24)[:10], atol=1e-6)
    assert len(open_capture(bag, Z_UP, select_frames=False)) == 30


def test_frames_without_depth_are_dropped_for_building_and_kept_for_evaluation(edit_bag):
    bag = edit_bag(lambda topic, item, n: [] if (topic, n) == (DEPTH, 4) else [(topic, item)])
    assert open_capture(bag, Z_UP).counts['dropped without depth'] == 1
    whole = list(open_capture(bag, Z_UP, select_frames=False))
    assert [frame.index for frame in whole if frame.depth is None] == [4]


def test_farthest_poses_are_spaced_and_near_all_others():
    line = np.tile(np.eye(4), (101, 1, 1))
    line[:, 0, 3] = np.linspace(0, 3, 101)
    selected = np.sort(select_farthest_poses(line, 1000, 0.3, 20.0))
    assert (
        np.diff(line[selected, 0, 3]).min() >= 0.3 and np.diff(line[selected, 0, 3]).max() <= 0.6
    )
    assert len(select_farthest_poses(line, 3, 0.3, 20.0)) == 3


def test_a_long_capture_is_trained_on_frames_of_spread_views_and_keeps_all_held_out_ones(tmp_path):
    bag = write_room_bag(tmp_path / 'walk', walk(40), phone_camera(), up_axis='z')
    split = SplitCapture.split(open_capture(bag, CaptureConfig()), 0.2)
    assert split.of_most_coverage(32, 2.0) is split
    fewer = split.of_most_coverage(10, 2.0)
    assert len(fewer.training_frames) == 10 and len(fewer.held_out_frames) == 8
    held_out = split.capture.map_from_camera[split.held_out]
    np.testing.assert_array_equal(fewer.capture.map_from_camera[fewer.held_out], held_out)
    kept = fewer.capture.stamps_ns[fewer.training_frames]
    all_kept = split.capture.stamps_ns[split.training_frames]
    assert np.all(np.diff(kept) > 0) and kept[0] < all_kept[8] and kept[-1] > all_kept[-8]
