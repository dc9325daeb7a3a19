"""The images of a bag are indexed; damaged images and mixed sizes are reported."""

import logging

import numpy as np
import pytest
from room_bags import edit_topic, IMAGE, raw_image, Z_UP

from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.errors import CaptureError


def test_damaged_images_are_skipped_with_a_warning(edit_bag, caplog):
    def truncate(item, number):
        if number < 3:
            item.data = item.data[: len(item.data) // 2]

    with caplog.at_level(logging.WARNING):
        capture = open_capture(edit_bag(edit_topic(IMAGE, truncate)), Z_UP)
    assert capture.counts['pictures damaged'] == 3
    assert len(capture) == 21
    assert caplog.text.count('skipped an image') == 3


def test_a_bag_of_mostly_damaged_images_is_rejected(edit_bag):
    def truncate(item, number):
        if number > 5:
            item.data = item.data[:100]

    with pytest.raises(CaptureError, match=r'18 of 24 images.*cannot be decoded'):
        open_capture(edit_bag(edit_topic(IMAGE, truncate)), Z_UP)


def test_a_change_of_the_image_size_is_rejected_with_stamp_and_sizes(edit_bag):
    def grow(item, number):
        if number >= 12:
            return raw_image(item.header, np.zeros((90, 160, 3), np.uint8), 'rgb8')
        return raw_image(item.header, rgb_from_message(item), 'rgb8')

    with pytest.raises(
        CaptureError, match=r'at 1700000001200000000 ns .* is 160x90, those before it are 96x128'
    ):
        open_capture(edit_bag(edit_topic(IMAGE, grow)), Z_UP)
