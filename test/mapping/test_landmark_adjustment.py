"""Landmarks that renders misplaced are moved to where the pictures of the capture see them."""

from dataclasses import replace

import numpy as np
import pytest
from room_bags import write_room_bag
from rooms import walk
from small_room import room_atlas

from nerf_reversal_ros.capture.capture import Capture, open_capture
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.geometry import inverse, transform_points
from nerf_reversal_ros.mapping.landmark_adjustment import optimize_structure, refine_landmarks

CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)


@pytest.fixture(scope='module')
def capture(tmp_path_factory) -> Capture:
    bag = write_room_bag(tmp_path_factory.mktemp('walk') / 'bag', walk(40), CAMERA, up_axis='z')
    return open_capture(bag, CaptureConfig())


def misplaced(atlas, std_m):
    off = np.random.default_rng(0).normal(scale=std_m, size=atlas.points.shape)
    return replace(atlas, points=(atlas.points + off).astype(np.float32))


def test_misplaced_landmarks_come_nearer_to_where_they_are(capture):
    true = room_atlas(capture.map_from_camera[::3])
    before = misplaced(true, 0.01)
    after = refine_landmarks(before, capture, np.arange(len(capture)))
    moved = np.linalg.norm(after.points - before.points, axis=1) > 1e-4
    off = [np.linalg.norm(a.points - true.points, axis=1)[moved] for a in (before, after)]
    assert moved.sum() > 100
    assert np.median(off[1]) < 0.6 * np.median(off[0])


def test_without_frames_or_landmarks_nothing_changes(capture):
    atlas = room_atlas(capture.map_from_camera[::10])
    assert refine_landmarks(atlas, capture, np.arange(0)) is atlas
    empty = replace(
        atlas, **{name: values[:0] for name, values in vars(atlas).items() if name != 'origin_m'}
    )
    assert len(refine_landmarks(empty, capture, np.arange(5))) == 0


def seen_from(poses, point):
    local = np.array([transform_points(inverse(pose), point[None])[0] for pose in poses])
    return local[:, :2] / local[:, 2:]


@pytest.mark.parametrize(('outliers', 'within_m'), [(0, 2e-3), (3, 5e-3)])
def test_a_point_ends_where_its_rays_meet_whatever_a_few_wrong_ones_say(outliers, within_m):
    poses = np.array([np.eye(4)] * 12)
    poses[:, 0, 3] = np.linspace(-0.5, 0.5, 12)
    true = np.array([0.1, -0.05, 2.0])
    where = seen_from(poses, true)
    where[:outliers] += 0.2
    start = true[None] + [0.01, -0.01, 0.015]
    found = optimize_structure(
        start, np.zeros(12, int), where, np.full(12, 0.002), poses, prior_std_m=0.1
    )
    np.testing.assert_allclose(found[0], true, atol=within_m)


def test_a_point_that_nobody_sees_and_one_seen_once_keep_their_distance():
    start = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 2.0]])
    where = np.array([[0.005, 0.0]])
    found = optimize_structure(
        start, np.array([1]), where, np.array([0.002]), np.eye(4)[None], 0.02
    )
    np.testing.assert_array_equal(found[0], start[0])
    assert 0.005 < found[1, 0] < 0.0101 and abs(found[1, 2] - 2.0) < 1e-3


def test_without_any_sighting_no_point_moves():
    start = np.array([[0.0, 0.0, 2.0]])
    nothing = np.zeros(0, int), np.zeros((0, 2)), np.zeros(0), np.zeros((0, 4, 4))
    np.testing.assert_array_equal(optimize_structure(start, *nothing), start)
