"""From a coarse pose to centimetres, in a field without error."""

from dataclasses import replace

import numpy as np
import pytest
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation
from small_room import room_atlas

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import inverse, make_pose, pose_errors, transform_points
from nerf_reversal_ros.core.metrics import error_vectors
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.refinement import (
    estimate_pose,
    make_query,
    PnpSolution,
    pose_covariance,
    QUERY_SIZE_PX,
    refine_pose,
    solve_pnp_ransac,
    visible_landmarks,
)

CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)
TRUTH = walk(6)


def nudged(truth, move_m, turn_deg, seed=0):
    """Move a camera by so much in any direction and turn it about any axis."""
    rng = np.random.default_rng(seed)
    axis, way = rng.normal(size=(2, 3))
    turn = Rotation.from_rotvec(np.radians(turn_deg) * axis / np.linalg.norm(axis))
    return make_pose(None, move_m * way / np.linalg.norm(way)) @ truth @ make_pose(turn)


def errors(found, truth):
    difference = pose_errors(found[None], truth[None])
    return float(difference.translation[0]), float(np.degrees(difference.rotation[0]))


def scattered_points(count, seed=0):
    """Points 2 to 4 m in front of a camera, and the pixels in which it shows them."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform((0, 0), (CAMERA.width - 1, CAMERA.height - 1), (count, 2))
    depth = rng.uniform(2, 4, count)
    rays = np.column_stack([pixels, np.ones(count)]) @ np.linalg.inv(CAMERA.matrix).T
    return transform_points(TRUTH[0], rays * depth[:, None]), pixels


@pytest.fixture(scope='module')
def atlas() -> Atlas:
    return room_atlas(walk(16)[1::2])


def refined(query, atlas, coarse):
    """Go from a coarse pose to the alignment that the localizer would judge."""
    first = estimate_pose(query, visible_landmarks(atlas, coarse, query.camera))
    if first is None:
        return None
    return refine_pose(query, visible_landmarks(atlas, first.map_from_camera, query.camera), first)


@pytest.mark.parametrize('number', [0, 3, 5])
def test_twenty_centimetres_and_ten_degrees_become_millimetres(atlas, number):
    truth = TRUTH[number]
    query = make_query(render_box_room(truth, CAMERA)[0], CAMERA)
    found = refined(query, atlas, nudged(truth, 0.20, 10.0, seed=number))
    assert found is not None and found.inliers > 50
    error_m, error_deg = errors(found.map_from_camera, truth)
    assert error_m < 0.01 and error_deg < 0.2


def test_tightening_makes_millimetres_of_centimetres(atlas):
    off = make_pose(Rotation.from_rotvec([0.3, -0.2, 0.2], degrees=True), (0.01, -0.015, 0.01))
    for truth in TRUTH:
        query = make_query(render_box_room(truth, CAMERA)[0], CAMERA)
        seen = visible_landmarks(atlas, truth, CAMERA)
        first = estimate_pose(query, seen)
        assert first is not None
        last = refine_pose(query, seen, replace(first, map_from_camera=truth @ off))
        assert last is not None and last.inliers > 0.8 * first.inliers
        errors = pose_errors(last.map_from_camera[None], truth[None])
        assert errors.translation[0] < 0.006


@pytest.mark.parametrize(
    'camera',
    [
        Camera(320, 240, 380.0, 380.0, 150.0, 125.0),
        Camera(240, 320, 250.0, 250.0, 119.5, 159.5),
        Camera(960, 720, 700.0, 700.0, 479.5, 359.5),
        Camera(200, 150, 150.0, 150.0, 99.5, 74.5),
    ],
    ids=['longer lens', 'portrait', 'larger than is needed', 'small'],
)
def test_a_picture_of_another_camera_is_aligned_as_well(atlas, camera):
    query = make_query(render_box_room(TRUTH[0], camera)[0], camera)
    assert max(query.camera.width, query.camera.height) <= QUERY_SIZE_PX
    found = refined(query, atlas, nudged(TRUTH[0], 0.05, 3.0))
    assert found is not None
    error_m, error_deg = errors(found.map_from_camera, TRUTH[0])
    assert error_m < 0.02 and error_deg < 0.5


def test_a_picture_of_another_room_has_no_alignment_to_be_believed(atlas):
    query = make_query(render_box_room(TRUTH[0], CAMERA, paint=8)[0], CAMERA)
    found = refined(query, atlas, TRUTH[0])
    assert found is None or found.inliers < 15


def test_a_picture_without_keypoints_is_not_aligned(atlas):
    flat = make_query(np.full((240, 320, 3), 90, np.uint8), CAMERA)
    assert len(flat.keypoints.pixels) == 0
    assert estimate_pose(flat, visible_landmarks(atlas, TRUTH[0], CAMERA)) is None


def test_an_exact_pose_is_recovered_among_forty_percent_outliers():
    points, pixels = scattered_points(200)
    rng = np.random.default_rng(1)
    wrong = rng.permutation(200)[:80]
    pixels[wrong] = rng.uniform((0, 0), (319, 239), (80, 2))
    found = solve_pnp_ransac(points, pixels, CAMERA)
    assert found is not None
    assert 120 <= found.inliers < 130 and found.matches == 200
    assert found.inlier_ratio == found.inliers / 200
    assert errors(found.map_from_camera, TRUTH[0]) == (
        pytest.approx(0, abs=1e-3),
        pytest.approx(0, abs=0.03),
    )


def test_pixels_that_mean_nothing_give_no_pose():
    points, pixels = scattered_points(20)
    found = solve_pnp_ransac(points, np.random.default_rng(1).permutation(pixels), CAMERA)
    assert found is None or found.inliers < 12


def test_the_same_matches_and_seed_give_the_same_pose():
    points, pixels = scattered_points(60)
    pixels = pixels + np.random.default_rng(2).normal(0, 1.0, pixels.shape)
    one, other = (
        solve_pnp_ransac(points, pixels, CAMERA, seed=3),
        solve_pnp_ransac(points, pixels, CAMERA, seed=3),
    )
    assert one is not None and other is not None
    np.testing.assert_array_equal(one.map_from_camera, other.map_from_camera)


def test_the_covariance_is_what_a_numerical_jacobian_gives():
    points, pixels = scattered_points(50)
    seen = pixels + np.random.default_rng(0).normal(0, 0.5, pixels.shape)

    def project(change):
        moved = TRUTH[0].copy()
        moved[:3, :3] = Rotation.from_rotvec(change[3:]).as_matrix() @ moved[:3, :3]
        moved[:3, 3] += change[:3]
        return CAMERA.project(transform_points(inverse(moved), points)).ravel()

    step = 1e-6 * np.eye(6)
    jacobian = np.stack([(project(d) - project(-d)) / 2e-6 for d in step], axis=1)
    residual = project(np.zeros(6)) - seen.ravel()
    variance = residual @ residual / (len(residual) - 6)
    expected = variance * np.linalg.inv(jacobian.T @ jacobian)
    covariance = pose_covariance(PnpSolution(TRUTH[0], points, seen, 50), CAMERA)
    np.testing.assert_allclose(covariance, expected, rtol=1e-4, atol=1e-12)


def test_the_covariance_is_that_of_the_poses_that_noisy_pixels_give():
    points, pixels = scattered_points(80)
    rng = np.random.default_rng(0)
    found = [
        solve_pnp_ransac(points, pixels + rng.normal(0, 0.5, pixels.shape), CAMERA)
        for _ in range(150)
    ]
    poses = np.array([alignment.map_from_camera for alignment in found])
    vectors = error_vectors(poses, np.broadcast_to(TRUTH[0], poses.shape))
    covariance = np.mean([pose_covariance(alignment, CAMERA) for alignment in found], axis=0)
    squared = np.einsum('ni,ij,nj->n', vectors, np.linalg.inv(covariance), vectors)
    assert squared.mean() / 6 == pytest.approx(1.0, abs=0.3)


def test_what_the_matches_do_not_tell_is_uncertain():
    along = np.linspace(-1, 1, 40)[:, None] * [1.0, 0.0, 0.0] + [0.0, 0.0, 3.0]
    line = PnpSolution(np.eye(4), along, CAMERA.project(along) + 0.3, 40)
    assert np.sqrt(np.linalg.eigvalsh(pose_covariance(line, CAMERA)[:3, :3])[-1]) > 1.0


def test_moving_the_map_moves_the_covariance_with_it():
    points, pixels = scattered_points(50)
    noisy = pixels + np.random.default_rng(0).normal(0, 0.5, pixels.shape)
    turned = make_pose(Rotation.from_euler('z', 90, degrees=True), (10.0, -20.0, 5.0))
    here = pose_covariance(PnpSolution(TRUTH[0], points, noisy, 50), CAMERA)
    there = PnpSolution(turned @ TRUTH[0], transform_points(turned, points), noisy, 50)
    block = np.kron(np.eye(2), turned[:3, :3])
    np.testing.assert_allclose(
        pose_covariance(there, CAMERA), block @ here @ block.T, rtol=1e-6, atol=1e-12
    )
