"""
Scale of a scene: the depth that its capture sees, and settings that follow it.

A voxel of one centimeter suits a room. It is too coarse for a board 30 cm away, and too fine for a
hall. Settings of lengths that the user leaves at 0 are fractions of the depth of the scene.
"""

from dataclasses import replace

import numpy as np

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.sampling import evenly_spaced_indices

MAX_FRAMES = 40
"""Largest number of frames, evenly spaced, whose depth is read."""
ROOM_DEPTH_M = 2.0
"""Depth of a capture without depth images [m]: that of a room."""
MIN_DEPTH_M, MAX_DEPTH_M = 0.1, 20.0
"""Limits of the depth of a scene [m]; beyond them the unit of the depth is in doubt."""
VOXEL = 1 / 200
"""Edge of a voxel, as a fraction of the depth: about two pixels of an image of 640 px."""
TRANSLATION, CLEARANCE, NEAR = 1 / 4, 3 / 40, 1 / 8
"""Synthesis radius, clearance and smallest depth, as fractions of the depth of the scene."""


def estimate_scene_depth(capture: Capture) -> float:
    """
    Return the mean depth of the frames of a capture [m]; `ROOM_DEPTH_M` without depth.

    The mean and not the median: voxels for a near object would be too many for the room behind.
    """
    means = []
    for index in evenly_spaced_indices(len(capture), MAX_FRAMES):
        depth = capture.frame(int(index)).depth
        if depth is not None and (depth > 0).any():
            means.append(float(depth[depth > 0].mean()))
    if not means:
        return ROOM_DEPTH_M
    return float(np.clip(np.mean(means), MIN_DEPTH_M, MAX_DEPTH_M))


def settings_for_scene(config: BuildConfig, scene_depth_m: float) -> BuildConfig:
    """Return settings in which lengths that are 0 follow the depth of the scene [m]."""
    field, synthesis = config.field, config.synthesis
    return replace(
        config,
        field=replace(field, voxel_m=field.voxel_m or VOXEL * scene_depth_m),
        synthesis=replace(
            synthesis,
            translation_m=synthesis.translation_m or TRANSLATION * scene_depth_m,
            clearance_m=synthesis.clearance_m or CLEARANCE * scene_depth_m,
            near_m=synthesis.near_m or NEAR * scene_depth_m,
        ),
    )
