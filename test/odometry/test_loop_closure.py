"""Poses of the localizer take the drift out of the odometry, and false ones do not put it back."""

import sys

from driving import COVARIANCE, drifted, false_pose, noisy, rms_m, STEP_NS, walked
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.config import LoopClosureConfig
from nerf_reversal_ros.core.geometry import make_pose

pytest.importorskip('gtsam', reason='pip install -r requirements/loop_closer.txt')

from nerf_reversal_ros.odometry.loop_closure import LoopCloser

START_NS = 1_700_000_000_000_000_000


class Drive:
    """A drive of 60 m, whose odometry is a metre off in the end."""

    def __init__(self, steps=600, **settings):
        self.rng = np.random.default_rng(0)
        self.truth = walked(steps)
        self.odometry = drifted(self.truth)
        self.closer = LoopCloser(LoopClosureConfig(**settings))
        self.closures = []
        self.live = np.full_like(self.truth, np.nan)

    def stamp_ns(self, k):
        return START_NS + k * STEP_NS

    def moves(self, k):
        self.closures += self.closer.add_odometry(self.stamp_ns(k), self.odometry[k])
        if (now := self.closer.current_pose()) is not None:
            self.live[k] = now.map_from_base

    def sees(self, k, map_from_base=None, covariance=COVARIANCE):
        """Answer a picture, rightly unless a pose is given; return what was done."""
        if map_from_base is None:
            map_from_base = noisy(self.truth[k], self.rng, covariance)
        done = self.closer.add_pose(self.stamp_ns(k), map_from_base, covariance)
        self.closures += done
        return done[0] if done else None

    def goes(self, first, last, every=10, false=0.0):
        """Drive from a step to before another; answer some pictures, a share of them falsely."""
        for k in range(first, last):
            self.moves(k)
            if k % every == 0:
                self.sees(k, false_pose(self.rng) if self.rng.random() < false else None)
        return self

    def ate_m(self, first=0):
        """Return how far the corrected path is off, from some step on."""
        found = {(stamp - START_NS) // STEP_NS: p for stamp, p in self.closer.graph.path}
        ks = [k for k in found if k >= first]
        return rms_m(np.stack([found[k] for k in ks]), self.truth[ks])

    @property
    def drift_m(self):
        """Return how far the odometry would be, if it knew its start."""
        start = self.truth[0] @ np.linalg.inv(self.odometry[0])
        return rms_m(start @ self.odometry, self.truth)


@pytest.mark.parametrize(('every', 'false'), [(50, 0.0), (1, 0.05), (10, 0.05), (50, 0.05)])
def test_drift_becomes_ten_times_smaller_also_with_five_percent_of_false_poses(every, false):
    drive = Drive(600 if every > 1 else 300).goes(0, 600 if every > 1 else 300, every, false)
    assert drive.drift_m > 0.3
    assert drive.ate_m() < drive.drift_m / 10


def test_no_false_pose_is_taken_and_nearly_all_right_ones_agree():
    drive = Drive().goes(0, 600, every=3, false=0.05)
    reasons = [closure.reason for closure in drive.closures]
    given = [closure for closure in drive.closures if closure.reason != 'duplicate stamp']
    assert len(given) == 200
    far = [c for c in drive.closures if c.accepted and c.residual_m > 0.3]
    assert far == []
    assert 3 <= reasons.count('outlier') <= 20


def test_also_with_a_third_of_false_poses_the_path_is_found():
    drive = Drive().goes(0, 600, every=3, false=0.33)
    assert drive.ate_m() < drive.drift_m / 10


def test_what_is_published_while_driving_is_centimetres_off_not_a_metre():
    drive = Drive().goes(0, 600, every=5)
    assert np.isnan(drive.live[0]).all()  # the first picture is answered after it
    assert rms_m(drive.live[1:], drive.truth[1:]) < 0.05


def test_the_covariance_of_what_is_published_is_not_too_small():
    drive, squared = Drive(), []
    for k in range(600):
        drive.goes(k, k + 1, every=20)
        now = drive.closer.current_pose()
        off = now.map_from_base[:3, 3] - drive.truth[k][:3, 3]
        squared.append(off @ np.linalg.solve(now.covariance[:3, :3], off))
    assert np.mean(squared) / 3 < 1.0


def test_a_closure_tells_how_far_off_the_odometry_had_led():
    drive = Drive().goes(0, 1)
    for k in range(1, 101):
        drive.moves(k)
    was = drive.closer.current_pose().map_from_base
    closure = drive.sees(100, drive.truth[100])
    off_m = np.linalg.norm(was[:3, 3] - drive.truth[100][:3, 3])
    assert off_m > 0.15
    assert closure.accepted
    assert closure.residual_m == pytest.approx(off_m, abs=0.02)
    assert closure.correction_m == pytest.approx(off_m, abs=0.05)
    assert closure.travelled_m == pytest.approx(10.3, abs=0.3)
    assert 0.0 < closure.chi2 < closure.chi2_limit == pytest.approx(22.46, abs=0.01)


def test_a_false_first_pose_is_overruled_by_three_that_agree_and_leaves_no_trace():
    drive = Drive(200)
    drive.moves(0)
    assert drive.sees(0, make_pose(Rotation.from_euler('z', 2.0), (9.0, 9.0, 0.0))).accepted
    told = []
    for k in range(1, 31):
        drive.moves(k)
        if k % 10 == 0:
            told.append(drive.sees(k))
    assert [(c.accepted, c.reanchored, c.reason) for c in told] == [
        (False, False, 'outlier'),
        (False, False, 'outlier'),
        (True, True, ''),
    ]
    assert '1 of 3 poses that would replace those before' in told[0].detail
    drive.goes(31, 200)
    assert drive.ate_m() < 0.03


def test_a_robot_that_was_carried_away_is_found_again_and_its_former_path_stays():
    drive = Drive(400).goes(0, 200)
    before_m = drive.ate_m()
    away = make_pose(Rotation.from_euler('z', 2.5), (1.5, -1.0, 0.0))
    drive.truth[200:] = away @ drive.truth[200:]
    drive.goes(200, 400)
    assert sum(closure.reanchored for closure in drive.closures) == 1
    assert drive.ate_m(first=240) < 0.03
    found = {(stamp - START_NS) // STEP_NS: p for stamp, p in drive.closer.graph.path}
    early = [k for k in found if k < 180]
    assert rms_m(np.stack([found[k] for k in early]), drive.truth[early]) < before_m + 0.01


def test_a_pose_is_brought_to_the_keyframe_however_late_it_comes():
    drive = Drive(100)
    for k in range(81):
        drive.moves(k)
    closure = drive.sees(40, drive.truth[40])
    assert closure.accepted
    found = {(stamp - START_NS) // STEP_NS: p for stamp, p in drive.closer.graph.path}
    nearest = min(found, key=lambda k: abs(k - 40))
    assert found[nearest][:3, 3] == pytest.approx(drive.truth[nearest][:3, 3], abs=0.02)


def test_poses_out_of_order_give_what_they_give_in_order():
    ends = []
    for order in ([20, 40, 60], [60, 20, 40]):
        drive = Drive(100)
        for k in range(81):
            drive.moves(k)
        assert all(drive.sees(k, drive.truth[k]).accepted for k in order)
        ends.append(drive.closer.current_pose().map_from_base)
    assert ends[0] == pytest.approx(ends[1], abs=1e-4)


def test_a_pose_that_is_ahead_of_the_odometry_waits_for_it():
    drive = Drive(100)
    drive.moves(0)
    assert drive.sees(5) is None
    for k in range(1, 5):
        drive.moves(k)
    assert drive.closures == []
    drive.moves(5)
    assert [closure.accepted for closure in drive.closures] == [True]


def test_poses_without_odometry_are_given_up_one_by_one():
    drive = Drive(200)
    done = [drive.sees(k) for k in range(103)]
    assert [closure.reason for closure in done if closure] == ['no odometry'] * 3


def test_a_pose_of_a_silence_of_the_odometry_is_left_aside():
    drive = Drive(100)
    drive.moves(0)
    drive.moves(60)
    assert drive.sees(30).reason == 'no odometry'


def test_a_stamp_counts_once():
    drive = Drive(100)
    drive.moves(0)
    assert drive.sees(0).accepted
    assert drive.sees(0, false_pose(drive.rng)).reason == 'duplicate stamp'
    drive.moves(0)  # the odometry's, too
    assert len(drive.closer.graph.keyframes) == 1


def test_odometry_out_of_order_is_left_out():
    drive = Drive(100).goes(0, 50)
    expected = drive.closer.current_pose()
    drive.closer.add_odometry(drive.stamp_ns(45), make_pose(None, (99.0, 0, 0)))
    assert drive.closer.current_pose().map_from_base == pytest.approx(expected.map_from_base)


def test_a_robot_that_stands_takes_one_pose_not_a_thousand():
    drive = Drive(100)
    for second in range(50):
        drive.closer.add_odometry(START_NS + second * 10 * STEP_NS, drive.odometry[0])
        drive.sees(10 * second, noisy(drive.truth[0], drive.rng))
    assert len(drive.closer.graph.keyframes) == 1
    assert [c.reason for c in drive.closures] == [''] + ['redundant'] * 49
    least_m = LoopClosureConfig().min_std_m
    assert np.sqrt(np.diag(drive.closer.current_pose().covariance))[:3].min() >= least_m


def test_a_surer_pose_replaces_the_one_of_its_keyframe():
    drive = Drive(10)
    drive.closer.add_odometry(drive.stamp_ns(0), drive.odometry[0])
    drive.closer.add_odometry(drive.stamp_ns(1), drive.odometry[0])
    assert drive.sees(0, drive.truth[0], 100 * COVARIANCE).accepted
    assert drive.sees(1, drive.truth[0], COVARIANCE).accepted
    assert drive.closer.current_pose().covariance[0, 0] < 4e-4


def test_all_begins_anew_when_the_clock_jumps_back_as_when_a_bag_is_looped():
    drive = Drive(100).goes(0, 100)
    drive.moves(0)
    assert drive.closer.time_jump_count == 1
    assert drive.closer.current_pose() is None
    assert drive.closer.graph.path == []
    assert drive.sees(0, drive.truth[0]).accepted
    drive.goes(1, 100)
    assert drive.ate_m() < 0.03


@pytest.mark.parametrize('known', ['xy', 'nothing'])
@pytest.mark.parametrize('said', [1e-30, 9999.0, 1e12, sys.float_info.max])
def test_a_source_may_say_any_figure_for_what_it_does_not_know(known, said):
    drive = Drive(100, odometry_witnesses=100)
    covariance = {
        'xy': np.diag([1e-4, 1e-4, said, said, said, 1e-5]),
        'nothing': np.eye(6) * said,
    }[known]
    for k in range(100):
        drive.moves(k)
        if k % 10 == 0:
            drive.sees(k, drive.truth[k], covariance)
    assert drive.closures[0].accepted
    assert np.isfinite(drive.closer.current_pose().covariance).all()
    assert np.linalg.norm(drive.live[99, :2, 3] - drive.truth[99, :2, 3]) < 0.3


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda p, c: p.__setitem__((0, 3), np.nan), 'not finite'),
        (lambda p, c: c.__setitem__((0, 0), np.inf), 'not finite'),
        (lambda p, c: p.__setitem__((1, 3), -1e300), '1e+300 m from the origin of the map'),
        (lambda p, c: c.__setitem__((2, 2), 0.0), 'not positive definite'),
        (lambda p, c: c.__setitem__((5, 5), -1.0), 'not positive definite'),
    ],
)
def test_what_is_no_pose_is_refused_in_words_and_changes_nothing(change, words):
    drive = Drive(100).goes(0, 50)
    before = drive.closer.current_pose().map_from_base
    place, covariance = drive.truth[49].copy(), COVARIANCE.copy()
    change(place, covariance)
    closure = drive.sees(49, place, covariance)
    assert (closure.accepted, closure.reason) == (False, 'unusable pose')
    assert words in closure.detail
    assert drive.closer.current_pose().map_from_base == pytest.approx(before)
