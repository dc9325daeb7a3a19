"""Freed intrinsics are those that the image was taken with."""

from dataclasses import replace

import numpy as np
import pytest
from rooms import render_box_room, walk
from small_room import room_atlas

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import inverse, make_pose, transform_points
from nerf_reversal_ros.localization.camera_fit import (
    deviate,
    fit_camera,
    free_intrinsics,
    search_camera,
)
from nerf_reversal_ros.localization.matching import make_query, visible_landmarks
from nerf_reversal_ros.localization.pnp import PnpSolution
from nerf_reversal_ros.localization.refinement import estimate_pose, refine_pose

CAMERA = Camera(240, 180, 200.0, 200.0, 119.5, 89.5)
POSES = walk(12)
DEVIATION = np.array([0.1, 0.02, -0.03, 0.05])


@pytest.fixture(scope='module')
def atlas():
    return room_atlas(POSES)


def matches_in_depth(depth_m, noise_px=0.0, seed=0):
    """Return an exact pose with 150 matches at random depths, from ``depth_m``[0] to [1]."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform((0, 0), (239, 179), (150, 2))
    in_camera = CAMERA.unproject(pixels, rng.uniform(*depth_m, 150))
    points = transform_points(POSES[0], in_camera)
    return PnpSolution(POSES[0], points, pixels + rng.normal(0, noise_px, pixels.shape), 150)


def test_all_four_parameters_are_recovered_from_exact_matches():
    exact = matches_in_depth((1.0, 4.0))
    moved = replace(exact, map_from_camera=exact.map_from_camera @ make_pose(None, (0, 0, 0.05)))
    fit = free_intrinsics(moved, deviate(CAMERA, -DEVIATION), 1.0, np.zeros(4))
    assert fit is not None
    np.testing.assert_allclose(fit.deviation, DEVIATION, atol=2e-3)
    np.testing.assert_allclose(fit.solution.map_from_camera, POSES[0], atol=0.01)


def test_the_covariance_is_consistent_with_the_errors_from_noisy_pixels():
    fits = [
        free_intrinsics(matches_in_depth((1, 4), 0.5, seed), CAMERA, 3.0, np.zeros(4))
        for seed in range(60)
    ]
    squared = [
        fit.deviation @ np.linalg.solve(fit.deviation_covariance, fit.deviation) for fit in fits
    ]
    assert np.mean(squared) / 4 == pytest.approx(1.0, abs=0.35)


def test_on_a_wall_seen_frontally_the_focal_length_is_uncertain():
    in_depth = free_intrinsics(matches_in_depth((1, 4), 0.5), CAMERA, 1.0, np.zeros(4))
    on_wall = free_intrinsics(matches_in_depth((2, 2), 0.5), CAMERA, 1.0, np.zeros(4))
    assert np.sqrt(in_depth.deviation_covariance[0, 0]) < 0.01
    assert on_wall is None or np.sqrt(on_wall.deviation_covariance[0, 0]) > 0.1


def test_the_pose_changes_with_the_focal_length_as_the_derivative_tells():
    exact = matches_in_depth((1.0, 4.0))
    shift = free_intrinsics(exact, CAMERA, 1.0, np.zeros(4)).pose_by_deviation
    # A focal length 10 % too long moves the camera away from the points, against its axis.
    motion = inverse(POSES[0])[:3, :3] @ shift[:3, 0]
    assert motion[2] < -1.0 and np.abs(motion[:2]).max() < 0.5


@pytest.mark.parametrize(
    ('factor', 'free'),
    [(0.5, search_camera), (0.7, search_camera), (0.95, fit_camera), (1.0, fit_camera),
     (1.05, fit_camera), (1.5, search_camera), (2.0, search_camera)],
)  # fmt: skip
def test_a_wrong_focal_length_is_measured_in_a_rendered_image(atlas, factor, free):
    wrong = replace(CAMERA, fx=CAMERA.fx * factor, fy=CAMERA.fy * factor)
    query = make_query(render_box_room(POSES[3], CAMERA)[0], wrong)
    landmarks = visible_landmarks(atlas, POSES[3], CAMERA)
    initial = estimate_pose(query, landmarks)
    assert initial is not None
    where = landmarks if free is fit_camera else atlas
    fit = free(query, where, refine_pose(query, landmarks, initial) or initial)
    assert fit is not None
    assert factor * np.exp(fit.deviation[0]) == pytest.approx(1.0, abs=0.03)


def test_an_image_without_keypoints_gives_no_fit(atlas):
    query = make_query(np.full((180, 240, 3), 90, np.uint8), CAMERA)
    solution = matches_in_depth((1.0, 4.0))
    landmarks = visible_landmarks(atlas, solution.map_from_camera, CAMERA)
    assert fit_camera(query, landmarks, solution) is None
    assert search_camera(query, atlas, solution) is None
