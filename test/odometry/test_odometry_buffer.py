"""Odometry is interpolated and extrapolated to stamps, except in gaps; noise adds no path."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.odometry.odometry_buffer import OdometryBuffer

SECOND = 1_000_000_000


def test_odometry_is_interpolated_between_two_samples():
    buffer = OdometryBuffer()
    buffer.add(SECOND, make_pose())
    buffer.add(2 * SECOND, make_pose(Rotation.from_euler('z', 40, degrees=True), (1.0, 0, 0)))
    sample = buffer.sample_at(3 * SECOND // 2, tolerance_s=0.5)
    halfway = make_pose(Rotation.from_euler('z', 20, degrees=True), (0.5, 0, 0))
    assert sample.odom_from_body == pytest.approx(halfway)
    assert (sample.path_length_m, sample.total_rotation_deg) == pytest.approx((0.5, 20.0))
    assert buffer.sample_at(3 * SECOND // 2, tolerance_s=0.4) is None
    assert OdometryBuffer().sample_at(SECOND, tolerance_s=9.0) is None


def test_odometry_is_extrapolated_with_constant_velocity():
    buffer = OdometryBuffer()
    for k in range(5):
        rotation = Rotation.from_euler('z', 6.0 * k, degrees=True)
        buffer.add(k * SECOND // 10, make_pose(rotation, (0.1 * k, 0, 0)))
    sample = buffer.sample_at(4 * SECOND // 10 + SECOND // 20, tolerance_s=0.1)
    yaw_deg = Rotation.from_matrix(sample.odom_from_body[:3, :3]).as_euler('zyx', degrees=True)[0]
    assert yaw_deg == pytest.approx(27.0)
    assert np.linalg.norm(sample.odom_from_body[:3, 3] - (0.45, 0, 0)) < 0.03
    assert (sample.path_length_m, sample.total_rotation_deg) == pytest.approx((0.45, 27.0))


def test_a_gap_of_the_odometry_is_not_interpolated():
    buffer = OdometryBuffer()
    buffer.add(SECOND, make_pose())
    buffer.add(2 * SECOND, make_pose(None, (1.0, 0, 0)))
    assert buffer.sample_at(2 * SECOND - SECOND // 100, tolerance_s=0.1) is None
    assert buffer.sample_at(2 * SECOND, tolerance_s=0.1).path_length_m == pytest.approx(1.0)


def test_noise_at_rest_adds_no_path_length_and_slow_motion_does():
    rng, buffer = np.random.default_rng(0), OdometryBuffer()
    for k in range(1000):
        buffer.add(k * SECOND // 100, make_pose(None, rng.normal(0, 0.001, 3)))
    assert buffer.sample_at(9 * SECOND, 0.1).path_length_m == 0.0
    for k in range(1000):  # a millimetre in a hundredth of a second
        buffer.add(10 * SECOND + k * SECOND // 100, make_pose(None, (0.001 * k, 0, 0)))
    assert buffer.sample_at(20 * SECOND, 0.1).path_length_m == pytest.approx(1.0, abs=0.02)


def test_a_delayed_sample_is_skipped():
    buffer = OdometryBuffer()
    buffer.add(2 * SECOND, make_pose())
    assert buffer.add(2 * SECOND - 1, make_pose(None, (9.0, 0, 0)))
    assert buffer.sample_at(2 * SECOND, 0.1).odom_from_body == pytest.approx(make_pose())
    assert not buffer.add(
        SECOND // 2, make_pose(None, (5.0, 0, 0))
    )  # older than a delay: time was reset
    assert buffer.sample_at(SECOND // 2, 0.1).odom_from_body[0, 3] == 5.0


def test_the_motion_between_two_stamps_is_in_the_frame_of_the_first():
    buffer = OdometryBuffer()
    quarter_turn = Rotation.from_euler('z', 90, degrees=True)
    for second, y_m in ((1, 0.0), (2, 1.0), (3, 2.0)):
        buffer.add(second * SECOND, make_pose(quarter_turn, (5.0, y_m, 0)))
    motion = buffer.motion_between(SECOND, 5 * SECOND // 2, tolerance_s=0.5)
    assert motion == pytest.approx(make_pose(None, (1.5, 0, 0)))
    assert buffer.motion_between(SECOND // 4, 2 * SECOND, tolerance_s=0.5) is None
    assert buffer.motion_between(2 * SECOND, 4 * SECOND, tolerance_s=0.5) is None
