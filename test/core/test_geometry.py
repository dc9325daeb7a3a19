"""Poses and points agree with other ways to compute them."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import (
    error_ellipsoid,
    make_pose,
    pose_distance,
    transform_coordinates,
    transform_points,
)


@pytest.mark.parametrize('angle_deg', [0.0, 1e-5, 0.3, 90.0, 179.0, 179.99999, 180.0])
def test_the_angle_between_poses_is_precise_from_0_to_180_degrees(angle_deg):
    axis = np.array([2.0, -1.0, 2.0]) / 3
    first = make_pose(Rotation.from_euler('xyz', [10, 50, -120], degrees=True), (1, 2, 3))
    turn = make_pose(Rotation.from_rotvec(np.radians(angle_deg) * axis), (0, 0.3, 0.4))
    assert pose_distance(first, first @ turn) == pytest.approx((0.5, angle_deg), abs=1e-6)


def test_coordinates_in_float32_are_those_of_transformed_points():
    pose = make_pose(Rotation.from_euler('xyz', [10, 50, -120], degrees=True), (1, 2, 3))
    points = np.random.default_rng(0).normal(size=(50, 3))
    rotation, translation, small = (
        array.astype(np.float32) for array in (pose[:3, :3], pose[:3, 3], points)
    )
    coordinates = transform_coordinates(rotation, translation, small)
    assert coordinates.T == pytest.approx(transform_points(pose, points), abs=1e-5)
    assert transform_coordinates(rotation, translation, small[:0]).shape == (3, 0)


def test_an_ellipsoid_has_half_axes_of_three_deviations_along_a_rotation():
    turn = Rotation.from_rotvec([0.3, -0.2, 0.9]).as_matrix()
    covariances = np.stack([turn @ np.diag([0.01, 0.04, 0.09]) @ turn.T, np.diag([0.0, 1.0, 4.0])])
    lengths, axes = error_ellipsoid(covariances)
    np.testing.assert_allclose(lengths, [[0.3, 0.6, 0.9], [0.0, 3.0, 6.0]], atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(axes), 1.0)
    rebuilt = axes * (lengths**2 / 9)[:, None, :] @ axes.transpose(0, 2, 1)
    np.testing.assert_allclose(rebuilt, covariances, atol=1e-12)
