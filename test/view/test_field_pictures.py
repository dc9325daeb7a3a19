"""What a browser says of its camera is drawn if it can be."""

import math
from queue import Queue
import time
from types import SimpleNamespace

import pytest

from nerf_reversal_ros.view.field_pictures import browser_view, FieldPictures


def camera(fov: float, aspect: float, x: float = 0.0, w: float = 1.0) -> SimpleNamespace:
    return SimpleNamespace(wxyz=(w, 0.0, 0.0, 0.0), position=(x, 0.0, 0.0), fov=fov, aspect=aspect)


def test_a_view_has_the_height_and_the_field_of_view_of_the_browser():
    pose, intrinsics = browser_view(camera(math.pi / 2, 1.5, x=2.0), 100)
    assert (intrinsics.width, intrinsics.height, intrinsics.fy) == (150, 100, pytest.approx(50))
    assert pose[:3, 3].tolist() == [2, 0, 0]


@pytest.mark.parametrize('aspect', [900.0, 1e7])
def test_a_window_of_one_pixel_is_no_endless_picture(aspect):
    _, intrinsics = browser_view(camera(1.0, aspect), 120)
    assert (intrinsics.width, intrinsics.height) == (600, 120)


@pytest.mark.parametrize(
    'values',
    [
        {'fov': 0.0, 'aspect': 1.0},
        {'fov': math.pi, 'aspect': 1.0},
        {'fov': 1.0, 'aspect': math.inf},
        {'fov': 1.0, 'aspect': math.nan},
        {'fov': 1.0, 'aspect': 0.0},
        {'fov': 1.0, 'aspect': 1.0, 'x': math.nan},
        {'fov': 1.0, 'aspect': 1.0, 'w': 0.0},
    ],
)
def test_a_camera_that_sees_nothing_is_skipped(values):
    assert browser_view(camera(**values), 100) is None


def test_an_error_of_one_picture_does_not_end_the_next_ones(capsys):
    class BrokenField:
        def render(self, poses, camera):
            raise ValueError('a broken picture')

    sent = Queue()
    scene = SimpleNamespace(set_background_image=sent.put)
    seen = SimpleNamespace(**vars(camera(1.0, 1.0)), on_update=lambda _: None)
    client = SimpleNamespace(client_id=1, camera=seen, scene=scene)
    pictures = FieldPictures(BrokenField(), client, lambda: None)
    printed = ''
    while 'a broken picture' not in printed:
        printed += capsys.readouterr().err
        time.sleep(0.01)
    pictures.is_shown = False
    assert sent.get(timeout=10).shape == (1, 1, 3)
    pictures.close()
