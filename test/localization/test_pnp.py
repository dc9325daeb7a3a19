"""PnP recovers poses among outliers, and its covariance describes their errors."""

import numpy as np
import pytest
from rooms import walk
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import (
    inverse,
    make_pose,
    pose_distance,
    transform_points,
)
from nerf_reversal_ros.core.metrics import error_vectors
from nerf_reversal_ros.localization.pnp import (
    PnpSolution,
    pose_covariance,
    RansacOptions,
    solve_pnp_ransac,
)

CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)
MAP_FROM_CAMERA = walk(6)[0]


def scattered_points(count, seed=0):
    """Return points 2 to 4 m in front of the camera, and their pixels."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform((0, 0), (CAMERA.width - 1, CAMERA.height - 1), (count, 2))
    depth = rng.uniform(2, 4, count)
    return transform_points(MAP_FROM_CAMERA, CAMERA.unproject(pixels, depth)), pixels


def test_an_exact_pose_is_recovered_among_forty_percent_outliers():
    points, pixels = scattered_points(200)
    rng = np.random.default_rng(1)
    outliers = rng.permutation(200)[:80]
    pixels[outliers] = rng.uniform((0, 0), (319, 239), (80, 2))
    found = solve_pnp_ransac(points, pixels, CAMERA)
    assert found is not None
    assert 120 <= found.inliers < 130 and found.matches == 200
    assert found.inlier_ratio == found.inliers / 200
    error_m, error_deg = pose_distance(found.map_from_camera, MAP_FROM_CAMERA)
    assert error_m == pytest.approx(0, abs=1e-3)
    assert error_deg == pytest.approx(0, abs=0.03)


def test_random_correspondences_give_no_pose():
    points, pixels = scattered_points(20)
    found = solve_pnp_ransac(points, np.random.default_rng(1).permutation(pixels), CAMERA)
    assert found is None or found.inliers < 12


def test_the_same_matches_and_seed_give_the_same_pose():
    points, pixels = scattered_points(60)
    pixels = pixels + np.random.default_rng(2).normal(0, 1.0, pixels.shape)
    first, second = (
        solve_pnp_ransac(points, pixels, CAMERA, RansacOptions(seed=3)) for _ in range(2)
    )
    assert first is not None and second is not None
    np.testing.assert_array_equal(first.map_from_camera, second.map_from_camera)


def test_the_covariance_equals_that_of_a_numerical_jacobian():
    points, pixels = scattered_points(50)
    noisy = pixels + np.random.default_rng(0).normal(0, 0.5, pixels.shape)

    def project(change):
        moved = MAP_FROM_CAMERA.copy()
        moved[:3, :3] = Rotation.from_rotvec(change[3:]).as_matrix() @ moved[:3, :3]
        moved[:3, 3] += change[:3]
        return CAMERA.project(transform_points(inverse(moved), points)).ravel()

    step = 1e-6 * np.eye(6)
    jacobian = np.stack([(project(d) - project(-d)) / 2e-6 for d in step], axis=1)
    residual = project(np.zeros(6)) - noisy.ravel()
    variance = residual @ residual / (len(residual) - 6)
    expected = variance * np.linalg.inv(jacobian.T @ jacobian)
    covariance = pose_covariance(PnpSolution(MAP_FROM_CAMERA, points, noisy, 50), CAMERA)
    np.testing.assert_allclose(covariance, expected, rtol=1e-4, atol=1e-12)


def test_the_covariance_is_consistent_with_the_errors_from_noisy_pixels():
    points, pixels = scattered_points(80)
    rng = np.random.default_rng(0)
    solutions = [
        solve_pnp_ransac(points, pixels + rng.normal(0, 0.5, pixels.shape), CAMERA)
        for _ in range(150)
    ]
    poses = np.array([solution.map_from_camera for solution in solutions])
    vectors = error_vectors(poses, np.broadcast_to(MAP_FROM_CAMERA, poses.shape))
    covariance = np.mean([pose_covariance(solution, CAMERA) for solution in solutions], axis=0)
    squared = np.einsum('ni,ij,nj->n', vectors, np.linalg.inv(covariance), vectors)
    assert squared.mean() / 6 == pytest.approx(1.0, abs=0.3)


def test_an_unobservable_direction_is_uncertain():
    along = np.linspace(-1, 1, 40)[:, None] * [1.0, 0.0, 0.0] + [0.0, 0.0, 3.0]
    line = PnpSolution(np.eye(4), along, CAMERA.project(along) + 0.3, 40)
    assert np.sqrt(np.linalg.eigvalsh(pose_covariance(line, CAMERA)[:3, :3])[-1]) > 1.0


def test_the_covariance_rotates_with_the_map():
    points, pixels = scattered_points(50)
    noisy = pixels + np.random.default_rng(0).normal(0, 0.5, pixels.shape)
    new_from_map = make_pose(Rotation.from_euler('z', 90, degrees=True), (10.0, -20.0, 5.0))
    covariance = pose_covariance(PnpSolution(MAP_FROM_CAMERA, points, noisy, 50), CAMERA)
    moved = PnpSolution(
        new_from_map @ MAP_FROM_CAMERA, transform_points(new_from_map, points), noisy, 50
    )
    block = np.kron(np.eye(2), new_from_map[:3, :3])
    np.testing.assert_allclose(
        pose_covariance(moved, CAMERA), block @ covariance @ block.T, rtol=1e-6, atol=1e-12
    )
