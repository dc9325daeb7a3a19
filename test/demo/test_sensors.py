"""The simulated depth sensors and trackers of the renderer."""

import numpy as np
import pytest

from demo.raw_frame import RawFrame
from demo.sensors import DepthSensor, measure_depth
from demo.trackers import Tracker
from nerf_reversal_ros.core.geometry import inverse

QUIET = Tracker(slow_m=0.0, slow_deg=0.0, white_m=0.0, white_deg=0.0)


def wall(depth_m: np.ndarray) -> RawFrame:
    """Make a frame that sees a bright, dull surface head-on at a depth (h, w)."""
    shape = depth_m.shape
    return RawFrame(
        np.ones((*shape, 3), np.float32),
        depth_m.astype(np.float32),
        np.full(shape, 0.5, np.float32),
        np.ones(shape, np.float32),
        np.zeros(shape, bool),
    )


def straight_walk(count: int = 1000) -> np.ndarray:
    """Make poses (N, 4, 4) 10 cm apart along x that do not rotate."""
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3] = 0.1 * np.arange(count)
    return poses


@pytest.mark.parametrize('depth_m, known', [(0.2, 0.0), (0.4, 1.0), (4.8, 1.0), (5.2, 0.0)])
def test_there_is_no_depth_out_of_range(depth_m, known):
    sensor = DepthSensor(near_m=0.3, far_m=5.0)
    depth = measure_depth(wall(np.full((40, 60), depth_m)), sensor, np.random.default_rng(1))
    assert np.mean(depth > 0) == known


@pytest.mark.parametrize('depth_m, std_m', [(1.0, 0.003), (4.0, 0.018)])
def test_the_error_of_depth_grows_with_the_square_of_the_range(depth_m, std_m):
    sensor = DepthSensor(std_m=0.002, std_per_m=0.001, white=0.0)
    frame = wall(np.full((200, 200), depth_m))
    depth = measure_depth(frame, sensor, np.random.default_rng(2))
    assert depth.std() == pytest.approx(std_m, rel=0.02)


def test_white_noise_of_a_tracker_has_the_given_size():
    tracker = Tracker(slow_m=0.0, slow_deg=0.0, white_m=0.005, white_deg=0.4)
    true = straight_walk()
    errors = tracker.track(true, np.random.default_rng(3))[:, :3, 3] - true[:, :3, 3]
    assert errors.std(axis=0) == pytest.approx([0.005] * 3, rel=0.1)
    assert np.corrcoef(errors[:-1, 0], errors[1:, 0])[0, 1] == pytest.approx(0, abs=0.1)


def test_drift_is_a_fraction_of_each_relative_pose():
    true = straight_walk()
    tracker = Tracker(**{**vars(QUIET), 'drift_fraction': 0.02})
    tracked = tracker.track(true, np.random.default_rng(4))
    assert tracked[0] == pytest.approx(true[0])
    steps = (inverse(tracked[:-1]) @ tracked[1:])[:, :3, 3] - (0.1, 0.0, 0.0)
    assert steps.std(axis=0) == pytest.approx([0.002] * 3, rel=0.1)
    assert np.linalg.norm(tracked[-1, :3, 3] - true[-1, :3, 3]) > 0.02


def test_a_tracker_without_errors_gives_the_true_poses():
    true = straight_walk(5)
    assert QUIET.track(true, np.random.default_rng(5)) == pytest.approx(true)
