"""A map is rendered as its room looks."""

import numpy as np
import pytest
from rooms import render_box_room, walk
from small_map import CAMERA

import nerf_reversal_ros as nrr
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.maps.map_export import export_for_robot

POSE = walk(37)[3]


def likeness(map_, pose, camera, rendered_from=None):
    """Return how a rendering correlates with the room."""
    room, _ = render_box_room(pose, camera)
    rendered = map_.renderer()(pose if rendered_from is None else rendered_from, camera)
    assert rendered.dtype == np.uint8 and rendered.shape == room.shape
    return np.corrcoef(room.ravel(), rendered.ravel())[0, 1]


def test_a_map_is_rendered_with_the_camera_that_is_given(small_map):
    wide = nrr.Camera(200, 100, 90.0, 90.0, 99.5, 49.5)
    for camera in (CAMERA, wide):
        assert likeness(small_map, POSE, camera) > 0.7
        moved = POSE @ make_pose(translation=(0.1, 0.0, 0.0))
        assert likeness(small_map, POSE, camera, rendered_from=moved) < 0.5


def test_the_surface_stands_in_for_a_field_that_is_absent(small_map, tmp_path):
    assert likeness(export_for_robot(small_map, tmp_path / 'robot.map'), POSE, CAMERA) > 0.6


def test_a_map_that_was_replaced_meanwhile_is_told(small_map, tmp_path):
    copied = export_for_robot(small_map, tmp_path / 'robot.map')
    manifest = copied.path / 'manifest.json'
    manifest.write_text(manifest.read_text().replace('"built"', '"rebuilt"'))
    with pytest.raises(nrr.MapError, match='was replaced by a newer one'):
        copied.renderer()
