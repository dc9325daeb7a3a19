"""Landmark refinement reduces position errors and leaves unobserved landmarks unchanged."""

from dataclasses import replace

import numpy as np
import pytest
from room_bags import write_room_bag
from rooms import walk
from small_room import room_atlas

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.geometry import inverse, transform_points
from nerf_reversal_ros.mapping.landmark_adjustment import optimize_structure, refine_landmarks

CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)


@pytest.fixture(scope='module')
def capture(tmp_path_factory) -> Capture:
    bag = write_room_bag(tmp_path_factory.mktemp('walk') / 'bag', walk(40), CAMERA, up_axis='z')
    return open_capture(bag, CaptureConfig())


def add_position_noise(atlas, std_m):
    noise = np.random.default_rng(0).normal(scale=std_m, size=atlas.points.shape)
    return replace(atlas, points=(atlas.points + noise).astype(np.float32))


def test_refinement_reduces_the_position_errors_of_landmarks(capture):
    exact = room_atlas(capture.map_from_camera[::3])
    noisy = add_position_noise(exact, 0.01)
    refined = refine_landmarks(noisy, capture, np.arange(len(capture)))
    moved = np.linalg.norm(refined.points - noisy.points, axis=1) > 1e-4
    before_m, after_m = (
        np.linalg.norm(atlas.points - exact.points, axis=1)[moved] for atlas in (noisy, refined)
    )
    assert moved.sum() > 100
    assert np.median(after_m) < 0.6 * np.median(before_m)


def test_without_frames_or_landmarks_the_landmark_map_is_unchanged(capture):
    atlas = room_atlas(capture.map_from_camera[::10])
    assert refine_landmarks(atlas, capture, np.arange(0)) is atlas
    empty = replace(
        atlas, **{name: values[:0] for name, values in vars(atlas).items() if name != 'origin_m'}
    )
    assert len(refine_landmarks(empty, capture, np.arange(5))) == 0


def normalized_projections(poses, point):
    local = np.array([transform_points(inverse(pose), point[None])[0] for pose in poses])
    return local[:, :2] / local[:, 2:]


@pytest.mark.parametrize(('outliers', 'within_m'), [(0, 2e-3), (3, 5e-3)])
def test_a_point_converges_to_the_intersection_of_its_rays_despite_outliers(outliers, within_m):
    poses = np.array([np.eye(4)] * 12)
    poses[:, 0, 3] = np.linspace(-0.5, 0.5, 12)
    point = np.array([0.1, -0.05, 2.0])
    pixels = normalized_projections(poses, point)
    pixels[:outliers] += 0.2
    initial = point[None] + [0.01, -0.01, 0.015]
    refined = optimize_structure(
        initial, np.zeros(12, int), pixels, np.full(12, 0.002), poses, prior_std_m=0.1
    )
    np.testing.assert_allclose(refined[0], point, atol=within_m)


def test_an_unobserved_point_stays_and_one_observation_keeps_the_distance():
    initial = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 2.0]])
    pixels = np.array([[0.005, 0.0]])
    refined = optimize_structure(
        initial, np.array([1]), pixels, np.array([0.002]), np.eye(4)[None], 0.02
    )
    np.testing.assert_array_equal(refined[0], initial[0])
    assert 0.005 < refined[1, 0] < 0.0101 and abs(refined[1, 2] - 2.0) < 1e-3


def test_without_observations_no_point_moves():
    initial = np.array([[0.0, 0.0, 2.0]])
    observations = np.zeros(0, int), np.zeros((0, 2)), np.zeros(0), np.zeros((0, 4, 4))
    np.testing.assert_array_equal(optimize_structure(initial, *observations), initial)
