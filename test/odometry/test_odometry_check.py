"""Odometry confirms or rejects poses, and mutually consistent poses override the history."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.outcome import Diagnostics, PoseEstimate, Rejection
from nerf_reversal_ros.odometry.config import OdometryConfig
from nerf_reversal_ros.odometry.odometry_check import OdometryCheck

CONFIG = OdometryConfig()  # 5 cm and 5 % of the path, 2 degrees and 5 % of the rotation
EXACT = np.zeros((6, 6))
MAP_FROM_ODOM = make_pose(Rotation.from_euler('z', 140, degrees=True), (3.0, -2.0, 0.5))
BASE_FROM_CAMERA = make_pose(Rotation.from_euler('yx', [90, -90], degrees=True), (0.2, 0.1, 0.4))
SECOND = 1_000_000_000


class Robot:
    """Robot on the x axis of odom, with exact odometry at 10 Hz and given localization errors."""

    def __init__(self):
        self.check = OdometryCheck()
        self.x_m = self.time_s = 0.0

    def drive(self, distance_m, seconds=1.0):
        """Drive a distance, and add the odometry."""
        for _ in range(round(seconds * 10)):
            self.time_s += 0.1
            self.x_m += distance_m / (seconds * 10)
            self.check.add_odometry(round(self.time_s * SECOND), make_pose(None, (self.x_m, 0, 0)))

    def check_pose(
        self, error_m=0.0, *, probability=0.999, config=CONFIG, delay_s=0.0, frame='map'
    ):
        """Check a pose with an error across the motion; the gate accepts a high probability."""
        pose = MAP_FROM_ODOM @ make_pose(None, (self.x_m, error_m, 0)) @ BASE_FROM_CAMERA
        scores = {'probability': probability}
        diagnostics = Diagnostics(None, pose, scores, refined_covariance=EXACT, frame=frame)
        outcome = PoseEstimate(pose, EXACT, diagnostics)
        if not probability >= 0.995:
            outcome = Rejection('low probability', 'a little', diagnostics)
        stamp_ns = round((self.time_s - delay_s) * SECOND)
        return self.check.check(outcome, stamp_ns, BASE_FROM_CAMERA, config)

    def is_accepted(self, *args, **kwargs):
        return isinstance(self.check_pose(*args, **kwargs), PoseEstimate)


@pytest.fixture
def robot():
    """Robot at rest, without earlier poses."""
    robot = Robot()
    robot.drive(0.0)
    return robot


@pytest.fixture
def tracked(robot):
    """Robot with four accepted poses, 20 cm apart."""
    for _ in range(4):
        assert robot.is_accepted()
        robot.drive(0.2)
    return robot


def test_a_pose_within_the_drift_is_accepted(robot):
    assert robot.is_accepted()
    robot.drive(2.0)  # 5 cm + 5 % of 2 m are 15 cm
    assert robot.is_accepted(0.14)


def test_a_pose_beyond_the_drift_is_rejected_with_the_values(robot):
    assert robot.is_accepted()
    robot.drive(2.0)
    outcome = robot.check_pose(0.16)
    assert outcome.reason == 'odometry disagrees'
    assert '0.16 m and 0.0 deg' in outcome.detail
    assert '(allowed: 0.15 m, 2.0 deg)' in outcome.detail
    assert '1 of 3 new poses' in outcome.detail
    assert outcome.diagnostics.scores['odometry_agreeing'] == 0.0
    assert outcome.diagnostics.scores['odometry_compared'] == 1.0


def test_the_drift_setting_widens_the_bound(robot):
    imprecise = replace(CONFIG, odometry_drift=0.2)
    assert robot.is_accepted(config=imprecise)
    robot.drive(2.0)
    assert robot.is_accepted(0.44, config=imprecise)
    assert not robot.is_accepted(0.46, config=imprecise)


def test_three_earlier_poses_confirm_a_pose_of_low_probability(tracked):
    outcome = tracked.check_pose(0.02, probability=0.93)
    assert isinstance(outcome, PoseEstimate)
    assert outcome.diagnostics.scores['odometry_agreeing'] == 4.0


@pytest.mark.parametrize(
    ('error_m', 'probability'), [(0.3, 0.93), (0.0, 0.89), (0.0, float('nan'))]
)
def test_an_inconsistent_or_too_improbable_pose_is_not_confirmed(tracked, error_m, probability):
    assert tracked.check_pose(error_m, probability=probability).reason == 'low probability'


def test_uncertainty_alone_does_not_confirm(tracked):
    """An uncertain pose is consistent at 15 cm, but not correct and so not confirmed."""
    uncertain = np.diag([0.049**2] * 3 + [0.001] * 3)
    diagnostics = tracked.check_pose(0.15, probability=0.95).diagnostics
    diagnostics = replace(diagnostics, refined_covariance=uncertain)
    outcome = Rejection('low probability', 'a little', diagnostics)
    stamp_ns = round(tracked.time_s * SECOND)
    outcome = tracked.check.check(outcome, stamp_ns, BASE_FROM_CAMERA, CONFIG)
    assert isinstance(outcome, Rejection)
    assert outcome.diagnostics.scores['odometry_agreeing'] >= 3


def test_two_earlier_poses_do_not_confirm(robot):
    for _ in range(2):
        robot.is_accepted()
        robot.drive(0.2)
    assert not robot.is_accepted(probability=0.99)


def test_many_poses_of_one_view_count_once(robot):
    for _ in range(10):
        assert robot.is_accepted()
        robot.drive(0.0)
    assert not robot.is_accepted(probability=0.99)


def test_poses_beyond_the_drift_limit_do_not_confirm(tracked):
    tracked.drive(0.5)  # 0.7 m from the last, 1.3 m from the first: 5 % are more than 5 cm
    assert not tracked.is_accepted(probability=0.99)


def test_a_confirmed_pose_does_not_confirm_others(tracked):
    for _ in range(3):
        assert tracked.is_accepted(probability=0.93)
        tracked.drive(0.15)
    # Two of the four poses that the gate accepted are more than a meter behind now.
    assert not tracked.is_accepted(probability=0.93)


def test_a_single_incorrect_pose_is_rejected_and_changes_nothing(tracked):
    assert not tracked.is_accepted(1.0)
    tracked.drive(0.2)
    assert tracked.is_accepted()


def test_a_wrong_initial_pose_is_replaced_by_three_consistent_poses(robot):
    assert robot.is_accepted(1.0)
    accepted = []
    for _ in range(5):
        robot.drive(0.2)
        accepted.append(robot.is_accepted())
    assert accepted == [False, False, True, True, True]


def test_a_kidnapped_robot_is_relocated(tracked):
    accepted = []
    for _ in range(5):  # kidnapped by 2 m, which odometry does not measure
        tracked.drive(0.1)
        accepted.append(tracked.is_accepted(2.0))
    assert accepted == [False, False, True, True, True]


def test_a_kidnapped_robot_at_rest_is_relocated_after_two_seconds(tracked):
    accepted = []
    for _ in range(25):
        tracked.drive(0.0, seconds=0.1)
        accepted.append(tracked.is_accepted(2.0))
    assert accepted == [False] * 20 + [True] * 5


def test_inconsistent_incorrect_poses_do_not_replace_the_history(tracked):
    for error_m in (1.0, 2.0, 3.0, 1.5, 2.5, 0.5):
        tracked.drive(0.1)
        assert not tracked.is_accepted(error_m)
    assert tracked.is_accepted()


def test_incorrect_poses_between_correct_ones_do_not_replace_the_history(tracked):
    for _ in range(4):
        tracked.drive(0.1)
        assert not tracked.is_accepted(2.0)
        tracked.drive(0.1)
        assert tracked.is_accepted()


def test_without_odometry_near_the_stamp_the_outcome_is_unchanged(tracked):
    tracked.time_s += 1.0
    outcome = tracked.check_pose(2.0)
    assert isinstance(outcome, PoseEstimate)
    assert 'odometry_compared' not in outcome.diagnostics.scores


def test_rejections_for_other_reasons_are_unchanged(tracked):
    rejection = Rejection('low contrast', 'contrast 2')
    assert (
        tracked.check.check(rejection, round(tracked.time_s * SECOND), make_pose(), CONFIG)
        is rejection
    )


def test_poses_in_the_frame_of_a_room_are_compared_with_each_other_alone(tracked):
    assert tracked.is_accepted(2.0, frame='lab')  # the origin of another frame
    tracked.drive(0.2)
    assert tracked.is_accepted(2.0, frame='lab')
    assert not tracked.is_accepted(0.0, frame='lab')
    tracked.drive(0.2)
    assert tracked.is_accepted() and not tracked.is_accepted(2.0)


def test_a_backward_time_jump_resets_the_history(tracked):
    tracked.time_s = -20.0
    tracked.drive(0.0)
    assert tracked.is_accepted(2.0)


def test_a_delayed_pose_is_checked_like_any_other(tracked):
    assert tracked.is_accepted()
    assert not tracked.is_accepted(4.0, delay_s=0.05)
    assert tracked.is_accepted(delay_s=0.05)
    tracked.drive(0.2)
    assert not tracked.is_accepted(4.0)
    assert tracked.is_accepted()


def test_a_reset_discards_the_earlier_poses(tracked):
    tracked.check.reset()
    assert tracked.is_accepted(2.0)


def test_the_motion_of_the_camera_is_that_of_the_base_about_its_extrinsics():
    """The base turns by 90 degrees on the spot, with the camera 20 cm ahead of its center."""
    check = OdometryCheck()
    check.add_odometry(1 * SECOND, make_pose())
    check.add_odometry(2 * SECOND, make_pose(Rotation.from_euler('z', 90, degrees=True)))
    ahead = make_pose(None, (0.2, 0, 0))
    motion = check.camera_motion(1 * SECOND, 2 * SECOND, ahead, tolerance_s=0.1)
    assert motion[:3, 3] == pytest.approx((-0.2, 0.2, 0.0))
    assert check.camera_motion(1 * SECOND, 3 * SECOND, ahead, tolerance_s=0.1) is None
