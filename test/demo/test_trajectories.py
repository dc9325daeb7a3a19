"""The paths of the camera through the rooms of the renderer."""

import numpy as np
import pytest

from demo.rooms.demo_room import SPEC
from demo.trajectories import KeyPath, sample_off_trajectory, sample_trajectory
from nerf_reversal_ros.core.geometry import pose_errors


def test_a_path_goes_through_its_keys_and_looks_along_the_heading():
    keys = ((1.0, 1.0, 1.5, 0, 0), (3.0, 1.0, 1.5, 90, -10))
    poses = sample_trajectory(KeyPath(keys, sway=0.0), 50, 0.0, seed=1).room_from_camera
    assert poses[0, :3, 3] == pytest.approx([1.0, 1.0, 1.5], abs=0.05)
    assert poses[-1, :3, 3] == pytest.approx([3.0, 1.0, 1.5], abs=0.05)
    pitch = np.radians(-10)
    assert poses[-1, :3, 2] == pytest.approx([0, np.cos(pitch), np.sin(pitch)], abs=0.03)


def test_frames_that_are_far_apart_are_not_blurred_more():
    keys = ((1.0, 1.0, 1.5, 0, 0), (9.0, 1.0, 1.5, 0, 0))
    walk = sample_trajectory(KeyPath(keys, sway=0.0), 9, 1.0, seed=1)
    errors = pose_errors(walk.exposures[:, 0], walk.exposures[:, -1])
    assert 0.005 < errors.translation.max() < 0.027  # 13 % of 20 cm, not of the meter between


@pytest.mark.parametrize('distance_m', [0.5, 1.0])
def test_off_path_poses_have_the_requested_distance_from_the_trajectory(distance_m):
    mapping = SPEC.recordings['walk'].trajectory()
    poses = sample_off_trajectory(mapping, SPEC.size_m, distance_m, 12, seed=3)
    offsets = poses[:, None, :3, 3] - mapping.room_from_camera[:, :3, 3]
    nearest = np.linalg.norm(offsets, axis=-1).min(axis=1)
    assert nearest == pytest.approx(np.full(12, distance_m), abs=0.05)
    assert (poses[:, :3, 3] > 0.25).all() and (poses[:, :3, 3] < (4.25, 3.55, 2.25)).all()
