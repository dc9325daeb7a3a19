"""The filter smooths map -> odom, ignores single jumps, and follows a kidnapped robot."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import make_pose, pose_errors
from nerf_reversal_ros.odometry.map_from_odom import MapFromOdomFilter, TfSmoothingConfig

CONFIG = TfSmoothingConfig(
    tf_smoothing=0.5, tf_max_jump_m=0.3, tf_max_jump_deg=10, tf_jump_poses=3
)
FAR = make_pose(Rotation.from_euler('z', 40, degrees=True), (80.0, -20.0, 0.0))
"""Pose of the robot in odom, far from the origin."""


def at(x, degrees=0.0):
    return make_pose(Rotation.from_euler('z', degrees, degrees=True), (x, 2.0, 0.0))


def filtered_pose(poses, config=CONFIG, period_s=1.0):
    """Filter poses of a robot that rests in odom; return its filtered pose."""
    tf_filter = MapFromOdomFilter()
    for k, map_from_base in enumerate(poses):
        map_from_odom = tf_filter.update(round(k * period_s * 1e9), map_from_base, FAR, config)
    return map_from_odom @ FAR


def pose_difference(first, second):
    errors = pose_errors(first[None], second[None])
    return errors.translation[0], np.degrees(errors.rotation[0])


def test_the_first_pose_is_applied_in_full():
    np.testing.assert_allclose(filtered_pose([at(1.0, 5)]), at(1.0, 5), atol=1e-9)


def test_half_of_the_correction_is_applied_at_the_robot():
    np.testing.assert_allclose(filtered_pose([at(1.0, 0), at(1.2, 8)]), at(1.1, 4), atol=1e-9)


def test_the_transform_is_less_noisy_than_the_poses():
    rng = np.random.default_rng(0)
    tf_filter = MapFromOdomFilter()
    filtered_x = [
        (tf_filter.update(k, at(rng.normal(0, 0.02)), FAR, CONFIG) @ FAR)[0, 3] for k in range(200)
    ]
    assert np.std(filtered_x) < 0.7 * 0.02


@pytest.mark.parametrize('incorrect', [at(3.0), at(1.0, 60)])
def test_a_single_incorrect_pose_is_ignored(incorrect):
    assert pose_difference(filtered_pose([at(1.0), incorrect]), at(1.0)) == pytest.approx(
        (0, 0), abs=1e-6
    )
    assert pose_difference(
        filtered_pose([at(1.0), incorrect, at(1.0), incorrect]), at(1.0)
    ) == pytest.approx((0, 0), abs=1e-6)


def test_inconsistent_jumps_are_ignored_whatever_their_number():
    poses = [at(1.0), *(at(x) for x in (4.0, 6.0, 3.0, 8.0, 5.0))]
    assert pose_difference(filtered_pose(poses), at(1.0)) == pytest.approx((0, 0), abs=1e-6)


def test_a_kidnapped_robot_is_followed_after_three_consistent_poses():
    kidnapped = [at(4.0, 90), at(4.01, 90), at(4.02, 91)]
    assert pose_difference(filtered_pose([at(1.0), *kidnapped[:2]]), at(1.0)) == pytest.approx(
        (0, 0), abs=1e-6
    )
    assert pose_difference(filtered_pose([at(1.0), *kidnapped]), kidnapped[-1]) == pytest.approx(
        (0, 0), abs=1e-5
    )


def test_after_a_reset_the_next_pose_is_applied_in_full():
    tf_filter = MapFromOdomFilter()
    tf_filter.update(0, at(1.0), FAR, CONFIG)
    tf_filter.reset()
    np.testing.assert_allclose(tf_filter.update(1, at(5.0), FAR, CONFIG) @ FAR, at(5.0), atol=1e-9)


def test_poses_of_one_view_count_once_a_second():
    """Thirty images a second of one view are no independent evidence."""
    poses = [at(1.0), *[at(4.0)] * 30]
    assert pose_difference(filtered_pose(poses, period_s=0.033), at(1.0)) == pytest.approx(
        (0, 0), abs=1e-6
    )
    poses = [at(1.0), *[at(4.0)] * 70]  # more than two seconds: the robot was kidnapped
    assert pose_difference(filtered_pose(poses, period_s=0.033), at(4.0)) == pytest.approx(
        (0, 0), abs=1e-5
    )


@pytest.mark.parametrize('motion', [make_pose(None, (0.06, 0.0, 0.0)), at(0.0, 2.5)])
def test_poses_of_different_views_all_count_at_any_rate(motion):
    motion[:3, 3] *= [1, 0, 1]
    tf_filter, odom_from_base, map_from_base = MapFromOdomFilter(), FAR, at(4.0)
    tf_filter.update(0, at(1.0), FAR, CONFIG)
    for k in range(1, 4):
        map_from_odom = tf_filter.update(k * 10_000_000, map_from_base, odom_from_base, CONFIG)
        difference = pose_difference(map_from_odom @ odom_from_base, map_from_base)
        assert (max(difference) < 1e-5) == (k == 3)
        odom_from_base, map_from_base = odom_from_base @ motion, map_from_base @ motion


def test_a_planar_transform_has_no_height_roll_and_pitch():
    tilted = Rotation.from_euler('ZYX', (50, 3, -2), degrees=True)
    map_from_base = make_pose(tilted, (3.0, 1.0, -1.3))
    odom_from_base = make_pose(
        Rotation.from_euler('ZYX', (-20, 1, 2), degrees=True), (7.0, 5.0, 0.4)
    )
    planar = replace(CONFIG, tf_planar=True)
    map_from_odom = MapFromOdomFilter().update(0, map_from_base, odom_from_base, planar)
    np.testing.assert_allclose(map_from_odom[2], [0, 0, 1, 0], atol=1e-12)
    np.testing.assert_allclose((map_from_odom @ odom_from_base)[:2, 3], [3.0, 1.0], atol=1e-9)
    yaw_deg = Rotation.from_matrix(map_from_odom[:3, :3]).as_euler('ZYX', degrees=True)[0]
    assert yaw_deg == pytest.approx(50 + 20)
