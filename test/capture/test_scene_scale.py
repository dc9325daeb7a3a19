"""Lengths of a build follow the depth of the scene, unless the user sets them."""

import numpy as np
import pytest
from rooms import walk
from small_room import write_bag

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.scene_scale import (
    estimate_scene_depth,
    ROOM_DEPTH_M,
    settings_for_scene,
)
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import BuildConfig, SynthesisConfig, VoxelFieldConfig


def open_walk(path, *, depth=True):
    return open_capture(write_bag(path, walk(8), depth=depth), CaptureConfig())


def test_the_depth_of_a_scene_is_that_of_its_frames(tmp_path):
    capture = open_walk(tmp_path / 'walk')
    means = [frame.depth[frame.depth > 0].mean() for frame in capture]
    assert estimate_scene_depth(capture) == pytest.approx(np.mean(means), rel=1e-4)


def test_a_capture_without_depth_is_taken_for_a_room(tmp_path):
    assert estimate_scene_depth(open_walk(tmp_path / 'walk', depth=False)) == ROOM_DEPTH_M


@pytest.mark.parametrize('depth_m', [0.3, 2.0, 8.0], ids=['close-up', 'room', 'hall'])
def test_unset_lengths_are_fractions_of_the_depth(depth_m):
    config = settings_for_scene(BuildConfig(), depth_m)
    lengths = np.array(
        [
            config.field.voxel_m,
            config.synthesis.translation_m,
            config.synthesis.clearance_m,
            config.synthesis.near_m,
        ]
    )
    np.testing.assert_allclose(lengths / depth_m, [0.005, 0.25, 0.075, 0.125])


def test_lengths_of_the_user_stay():
    config = BuildConfig(
        field=VoxelFieldConfig(voxel_m=0.02), synthesis=SynthesisConfig(near_m=0.4)
    )
    scaled = settings_for_scene(config, 0.3)
    assert scaled.field.voxel_m == 0.02 and scaled.synthesis.near_m == 0.4
    assert scaled.synthesis.clearance_m == pytest.approx(0.0225)
