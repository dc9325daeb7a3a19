"""Poses are predicted from the last accepted ones, and a wrong prediction costs no pose."""

import numpy as np
import pytest
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation
from small_map import CAMERA

from nerf_reversal_ros.core.geometry import make_pose, pose_distance
from nerf_reversal_ros.core.outcome import Diagnostics, PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.localization.tracking import PoseTracker

SECOND = 1_000_000_000
TIMEOUT_S = 1.0
HIDDEN = Rejection(RejectionReason.LOW_CONTRAST)


def accepted(x_m, yaw_deg=0.0, room=None, frame='map'):
    rotation = Rotation.from_euler('z', yaw_deg, degrees=True)
    diagnostics = Diagnostics(room=room, frame=frame)
    return PoseEstimate(make_pose(rotation, (x_m, 0, 0)), np.eye(6), diagnostics)


def tracker_of(*outcomes):
    """Return a tracker with outcomes of images, as pairs of stamp [s] and outcome."""
    tracker = PoseTracker()
    for stamp_s, outcome in outcomes:
        tracker.add(outcome, round(stamp_s * SECOND))
    return tracker


def predict(tracker, stamp_s, motion_between=None):
    return tracker.predict(round(stamp_s * SECOND), TIMEOUT_S, motion_between)


def test_nothing_is_expected_before_the_first_accepted_pose():
    assert predict(PoseTracker(), 1.0) is None
    assert predict(tracker_of((1.0, HIDDEN)), 1.1) is None


def test_one_pose_is_expected_again():
    expected = predict(tracker_of((1.0, accepted(2.0)), (1.1, HIDDEN)), 1.2)
    assert expected == pytest.approx(make_pose(None, (2.0, 0, 0)))


def test_two_poses_are_continued_at_constant_velocity():
    tracker = tracker_of((1.0, accepted(0.0)), (1.2, accepted(0.1)), (1.3, HIDDEN))
    assert predict(tracker, 1.4) == pytest.approx(make_pose(None, (0.2, 0, 0)))
    turning = tracker_of((1.0, accepted(0.0, 10)), (1.1, accepted(0.0, 14)))
    yaw_deg = Rotation.from_matrix(predict(turning, 1.15)[:3, :3]).as_euler('zyx', degrees=True)[0]
    assert yaw_deg == pytest.approx(16.0)


def test_velocity_is_continued_for_two_intervals_at_most():
    tracker = tracker_of((1.0, accepted(0.0)), (1.1, accepted(0.1)))
    assert predict(tracker, 1.9)[0, 3] == pytest.approx(0.3)


def test_poses_farther_apart_than_the_timeout_give_no_velocity():
    tracker = tracker_of((1.0, accepted(0.0)), (3.0, accepted(0.5)))
    assert predict(tracker, 3.5)[0, 3] == pytest.approx(0.5)


@pytest.mark.parametrize('jump', [accepted(1.0), accepted(0.02, 90.0)])
def test_a_pose_that_no_motion_explains_starts_anew(jump):
    tracker = tracker_of((1.0, accepted(0.0)), (1.1, accepted(0.01)), (1.2, jump))
    assert predict(tracker, 1.3) == pytest.approx(jump.map_from_camera)


def test_poses_in_the_frames_of_two_rooms_give_no_velocity():
    hall, lab = (accepted(0.0, 0.0, 'hall'), accepted(0.1, 0.0, 'lab', 'lab'))
    tracker = tracker_of((1.0, hall), (1.1, lab))
    assert predict(tracker, 1.2)[0, 3] == pytest.approx(0.1)
    assert tracker.room == 'lab'
    tracker = tracker_of((1.0, hall), (1.1, accepted(0.1, 0.0, 'office')))  # both are in map
    assert predict(tracker, 1.2)[0, 3] == pytest.approx(0.2)
    assert (tracker.room, PoseTracker().room) == ('office', None)


def test_a_pose_older_than_the_timeout_is_not_expected():
    tracker = tracker_of((1.0, accepted(2.0)))
    assert predict(tracker, 2.0) is not None
    assert predict(tracker, 2.001) is None
    assert tracker.predict(SECOND + 1, 0.0) is None


def test_stamps_that_go_back_discard_the_poses():
    tracker = tracker_of((9.0, accepted(2.0)))
    assert predict(tracker, 8.9) is None
    tracker.add(HIDDEN, 5 * SECOND)
    assert predict(tracker, 9.1) is None
    tracker = tracker_of((9.0, accepted(2.0)), (5.0, accepted(3.0)))
    assert predict(tracker, 5.1) == pytest.approx(make_pose(None, (3.0, 0, 0)))


def test_images_without_stamps_are_not_tracked():
    assert predict(tracker_of((0.0, accepted(2.0))), 0.0) is None


def test_reset_discards_the_poses():
    tracker = tracker_of((1.0, accepted(2.0)))
    tracker.reset()
    assert predict(tracker, 1.1) is None


def test_odometry_moves_the_pose_and_constant_velocity_stands_in_for_it():
    tracker = tracker_of((1.0, accepted(0.0, 90)), (1.2, accepted(0.1, 90)))
    stamps = []

    def forward(*stamps_ns):
        stamps.append(stamps_ns)
        return make_pose(None, (0.3, 0, 0))

    assert predict(tracker, 1.4, forward)[:3, 3] == pytest.approx((0.1, 0.3, 0.0))
    assert stamps == [(1_200_000_000, 1_400_000_000)]
    assert predict(tracker, 1.4, lambda *_: None)[:3, 3] == pytest.approx((0.2, 0.0, 0.0))


def track(localizer, poses, period_s=0.1):
    """Localize images at poses in their order; return the expected poses and the outcomes."""
    tracker, expected_poses, outcomes = PoseTracker(), [], []
    for number, pose in enumerate(poses, start=1):
        stamp_ns = round(number * period_s * SECOND)
        expected_poses.append(tracker.predict(stamp_ns, TIMEOUT_S))
        image = render_box_room(pose, CAMERA)[0]
        outcomes.append(localizer.localize(image, CAMERA, expected_pose=expected_poses[-1]))
        tracker.add(outcomes[-1], stamp_ns)
    return expected_poses, outcomes


def test_on_a_smooth_trajectory_the_prediction_is_near_the_pose(small_localizer):
    poses = walk(400)[40:46]
    expected_poses, outcomes = track(small_localizer, poses)
    assert all(isinstance(outcome, PoseEstimate) for outcome in outcomes)
    assert expected_poses[0] is None
    for expected, pose in zip(expected_poses[2:], poses[2:], strict=True):
        distance_m, angle_deg = pose_distance(expected, pose)
        assert distance_m < 0.1 and angle_deg < 3.0


@pytest.mark.parametrize('period_s', [0.1, 0.9])
def test_a_camera_that_was_carried_away_is_found_within_two_images(small_localizer, period_s):
    here, there = walk(37)[3:5], walk(37)[20:22]
    _, outcomes = track(small_localizer, [*here, *there], period_s)
    assert isinstance(outcomes[1], PoseEstimate)
    assert any(isinstance(outcome, PoseEstimate) for outcome in outcomes[2:])
    for outcome, pose in zip(outcomes, [*here, *there], strict=True):
        if isinstance(outcome, PoseEstimate):
            assert pose_distance(outcome.map_from_camera, pose)[0] < 0.05
