"""CameraInfo becomes a camera model at the size of the images."""

from dataclasses import replace

from camera_infos import make_info, read_model
import cv2
import numpy as np
import pytest
from room_bags import edit_topic, INFO, Z_UP
from rooms import phone_camera

from nerf_reversal_ros.bags.camera_model import CameraModel
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError, ImageError

HALF = (250.0, 250.0, 319.5, 239.5)
BARREL = (-0.3, 0.1, 0.0, 0.0, 0.0)
RECTIFIED, RAW = '/camera/image_rect_color/compressed', '/camera/image_raw'


def test_intrinsics_are_scaled_to_a_resized_image():
    camera = read_model(make_info(), 320, 240).camera
    assert (camera.width, camera.height, camera.fx, camera.cx) == (320, 240, 250.0, 159.5)


def test_intrinsics_without_a_size_belong_to_the_image():
    assert read_model(make_info(width=0, height=0)).camera.fx == 500.0


def test_intrinsics_of_another_aspect_ratio_are_rejected():
    with pytest.raises(ImageError, match=r'camera_info is of 640x480 pixels, but .* 640x360'):
        read_model(make_info(), 640, 360)


@pytest.mark.parametrize(
    ('k', 'reason'),
    [
        ((0.0,) * 4, 'K of camera_info is all 0'),
        ((1.0, 1.0, 0.0, 0.0), 'K of camera_info is the identity'),
        ((float('nan'), 500.0, 319.5, 239.5), 'fx, fy, cx, cy = nan, 500'),
        ((-500.0, 500.0, 319.5, 239.5), 'focal lengths > 0'),
        ((1.9, 1.9, 319.5, 239.5), 'a field of view of 179 deg'),
    ],
)
def test_intrinsics_that_are_no_camera_are_rejected_with_the_remedy(k, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        read_model(make_info(k=k))
    assert str(caught.value).endswith(remedies.CALIBRATION)


def test_intrinsics_of_another_size_are_rejected_and_the_size_that_is_named_works():
    info = make_info(1920, 1440)
    with pytest.raises(ImageError, match=r'is at 1/6 of the image ') as caught:
        read_model(info, 1920, 1440)
    assert remedies.CAMERA_INFO_SIZE.format(width=640, height=480) in str(caught.value)
    camera = read_model(info, 1920, 1440, camera_info_size='640x480').camera
    assert (camera.fx, camera.cx) == (1500.0, 959.5)


def test_a_crop_that_looks_like_another_size_is_accepted_when_its_size_is_set():
    """The image is the lower right two thirds of one of 960x720."""
    info = make_info(k=(500.0, 500.0, 159.5, 119.5))
    with pytest.raises(ImageError, match='or for a crop to its own size'):
        read_model(info)
    model = read_model(info, camera_info_size='640x480')
    assert model.camera.cx == 159.5
    assert 'at 25% and 25% of 640x480' in model.warnings[0]


def test_a_region_of_interest_is_an_image_of_its_own():
    cropped = make_info()
    cropped.roi.x_offset, cropped.roi.y_offset = 320, 50
    cropped.roi.width, cropped.roi.height = 320, 240
    model = read_model(cropped, 320, 240)
    assert (model.camera.fx, model.camera.cx, model.camera.cy) == (500.0, -0.5, 189.5)
    assert not model.warnings
    cropped.roi.width = 321  # of which binning leaves 160
    cropped.binning_x = cropped.binning_y = 2
    camera = read_model(cropped, 160, 120).camera
    assert (camera.width, camera.fx) == (160, 250.0)
    with pytest.raises(ImageError, match=r'region of interest that gives 160x120 pixels, but'):
        read_model(cropped)


def test_a_region_of_interest_of_the_whole_image_is_ignored():
    whole = make_info()
    whole.roi.width, whole.roi.height = 640, 480
    assert read_model(whole, 320, 240) == read_model(make_info(), 320, 240)


def test_rectified_images_have_the_projection_of_the_camera_info():
    assert read_model(make_info(p=HALF), rectified=True).camera.fx == 250.0
    with pytest.raises(ImageError, match='P of camera_info is all 0'):
        read_model(make_info(p=(0.0,) * 4), rectified=True)


@pytest.mark.parametrize(
    'topic',
    [
        RECTIFIED,
        'image_rect',
        '/left/image_rect/theora',
        '/image_rect_mono',
        '/zed/rgb/color/rect/image',
    ],
)
@pytest.mark.parametrize('changes', [{'d': BARREL}, {'k': (530.0, 530.0, 319.5, 239.5)}])
def test_rectified_images_with_intrinsics_of_raw_ones_are_rejected(topic, changes):
    info = make_info(p=HALF, **changes)
    with pytest.raises(ImageError, match=f'is one of rectified images.*{remedies.RECTIFIED}, or'):
        read_model(info, topic=topic)
    model = read_model(info, topic=topic, rectified=True)
    assert model == CameraModel(Camera(640, 480, *HALF))


def test_rectified_images_with_intrinsics_of_their_own_are_accepted():
    assert read_model(make_info(), topic=RECTIFIED) == read_model(make_info())
    without_projection = make_info(p=(0.0,) * 4)
    assert read_model(without_projection, topic=RECTIFIED) == read_model(make_info())
    assert read_model(make_info(d=BARREL), topic='/camera/color/image_rect_raw').has_distortion


def test_rectified_images_without_a_projection_are_not_told_to_use_it():
    info = make_info(p=(0.0,) * 4, d=BARREL)
    with pytest.raises(ImageError, match=f'P is not set, {remedies.RECTIFIED_CALIBRATION}'):
        read_model(info, topic=RECTIFIED)


def test_raw_images_that_are_said_to_be_rectified_are_noted():
    (warning,) = read_model(make_info(d=BARREL), topic=RAW, rectified=True).warnings
    assert 'the topic /camera/image_raw is one of raw images' in warning
    assert warning.endswith(remedies.NOT_RECTIFIED)
    assert not read_model(make_info(d=BARREL), topic=RAW).warnings
    assert not read_model(make_info(d=BARREL), topic=RECTIFIED, rectified=True).warnings


@pytest.mark.parametrize('name', ['equidistant', 'fisheye'])
@pytest.mark.parametrize('d', [(), (0.0,) * 4])
def test_a_fisheye_without_coefficients_is_an_ideal_one(name, d):
    """A ray at 45 degrees is at a radius of f * pi / 4 in the image, of f in a pinhole image."""
    focal = 200.0
    model = read_model(make_info(k=(focal, focal, 319.5, 239.5), model=name, d=d))
    image = np.zeros((480, 640, 3), np.uint8)
    column = round(319.5 + focal * np.pi / 4)
    cv2.line(image, (column, 0), (column, 479), (255, 255, 255), 3)
    row = model.undistort_rgb(image)[240, :, 0]
    assert abs(int(row.argmax()) - (319.5 + focal)) < 4
    depth = model.undistort_depth(image[..., 0].astype(np.float32))
    assert abs(int(depth[240].argmax()) - (319.5 + focal)) < 4
    assert replace(model, is_fisheye=False).undistort_rgb(image) is image


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'model': 'banana', 'd': (0.1,)}, "model 'banana' of camera_info is unknown"),
        ({'model': 'fisheyePolynomial', 'd': (0.0,) * 4}, "'fisheyePolynomial' .* is unknown"),
        ({'d': (0.1, 0.1, 0.0)}, "has 3 distortion coefficients for the model 'plumb_bob'"),
        ({'model': 'equidistant', 'd': (0.1, 0.1)}, 'has 2 distortion coefficients'),
        ({'d': (float('inf'), 0.0, 0.0, 0.0)}, 'is not finite'),
    ],
)
def test_unusable_distortion_is_rejected_and_rectified_images_need_none(changes, reason):
    info = make_info(**changes)
    with pytest.raises(ImageError, match=rf'{reason}.*give the calibration'):
        read_model(info)
    assert not read_model(info, rectified=True).has_distortion


def test_an_unknown_distortion_model_without_coefficients_is_noted():
    (warning,) = read_model(make_info(model='banana', d=(0.0,) * 5)).warnings
    assert "distortion model 'banana' of camera_info is unknown and has no coeff" in warning
    for name in ('', 'none', 'pinhole', 'plumb_bob', 'rational_polynomial'):
        assert not read_model(make_info(model=name)).warnings


def test_intrinsics_may_come_every_tenth_frame(edit_bag):
    def every_tenth(topic, item, number):
        if topic == INFO:
            item.k = item.k + np.eye(1, 9, 0)[0] * number
        return [] if topic == INFO and number % 10 else [(topic, item)]

    capture = open_capture(edit_bag(every_tenth), Z_UP)
    focal = [capture.frame(i).camera.fx - phone_camera().fx for i in (0, 4, 6, 14, 16, 23)]
    assert focal == pytest.approx([0, 0, 10, 10, 20, 20])


def test_intrinsics_of_another_size_are_scaled_if_the_aspect_ratio_agrees(edit_bag):
    def doubled(item, _):
        twice = phone_camera().scaled_to(192, 256)
        item.width, item.height, item.k = 192, 256, twice.matrix.ravel()

    frame = open_capture(edit_bag(edit_topic(INFO, doubled)), Z_UP).frame(0)
    assert frame.camera.as_dict() == pytest.approx(phone_camera().as_dict())


def test_a_bag_with_intrinsics_of_another_aspect_ratio_is_rejected(edit_bag):
    def wide(item, _):
        item.width, item.height = 128, 96

    with pytest.raises(CaptureError, match=r'camera_info is of 128x96.*the image is 96x128'):
        open_capture(edit_bag(edit_topic(INFO, wide)), Z_UP)


def test_an_unknown_distortion_model_is_rejected_with_the_remedy(edit_bag):
    def strange(item, _):
        item.distortion_model, item.d = 'banana', np.array([0.1])

    with pytest.raises(CaptureError, match=r"model 'banana'.*rectify the images first"):
        open_capture(edit_bag(edit_topic(INFO, strange)), Z_UP)
