"""``nerf-reversal localize``: the entries of ``poses.json``."""

import json
from pathlib import Path

import numpy as np
import pytest
from room_bags import write_room_bag
from rooms import walk
from scipy.spatial.transform import Rotation
from small_map import CAMERA

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.cli.localize import pose_entry
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.maps.map_folder import Map


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


def test_track_finds_images_that_are_novel_to_the_regressor(
    small_map: Map, tmp_path: Path
) -> None:
    forth, back = walk(96)[23:29], walk(96)[23:29][::-1]
    bags = [
        write_room_bag(tmp_path / name, poses, CAMERA, up_axis='z')
        for name, poses in (('forth', forth), ('back', back))
    ]
    capture = open_capture(bags[0], CaptureConfig())
    localizer = open_localizer(small_map, LocalizerConfig(device='cpu'))
    novelty = []
    for index in range(len(capture)):
        frame = capture.frame(index)
        outcome = localizer.localize(frame.rgb, frame.camera)
        novelty.append(outcome.diagnostics.scores['novelty'])
    first = int(np.argmax(novelty) == 0)  # the bag in which it is not the first that is most novel
    settings = f'hypotheses: 0, retry_size: 0, max_novelty: {novelty[-first] + 1e-4}'
    config, file = tmp_path / 'query.yaml', tmp_path / 'poses.json'

    def count_accepted(settings: str, *options: str) -> int:
        config.write_text(f'localizer: {{{settings}}}')
        command = ['localize', str(small_map.path), str(bags[first]), '--config', str(config)]
        assert main([*command, '--out', str(file), *options]) == 0
        return sum('map_from_camera' in pose for pose in json.loads(file.read_text())['poses'])

    assert 0 < count_accepted(settings) < count_accepted(settings, '--track') == 6
    settings += ', tracking_timeout_s: 0.0'
    assert count_accepted(settings, '--track') == count_accepted(settings)
