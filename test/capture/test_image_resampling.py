"""An image is resampled to another camera, with a mask of valid pixels."""

from box_room import BoxRoom, walk
import numpy as np
import pytest

from nerf_reversal_ros.capture.image_resampling import resample_to_camera
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError

WIDE = Camera(160, 120, 100.0, 100.0, 79.5, 59.5)
LONG = Camera(200, 150, 250.0, 240.0, 90.0, 80.0)


def render(camera):
    return BoxRoom().render(walk(1), camera)[0].rgb


def test_another_focal_length_gives_the_same_image():
    narrow = Camera(80, 60, 90.0, 90.0, 40.0, 28.0)
    resampled = resample_to_camera(render(WIDE), WIDE, narrow)
    difference = np.abs(resampled.rgb.astype(float) - render(narrow))
    assert resampled.valid.all()
    assert difference.mean() < 1.5
    assert difference.max() < 20


def test_pixels_outside_of_the_source_image_are_masked():
    resampled = resample_to_camera(render(LONG), LONG, WIDE)
    expected = render(WIDE).astype(float)
    assert 0.1 < resampled.valid.mean() < 0.5
    assert np.abs(resampled.rgb.astype(float) - expected)[resampled.valid].mean() < 2.0


def test_the_same_camera_leaves_the_image_unchanged():
    resampled = resample_to_camera(render(WIDE), WIDE, WIDE)
    np.testing.assert_array_equal(resampled.rgb, render(WIDE))
    assert resampled.valid.all()


def test_downscaling_averages_pixels():
    stripes = np.zeros((120, 160, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    resampled = resample_to_camera(stripes, WIDE, WIDE.scaled_to_width(80))
    assert resampled.rgb.min() == resampled.rgb.max() == 100


def test_an_image_of_another_size_is_rejected_with_both_sizes():
    with pytest.raises(ImageError, match=r'\(120, 100, 3\).*\(120, 160, 3\)'):
        resample_to_camera(np.zeros((120, 100, 3), dtype=np.uint8), WIDE, WIDE)


def test_masked_pixels_of_the_source_image_are_masked():
    source_valid = np.ones((120, 160), bool)
    source_valid[40:80, 50:90] = False
    half = WIDE.scaled_to_width(80)
    resampled = resample_to_camera(render(WIDE), WIDE, half, source_valid)
    assert np.array_equal(resampled.valid, source_valid[::2, ::2])
