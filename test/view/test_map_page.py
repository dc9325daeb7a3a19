"""A map in a real browser: it shows the room, and says where an uploaded photo was taken."""

import base64
import math
import re

from browser import open_browser, pixels
from command_line import run_command
import cv2
import numpy as np
from photos import write_photo
import pytest
from rooms import render_box_room, walk
from small_map import CAMERA

from nerf_reversal_ros.capture.photo_camera import PhotoCamera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.view.field_pictures import browser_view
from nerf_reversal_ros.view.map_page import MapPage
from nerf_reversal_ros.view.mapping_images import MappingImages
from nerf_reversal_ros.view.page_server import open_server
from nerf_reversal_ros.view.photo_localizer import PhotoLocalizer

pytest.importorskip('viser', reason='pip install -r requirements/view.txt')


@pytest.fixture(scope='module')
def opened(small_map):
    """Return the map page of the box room, and a browser that shows it."""
    server = open_server(0)
    localizer = PhotoLocalizer(small_map, LocalizerConfig(device='cpu'), PhotoCamera())
    images = MappingImages(small_map, small_map.path.parent / 'walk', CaptureConfig())
    page = MapPage(server, small_map, localizer, images=images)
    try:
        with open_browser(f'http://localhost:{server.get_port()}') as browser:
            browser.get_by_text('Where was a photo taken?').wait_for()
            yield page, server, browser
    finally:
        page.close()


def test_the_browser_shows_the_field_at_its_camera(opened):
    page, server, browser = opened
    (client,) = server.get_clients().values()
    browser.get_by_role('checkbox', name='Walk').uncheck()
    browser.wait_for_timeout(2000)  # the sharp picture follows
    free = np.s_[200:, :500]  # the panel lies on the right, notices above
    shown = pixels(browser)[free].astype(float)
    assert shown.std() > 20
    expected = page.shared.field.render(*_as_batch(*browser_view(client.camera, 600)))[0].rgb[free]
    assert np.corrcoef(shown.ravel(), expected.astype(float).ravel())[0, 1] > 0.8
    browser.get_by_role('checkbox', name='Walk').check()
    browser.wait_for_timeout(1000)
    differs = np.abs(pixels(browser)[free] - shown).max(axis=2) > 40
    assert 0.002 < differs.mean() < 0.1  # lines, which do not hide the room


def test_an_uploaded_photo_gets_the_pose_of_localize(opened, small_map, tmp_path):
    _, _, browser = opened
    rgb, _ = render_box_room(walk(37)[3], CAMERA)
    focal_length_35mm = round(CAMERA.fx / 200 * math.hypot(36, 24))
    photo = write_photo(tmp_path / 'photo.jpg', rgb, 6, focal_length_35mm)
    line = run_command('localize', small_map.path, photo).stdout.splitlines()[0]
    pose = line.partition(': ')[2]
    assert pose.startswith('x ')
    browser.set_input_files('input[type=file]', str(photo))
    browser.get_by_text(f'photo.jpg: {pose}').wait_for()
    assert browser.locator('img[src^="data:image/jpeg"]').count() == 1
    browser.get_by_text('Look from there').click()


def test_a_click_on_a_frustum_shows_its_image_beside_the_map(opened):
    _, _, browser = opened
    browser.get_by_text('Look from inside').click()
    browser.get_by_role('checkbox', name='Walk').check()
    where = browser.get_by_text(re.compile(r'image \d+ of 48, x '))
    while not where.count():  # until the browser has moved its camera
        browser.mouse.click(450, 300)  # a frustum lies ahead
        browser.wait_for_timeout(1000)
    text = where.text_content()
    number = int(re.search(r'image (\d+) of 48', text)[1])
    source = browser.locator('img[src^="data:image/jpeg"]').last.get_attribute('src')
    data = np.frombuffer(base64.b64decode(source.partition(',')[2]), np.uint8)
    shown = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    image, _ = render_box_room(walk(48)[number - 1], CAMERA)
    for half in (shown[:, : CAMERA.width], shown[:, -CAMERA.width :]):
        assert np.corrcoef(half.ravel(), image.ravel())[0, 1] > 0.7  # textures are fine


def test_what_one_browser_shows_is_no_concern_of_another(opened):
    _, _, browser = opened
    browser.get_by_text('Image of the walk').wait_for()  # of the tests above
    browser.get_by_text('photo.jpg: x ').wait_for()
    other = browser.context.browser.new_page()
    other.set_viewport_size({'width': 500, 'height': 900})
    other.goto(browser.url)
    other.get_by_text('Where would it localize?').wait_for()
    assert not other.locator('img[src^="data:image/jpeg"]').count()
    assert not other.get_by_text('Image of the walk').count()
    assert not other.get_by_text('photo.jpg').count()
    other.get_by_role('checkbox', name='Landmarks').check()
    other.get_by_role('checkbox', name='Walk').uncheck()
    other.wait_for_timeout(500)
    assert not browser.get_by_role('checkbox', name='Landmarks').is_checked()
    assert browser.get_by_role('checkbox', name='Walk').is_checked()
    other.close()


def _as_batch(pose, camera):
    return pose[None], camera
