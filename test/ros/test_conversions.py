"""From the camera to the base: poses and covariances against what happens to perturbed poses."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from nerf_reversal_ros.core.geometry import inverse, make_pose
from nerf_reversal_ros.ros.conversions import (
    camera_to_base_pose,
    matrix_from_transform,
    parse_extrinsics,
    pose_messages,
    transform_from_matrix,
)


def any_pose(generator):
    return make_pose(Rotation.random(random_state=generator), generator.normal(size=3))


def perturbed(matrix, error):
    """Move by error[:3] and turn by error[3:] about the fixed axes of the outer frame."""
    out = matrix.copy()
    out[:3, 3] += error[:3]
    out[:3, :3] = Rotation.from_rotvec(error[3:]).as_matrix() @ matrix[:3, :3]
    return out


def test_the_covariance_of_the_base_follows_from_central_differences():
    generator = np.random.default_rng(4)
    map_from_camera, base_from_camera = any_pose(generator), any_pose(generator)
    map_from_base, _ = camera_to_base_pose(map_from_camera, np.eye(6), base_from_camera)
    assert map_from_base @ base_from_camera == pytest.approx(map_from_camera)
    jacobian = np.empty((6, 6))
    for axis, step in enumerate(1e-6 * np.eye(6)):
        two = [perturbed(map_from_camera, s * step) @ inverse(base_from_camera) for s in (1, -1)]
        jacobian[:3, axis] = (two[0][:3, 3] - two[1][:3, 3]) / 2e-6
        turn = Rotation.from_matrix(two[0][:3, :3] @ two[1][:3, :3].T).as_rotvec()
        jacobian[3:, axis] = turn / 2e-6
    root = generator.normal(size=(6, 6))
    covariance = root @ root.T
    _, moved = camera_to_base_pose(map_from_camera, covariance, base_from_camera)
    assert moved == pytest.approx(jacobian @ covariance @ jacobian.T, abs=1e-6)


def test_a_camera_one_metre_ahead_makes_the_base_a_metre_times_the_angle_less_certain():
    covariance = np.diag([0, 0, 0, 0, 0, 0.01**2])  # 0.01 rad of yaw
    forward = make_pose(None, (1.0, 0.0, 0.0))
    map_from_base, moved = camera_to_base_pose(np.eye(4), covariance, forward)
    assert map_from_base[:3, 3] == pytest.approx([-1, 0, 0])
    assert np.sqrt(np.diag(moved)) == pytest.approx([0, 0.01, 0, 0, 0, 0.01])


def test_poses_survive_messages():
    generator = np.random.default_rng(5)
    matrix, root = any_pose(generator), generator.normal(size=(6, 6))
    stamped, with_covariance = pose_messages(Header(frame_id='map'), matrix, root @ root.T)
    assert stamped.pose == with_covariance.pose.pose
    p, q = stamped.pose.position, stamped.pose.orientation
    back = parse_extrinsics(f'{p.x} {p.y} {p.z} {q.x} {q.y} {q.z} {q.w}')
    assert back == pytest.approx(matrix)
    assert with_covariance.pose.covariance.reshape(6, 6) == pytest.approx(root @ root.T)
    assert matrix_from_transform(transform_from_matrix(matrix)) == pytest.approx(matrix)
