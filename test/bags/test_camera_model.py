"""CameraInfo becomes a camera model at the size of the images."""

from types import SimpleNamespace

import numpy as np
import pytest
from room_bags import edit_topic, INFO, Z_UP
from rooms import phone_camera

from nerf_reversal_ros.bags.camera_model import camera_from_info
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.errors import CaptureError, ImageError


def info(width, height, focal=500.0):
    k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
    p = [focal / 2, 0.0, width / 2, 0.0, 0.0, focal / 2, height / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
    whole = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
    return SimpleNamespace(
        width=width, height=height, k=k, p=p, roi=whole, binning_x=0, binning_y=0
    )


def test_intrinsics_are_scaled_to_a_resized_image():
    camera = camera_from_info(info(640, 480), 320, 240)
    assert (camera.width, camera.height, camera.fx, camera.cx) == (320, 240, 250.0, 159.75)


def test_intrinsics_without_a_size_belong_to_the_image():
    nameless = info(640, 480)
    nameless.width = nameless.height = 0
    assert camera_from_info(nameless, 640, 480).fx == 500.0


def test_unset_intrinsics_or_another_aspect_ratio_are_rejected():
    with pytest.raises(ImageError, match=r'camera_info is of 640x480 pixels, but .* 640x360'):
        camera_from_info(info(640, 480), 640, 360)
    with pytest.raises(ImageError, match='is camera_info filled in'):
        camera_from_info(info(640, 480, focal=0.0), 640, 480)


def test_a_region_of_interest_is_an_image_of_its_own():
    cropped = info(640, 480)
    cropped.roi.x_offset, cropped.roi.y_offset = 100, 50
    cropped.roi.width, cropped.roi.height = 320, 240
    camera = camera_from_info(cropped, 320, 240)
    assert (camera.fx, camera.cx, camera.cy) == (500.0, 220.0, 190.0)
    cropped.roi.width = 321  # of which binning leaves 160
    cropped.binning_x = cropped.binning_y = 2
    camera = camera_from_info(cropped, 160, 120)
    assert (camera.width, camera.fx) == (160, 250.0)
    with pytest.raises(ImageError, match=r'region of interest that gives 160x120 pixels, but'):
        camera_from_info(cropped, 640, 480)


def test_a_region_of_interest_of_the_whole_image_is_ignored():
    whole = info(640, 480)
    whole.roi.width, whole.roi.height = 640, 480
    assert camera_from_info(whole, 320, 240) == camera_from_info(info(640, 480), 320, 240)


def test_rectified_images_have_the_projection_of_the_camera_info():
    assert camera_from_info(info(640, 480), 640, 480, rectified=True).fx == 250.0


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
