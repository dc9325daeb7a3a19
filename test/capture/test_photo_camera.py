"""Intrinsics of photos: of a calibration, of EXIF or of a field of view, turned with the image."""

import math

import numpy as np
from photos import write_photo
from PIL import Image
import pytest

from nerf_reversal_ros.bags.camera_model import CameraModel
from nerf_reversal_ros.capture.orientation import turn, turn_camera
from nerf_reversal_ros.capture.photo import Photo, read_photo
from nerf_reversal_ros.capture.photo_camera import parse_photo_camera
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ConfigError, ImageError

LANDSCAPE, PORTRAIT = np.full((30, 40, 3), 90, np.uint8), np.full((40, 30, 3), 90, np.uint8)
COLMAP = '# Camera list\n1 OPENCV 40 30 35 36 20 15 0.1 0.01 0.001 0.002\n'
CALIBRATION = """
image_width: 80
image_height: 60
distortion_model: plumb_bob
distortion_coefficients: {data: [0.1, 0.01, 0.001, 0.002, 0.0]}
camera_matrix: {data: [70, 0, 39.5, 0, 72, 29.5, 0, 0, 1]}
"""


def intrinsics(camera):
    return (camera.fx, camera.fy, camera.cx, camera.cy)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_the_principal_point_stays_on_its_pixel_when_an_image_is_turned(orientation):
    pixels = np.zeros((30, 40), np.uint8)
    pixels[11, 23] = 1
    camera = turn_camera(Camera(40, 30, 50.0, 60.0, 23.0, 11.0), orientation)
    turned = turn(pixels, orientation)
    assert turned.shape == (camera.height, camera.width)
    assert turned[int(camera.cy), int(camera.cx)] == 1
    assert camera.fx == (60.0 if orientation >= 5 else 50.0)


def test_the_focal_length_of_exif_refers_to_the_diagonal(tmp_path):
    data = write_photo(tmp_path / 'a.jpg', PORTRAIT, 6, 26).read_bytes()
    rgb, camera = parse_photo_camera(None, 60.0).undistort(read_photo(data))
    assert rgb.shape == (40, 30, 3)
    focal_px = 26 / math.hypot(36, 24) * 50
    assert intrinsics(camera) == pytest.approx((focal_px, focal_px, 14.5, 19.5))


@pytest.mark.parametrize('exif', [{}, {'focal_length_35mm': 0}, {'taken_size': (40, 20)}])
def test_the_remedies_for_a_photo_whose_focal_length_is_unknown(tmp_path, exif):
    exif = {'focal_length_35mm': 26, **exif} if exif else {}
    photo = read_photo(write_photo(tmp_path / 'a.jpg', LANDSCAPE, **exif).read_bytes())
    with pytest.raises(ImageError, match='40x30 pixels is unknown') as error:
        parse_photo_camera(None).undistort(photo)
    assert str(error.value).endswith(remedies.PHOTO_CAMERA)
    (tmp_path / 'camera.yaml').write_text(CALIBRATION)
    (tmp_path / 'cameras.txt').write_text(COLMAP)
    for text in (str(tmp_path / 'camera.yaml'), str(tmp_path / 'cameras.txt'), '35 36 19.5 14.5'):
        camera = parse_photo_camera(text).undistort(photo)[1]
        assert intrinsics(camera) == pytest.approx((35, 36, 19.5, 14.5), abs=0.3)
    _, camera = parse_photo_camera(None, 90.0).undistort(photo)
    assert intrinsics(camera) == pytest.approx((20, 20, 19.5, 14.5))


def test_a_calibration_belongs_to_the_stored_or_to_the_upright_image_by_its_size(tmp_path):
    photo = Photo(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8), 6)
    file = tmp_path / 'cameras.txt'
    file.write_text('1 OPENCV 40 30 35 36 22 15 0.1 0 0 0')
    rgb, camera = parse_photo_camera(str(file)).undistort(photo)
    model = CameraModel(Camera(40, 30, 35.0, 36.0, 21.5, 14.5), (0.1, 0, 0, 0))
    assert np.array_equal(rgb, turn(model.undistort_rgb(photo.rgb), 6))
    assert intrinsics(camera) == (36, 35, 14.5, 21.5)
    file.write_text('1 PINHOLE 30 40 36 35 15 22')
    rgb, camera = parse_photo_camera(str(file)).undistort(photo)
    assert np.array_equal(rgb, turn(photo.rgb, 6))
    assert intrinsics(camera) == (36, 35, 14.5, 21.5)
    for text in ('35, 36, 21.5, 14.5', '36 35 14.5 21.5'):
        assert intrinsics(parse_photo_camera(text).undistort(photo)[1]) == (36, 35, 14.5, 21.5)


def test_a_calibration_is_scaled_to_the_size_of_the_image(tmp_path):
    file = tmp_path / 'c.yaml'
    file.write_text(CALIBRATION)
    _, camera = parse_photo_camera(str(file)).undistort(Photo(LANDSCAPE))
    assert intrinsics(camera) == pytest.approx((35, 36, 19.5, 14.5))


@pytest.mark.parametrize(
    ('line', 'distortion', 'is_fisheye'),
    [
        ('SIMPLE_PINHOLE 40 30 35 20 15', (0, 0, 0, 0, 0), False),
        ('SIMPLE_RADIAL 40 30 35 20 15 0.1', (0.1, 0, 0, 0, 0), False),
        ('RADIAL 40 30 35 20 15 0.1 0.2', (0.1, 0.2, 0, 0, 0), False),
        ('FULL_OPENCV 40 30 35 35 20 15 1 2 3 4 5 6 7 8', (1, 2, 3, 4, 5, 6, 7, 8), False),
        ('OPENCV_FISHEYE 40 30 35 35 20 15 0 0 0 0', (0, 0, 0, 0), True),
    ],
)
def test_the_models_of_colmap(tmp_path, line, distortion, is_fisheye):
    file = tmp_path / 'cameras.txt'
    file.write_text(f'3 {line}\n')
    (model,) = parse_photo_camera(str(file)).models
    assert model == CameraModel(Camera(40, 30, 35, 35, 19.5, 14.5), distortion, is_fisheye)


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        ('# empty', 'holds no camera of COLMAP'),
        ('1 THIN_PRISM_FISHEYE 40 30 35 35', 'the model THIN_PRISM_FISHEYE is not one of'),
        ('1 PINHOLE 40 30 35 20 15', '3 parameters do not belong to the model PINHOLE'),
        ('1 PINHOLE 40 wide 35 35 20 15', 'is no camera of COLMAP'),
        ('1 PINHOLE 40 30 0 0 20 15', 'must be finite and focal lengths > 0'),
    ],
)
def test_what_is_wrong_with_a_file_of_colmap_is_named(tmp_path, content, problem):
    file = tmp_path / 'cameras.txt'
    file.write_text(content)
    with pytest.raises(ConfigError, match=problem) as error:
        parse_photo_camera(str(file))
    assert 'cameras.txt' in str(error.value) and '--fov' in str(error.value)


def test_a_camera_of_images_of_another_shape_is_named(tmp_path):
    file = tmp_path / 'cameras.txt'
    file.write_text('1 PINHOLE 64 36 50 50 32 18')
    with pytest.raises(ImageError, match='images of 64x36 pixels, but this one has 40x30'):
        parse_photo_camera(str(file)).undistort(Photo(LANDSCAPE))
    file.write_text('1 PINHOLE 40 30 50 50 20 15\n2 PINHOLE 40 30 51 51 20 15')
    with pytest.raises(ImageError, match='holds 2 cameras for images of 40x30 pixels'):
        parse_photo_camera(str(file)).undistort(Photo(LANDSCAPE))
    with pytest.raises(ImageError, match=r'belonged to images of 80x60.*scale it from 80x60'):
        parse_photo_camera('70 70 39.5 29.5').undistort(Photo(LANDSCAPE))


def test_what_is_no_camera_is_named(tmp_path):
    for text in ('35 36 20', str(tmp_path / 'none.yaml')):
        with pytest.raises(ConfigError, match='neither a file nor four numbers'):
            parse_photo_camera(text)
    file = tmp_path / 'c.yaml'
    file.write_text(CALIBRATION.replace('plumb_bob', 'spherical'))
    with pytest.raises(ConfigError, match=r"'spherical' of camera_info is unknown: give --camera"):
        parse_photo_camera(str(file))
    with pytest.raises(ConfigError, match='a field of view of 200 deg is none'):
        parse_photo_camera(None, 200.0)


def test_images_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ImageError, match='a file of 5 bytes is no JPEG'):
        read_photo(b'hello')
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = write_photo(tmp_path / 'a.jpg', noise).read_bytes()
    with pytest.raises(ImageError, match='damaged or cut off'):
        read_photo(data[: len(data) // 2])


def test_gray_images_of_16_bits_are_reduced_to_8(tmp_path):
    Image.fromarray(np.full((30, 40), 0x8080, np.uint16)).save(tmp_path / 'a.png')
    photo = read_photo((tmp_path / 'a.png').read_bytes())
    assert photo.rgb.shape == (30, 40, 3) and (photo.rgb == 128).all()
