"""The two rooms with a door between them that are in the repository, and their truth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.geometry import inverse, make_pose, transform_points

FLAT = Path(__file__).resolve().parents[2] / 'demo' / 'bags' / 'flat'
ROOMS = ('room_a', 'room_b')
WALL_M = 0.12


@pytest.fixture(scope='module')
def truth() -> dict[str, Any]:
    return json.loads((FLAT / 'truth.json').read_text())


@pytest.fixture(scope='module')
def captures() -> dict[str, Capture]:
    return {
        name: open_capture(FLAT / name, CaptureConfig(), select_frames=False)
        for name in (*ROOMS, 'test')
    }


def flat_from_map(truth: dict[str, Any], capture: Capture, name: str) -> np.ndarray:
    """Return the true pose (4, 4) of the map frame of a capture in the flat."""
    block = truth['rooms' if name in ROOMS else 'tests'][name]
    world_from_flat = np.array(block['world_from_flat'])
    return inverse(world_from_flat) @ inverse(capture.convention.map_from_world)


def depth_errors(one: Frame, other: Frame, map_from_map: np.ndarray) -> np.ndarray:
    """Return measured less expected depth [m] of the points of one frame that another sees."""
    points = one.depth_camera.back_project(one.depth, stride=2)
    moved = inverse(other.map_from_camera) @ map_from_map @ one.map_from_camera
    points = transform_points(moved, points.reshape(-1, 3))
    points = points[points[:, 2] > 0.3]
    column, row = np.rint(other.depth_camera.project(points)).astype(int).T
    height, width = other.depth.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    measured = other.depth[row[inside], column[inside]]
    known = measured > 0
    return measured[known] - points[inside, 2][known]


def test_the_bags_are_small_and_have_depth_and_the_axes_of_arkit(captures):
    assert sum(path.stat().st_size for path in FLAT.rglob('*') if path.is_file()) <= 3e6
    assert {name: len(capture) for name, capture in captures.items()} == {
        'room_a': 60,
        'room_b': 60,
        'test': 24,
    }
    for capture in captures.values():
        assert capture.has_depth
        assert capture.convention.axes == 'opengl'
        assert 'y is up' in capture.convention.up_source


def test_each_room_has_a_world_of_its_own_and_the_tests_have_that_of_the_flat(truth, captures):
    for name in ROOMS:
        start = captures[name].map_from_camera[0, :3, 3]
        assert start == pytest.approx([0.0, 0.0, 0.0], abs=0.01)
    assert flat_from_map(truth, captures['test'], 'test') == pytest.approx(np.eye(4))
    poses = [flat_from_map(truth, captures[name], name) for name in ROOMS]
    assert np.linalg.norm(poses[0][:3, 3] - poses[1][:3, 3]) > 2.0


def test_the_truth_says_in_which_room_each_test_image_was_taken(truth, captures):
    test = captures['test']
    assert [frame['stamp_ns'] for frame in truth['tests']['test']['frames']] == list(
        test.stamps_ns
    )
    rooms = [frame['room'] for frame in truth['tests']['test']['frames']]
    assert rooms.count('room_a') >= 8 and rooms.count('room_b') >= 8
    flat_from_camera = flat_from_map(truth, test, 'test') @ test.map_from_camera
    for name, (x, y, _) in zip(rooms, flat_from_camera[:, :3, 3], strict=True):
        (x0, y0), (x1, y1) = (truth['rooms'][name][key] for key in ('low_m', 'high_m'))
        assert x0 < x < x1
        assert y0 - WALL_M / 2 <= y <= y1 + WALL_M / 2


def test_depth_of_one_room_agrees_with_the_other_at_the_true_relative_pose(truth, captures):
    a, b = (captures[name] for name in ROOMS)
    flat_from_maps = [flat_from_map(truth, captures[name], name) for name in ROOMS]
    b_from_a = inverse(flat_from_maps[1]) @ flat_from_maps[0]
    poses = [
        from_map @ one.map_from_camera
        for from_map, one in zip(flat_from_maps, (a, b), strict=True)
    ]
    low, high = (np.array(truth['rooms']['room_b'][key]) for key in ('low_m', 'high_m'))
    in_b = [((pose[:, :2, 3] > low) & (pose[:, :2, 3] < high)).all(axis=1) for pose in poses]
    cosine = poses[0][:, :3, 2] @ poses[1][:, :3, 2].T
    pairs = np.argwhere(in_b[0][:, None] & in_b[1] & (cosine > np.cos(np.radians(30))))
    frames = [
        {index: one.frame(index) for index in set(pairs[:, side].tolist())}
        for side, one in enumerate((a, b))
    ]
    true, shifted = [], []
    for i, j in pairs:
        one, other = frames[0][i], frames[1][j]
        errors = depth_errors(one, other, b_from_a)
        if len(errors) > 300:
            moved = depth_errors(one, other, make_pose(None, (0.07, 0.07, 0.0)) @ b_from_a)
            true.append(np.median(np.abs(errors)))
            shifted.append(np.median(np.abs(moved)))
    assert len(true) >= 20
    assert np.median(true) < 0.015
    assert np.median(shifted) > 2 * np.median(true)
