"""Promises of the warp between cameras."""

from box_room import BoxRoom, walk
import numpy as np
import pytest

from nerf_reversal_ros.capture.image_resampling import resample_to_camera
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError

WIDE = Camera(160, 120, 100.0, 100.0, 79.5, 59.5)
LONG = Camera(200, 150, 250.0, 240.0, 90.0, 80.0)


def photo(camera):
    return BoxRoom().render(walk(1), camera)[0].rgb


def test_another_focal_length_gives_the_same_picture():
    narrow = Camera(80, 60, 90.0, 90.0, 40.0, 28.0)
    warped = resample_to_camera(photo(WIDE), WIDE, narrow)
    difference = np.abs(warped.rgb.astype(float) - photo(narrow))
    assert warped.valid.all()
    assert difference.mean() < 1.5
    assert difference.max() < 20


def test_what_the_query_does_not_show_is_masked():
    warped = resample_to_camera(photo(LONG), LONG, WIDE)
    truth = photo(WIDE).astype(float)
    assert 0.1 < warped.valid.mean() < 0.5
    assert np.abs(warped.rgb.astype(float) - truth)[warped.valid].mean() < 2.0


def test_the_same_camera_changes_nothing():
    warped = resample_to_camera(photo(WIDE), WIDE, WIDE)
    np.testing.assert_array_equal(warped.rgb, photo(WIDE))
    assert warped.valid.all()


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((120, 160, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    warped = resample_to_camera(stripes, WIDE, WIDE.scaled_to_width(80))
    assert warped.rgb.min() == warped.rgb.max() == 100


def test_a_picture_of_another_size_is_refused_with_both_sizes():
    with pytest.raises(ImageError, match=r'\(120, 100, 3\).*\(120, 160, 3\)'):
        resample_to_camera(np.zeros((120, 100, 3), dtype=np.uint8), WIDE, WIDE)


def test_the_longer_side_counts_for_upright_pictures_too():
    upright = Camera(720, 960, 700.0, 700.0, 360.0, 480.0)
    assert (upright.downscaled_to(96).width, upright.downscaled_to(96).height) == (72, 96)
    assert upright.downscaled_to(96).fx == pytest.approx(70.0)


def test_what_is_shrunk_never_grows_and_never_vanishes():
    assert WIDE.downscaled_to(160) == WIDE.downscaled_to(1000) == WIDE
    strip = Camera(1000, 2, 700.0, 700.0, 500.0, 0.5).downscaled_to(96)
    assert (strip.width, strip.height) == (96, 1)
