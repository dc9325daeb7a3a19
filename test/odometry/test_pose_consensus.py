"""The motion between two poses is compared with odometry, within drift and pose uncertainty."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.odometry.config import OdometryConfig
from nerf_reversal_ros.odometry.odometry_buffer import OdometrySample
from nerf_reversal_ros.odometry.pose_consensus import compare_motion, PoseObservation

CONFIG = OdometryConfig()  # 5 cm and 5 % of the path, 2 degrees and 5 % of the rotation
MAP_FROM_ODOM = make_pose(Rotation.from_euler('z', 140, degrees=True), (3.0, -2.0, 0.5))


def observation(odom_from_body, *, std_m=0.0, std_deg=0.0, rotation_deg=0.0):
    covariance = np.diag([std_m**2] * 3 + [np.radians(std_deg) ** 2] * 3)
    sample = OdometrySample(0, odom_from_body, 0.0, rotation_deg)
    return PoseObservation(MAP_FROM_ODOM @ odom_from_body, covariance, sample)


def test_rotations_are_compared():
    old = observation(make_pose())
    rotated = observation(make_pose(Rotation.from_euler('z', 60, degrees=True)), rotation_deg=60.0)
    comparison = compare_motion(old, rotated, CONFIG)
    assert comparison.is_consistent and comparison.error_deg == pytest.approx(0.0, abs=1e-6)
    assert comparison.max_error_deg == pytest.approx(5.0)  # 2 degrees and 5 % of 60
    incorrect = MAP_FROM_ODOM @ make_pose(Rotation.from_euler('z', 66, degrees=True))
    assert not compare_motion(old, rotated._replace(map_from_body=incorrect), CONFIG).is_consistent


def test_pose_uncertainty_widens_the_bound():
    old, new = (
        observation(make_pose(), std_m=0.03),
        observation(make_pose(), std_m=0.04, std_deg=1.0),
    )
    comparison = compare_motion(old, new, CONFIG)
    assert comparison.max_error_m == pytest.approx(0.05 + 3 * 0.05)
    assert comparison.max_error_deg == pytest.approx(2.0 + 3 * 1.0)


def test_heading_uncertainty_acts_with_the_motion_as_lever_arm():
    old, new = observation(make_pose(), std_deg=1.0), observation(make_pose(None, (2.0, 0, 0)))
    assert compare_motion(old, new, CONFIG).max_error_m == pytest.approx(
        0.05 + 3 * 2 * np.radians(1)
    )
