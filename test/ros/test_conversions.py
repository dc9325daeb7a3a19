"""Poses and covariances of camera and base, against perturbed poses; messages and back."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from nerf_reversal_ros.core.geometry import inverse, make_pose
from nerf_reversal_ros.core.mounting import parse_mounting
from nerf_reversal_ros.ros.conversions import (
    camera_to_base_pose,
    matrix_from_transform,
    pose_messages,
    transform_from_matrix,
)


def random_pose(generator):
    return make_pose(Rotation.random(random_state=generator), generator.normal(size=3))


def perturb(matrix, error):
    """Translate by error[:3] and rotate by error[3:] about the fixed axes of the outer frame."""
    perturbed = matrix.copy()
    perturbed[:3, 3] += error[:3]
    perturbed[:3, :3] = Rotation.from_rotvec(error[3:]).as_matrix() @ matrix[:3, :3]
    return perturbed


def test_the_covariance_of_the_base_follows_from_central_differences():
    generator = np.random.default_rng(4)
    map_from_camera, base_from_camera = random_pose(generator), random_pose(generator)
    map_from_base, _ = camera_to_base_pose(map_from_camera, np.eye(6), base_from_camera)
    assert map_from_base @ base_from_camera == pytest.approx(map_from_camera)
    jacobian = np.empty((6, 6))
    for axis, step in enumerate(1e-6 * np.eye(6)):
        plus, minus = (
            perturb(map_from_camera, sign * step) @ inverse(base_from_camera) for sign in (1, -1)
        )
        jacobian[:3, axis] = (plus[:3, 3] - minus[:3, 3]) / 2e-6
        rotation = Rotation.from_matrix(plus[:3, :3] @ minus[:3, :3].T).as_rotvec()
        jacobian[3:, axis] = rotation / 2e-6
    root = generator.normal(size=(6, 6))
    covariance = root @ root.T
    _, base_covariance = camera_to_base_pose(map_from_camera, covariance, base_from_camera)
    assert base_covariance == pytest.approx(jacobian @ covariance @ jacobian.T, abs=1e-6)


def test_a_rotation_error_moves_a_base_one_meter_behind_by_one_meter_times_the_angle():
    covariance = np.diag([0, 0, 0, 0, 0, 0.01**2])  # 0.01 rad of yaw
    forward = make_pose(None, (1.0, 0.0, 0.0))
    map_from_base, base_covariance = camera_to_base_pose(np.eye(4), covariance, forward)
    assert map_from_base[:3, 3] == pytest.approx([-1, 0, 0])
    assert np.sqrt(np.diag(base_covariance)) == pytest.approx([0, 0.01, 0, 0, 0, 0.01])


def test_poses_are_equal_after_conversion_to_messages_and_back():
    generator = np.random.default_rng(5)
    matrix, root = random_pose(generator), generator.normal(size=(6, 6))
    stamped, with_covariance = pose_messages(Header(frame_id='map'), matrix, root @ root.T)
    assert stamped.pose == with_covariance.pose.pose
    p, q = stamped.pose.position, stamped.pose.orientation
    parsed = parse_mounting(f'{p.x} {p.y} {p.z} {q.x} {q.y} {q.z} {q.w}')
    assert parsed == pytest.approx(matrix)
    assert with_covariance.pose.covariance.reshape(6, 6) == pytest.approx(root @ root.T)
    assert matrix_from_transform(transform_from_matrix(matrix)) == pytest.approx(matrix)
