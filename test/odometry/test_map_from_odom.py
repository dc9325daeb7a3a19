"""TF moves smoothly, one wrong pose does not move it, and a robot that was carried is believed."""

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
"""Where odom has the robot, far from its origin."""


def at(x, degrees=0.0):
    return make_pose(Rotation.from_euler('z', degrees, degrees=True), (x, 2.0, 0.0))


def followed(poses, config=CONFIG, every_s=1.0):
    follower = MapFromOdomFilter()
    for k, map_from_base in enumerate(poses):
        believed = follower.update(round(k * every_s * 1e9), map_from_base, FAR, config)
    return believed @ FAR


def off(one, other):
    errors = pose_errors(one[None], other[None])
    return errors.translation[0], np.degrees(errors.rotation[0])


def test_the_first_pose_is_believed_at_once():
    np.testing.assert_allclose(followed([at(1.0, 5)]), at(1.0, 5), atol=1e-9)


def test_half_of_the_way_is_gone_where_the_robot_is():
    np.testing.assert_allclose(followed([at(1.0, 0), at(1.2, 8)]), at(1.1, 4), atol=1e-9)


def test_the_broadcast_shakes_less_than_the_poses():
    rng = np.random.default_rng(0)
    follower = MapFromOdomFilter()
    told = [
        (follower.update(k, at(rng.normal(0, 0.02)), FAR, CONFIG) @ FAR)[0, 3] for k in range(200)
    ]
    assert np.std(told) < 0.7 * 0.02


@pytest.mark.parametrize('wrong', [at(3.0), at(1.0, 60)])
def test_one_wrong_pose_moves_nothing(wrong):
    assert off(followed([at(1.0), wrong]), at(1.0)) == pytest.approx((0, 0), abs=1e-6)
    assert off(followed([at(1.0), wrong, at(1.0), wrong]), at(1.0)) == pytest.approx(
        (0, 0), abs=1e-6
    )


def test_wrong_poses_that_do_not_agree_move_nothing_however_many():
    poses = [at(1.0), *(at(x) for x in (4.0, 6.0, 3.0, 8.0, 5.0))]
    assert off(followed(poses), at(1.0)) == pytest.approx((0, 0), abs=1e-6)


def test_a_robot_that_was_carried_away_is_believed_when_three_poses_say_so():
    carried = [at(4.0, 90), at(4.01, 90), at(4.02, 91)]
    assert off(followed([at(1.0), *carried[:2]]), at(1.0)) == pytest.approx((0, 0), abs=1e-6)
    assert off(followed([at(1.0), *carried]), carried[-1]) == pytest.approx((0, 0), abs=1e-5)


def test_after_forgetting_the_next_pose_is_believed_at_once():
    follower = MapFromOdomFilter()
    follower.update(0, at(1.0), FAR, CONFIG)
    follower.reset()
    np.testing.assert_allclose(follower.update(1, at(5.0), FAR, CONFIG) @ FAR, at(5.0), atol=1e-9)


def test_the_same_wrong_view_again_and_again_is_one_for_a_second():
    """Thirty pictures a second from one place tell no more than the first of them."""
    seen = [at(1.0), *[at(4.0)] * 30]
    assert off(followed(seen, every_s=0.033), at(1.0)) == pytest.approx((0, 0), abs=1e-6)
    seen = [at(1.0), *[at(4.0)] * 70]  # two seconds more: a robot that was carried there
    assert off(followed(seen, every_s=0.033), at(4.0)) == pytest.approx((0, 0), abs=1e-5)


@pytest.mark.parametrize('moved', [make_pose(None, (0.06, 0.0, 0.0)), at(0.0, 2.5)])
def test_views_that_differ_by_the_odometry_each_count_however_fast_they_come(moved):
    moved[:3, 3] *= [1, 0, 1]
    follower, odom_from_base, map_from_base = MapFromOdomFilter(), FAR, at(4.0)
    follower.update(0, at(1.0), FAR, CONFIG)
    for k in range(1, 4):
        believed = follower.update(k * 10_000_000, map_from_base, odom_from_base, CONFIG)
        arrived = off(believed @ odom_from_base, map_from_base)
        assert (max(arrived) < 1e-5) == (k == 3)
        odom_from_base, map_from_base = odom_from_base @ moved, map_from_base @ moved


def test_on_a_floor_height_roll_and_pitch_are_left_out():
    tilted = Rotation.from_euler('ZYX', (50, 3, -2), degrees=True)
    map_from_base = make_pose(tilted, (3.0, 1.0, -1.3))
    odom_from_base = make_pose(
        Rotation.from_euler('ZYX', (-20, 1, 2), degrees=True), (7.0, 5.0, 0.4)
    )
    flat = replace(CONFIG, tf_planar=True)
    found = MapFromOdomFilter().update(0, map_from_base, odom_from_base, flat)
    np.testing.assert_allclose(found[2], [0, 0, 1, 0], atol=1e-12)
    np.testing.assert_allclose((found @ odom_from_base)[:2, 3], [3.0, 1.0], atol=1e-9)
    yaw_deg = Rotation.from_matrix(found[:3, :3]).as_euler('ZYX', degrees=True)[0]
    assert yaw_deg == pytest.approx(50 + 20)
