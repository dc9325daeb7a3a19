"""Poses are adjusted where held-out feature tracks confirm it, and the camera is checked."""

import sys

import numpy as np
import pytest
from room_bags import write_room_bag
from rooms import walk
from track_scenes import circling_poses, drift, make_tracks, shake

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import make_pose, pose_errors
from nerf_reversal_ros.core.progress import no_progress
from nerf_reversal_ros.mapping.build_stages import adjustment_stage
from nerf_reversal_ros.mapping.pose_adjustment import (
    adjust_poses,
    adjust_to_tracks,
    AdjustmentReport,
)
from nerf_reversal_ros.mapping.trajectory_alignment import align_to_given, estimate_noise
from nerf_reversal_ros.maps.map_writer import MapWriter

pytest.importorskip('gtsam', reason='pip install -r requirements/loop_closer.txt')

POSES = circling_poses()
STAMPS_NS = np.arange(len(POSES)) * 33_000_000
CAMERA = Camera(200, 150, 160.0, 160.0, 99.5, 74.5)
COUNT = 24


def adjust(given, **scene):
    tracks = make_tracks(POSES, **scene)
    return adjust_to_tracks(tracks, given, STAMPS_NS, AdjustmentReport(), seed=0)


def error_m(poses):
    """Return the median distance from the true positions after a rigid alignment [m]."""
    aligned = align_to_given(poses, POSES, 1.0)
    return float(np.median(pose_errors(aligned, POSES).translation))


def test_noisy_poses_become_ten_times_as_accurate():
    given = shake(POSES, 0.01, 0.4)
    adjusted, report = adjust(given)
    assert report.kept and report.adjusted_error_px < 0.2 * report.error_px
    assert error_m(adjusted) < 0.1 * error_m(given)
    assert report.focal_scale == pytest.approx(1, abs=0.005)
    assert 0.005 < report.median_change_m < report.max_change_m < 0.1
    assert report.noise_m == pytest.approx(0.01, rel=0.3)
    assert report.noise_deg == pytest.approx(0.4, rel=0.3)


def test_an_error_that_all_poses_share_is_no_noise():
    moved = make_pose(translation=(0.05, 0, 0)) @ POSES
    assert estimate_noise(moved, POSES) == pytest.approx((0, 0), abs=1e-6)
    assert estimate_noise(shake(POSES, 0.02, 1), POSES) == pytest.approx((0.02, 1), rel=0.3)


def test_half_the_variance_of_a_slow_difference_is_noise_and_a_jump_is_none():
    count = 100
    poses = np.repeat(np.eye(4)[None], count, axis=0)
    drifting = poses.copy()
    drifting[:, 0, 3] = 0.04 * np.sin(np.linspace(0, 2 * np.pi, count))
    # Of an amplitude, the root mean square is 1 / sqrt(2); of three axes, one drifts.
    noise_m, noise_deg = estimate_noise(drifting, poses)
    assert noise_m == pytest.approx(0.04 / np.sqrt(2) / np.sqrt(2) / np.sqrt(3), rel=0.1)
    assert noise_deg == 0
    drifting[50, 0, 3] = 5.0
    assert estimate_noise(drifting, poses)[0] == pytest.approx(noise_m, rel=0.2)


def test_drifting_poses_are_adjusted():
    given = drift(POSES, 0.004, 0.2)
    adjusted, report = adjust(given)
    assert report.kept and error_m(adjusted) < 0.25 * error_m(given)


def test_accurate_poses_are_not_changed():
    _, report = adjust(POSES)
    assert not report.kept
    assert report.reason.endswith('(needed: 20%)')


def test_the_adjusted_walk_stays_in_the_frame_of_the_given_one():
    far = make_pose(None, (100.0, -50.0, 3.0))
    given = far @ shake(POSES, 0.01, 0.4)
    adjusted, _ = adjust(given)
    np.testing.assert_allclose(adjusted[:, :3, 3].mean(0), given[:, :3, 3].mean(0), atol=1e-6)


def test_distortion_that_camera_info_does_not_know_is_no_wrong_focal_length():
    _, report = adjust(shake(POSES, 0.01, 0.4), distortion=-0.03)
    assert report.kept and report.focal_scale == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize('focal_scale', [0.9, 0.97, 1.04, 1.15])
def test_a_wrong_focal_length_stops_the_build(focal_scale):
    message = r'the images fit a focal length of (\d\.\d+) times that of camera_info .*: calibrate'
    with pytest.raises(BuildError, match=message) as error:
        adjust(shake(POSES, 0.003, 0.1), focal_scale=focal_scale)
    measured = float(str(error.value).split('focal length of ')[1].split()[0])
    assert measured == pytest.approx(focal_scale, abs=0.01)


def test_too_few_tracks_change_nothing():
    given = shake(POSES, 0.01, 0.4)
    adjusted, report = adjust(given, points=40)
    assert not report.kept and report.reason.startswith('only ')
    assert adjusted is given


@pytest.fixture(scope='module')
def shaken_capture(tmp_path_factory):
    poses = walk(COUNT)
    bag = tmp_path_factory.mktemp('walk') / 'bag'
    write_room_bag(bag, poses, CAMERA, world_from_camera=shake(poses, 0.02, 0.7), up_axis='z')
    return open_capture(bag, CaptureConfig())


def test_the_poses_of_a_bag_are_adjusted_to_its_images(shaken_capture):
    result = adjust_poses(shaken_capture)
    assert result.report.kept and not result.warnings
    errors = []
    for poses in (shaken_capture.map_from_camera, result.map_from_camera):
        aligned = align_to_given(poses, walk(COUNT), 1.0)
        errors.append(np.median(pose_errors(aligned, walk(COUNT)).translation))
    assert errors[1] < 0.3 * errors[0]


def test_without_gtsam_the_warning_names_the_installation_command(shaken_capture, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gtsam', None)
    result = adjust_poses(shaken_capture)
    assert not result.report.kept
    np.testing.assert_array_equal(result.map_from_camera, shaken_capture.map_from_camera)
    assert 'the adjustment of poses needs gtsam' in result.warnings[0]
    assert 'pip install' in result.warnings[0]


def test_a_resumed_build_takes_the_adjusted_poses_that_it_stored(
    shaken_capture, tmp_path, monkeypatch
):
    inputs = shaken_capture, BuildConfig()
    with MapWriter(tmp_path / 'room.map', {}) as writer:
        first = adjustment_stage(*inputs, writer, no_progress)
    monkeypatch.setitem(sys.modules, 'gtsam', None)
    with MapWriter(tmp_path / 'room.map', {}) as writer:
        resumed = adjustment_stage(*inputs, writer, no_progress)
    assert first.report.kept and resumed.report == first.report
    np.testing.assert_array_equal(resumed.map_from_camera, first.map_from_camera)


def test_the_setting_off_takes_the_poses_as_they_are(shaken_capture, tmp_path):
    config = BuildConfig(capture=CaptureConfig(adjust_poses='off'))
    with MapWriter(tmp_path / 'room.map', {}) as writer:
        result = adjustment_stage(shaken_capture, config, writer, no_progress)
    assert result.report == AdjustmentReport()
    np.testing.assert_array_equal(result.map_from_camera, shaken_capture.map_from_camera)


def test_the_adjustment_is_repeatable():
    given = shake(POSES, 0.01, 0.4)
    np.testing.assert_array_equal(adjust(given)[0], adjust(given)[0])


def test_poses_that_are_late_are_told_with_their_time_offset():
    poses = circling_poses(60)
    late = np.concatenate([poses[:2], poses[:-2]])
    tracks, stamps_ns = make_tracks(poses), np.arange(60) * 33_000_000
    _, report = adjust_to_tracks(tracks, late, stamps_ns, AdjustmentReport(), seed=0)
    assert report.kept and report.time_offset_s == pytest.approx(0.066, abs=0.015)


def test_a_capture_of_few_frames_is_not_adjusted(tmp_path):
    capture = open_capture(write_room_bag(tmp_path / 'bag', walk(8), CAMERA), CaptureConfig())
    result = adjust_poses(capture)
    assert result.report.reason == f'the capture has only {len(capture)} frames'
