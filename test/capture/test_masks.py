"""Masked pixels of a bag are left out of the color and depth of its frames."""

import numpy as np
import pytest
from room_bags import EPOCH_NS, raw_image, rewrite, Z_UP
from rooms import phone_camera, render_box_room, walk

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.progress import no_progress
from nerf_reversal_ros.fields.training_data import load_training_data

CAMERA = phone_camera()
SHAPE = (CAMERA.height, CAMERA.width)


@pytest.fixture(scope='module')
def capture(tmp_path_factory):
    """Open a bag whose even frames show a white box, with masks that leave it out."""
    path = tmp_path_factory.mktemp('masks') / 'bag'
    with BagWriter(path) as writer:
        for number, pose in enumerate(walk(24)[:6]):
            rgb, depth = render_box_room(pose, CAMERA)
            valid = None
            if number % 2 == 0:
                rgb[30:60, 20:50], depth[30:60, 20:50] = 255, 0.4
                valid = np.ones(SHAPE, bool)
                valid[30:60, 20:50] = False
            writer.write(EPOCH_NS + number * 10**8, rgb, depth, CAMERA, pose, valid)
    return open_capture(path, Z_UP)


def test_masked_pixels_have_no_depth_and_no_color_of_their_own(capture):
    for frame in [*capture, capture.frame(4)]:
        if frame.index % 2:
            assert frame.valid is None
            assert frame.depth.all()
        else:
            assert not frame.valid[30:60, 20:50].any()
            assert not frame.depth[30:60, 20:50].any()
            assert frame.rgb[35:55, 25:45].max() < 240
            assert frame.valid.sum() == frame.valid.size - 900


def test_masks_of_0_and_1_leave_out_the_same_pixels(capture, tmp_path):
    def use_0_and_1(topic, original, _):
        if not topic.endswith('/mask'):
            return [(topic, original)]
        mask = np.ones(SHAPE, np.uint8)
        mask[30:60, 20:50] = 0
        return [(topic, raw_image(original.header, mask, 'mono8'))]

    binary = open_capture(rewrite(capture.source, tmp_path / 'binary', use_0_and_1), Z_UP)
    assert np.array_equal(binary.frame(0).valid, capture.frame(0).valid)


def test_masks_without_an_image_are_counted(capture, tmp_path, caplog):
    def late(topic, item, _):
        if topic == Z_UP.mask_topic:
            item.header.stamp.nanosec += 1
        return [(topic, item)]

    moved = open_capture(rewrite(capture.source, tmp_path / 'late', late), Z_UP)
    assert '3 of 3 masks have the stamp of no image and are not used' in caplog.text
    assert all(frame.valid is None for frame in moved)


def test_masked_pixels_are_not_trained_on(capture, tmp_path):
    data = load_training_data(capture, np.zeros(6, bool), tmp_path, no_progress)
    frame, u, v = data.sample_pixels(np.random.default_rng(0), 2000)
    masked = (frame % 2 == 0) & (u >= 20) & (u < 50) & (v >= 30) & (v < 60)
    assert data.valid.shape == (6, *SHAPE)
    assert not masked.any()
