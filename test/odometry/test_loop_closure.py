"""Loop closure removes the drift of the odometry, and incorrect poses do not add errors."""

import sys

from driving import (
    COVARIANCE,
    loop_trajectory,
    perturb_pose,
    random_pose,
    rms_distance_m,
    simulate_odometry,
    STEP_NS,
)
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.odometry.config import LoopClosureConfig

pytest.importorskip('gtsam', reason='pip install -r requirements/loop_closer.txt')

from nerf_reversal_ros.odometry.loop_closure import LoopCloser

START_NS = 1_700_000_000_000_000_000


class Drive:
    """Drive of 60 m with a loop closer; the odometry drifts by one meter."""

    def __init__(self, steps=600, **settings):
        self.rng = np.random.default_rng(0)
        self.map_from_base_gt = loop_trajectory(steps)
        self.odometry = simulate_odometry(self.map_from_base_gt)
        self.closer = LoopCloser(LoopClosureConfig(**settings))
        self.results = []
        self.live = np.full_like(self.map_from_base_gt, np.nan)

    def stamp_ns(self, k):
        return START_NS + k * STEP_NS

    def add_odometry(self, k):
        self.results += self.closer.add_odometry(self.stamp_ns(k), self.odometry[k])
        if (current := self.closer.current_pose()) is not None:
            self.live[k] = current.map_from_base

    def add_pose(self, k, map_from_base=None, covariance=COVARIANCE):
        """Add a pose of step k, correct unless one is given; return its result, if any."""
        if map_from_base is None:
            map_from_base = perturb_pose(self.map_from_base_gt[k], self.rng, covariance)
        results = self.closer.add_pose(self.stamp_ns(k), map_from_base, covariance)
        self.results += results
        return results[0] if results else None

    def run(self, first, last, every=10, incorrect=0.0):
        """Drive steps [first, last) with a pose every few steps, a fraction of them incorrect."""
        for k in range(first, last):
            self.add_odometry(k)
            if k % every == 0:
                self.add_pose(k, random_pose(self.rng) if self.rng.random() < incorrect else None)
        return self

    def ate_m(self, first=0):
        """Return the ATE of the corrected path from a step on (RMSE, without alignment)."""
        path = self.path()
        steps = [k for k in path if k >= first]
        return rms_distance_m(np.stack([path[k] for k in steps]), self.map_from_base_gt[steps])

    def path(self):
        """Return the corrected poses (4, 4) by step."""
        return {(stamp - START_NS) // STEP_NS: p for stamp, p in self.closer.graph.path}

    @property
    def drift_m(self):
        """Return the ATE of the odometry with the first pose aligned."""
        map_from_odom = self.map_from_base_gt[0] @ np.linalg.inv(self.odometry[0])
        return rms_distance_m(map_from_odom @ self.odometry, self.map_from_base_gt)


@pytest.mark.parametrize(('every', 'incorrect'), [(50, 0.0), (1, 0.05), (10, 0.05), (50, 0.05)])
def test_drift_is_reduced_tenfold_with_up_to_five_percent_incorrect_poses(every, incorrect):
    drive = Drive(600 if every > 1 else 300).run(0, 600 if every > 1 else 300, every, incorrect)
    assert drive.drift_m > 0.3
    assert drive.ate_m() < drive.drift_m / 10


def test_no_incorrect_pose_is_accepted_and_few_correct_ones_are_outliers():
    drive = Drive().run(0, 600, every=3, incorrect=0.05)
    reasons = [result.reason for result in drive.results]
    processed = [result for result in drive.results if result.reason != 'duplicate stamp']
    assert len(processed) == 200
    assert not [r for r in drive.results if r.accepted and r.residual_m > 0.3]
    assert 3 <= reasons.count('outlier') <= 20


def test_drift_is_reduced_tenfold_with_a_third_of_incorrect_poses():
    drive = Drive().run(0, 600, every=3, incorrect=0.33)
    assert drive.ate_m() < drive.drift_m / 10


def test_the_live_pose_is_precise_to_centimeters():
    drive = Drive().run(0, 600, every=5)
    assert np.isnan(drive.live[0]).all()  # the first pose is added after it
    assert rms_distance_m(drive.live[1:], drive.map_from_base_gt[1:]) < 0.05


def test_the_covariance_of_the_live_pose_is_not_overconfident():
    drive, squared = Drive(), []
    for k in range(600):
        drive.run(k, k + 1, every=20)
        current = drive.closer.current_pose()
        error = current.map_from_base[:3, 3] - drive.map_from_base_gt[k][:3, 3]
        squared.append(error @ np.linalg.solve(current.covariance[:3, :3], error))
    assert np.mean(squared) / 3 < 1.0


def test_a_result_has_the_residual_and_the_correction_of_the_drift():
    drive = Drive().run(0, 1)
    for k in range(1, 101):
        drive.add_odometry(k)
    before = drive.closer.current_pose().map_from_base
    result = drive.add_pose(100, drive.map_from_base_gt[100])
    error_m = np.linalg.norm(before[:3, 3] - drive.map_from_base_gt[100][:3, 3])
    assert error_m > 0.15
    assert result.accepted
    assert result.residual_m == pytest.approx(error_m, abs=0.02)
    assert result.correction_m == pytest.approx(error_m, abs=0.05)
    assert result.travelled_m == pytest.approx(10.3, abs=0.3)
    assert 0.0 < result.chi2 < result.chi2_limit == pytest.approx(22.46, abs=0.01)


def test_a_wrong_initial_pose_is_replaced_by_three_consistent_poses_and_has_no_effect():
    drive = Drive(200)
    drive.add_odometry(0)
    assert drive.add_pose(0, make_pose(Rotation.from_euler('z', 2.0), (9.0, 9.0, 0.0))).accepted
    results = []
    for k in range(1, 31):
        drive.add_odometry(k)
        if k % 10 == 0:
            results.append(drive.add_pose(k))
    assert [(c.accepted, c.reanchored, c.reason) for c in results] == [
        (False, False, 'outlier'),
        (False, False, 'outlier'),
        (True, True, ''),
    ]
    assert '1 of 3 poses that would replace the earlier ones' in results[0].detail
    drive.run(31, 200)
    assert drive.ate_m() < 0.03


def test_a_kidnapped_robot_is_relocated_and_its_earlier_path_stays():
    drive = Drive(400).run(0, 200)
    before_m = drive.ate_m()
    kidnap = make_pose(Rotation.from_euler('z', 2.5), (1.5, -1.0, 0.0))
    drive.map_from_base_gt[200:] = kidnap @ drive.map_from_base_gt[200:]
    drive.run(200, 400)
    assert sum(result.reanchored for result in drive.results) == 1
    assert drive.ate_m(first=240) < 0.03
    path = drive.path()
    early = [k for k in path if k < 180]
    early_poses = np.stack([path[k] for k in early])
    assert rms_distance_m(early_poses, drive.map_from_base_gt[early]) < before_m + 0.01


def test_a_delayed_pose_corrects_the_keyframe_of_its_stamp():
    drive = Drive(100)
    for k in range(81):
        drive.add_odometry(k)
    assert drive.add_pose(40, drive.map_from_base_gt[40]).accepted
    path = drive.path()
    nearest = min(path, key=lambda k: abs(k - 40))
    assert path[nearest][:3, 3] == pytest.approx(drive.map_from_base_gt[nearest][:3, 3], abs=0.02)


def test_the_order_of_poses_does_not_change_the_result():
    ends = []
    for order in ([20, 40, 60], [60, 20, 40]):
        drive = Drive(100)
        for k in range(81):
            drive.add_odometry(k)
        assert all(drive.add_pose(k, drive.map_from_base_gt[k]).accepted for k in order)
        ends.append(drive.closer.current_pose().map_from_base)
    assert ends[0] == pytest.approx(ends[1], abs=1e-4)


def test_a_pose_ahead_of_the_odometry_waits_for_it():
    drive = Drive(100)
    drive.add_odometry(0)
    assert drive.add_pose(5) is None
    for k in range(1, 5):
        drive.add_odometry(k)
    assert drive.results == []
    drive.add_odometry(5)
    assert [result.accepted for result in drive.results] == [True]


def test_more_than_a_hundred_poses_without_odometry_are_rejected_one_by_one():
    drive = Drive(200)
    results = [drive.add_pose(k) for k in range(103)]
    assert [result.reason for result in results if result] == ['no odometry'] * 3


def test_a_pose_in_a_gap_of_the_odometry_is_rejected():
    drive = Drive(100)
    drive.add_odometry(0)
    drive.add_odometry(60)
    assert drive.add_pose(30).reason == 'no odometry'


def test_a_duplicate_stamp_is_rejected():
    drive = Drive(100)
    drive.add_odometry(0)
    assert drive.add_pose(0).accepted
    assert drive.add_pose(0, random_pose(drive.rng)).reason == 'duplicate stamp'
    drive.add_odometry(0)  # a duplicate stamp of the odometry
    assert len(drive.closer.graph.keyframes) == 1


def test_odometry_out_of_order_is_skipped():
    drive = Drive(100).run(0, 50)
    expected = drive.closer.current_pose()
    drive.closer.add_odometry(drive.stamp_ns(45), make_pose(None, (99.0, 0, 0)))
    assert drive.closer.current_pose().map_from_base == pytest.approx(expected.map_from_base)


def test_a_robot_at_rest_keeps_one_pose():
    drive = Drive(100)
    for second in range(50):
        drive.closer.add_odometry(START_NS + second * 10 * STEP_NS, drive.odometry[0])
        drive.add_pose(10 * second, perturb_pose(drive.map_from_base_gt[0], drive.rng))
    assert len(drive.closer.graph.keyframes) == 1
    assert [result.reason for result in drive.results] == [''] + ['redundant'] * 49
    min_std_m = LoopClosureConfig().min_std_m
    assert np.sqrt(np.diag(drive.closer.current_pose().covariance))[:3].min() >= min_std_m


def test_a_more_certain_pose_replaces_the_one_of_its_keyframe():
    drive = Drive(10)
    drive.closer.add_odometry(drive.stamp_ns(0), drive.odometry[0])
    drive.closer.add_odometry(drive.stamp_ns(1), drive.odometry[0])
    assert drive.add_pose(0, drive.map_from_base_gt[0], 100 * COVARIANCE).accepted
    assert drive.add_pose(1, drive.map_from_base_gt[0], COVARIANCE).accepted
    assert drive.closer.current_pose().covariance[0, 0] < 4e-4


def test_a_backward_time_jump_resets_the_state():
    drive = Drive(100).run(0, 100)
    drive.add_odometry(0)
    assert drive.closer.time_jump_count == 1
    assert drive.closer.current_pose() is None
    assert drive.closer.graph.path == []
    assert drive.add_pose(0, drive.map_from_base_gt[0]).accepted
    drive.run(1, 100)
    assert drive.ate_m() < 0.03


@pytest.mark.parametrize('observed', ['xy', 'nothing'])
@pytest.mark.parametrize('placeholder', [1e-30, 9999.0, 1e12, sys.float_info.max])
def test_placeholder_variances_of_any_size_are_accepted(observed, placeholder):
    drive = Drive(100, odometry_witnesses=100)
    covariance = {
        'xy': np.diag([1e-4, 1e-4, *[placeholder] * 3, 1e-5]),
        'nothing': np.eye(6) * placeholder,
    }[observed]
    for k in range(100):
        drive.add_odometry(k)
        if k % 10 == 0:
            drive.add_pose(k, drive.map_from_base_gt[k], covariance)
    assert drive.results[0].accepted
    assert np.isfinite(drive.closer.current_pose().covariance).all()
    assert np.linalg.norm(drive.live[99, :2, 3] - drive.map_from_base_gt[99, :2, 3]) < 0.3


@pytest.mark.parametrize(
    ('change', 'detail'),
    [
        (lambda p, c: p.__setitem__((0, 3), np.nan), 'not finite'),
        (lambda p, c: c.__setitem__((0, 0), np.inf), 'not finite'),
        (lambda p, c: p.__setitem__((1, 3), -1e300), '1e+300 m from the origin of the map'),
        (lambda p, c: c.__setitem__((2, 2), 0.0), 'not positive definite'),
        (lambda p, c: c.__setitem__((5, 5), -1.0), 'not positive definite'),
    ],
)
def test_an_unusable_pose_is_rejected_with_its_problem_and_changes_nothing(change, detail):
    drive = Drive(100).run(0, 50)
    before = drive.closer.current_pose().map_from_base
    pose, covariance = drive.map_from_base_gt[49].copy(), COVARIANCE.copy()
    change(pose, covariance)
    result = drive.add_pose(49, pose, covariance)
    assert (result.accepted, result.reason) == (False, 'unusable pose')
    assert detail in result.detail
    assert drive.closer.current_pose().map_from_base == pytest.approx(before)
