"""An image gets the CameraInfo of its frame and nearest stamp, or that of a file."""

import copy
import logging

from camera_infos import write_calibration
import numpy as np
import pytest
from room_bags import edit_topic, INFO, rewrite, Z_UP
from rooms import phone_camera

from nerf_reversal_ros.bags.camera_info_file import read_camera_info_file
from nerf_reversal_ros.bags.camera_info_matching import match_frames
from nerf_reversal_ros.capture.open_capture import iter_images, open_capture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ConfigError, ImageError

FRAME = 'camera_optical_frame'


@pytest.mark.parametrize(
    ('image_frame', 'info_frames', 'matched'),
    [
        ('left', ['left'], ['left']),
        ('left', ['right', 'left'], ['left']),
        ('left', ['right', '/left'], ['/left']),
        ('left', ['', 'left'], ['left']),
        ('left', ['', 'right'], ['']),
        ('', ['left'], ['left']),
        ('', [''], ['']),
    ],
)
def test_the_same_frame_wins_and_an_empty_one_belongs_to_all(image_frame, info_frames, matched):
    match = match_frames(image_frame, info_frames)
    assert (list(match.frames), match.warning, match.is_same) == (matched, '', True)


def test_the_only_camera_info_is_used_for_another_frame_with_a_warning():
    match = match_frames('left', ['right'])
    assert match.frames == ('right',)
    assert not match.is_same
    assert 'of the frame left, but camera_info is of right, and is used' in match.warning


def test_images_without_a_frame_among_several_cameras_are_noted():
    match = match_frames('', ['left', 'right'])
    assert match.frames == ('left', 'right')
    assert 'camera_info is of several frames (left, right)' in match.warning


def test_several_other_cameras_are_rejected():
    with pytest.raises(ImageError, match='of the frame front, but camera_info has only left, ri'):
        match_frames('front', ['right', 'left'])


def with_second_camera(own_frame):
    """Return an edit that adds, before each CameraInfo, one of a camera twice as long."""

    def edit(topic, item, _):
        if topic != INFO:
            return [(topic, item)]
        second = copy.deepcopy(item)
        second.k = second.k * np.array([2.0, 1, 1, 1, 2.0, 1, 1, 1, 1])
        second.header.frame_id = 'second_camera'
        item.header.frame_id = own_frame
        return [(topic, item), (topic, second)]

    return edit


def test_the_camera_info_of_the_frame_is_taken_among_those_of_one_stamp(edit_bag, caplog):
    with caplog.at_level(logging.WARNING):
        capture = open_capture(edit_bag(with_second_camera(FRAME)), Z_UP)
    assert capture.camera == phone_camera()
    assert not caplog.text


def test_camera_info_of_other_cameras_only_is_rejected_and_a_file_mends_it(edit_bag, tmp_path):
    bag = edit_bag(with_second_camera('third_camera'))
    with pytest.raises(CaptureError, match=rf'of the frame {FRAME}, but camera_info has only se'):
        open_capture(bag, Z_UP)
    file = write_calibration(tmp_path / 'phone.yaml', phone_camera())
    capture = open_capture(bag, CaptureConfig(up_axis='z', camera_info_file=file))
    assert capture.camera == phone_camera()


def test_camera_info_of_another_frame_is_used_with_one_warning(edit_bag, caplog):
    def rename(item, _):
        item.header.frame_id = 'phone'

    with caplog.at_level(logging.WARNING):
        assert open_capture(edit_bag(edit_topic(INFO, rename)), Z_UP).camera == phone_camera()
    assert caplog.text.count('but camera_info is of phone, and is used') == 1


def test_a_strange_camera_is_noted_once(edit_bag, caplog):
    def narrow(item, _):
        item.k = item.k / np.array([1.6, 1, 1, 1, 1, 1, 1, 1, 1])

    bag = edit_bag(edit_topic(INFO, narrow))
    with caplog.at_level(logging.WARNING):
        assert len(list(iter_images(bag, Z_UP))) == 24
    assert caplog.text.count('K of camera_info has the focal lengths 54 and 86.4 px') == 1


def test_a_bag_without_camera_info_is_read_with_a_calibration_file(edit_bag, tmp_path):
    bag = edit_bag(lambda topic, item, _: [] if topic == INFO else [(topic, item)])
    file = write_calibration(tmp_path / 'phone.yaml', phone_camera().scaled_to(192, 256))
    capture = open_capture(bag, CaptureConfig(up_axis='z', camera_info_file=f'file://{file}'))
    assert capture.camera.as_dict() == pytest.approx(phone_camera().as_dict())
    assert len(capture) == 24


def test_images_of_another_size_than_k_are_read_with_the_size_that_is_named(edit_bag):
    def third(item, _):
        small = phone_camera().scaled_to(32, 43)
        item.k = small.matrix.ravel()

    bag = edit_bag(edit_topic(INFO, third))
    with pytest.raises(CaptureError, match=r'at 1/6 of the .* set camera_info_size to 32x43'):
        open_capture(bag, Z_UP)
    capture = open_capture(bag, CaptureConfig(up_axis='z', camera_info_size='32x43'))
    assert capture.camera.as_dict() == pytest.approx(phone_camera().as_dict(), rel=0.01)


def test_rectified_images_with_camera_info_of_raw_ones_are_read_with_the_remedy(
    room_bag, tmp_path
):
    def edit(topic, item, _):
        if topic == INFO:
            item.d = np.array([-0.3, 0.1, 0.0, 0.0, 0.0])
            item.k = item.k * np.array([1.1, 1, 1, 1, 1.1, 1, 1, 1, 1])
        is_image = topic == CaptureConfig().image_topic
        return [('/image_rect/compressed' if is_image else topic, item)]

    bag = rewrite(room_bag, tmp_path / 'edited', edit)
    settings = {'up_axis': 'z', 'image_topic': '/image_rect/compressed'}
    with pytest.raises(
        CaptureError, match=f'{remedies.RECTIFIED}, or {remedies.RECTIFIED_CALIBRATION}'
    ):
        open_capture(bag, CaptureConfig(**settings))
    assert open_capture(bag, CaptureConfig(**settings, rectified=True)).camera == phone_camera()
    file = write_calibration(tmp_path / 'phone.yaml', phone_camera())
    assert open_capture(bag, CaptureConfig(**settings, camera_info_file=file)).camera


def test_a_calibration_file_has_the_fields_of_camera_info(tmp_path):
    d = (-0.1, 0.01, 0.0, 0.0)
    path = write_calibration(tmp_path / 'a.yaml', phone_camera(), model='equidistant', d=d)
    info = read_camera_info_file(path)
    assert (info.width, info.height, info.distortion_model, info.d) == (96, 128, 'equidistant', d)
    assert info.k == tuple(phone_camera().matrix.ravel())
    assert info.p[2] == phone_camera().cx


@pytest.mark.parametrize(
    ('content', 'error'),
    [
        (None, 'camera_info_file: cannot read .*: No such file'),
        ('[1, 2]', 'must hold names and values'),
        ('image_width: 640', 'is no calibration .*image_height.*: give image_width, image_heig'),
        (
            '{image_width: 4, image_height: 3, camera_matrix: {data: [1, 2]}}',
            '2 numbers instead of 9',
        ),
        ('{image_width: 4, image_height: 3, camera_matrix: 7}', 'is no calibration'),
    ],
)
def test_a_file_that_is_no_calibration_is_rejected(tmp_path, content, error):
    path = tmp_path / 'a.yaml'
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=error):
        read_camera_info_file(str(path))


@pytest.mark.parametrize('text', ['640', '640X480', '0x480', '640x480x3', '-640x480', '640 480'])
def test_a_camera_info_size_that_is_none_is_rejected(text):
    with pytest.raises(ConfigError, match='such as 640x480, got'):
        CaptureConfig(camera_info_size=text)
