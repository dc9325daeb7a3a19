"""A depth sensor that is off is found out by the pictures."""

import numpy as np
import pytest
from room_bags import write_room_bag
from rooms import walk

from nerf_reversal_ros.capture.capture import Capture, DepthCorrection, open_capture
from nerf_reversal_ros.capture.depth_calibration import estimate_depth_correction
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import CaptureConfig

CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)


@pytest.fixture(scope='module')
def capture(tmp_path_factory) -> Capture:
    bag = write_room_bag(tmp_path_factory.mktemp('walk') / 'bag', walk(60), CAMERA, up_axis='z')
    return open_capture(bag, CaptureConfig())


def calibrated(capture):
    return estimate_depth_correction(capture, np.arange(len(capture)))


def test_right_depth_is_left_alone(capture):
    found = calibrated(capture)
    assert (found.scale, found.offset_m) == (1.0, 0.0)
    assert found.points > 300 and found.error_m is not None and found.error_m < 0.02


@pytest.mark.parametrize(('scale', 'offset_m'), [(1.03, -0.04), (1.06, 0.0), (0.94, 0.02)])
def test_depth_that_is_off_is_set_right(capture, scale, offset_m):
    found = calibrated(capture.with_depth_correction(DepthCorrection(scale, offset_m)))
    depth = np.array([1.5, 3.0])
    measured = scale * depth + offset_m
    np.testing.assert_allclose(found.scale * measured + found.offset_m, depth, atol=0.01)
    assert found.corrected_error_m < 0.6 * found.error_m


def test_what_cannot_be_believed_is_not_applied(capture):
    far_off = calibrated(capture.with_depth_correction(DepthCorrection(1.0, 0.13)))
    assert (far_off.scale, far_off.offset_m) == (1.0, 0.0)


@pytest.mark.parametrize('frames', [0, 1, 2, 4])
def test_too_little_to_see_gives_no_correction(capture, frames):
    found = estimate_depth_correction(capture, np.arange(frames))
    assert (found.scale, found.offset_m) == (1.0, 0.0) and found.points < 300


def test_unknown_depth_stays_unknown():
    depth = np.array([[0.0, 2.0], [0.05, 1.0]], np.float32)
    corrected = DepthCorrection(1.0, -0.1).apply(depth)
    np.testing.assert_allclose(corrected, [[0.0, 1.9], [0.0, 0.9]], atol=1e-6)


def test_frames_carry_the_correction(capture):
    as_it_is = capture.frame(3).depth
    corrected = capture.with_depth_correction(DepthCorrection(1.1, 0.0)).frame(3).depth
    np.testing.assert_allclose(corrected, 1.1 * as_it_is, rtol=1e-5)
