"""Scale and offset of depth are estimated from triangulated keypoints."""

import numpy as np
import pytest
from room_bags import write_room_bag
from rooms import walk

from nerf_reversal_ros.capture.capture import Capture, DepthCorrection
from nerf_reversal_ros.capture.depth_calibration import estimate_depth_correction
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig

CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)


@pytest.fixture(scope='module')
def capture(tmp_path_factory) -> Capture:
    bag = write_room_bag(
        tmp_path_factory.mktemp('walk') / 'bag', walk(60)[:30], CAMERA, up_axis='z'
    )
    return open_capture(bag, CaptureConfig())


def estimate(capture):
    return estimate_depth_correction(capture, np.arange(len(capture)))


def test_correct_depth_is_not_changed(capture):
    correction = estimate(capture)
    assert (correction.scale, correction.offset_m) == (1.0, 0.0)
    assert correction.points > 300 and correction.error_m is not None and correction.error_m < 0.02


@pytest.mark.parametrize(('scale', 'offset_m'), [(1.03, -0.04), (1.06, 0.0), (0.94, 0.02)])
def test_scale_and_offset_of_wrong_depth_are_corrected(capture, scale, offset_m):
    correction = estimate(capture.with_depth_correction(DepthCorrection(scale, offset_m)))
    depth = np.array([1.5, 3.0])
    measured = scale * depth + offset_m
    np.testing.assert_allclose(correction.scale * measured + correction.offset_m, depth, atol=0.01)
    assert correction.corrected_error_m < 0.6 * correction.error_m


def test_an_implausible_correction_is_not_applied(capture):
    implausible = estimate(capture.with_depth_correction(DepthCorrection(1.0, 0.13)))
    assert (implausible.scale, implausible.offset_m) == (1.0, 0.0)


@pytest.mark.parametrize('frames', [0, 1, 2, 4])
def test_too_few_frames_give_no_correction(capture, frames):
    correction = estimate_depth_correction(capture, np.arange(frames))
    assert (correction.scale, correction.offset_m) == (1.0, 0.0) and correction.points < 300


def test_unknown_depth_stays_unknown():
    depth = np.array([[0.0, 2.0], [0.05, 1.0]], np.float32)
    corrected = DepthCorrection(1.0, -0.1).apply(depth)
    np.testing.assert_allclose(corrected, [[0.0, 1.9], [0.0, 0.9]], atol=1e-6)


def test_the_correction_is_applied_to_frames(capture):
    original = capture.frame(3).depth
    corrected = capture.with_depth_correction(DepthCorrection(1.1, 0.0)).frame(3).depth
    np.testing.assert_allclose(corrected, 1.1 * original, rtol=1e-5)
