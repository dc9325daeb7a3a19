"""TF moves smoothly, one wrong pose does not move it, and a robot that was carried is believed."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.geometry import pose, pose_errors
from nerf_reversal_ros.map_from_odom import MapFromOdom, SmoothingConfig

CONFIG = SmoothingConfig(tf_smoothing=0.5, tf_max_jump_m=0.3, tf_max_jump_deg=10, tf_jump_poses=3)
FAR = pose(Rotation.from_euler('z', 40, degrees=True), (80.0, -20.0, 0.0))
"""Where odom has the robot, far from its origin."""


def at(x, degrees=0.0):
    return pose(Rotation.from_euler('z', degrees, degrees=True), (x, 2.0, 0.0))


def followed(poses, config=CONFIG):
    follower = MapFromOdom()
    for map_from_base in poses:
        believed = follower.follow(map_from_base, FAR, config)
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
    follower = MapFromOdom()
    told = [
        (follower.follow(at(rng.normal(0, 0.02)), FAR, CONFIG) @ FAR)[0, 3] for _ in range(200)
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
    follower = MapFromOdom()
    follower.follow(at(1.0), FAR, CONFIG)
    follower.forget()
    np.testing.assert_allclose(follower.follow(at(5.0), FAR, CONFIG) @ FAR, at(5.0), atol=1e-9)
