"""Odometry confirms what agrees with earlier poses, contradicts what does not, and forgives."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.config import OdometryConfig
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.outcome import Diagnostics, PoseEstimate, Rejection
from nerf_reversal_ros.odometry.odometry_buffer import OdometryBuffer, OdometrySample
from nerf_reversal_ros.odometry.odometry_check import OdometryCheck
from nerf_reversal_ros.odometry.pose_consensus import compare_motion, PoseObservation

CONFIG = OdometryConfig()  # 5 cm and 5 % of the path, 2 degrees and 5 % of the turn
EXACT = np.zeros((6, 6))
MAP_FROM_ODOM = make_pose(Rotation.from_euler('z', 140, degrees=True), (3.0, -2.0, 0.5))
BASE_FROM_CAMERA = make_pose(Rotation.from_euler('yx', [90, -90], degrees=True), (0.2, 0.1, 0.4))
SECOND = 1_000_000_000


class Robot:
    """Drives along odom's x axis; its odometry, ten a second, is perfect, its answers are told."""

    def __init__(self):
        self.check = OdometryCheck()
        self.x_m = self.time_s = 0.0

    def drives(self, metres, seconds=1.0):
        """Drive, and be heard by the check."""
        for _ in range(round(seconds * 10)):
            self.time_s += 0.1
            self.x_m += metres / (seconds * 10)
            self.check.add_odometry(round(self.time_s * SECOND), make_pose(None, (self.x_m, 0, 0)))

    def answers(self, off_m=0.0, *, probability=0.999, config=CONFIG, late_s=0.0):
        """Localize a picture taken now, so far off across the way; published if that probable."""
        true = MAP_FROM_ODOM @ make_pose(None, (self.x_m, off_m, 0)) @ BASE_FROM_CAMERA
        told = Diagnostics(None, true, {'probability': probability}, refined_covariance=EXACT)
        outcome = PoseEstimate(true, EXACT, told)
        if not probability >= 0.995:
            outcome = Rejection('low probability', 'a little', told)
        stamp_ns = round((self.time_s - late_s) * SECOND)
        return self.check.check(outcome, stamp_ns, BASE_FROM_CAMERA, config)

    def is_published(self, *args, **kwargs):
        return isinstance(self.answers(*args, **kwargs), PoseEstimate)


@pytest.fixture
def robot():
    """Give a robot that stands somewhere."""
    robot = Robot()
    robot.drives(0.0)
    return robot


@pytest.fixture
def known(robot):
    """Give a robot whose last four poses, 20 cm apart, are known."""
    for _ in range(4):
        assert robot.is_published()
        robot.drives(0.2)
    return robot


def test_a_pose_may_be_off_by_what_the_odometry_may_have_drifted(robot):
    assert robot.is_published()
    robot.drives(2.0)  # 5 cm + 5 % of 2 m are 15 cm
    assert robot.is_published(0.14)


def test_a_pose_that_is_further_off_is_contradicted_with_the_figures(robot):
    assert robot.is_published()
    robot.drives(2.0)
    outcome = robot.answers(0.16)
    assert outcome.reason == 'odometry disagrees'
    assert '0.16 m and 0.0 deg' in outcome.detail
    assert '(allowed: 0.15 m, 2.0 deg)' in outcome.detail
    assert '1 of 3 new poses' in outcome.detail
    assert outcome.diagnostics.scores['odometry_agreeing'] == 0.0
    assert outcome.diagnostics.scores['odometry_compared'] == 1.0


def test_a_user_who_knows_the_odometry_to_be_bad_allows_it_more(robot):
    bad = replace(CONFIG, odometry_drift=0.2)
    assert robot.is_published(config=bad)
    robot.drives(2.0)
    assert robot.is_published(0.44, config=bad)
    assert not robot.is_published(0.46, config=bad)


def sighting(at, *, std_m=0.0, std_deg=0.0, turned_deg=0.0):
    covariance = np.diag([std_m**2] * 3 + [np.radians(std_deg) ** 2] * 3)
    return PoseObservation(MAP_FROM_ODOM @ at, covariance, OdometrySample(0, at, 0.0, turned_deg))


def test_the_turn_is_compared_too():
    old = sighting(make_pose())
    turned = sighting(make_pose(Rotation.from_euler('z', 60, degrees=True)), turned_deg=60.0)
    exact = compare_motion(old, turned, CONFIG)
    assert exact.is_consistent and exact.error_deg == pytest.approx(0.0, abs=1e-6)
    assert exact.max_error_deg == pytest.approx(5.0)  # 2 degrees and 5 % of 60
    off = MAP_FROM_ODOM @ make_pose(Rotation.from_euler('z', 66, degrees=True))
    assert not compare_motion(old, turned._replace(map_from_body=off), CONFIG).is_consistent


def test_uncertain_poses_may_be_further_off():
    old, new = sighting(make_pose(), std_m=0.03), sighting(make_pose(), std_m=0.04, std_deg=1.0)
    compared = compare_motion(old, new, CONFIG)
    assert compared.max_error_m == pytest.approx(0.05 + 3 * 0.05)
    assert compared.max_error_deg == pytest.approx(2.0 + 3 * 1.0)


def test_an_uncertain_heading_matters_more_the_longer_the_way():
    old, new = sighting(make_pose(), std_deg=1.0), sighting(make_pose(None, (2.0, 0, 0)))
    assert compare_motion(old, new, CONFIG).max_error_m == pytest.approx(
        0.05 + 3 * 2 * np.radians(1)
    )


def test_three_earlier_poses_confirm_a_doubtful_one(known):
    outcome = known.answers(0.02, probability=0.93)
    assert isinstance(outcome, PoseEstimate)
    assert outcome.diagnostics.scores['odometry_agreeing'] == 4.0


@pytest.mark.parametrize(('off_m', 'probability'), [(0.3, 0.93), (0.0, 0.89), (0.0, float('nan'))])
def test_what_is_elsewhere_or_too_doubtful_is_not_confirmed(known, off_m, probability):
    assert known.answers(off_m, probability=probability).reason == 'low probability'


def test_uncertainty_alone_makes_no_witness(known):
    """An uncertain pose agrees easily, but 15 cm off it is not right and not confirmed."""
    uncertain = np.diag([0.049**2] * 3 + [0.001] * 3)
    told = known.answers(0.15, probability=0.95).diagnostics
    doubtful = Rejection(
        'low probability', 'a little', replace(told, refined_covariance=uncertain)
    )
    stamp_ns = round(known.time_s * SECOND)
    judged = known.check.check(doubtful, stamp_ns, BASE_FROM_CAMERA, CONFIG)
    assert isinstance(judged, Rejection)
    assert judged.diagnostics.scores['odometry_agreeing'] >= 3


def test_two_earlier_poses_confirm_nothing(robot):
    for _ in range(2):
        robot.is_published()
        robot.drives(0.2)
    assert not robot.is_published(probability=0.99)


def test_many_pictures_of_one_place_are_one_witness(robot):
    for _ in range(10):
        assert robot.is_published()
        robot.drives(0.0)
    assert not robot.is_published(probability=0.99)


def test_poses_are_no_witnesses_from_where_the_odometry_drifts_too_far(known):
    known.drives(0.5)  # 0.7 m from the last, 1.3 m from the first: 5 % are more than 5 cm
    assert not known.is_published(probability=0.99)


def test_what_was_confirmed_confirms_nothing_itself(known):
    for _ in range(3):
        assert known.is_published(probability=0.93)
        known.drives(0.15)
    # Of the four that the gate believed two are more than a metre behind now.
    assert not known.is_published(probability=0.93)


def test_one_wrong_answer_is_held_back_and_changes_nothing(known):
    assert not known.is_published(1.0)
    known.drives(0.2)
    assert known.is_published()


def test_a_wrong_first_answer_is_overruled_by_three_that_agree(robot):
    assert robot.is_published(1.0)
    said = []
    for _ in range(5):
        robot.drives(0.2)
        said.append(robot.is_published())
    assert said == [False, False, True, True, True]


def test_a_robot_that_was_carried_away_is_found_again(known):
    said = []
    for _ in range(5):  # its wheels did not notice: 2 m beside where the odometry has it
        known.drives(0.1)
        said.append(known.is_published(2.0))
    assert said == [False, False, True, True, True]


def test_a_robot_that_was_carried_away_and_stands_is_found_after_seconds(known):
    said = []
    for _ in range(25):
        known.drives(0.0, seconds=0.1)
        said.append(known.is_published(2.0))
    assert said == [False] * 20 + [True] * 5


def test_wrong_answers_that_do_not_agree_with_each_other_replace_nothing(known):
    for off_m in (1.0, 2.0, 3.0, 1.5, 2.5, 0.5):
        known.drives(0.1)
        assert not known.is_published(off_m)
    assert known.is_published()


def test_wrong_answers_between_right_ones_replace_nothing(known):
    for _ in range(4):
        known.drives(0.1)
        assert not known.is_published(2.0)
        known.drives(0.1)
        assert known.is_published()


def test_without_odometry_near_the_stamp_nothing_is_compared(known):
    known.time_s += 1.0
    outcome = known.answers(2.0)
    assert isinstance(outcome, PoseEstimate)
    assert 'odometry_compared' not in outcome.diagnostics.scores


def test_rejections_for_other_reasons_stay_as_they_are(known):
    dark = Rejection('low contrast', 'contrast 2')
    assert known.check.check(dark, round(known.time_s * SECOND), make_pose(), CONFIG) is dark


def test_all_is_forgotten_when_time_jumps_back(known):
    known.time_s = -20.0
    known.drives(0.0)
    assert known.is_published(2.0)


def test_a_picture_that_comes_late_is_compared_as_any_other(known):
    assert known.is_published()
    assert not known.is_published(4.0, late_s=0.05)
    assert known.is_published(late_s=0.05)
    known.drives(0.2)
    assert not known.is_published(4.0)
    assert known.is_published()


def test_the_earlier_poses_are_forgotten_on_request(known):
    known.check.reset()
    assert known.is_published(2.0)


def test_between_two_messages_the_odometry_is_interpolated():
    track = OdometryBuffer()
    track.add(SECOND, make_pose())
    track.add(2 * SECOND, make_pose(Rotation.from_euler('z', 40, degrees=True), (1.0, 0, 0)))
    reading = track.sample_at(3 * SECOND // 2, tolerance_s=0.5)
    halfway = make_pose(Rotation.from_euler('z', 20, degrees=True), (0.5, 0, 0))
    assert reading.odom_from_body == pytest.approx(halfway)
    assert (reading.path_length_m, reading.total_rotation_deg) == pytest.approx((0.5, 20.0))
    assert track.sample_at(3 * SECOND // 2, tolerance_s=0.4) is None
    assert OdometryBuffer().sample_at(SECOND, tolerance_s=9.0) is None


def test_a_picture_that_is_newer_than_the_odometry_is_carried_on_with_the_motion():
    track = OdometryBuffer()
    for k in range(5):
        turn = Rotation.from_euler('z', 6.0 * k, degrees=True)
        track.add(k * SECOND // 10, make_pose(turn, (0.1 * k, 0, 0)))
    reading = track.sample_at(4 * SECOND // 10 + SECOND // 20, tolerance_s=0.1)
    turned = Rotation.from_matrix(reading.odom_from_body[:3, :3]).as_euler('zyx', degrees=True)[0]
    assert turned == pytest.approx(27.0)
    assert np.linalg.norm(reading.odom_from_body[:3, 3] - (0.45, 0, 0)) < 0.03
    assert (reading.path_length_m, reading.total_rotation_deg) == pytest.approx((0.45, 27.0))


def test_a_long_silence_is_not_bridged_however_near_its_end_is():
    track = OdometryBuffer()
    track.add(SECOND, make_pose())
    track.add(2 * SECOND, make_pose(None, (1.0, 0, 0)))
    assert track.sample_at(2 * SECOND - SECOND // 100, tolerance_s=0.1) is None
    assert track.sample_at(2 * SECOND, tolerance_s=0.1).path_length_m == pytest.approx(1.0)


def test_noise_while_standing_is_no_path_and_a_slow_drive_is_one():
    rng, track = np.random.default_rng(0), OdometryBuffer()
    for k in range(1000):
        track.add(k * SECOND // 100, make_pose(None, rng.normal(0, 0.001, 3)))
    assert track.sample_at(9 * SECOND, 0.1).path_length_m == 0.0
    for k in range(1000):  # a millimetre in a hundredth of a second
        track.add(10 * SECOND + k * SECOND // 100, make_pose(None, (0.001 * k, 0, 0)))
    assert track.sample_at(20 * SECOND, 0.1).path_length_m == pytest.approx(1.0, abs=0.02)


def test_a_message_that_was_overtaken_is_left_out():
    track = OdometryBuffer()
    track.add(2 * SECOND, make_pose())
    assert track.add(2 * SECOND - 1, make_pose(None, (9.0, 0, 0)))
    assert track.sample_at(2 * SECOND, 0.1).odom_from_body == pytest.approx(make_pose())
    assert not track.add(SECOND // 2, make_pose(None, (5.0, 0, 0)))  # that is no delay any more
    assert track.sample_at(SECOND // 2, 0.1).odom_from_body[0, 3] == 5.0
