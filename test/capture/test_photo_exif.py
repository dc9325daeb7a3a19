"""The focal length of photos without a 35 mm equivalent, from the sensor that EXIF tells."""

import math

import numpy as np
from photos import write_photo
from PIL import Image
import pytest

from nerf_reversal_ros.capture.photo import read_photo
from nerf_reversal_ros.capture.photo_camera import parse_photo_camera
from nerf_reversal_ros.capture.photo_exif import PhotoExif, read_exif
from nerf_reversal_ros.capture.sensor_sizes import camera_name
from nerf_reversal_ros.core.errors import ImageError

GRAY = np.full((240, 360, 3), 90, np.uint8)
"""Three to two, as the sensors of most cameras with interchangeable lenses."""
FULL_FRAME = {'FocalPlaneXResolution': 254.0, 'FocalPlaneYResolution': 254.0}
"""36 mm for 360 pixels, per inch."""
EOS_5D, EOS_R = ('Canon', 'Canon EOS 5D Mark II'), ('Canon', 'Canon EOS R')
PI_2 = ('RaspberryPi', 'RP_imx219')


def exif_of(tmp_path, rgb=GRAY, **tags):
    return read_photo(write_photo(tmp_path / 'a.jpg', rgb, **tags).read_bytes())


@pytest.mark.parametrize(
    ('resolution', 'unit'), [(254.0, None), (254.0, 2), (100.0, 3), (10.0, 4), (0.01, 5)]
)
def test_the_pixels_per_millimeter_of_the_sensor_tell_the_focal_length(tmp_path, resolution, unit):
    tags = {'FocalPlaneXResolution': resolution, 'FocalPlaneYResolution': resolution}
    if unit is not None:
        tags['FocalPlaneResolutionUnit'] = unit
    photo = exif_of(tmp_path, FocalLength=24.0, **tags)
    assert photo.focal_length_35mm == pytest.approx(24.0)
    _, camera = parse_photo_camera(None).undistort(photo)
    assert camera.fx == camera.fy == pytest.approx(240.0)  # 24 mm of 10 pixels


def test_a_photo_that_was_reduced_keeps_its_field_of_view(tmp_path):
    photo = exif_of(
        tmp_path, GRAY[::2, ::2], taken_size=(360, 240), FocalLength=24.0, **FULL_FRAME
    )
    _, camera = parse_photo_camera(None).undistort(photo)
    assert camera.width == 180 and camera.fx == pytest.approx(120.0)


def test_the_equivalent_of_exif_counts_before_the_sensor(tmp_path):
    photo = exif_of(tmp_path, focal_length_35mm=50, FocalLength=24.0, **FULL_FRAME)
    assert photo.focal_length_35mm == 50


@pytest.mark.parametrize(
    'tags',
    [
        {'camera': EOS_5D},
        {'camera': ('CANON', 'EOS 5D Mark II')},
        # A program that reduced the photo to a fifth wrote its new size, not the new resolution.
        {'camera': EOS_5D, 'FocalPlaneXResolution': 1270.0, 'FocalPlaneYResolution': 1270.0},
        # Pixels that are not square.
        {'camera': EOS_5D, 'FocalPlaneXResolution': 254.0, 'FocalPlaneYResolution': 290.0},
    ],
)
def test_a_known_camera_has_the_sensor_of_the_table(tmp_path, tags):
    photo = exif_of(tmp_path, FocalLength=24.0, **tags)
    assert photo.focal_length_35mm == pytest.approx(24.0)


def test_a_photo_of_another_shape_shows_the_width_or_the_height_of_the_sensor(tmp_path):
    for rgb, focal_px in ((GRAY[:180], 240.0), (GRAY[:, :240], 240.0), (GRAY, 240.0)):
        photo = exif_of(tmp_path, rgb, camera=EOS_5D, FocalLength=24.0)
        _, camera = parse_photo_camera(None).undistort(photo)
        assert camera.fx == pytest.approx(focal_px)


def test_a_fixed_lens_is_known_by_its_focal_length(tmp_path):
    photo = exif_of(tmp_path, GRAY[:, :320], camera=PI_2, FocalLength=3.039)
    _, camera = parse_photo_camera(None).undistort(photo)
    field_of_view_deg = 2 * math.degrees(math.atan(160 / camera.fx))
    assert field_of_view_deg == pytest.approx(62.2, abs=0.5)  # of the data sheet
    photo = exif_of(tmp_path, GRAY[:, :320], camera=PI_2, FocalLength=6.0)
    assert photo.focal_length_35mm is None


@pytest.mark.parametrize(
    'tags',
    [
        {'FocalLength': 24.0},
        {'FocalLength': 24.0, 'camera': EOS_R},
        {'camera': EOS_5D},
        {'camera': EOS_5D, 'FocalLength': 0.0},
        {'camera': EOS_5D, 'FocalLength': 24.0, 'DigitalZoomRatio': 2.0},
        {'camera': EOS_5D, 'FocalLength': 24.0, 'taken_size': (360, 360)},
        # As if the sensor was 10.3 mm wide, which no usual one is.
        {'FocalLength': 24.0, 'FocalPlaneXResolution': 890.0, 'FocalPlaneYResolution': 890.0},
        # As if it was one of an inch, which this camera does not have.
        {
            **{'FocalLength': 24.0, 'camera': EOS_R},
            **{'FocalPlaneXResolution': 693.0, 'FocalPlaneYResolution': 693.0},
        },
        {'FocalLength': 24.0, **FULL_FRAME, 'FocalPlaneResolutionUnit': 1},
    ],
)
def test_what_does_not_tell_the_focal_length_leaves_it_to_be_found(tmp_path, tags):
    photo = exif_of(tmp_path, **tags)
    assert photo.focal_length_35mm is None
    with pytest.raises(ImageError, match='is unknown'):
        parse_photo_camera(None).undistort(photo)


def test_a_camera_is_named_once_by_make_model_and_lens(tmp_path):
    assert camera_name('Canon', 'Canon EOS 5D') == 'Canon EOS 5D'
    assert camera_name('OLYMPUS IMAGING CORP.', 'E-M5') == 'OLYMPUS E-M5'
    assert camera_name('', '') == ''
    photo = exif_of(tmp_path, camera=EOS_5D, FocalLength=24.0, DigitalZoomRatio=1.5)
    assert photo.camera_name == 'Canon EOS 5D Mark II, 24 mm, digital zoom 1.5'
    assert exif_of(tmp_path).camera_name == ''


def test_malformed_values_count_as_none(tmp_path):
    image = Image.new('RGB', (360, 240))
    exif = image.getexif()
    exif[0x010F], exif[0x0110], exif[0x0112] = 7, 'Canon\x1b[31m\0hidden', 'upside down'
    details = exif.get_ifd(0x8769)
    details.update({0x920A: (3, 0), 0xA20E: 'many', 0xA20F: float('nan'), 0xA002: b'wide'})
    assert read_exif(image) == PhotoExif(camera_name='Canon[31m')
