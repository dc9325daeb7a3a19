"""Masked pixels are filled without texture, and have no depth."""

import numpy as np
import pytest

from nerf_reversal_ros.bags.image_masks import fill_masked, kept_pixels, mask_depth


def test_masked_pixels_are_filled_smoothly_and_the_others_are_kept():
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 2 + 40, 48, axis=0)
    rgb = np.repeat(ramp, 3, axis=2)
    valid = np.ones((48, 64), bool)
    valid[10:40, 20:50] = False
    shown = np.where(valid[..., None], rgb, 255).astype(np.uint8)
    filled = fill_masked(shown, valid)
    assert np.array_equal(filled[valid], rgb[valid])
    assert np.abs(filled.astype(int) - rgb).max() < 40  # not the 255 that was masked
    assert np.abs(np.diff(filled[..., 0].astype(int), axis=1)).max() < 20


def test_an_image_without_masked_pixels_is_returned_unchanged():
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert fill_masked(rgb, np.ones((5, 7), bool)) is rgb


def test_a_mask_without_any_valid_pixel_hides_everything():
    assert not fill_masked(np.full((9, 9, 3), 200, np.uint8), np.zeros((9, 9), bool)).any()


def test_depth_that_overlaps_a_masked_pixel_is_unknown():
    valid = np.ones((8, 8), bool)
    valid[3, 4] = False
    depth = mask_depth(np.ones((4, 4), np.float32), valid)
    assert np.argwhere(depth == 0).tolist() == [[1, 2]]


@pytest.mark.parametrize('value', [1, 255, 65535])
@pytest.mark.parametrize('channels', [(), (3,)])
def test_a_mask_keeps_what_is_not_0_whatever_its_largest_value(value, channels):
    mask = np.zeros((4, 6, *channels), np.uint16)
    mask[:2] = value
    kept = kept_pixels(mask, 12, 8)
    assert kept[:4].all()
    assert not kept[4:].any()
    assert not kept_pixels(np.zeros_like(mask), 12, 8).any()
