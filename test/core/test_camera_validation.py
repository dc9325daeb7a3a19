"""Intrinsics that cannot be right are rejected, strange ones are noted, usual ones pass."""

import pytest

from nerf_reversal_ros.core.camera_validation import (
    field_of_view_deg,
    IntrinsicsSource,
    make_camera,
)
from nerf_reversal_ros.core.errors import ImageError

SOURCE = IntrinsicsSource('K of x', 'repair it', 'use {width}x{height}')
USUAL = (500.0, 500.0, 319.5, 239.5)


def warnings(*intrinsics, size=(640, 480), **options):
    return make_camera(size, intrinsics, SOURCE, **options)[1]


def rejection(*intrinsics, size=(640, 480)):
    with pytest.raises(ImageError) as caught:
        make_camera(size, intrinsics, SOURCE)
    return str(caught.value)


@pytest.mark.parametrize(
    'intrinsics',
    [
        USUAL,
        (500.0, 500.0, 280.0, 270.0),  # a center that is off by 6 %
        (300.0, 300.0, 256.0, 192.0),  # 10 % in x and in y
        (130.0, 130.0, 319.5, 239.5),  # 136 degrees wide
        (500.0, 375.0, 319.5, 239.5),  # 16:9 squeezed to 4:3
    ],
)
def test_usual_cameras_pass_without_a_word(intrinsics):
    camera, notes = make_camera((640, 480), intrinsics, SOURCE)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == intrinsics
    assert notes == ()


@pytest.mark.parametrize(
    ('factor', 'place', 'size'),
    [
        (1 / 4, '1/8', '160x120'),
        (1 / 3, '1/6', '213x160'),
        (1 / 2, '1/4', '320x240'),
        (2 / 3, '1/3', '427x320'),
        (3 / 2, '3/4', '960x720'),
        (2, '1', '1280x960'),
        (3, '3/2', '1920x1440'),
    ],
)
@pytest.mark.parametrize('off_px', [-6.0, 0.0, 6.0])
def test_intrinsics_of_another_size_are_rejected_with_that_size(factor, place, size, off_px):
    cx, cy = (319.5 + off_px + 0.5) * factor - 0.5, (239.5 - off_px + 0.5) * factor - 0.5
    message = rejection(500.0 * factor, 500.0 * factor, cx, cy)
    assert f'is at {place} of the image of 640x480' in message
    assert message.endswith(f'belonged to images of {size}: use {size}')


def test_an_odd_factor_is_told_as_measured():
    message = rejection(270.0, 270.0, 0.27 * 640 - 0.5, 0.27 * 480 - 0.5)
    assert 'is at 0.27 of the image' in message
    assert message.endswith('use 346x259')


def test_intrinsics_of_the_turned_image_are_rejected():
    assert 'in the middle of 640x480 pixels, but the image is 480x640' in rejection(
        *USUAL, size=(480, 640)
    )


@pytest.mark.parametrize('center', [(700.0, 239.5), (319.5, -10.0)])
def test_a_principal_point_outside_of_the_image_is_rejected_unless_it_is_a_crop(center):
    assert 'is outside of the image of 640x480 pixels: repair it' in rejection(500, 500, *center)
    (warning,) = warnings(500.0, 500.0, *center, is_crop=True)
    assert warning.endswith('which is unusual: if it is wrong, repair it')


@pytest.mark.parametrize(
    ('focal_px', 'view'), [(4.0, '179 deg'), (25.0, '171 deg'), (40_000.0, '0.917 deg')]
)
def test_an_impossible_field_of_view_is_rejected(focal_px, view):
    message = rejection(focal_px, focal_px, 319.5, 239.5)
    assert f'field of view of {view} for 640x480' in message


@pytest.mark.parametrize(
    ('intrinsics', 'text'),
    [
        ((500.0, 500.0, 220.0, 239.5), 'at 34% and 50% of 640x480 pixels'),
        ((4000.0, 4000.0, 319.5, 239.5), 'a field of view of 9.1 deg'),
        ((500.0, 300.0, 319.5, 239.5), 'the focal lengths 500 and 300 px'),
    ],
)
def test_strange_but_possible_cameras_are_noted(intrinsics, text):
    (warning,) = warnings(*intrinsics)
    assert text in warning
    assert warning.endswith('repair it')


def test_the_field_of_view_is_that_of_the_longer_side():
    camera, _ = make_camera((640, 480), (320.0, 320.0, 319.5, 239.5), SOURCE)
    assert field_of_view_deg(camera) == pytest.approx(90.0)
