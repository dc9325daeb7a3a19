"""A map in a real browser: it shows the room, and says where an uploaded photo was taken."""

import math

from browser import open_browser, pixels
from command_line import run_command
import numpy as np
from photos import write_photo
import pytest
from rooms import render_box_room, walk
from small_map import CAMERA

from nerf_reversal_ros.capture.photo_camera import PhotoCamera
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.view.field_pictures import browser_view
from nerf_reversal_ros.view.map_page import MapPage
from nerf_reversal_ros.view.page_server import open_server
from nerf_reversal_ros.view.photo_panel import PhotoLocalizer

pytest.importorskip('viser', reason='pip install -r requirements/view.txt')


@pytest.fixture(scope='module')
def opened(small_map):
    """Return the map page of the box room, and a browser that shows it."""
    server = open_server(0)
    localizer = PhotoLocalizer(small_map, LocalizerConfig(device='cpu'), PhotoCamera())
    page = MapPage(server, small_map, localizer)
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
    expected = page.field.render(*_as_batch(*browser_view(client.camera, 600)))[0].rgb[free]
    assert np.corrcoef(shown.ravel(), expected.astype(float).ravel())[0, 1] > 0.8


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


def _as_batch(pose, camera):
    return pose[None], camera
