"""``nerf-reversal localize``: the entries of ``poses.json``."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.cli.localize import pose_entry
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection


def test_the_entry_of_an_accepted_image_holds_stamp_pose_and_covariance() -> None:
    map_from_camera = make_pose(Rotation.from_euler('z', 180, degrees=True), (1, 2, 3))
    entry = pose_entry(1_700_000_000_123_456_789, PoseEstimate(map_from_camera, np.eye(6)))
    assert entry['stamp_ns'] == 1_700_000_000_123_456_789
    assert entry['stamp'] == {'sec': 1_700_000_000, 'nanosec': 123_456_789}
    assert entry['map_from_camera']['position'] == [1, 2, 3]
    assert entry['map_from_camera']['orientation_xyzw'] == pytest.approx([0, 0, 1, 0])
    assert entry['covariance'] == np.eye(6).tolist()
    json.dumps(entry)


def test_the_entry_of_a_rejected_image_holds_the_reason() -> None:
    entry = pose_entry(5, Rejection('too few inliers', '12 < 30'))
    assert entry['rejected'] == 'too few inliers' and entry['detail'] == '12 < 30'
    assert 'map_from_camera' not in entry
