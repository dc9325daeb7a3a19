"""The panels of a page answer what was asked last, and keep no more than they can show."""

from collections import Counter
import shutil
import time

import numpy as np
import pytest
from room_bags import write_room_bag
from rooms import walk
from small_map import CAMERA

from nerf_reversal_ros.capture.photo_camera import parse_photo_camera, PhotoCamera
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import CaptureError, ConfigError, MapError
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.maps.map_folder import MAPPING_POSES, open_map
from nerf_reversal_ros.view import answers_panel
from nerf_reversal_ros.view.answers import Answers
from nerf_reversal_ros.view.answers_panel import AnswersPanel, summary
from nerf_reversal_ros.view.map_content import MapContent
from nerf_reversal_ros.view.map_scene import MapScene
from nerf_reversal_ros.view.mapping_images import MappingImages
from nerf_reversal_ros.view.page_server import open_server
from nerf_reversal_ros.view.page_text import encode_jpeg
from nerf_reversal_ros.view.photo_localizer import PhotoLocalizer
from nerf_reversal_ros.view.photo_panel import PhotoPanel
from nerf_reversal_ros.view.shown_poses import ShownPose
from nerf_reversal_ros.view.walk_image_panel import WalkImagePanel

pytest.importorskip('viser', reason='pip install -r requirements/view.txt')


@pytest.fixture(scope='module')
def page(small_map):
    """Return a server without browsers, and the scene of the box room on it."""
    server = open_server(0)
    yield server, MapScene(server, MapContent(small_map))
    server.stop()


def wait_until(is_done) -> None:
    end = time.monotonic() + 10
    while not is_done():
        assert time.monotonic() < end, 'nothing happened for 10 s'
        time.sleep(0.02)


def black(pose, camera):
    """Render nothing."""
    return np.zeros((camera.height, camera.width, 3), np.uint8)


class SlowLocalizer:
    """Answers after a while with the field of view that it was asked with."""

    is_calibrated, fov_deg = False, 0.0

    def __init__(self) -> None:
        self.asked: list[float] = []

    def localize_photo(self, name: str, data: bytes, fov_deg: float) -> ShownPose:
        self.asked.append(fov_deg)
        time.sleep(0.2 if fov_deg else 1.0)
        return ShownPose(name, Rejection(RejectionReason.LOW_CONTRAST, f'{fov_deg:g} deg'))


def test_the_last_field_of_view_that_is_typed_is_answered(page):
    server, scene = page
    localizer = SlowLocalizer()
    panel = PhotoPanel(server, scene, localizer, black)
    panel.upload('a.jpg', b'')
    wait_until(lambda: localizer.asked)
    for fov_deg in (6.0, 60.0, 60.5):
        panel._fov.value = fov_deg
    wait_until(lambda: r'60\.5 deg' in panel._answer.content)
    assert localizer.asked == [0.0, 60.5]


def test_advice_on_the_focal_length_is_given_where_it_helps(small_map, page):
    localizer = SlowLocalizer()
    panel = PhotoPanel(*page, localizer, black)

    def answer(shown: ShownPose) -> str:
        localizer.localize_photo = lambda *_: shown
        panel._answer.content = ''
        panel.upload('a.jpg', b'')
        wait_until(lambda: panel._answer.content not in ('', r'a\.jpg: looking for it'))
        return panel._answer.content.replace('\\', '')

    invalid = Rejection(RejectionReason.INVALID_IMAGE, 'it has another aspect ratio')
    assert answer(ShownPose('', invalid)).endswith('it has another aspect ratio')
    assert 'Fill in the field of view' in answer(ShownPose('', invalid, lacks_focal_length=True))
    unsure = Rejection(RejectionReason.HIGH_COVARIANCE)
    assert 'Fill in the field of view' in answer(ShownPose('', unsure, note='focal length 1 px'))
    assert 'field of view' not in answer(ShownPose('', unsure))


def test_a_photo_without_a_focal_length_is_told_from_one_of_another_shape(small_map):
    config = LocalizerConfig(device='cpu')
    blank = encode_jpeg(np.zeros((60, 80, 3), np.uint8))
    unknown = PhotoLocalizer(small_map, config, PhotoCamera())
    assert unknown.localize_photo('a.jpg', blank).lacks_focal_length
    with pytest.raises(ConfigError, match=r'field of view of 0\.5 deg is none of a camera'):
        unknown.localize_photo('a.jpg', blank, 0.5)
    assert not unknown.localize_photo('a.jpg', blank, 5.0).lacks_focal_length
    calibrated = PhotoLocalizer(small_map, config, parse_photo_camera('70 70 39.5 29.5'))
    assert calibrated.is_calibrated
    square = encode_jpeg(np.zeros((60, 60, 3), np.uint8))
    assert not calibrated.localize_photo('b.jpg', square).lacks_focal_length


def test_answers_are_drawn_in_blocks_and_the_oldest_are_not(page, monkeypatch):
    server, scene = page
    monkeypatch.setattr(answers_panel, 'PERIOD_S', 0.0)
    answers = Answers()
    panel = AnswersPanel(server, scene, answers, black)
    sent: list[str] = []
    add = server.scene.add_mesh_simple
    monkeypatch.setattr(
        server.scene,
        'add_mesh_simple',
        lambda name, *args, **named: sent.append(name) or add(name, *args, **named),
    )
    estimate = ShownPose('a', PoseEstimate(np.eye(4), 1e-4 * np.eye(6)))
    rejected = ShownPose('b', Rejection(RejectionReason.LOW_CONTRAST))
    answers.add([estimate] * 500)
    wait_until(lambda: '500 of 500' in panel._summary.content)
    wait_until(lambda: panel._current.content)
    assert len(sent) == 2 * answers_panel.MAX_BLOCKS
    sent.clear()
    answers.add([rejected, estimate])
    wait_until(lambda: '501 of 502' in panel._summary.content)
    wait_until(lambda: len(sent) > 1)
    assert len(sent) == 2  # frustums and ellipsoids of one block
    late = AnswersPanel(server, scene, answers, black)
    wait_until(lambda: '501 of 502' in late._summary.content)
    late.close()
    answers.add([estimate])
    wait_until(lambda: '502 of 503' in panel._summary.content)
    assert '501 of 502' in late._summary.content  # that of a browser which was closed
    panel.close()


def test_an_answer_gets_a_rendering_once_nothing_follows_it(page, monkeypatch):
    server, scene = page
    monkeypatch.setattr(answers_panel, 'PERIOD_S', 0.0)
    answers = Answers()
    panel = AnswersPanel(server, scene, answers, black)
    answers.add([ShownPose('a', PoseEstimate(np.eye(4), 1e-4 * np.eye(6)))])
    wait_until(lambda: 'x 0' in panel._current.content)
    assert '<img' not in panel._current.content
    wait_until(lambda: '<img' in panel._current.content)
    panel.close()


def test_an_image_of_the_walk_that_is_missing_is_asked_for(page, small_map, tmp_path):
    def said(images: MappingImages | None) -> str:
        panel = WalkImagePanel(*page, images, black)
        panel.show(5)
        wait_until(lambda: panel._text is not None and '<img' in panel._text.content)
        return panel._text.content.replace('\\', '')

    assert remedies.REFERENCE in said(None)
    bag = shutil.copytree(small_map.path.parent / 'walk', tmp_path / 'walk')
    images = MappingImages(small_map, bag, CaptureConfig())
    text = said(images)
    assert text.startswith('image 6 of 48, x ') and 'Left the image' in text
    images._entries[5] = None
    assert 'The bag does not hold this image' in said(images)
    images.close()


def test_a_bag_of_another_walk_and_a_map_without_stamps_are_refused(small_map, tmp_path):
    other = write_room_bag(tmp_path / 'other', walk(37)[:2], CAMERA, up_axis='z')
    with pytest.raises(CaptureError, match='has only 2 of the 48 mapping images') as error:
        MappingImages(small_map, other, CaptureConfig())
    assert str(error.value).endswith(remedies.REFERENCE)  # the test above follows it
    early = open_map(shutil.copytree(small_map.path, tmp_path / 'early.map'))
    poses, file = early.mapping_poses, early.file(MAPPING_POSES)
    np.savez_compressed(file, map_from_camera=poses[:5], stamps_ns=early.mapping_stamps_ns)
    with pytest.raises(MapError, match='5 poses have stamps of the shape'):
        _ = early.mapping_stamps_ns
    np.savez_compressed(file, map_from_camera=poses)
    assert not len(early.mapping_stamps_ns)
    with pytest.raises(MapError, match='does not tell which images') as error:
        MappingImages(early, small_map.path.parent / 'walk', CaptureConfig())
    assert str(error.value).endswith(remedies.BUILD_AGAIN)


def test_the_summary_says_what_is_not_shown():
    few = Counter({'': 3, 'low contrast': 1})
    assert summary(few) == '3 of 4 images were localized; low contrast: 1'
    many = summary(Counter({'': 6000}))
    assert many == (
        '6000 of 6000 images were localized. The newest 400 or so are drawn, and the oldest 1000'
        ' are forgotten'
    )
