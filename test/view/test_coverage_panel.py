"""The page measures where a map localizes, keeps it in the map, and shows what is kept."""

import shutil
import time

import numpy as np
import pytest

from nerf_reversal_ros.core.outcome import Rejection, RejectionReason
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.coverage import Coverage
from nerf_reversal_ros.localization.coverage_measurement import free_places
from nerf_reversal_ros.maps.map_addition import add_file
from nerf_reversal_ros.maps.map_folder import COVERAGE_FILE, FIELD_FILE, open_map
from nerf_reversal_ros.view import shared_coverage
from nerf_reversal_ros.view.coverage_panel import CoveragePanel
from nerf_reversal_ros.view.map_content import MapContent
from nerf_reversal_ros.view.map_scene import MapScene
from nerf_reversal_ros.view.page_server import open_server
from nerf_reversal_ros.view.shared_coverage import coverage_text, SharedCoverage

pytest.importorskip('viser', reason='pip install -r requirements/view.txt')
COVERAGE = Coverage(np.zeros((2, 3)), np.array([0.5, 0.0]), np.array([0.012, np.nan]))


class Blind:
    """Rejects every view."""

    def localize(self, rgb, camera, *, expected_pose=None):
        return Rejection(RejectionReason.LOW_CONTRAST)


@pytest.fixture
def copied(small_map, tmp_path):
    """Return a copy of the map of the box room."""
    return open_map(shutil.copytree(small_map.path, tmp_path / 'room.map'))


@pytest.fixture
def page(copied):
    """Return a server without browsers, and the scene of the map on it."""
    server = open_server(0)
    yield server, MapScene(server, MapContent(copied))
    server.stop()


def said(panel):
    return panel._text.content.replace('\\', '')


def test_what_was_measured_is_kept_and_shown_at_once(copied, page, monkeypatch):
    monkeypatch.setattr(shared_coverage, 'free_places', lambda *room: free_places(*room, 3))
    field = VoxelField.load(copied.file(FIELD_FILE))
    shared = SharedCoverage(copied, field, Blind())
    panel, closed = CoveragePanel(*page, shared), CoveragePanel(*page, shared)
    assert not said(panel)
    closed.close()
    shared.measure()
    shared.measure()  # the second press does nothing
    shared.join(60)
    assert not said(closed)
    count = len(Coverage.of_map(open_map(copied.path)))
    text = f'{count} of {count} places: 0% of the views are localized'
    assert 1 <= count <= 3 and said(panel) == f'{text}. The map keeps it.'
    assert not panel._button.disabled
    again = CoveragePanel(*page, SharedCoverage(open_map(copied.path), field, Blind()))
    assert said(again) == text and again._points.visible
    again._shown.value = False
    end = time.monotonic() + 10
    while again._points.visible and time.monotonic() < end:
        time.sleep(0.02)
    assert not again._points.visible


def test_what_cannot_be_kept_is_shown_with_the_reason(copied, page, monkeypatch):
    monkeypatch.setattr(shared_coverage, 'free_places', lambda *room: free_places(*room, 1))
    field = VoxelField.load(copied.file(FIELD_FILE))
    shared = SharedCoverage(copied, field, Blind())
    panel = CoveragePanel(*page, shared)
    shutil.rmtree(copied.path)
    shared.measure()
    shared.join(60)
    assert f'localized. It is not kept: cannot write the map {copied.path}: No such' in said(panel)
    assert panel._points.visible


def test_a_copy_for_a_robot_shows_what_it_keeps(copied, page):
    panel = CoveragePanel(*page, SharedCoverage(copied, None, Blind()))
    assert said(panel).endswith('none can be computed without its field.')
    kept = add_file(copied, COVERAGE_FILE, COVERAGE.encode())
    panel = CoveragePanel(*page, SharedCoverage(kept, None, Blind()))
    assert said(panel) == coverage_text(COVERAGE, 2)


def test_the_text_tells_how_many_views_are_localized_and_how_surely():
    expected = (
        '2 of 7 places: 25% of the views are localized, at half of the places sure to 1.2 cm'
    )
    assert coverage_text(COVERAGE, 7) == expected
