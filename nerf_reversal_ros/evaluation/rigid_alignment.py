"""
Detect ground truth that is in another frame than the map: one rigid motion explains the poses.

A walk that was recorded in a new session of a phone has its own world. Its ground truth then
differs from the map by one rigid motion. Nothing is aligned in silence: the motion is reported,
and metrics after it stand beside those as they are.
"""

from collections.abc import Callable
import math
from typing import Any, NamedTuple

import numpy as np

from nerf_reversal_ros.core.geometry import FloatArray, pose_errors
from nerf_reversal_ros.core.metrics import correct_mask, MethodResults
from nerf_reversal_ros.core.outcome import CORRECT_WITHIN_DEG, CORRECT_WITHIN_M
from nerf_reversal_ros.core.rigid_motion import count_distinct, fit_motion, MIN_RATIO

MIN_EXPLAINED = 0.6
"""Fraction of the accepted poses that must be correct after the motion: a clear majority."""
MAX_CORRECT_BEFORE = 0.1
"""Fraction of the accepted poses that may be correct before it: more show a common frame."""
MIN_DISTINCT_VIEWS = 4
"""Explained images of clearly different ground truth; four independent poses agree by chance less
often than once in a billion."""


class RigidAlignment(NamedTuple):
    """One rigid motion from the frame of the ground truth to the map."""

    map_from_ground_truth: FloatArray
    """(4, 4) pose; ``map_from_ground_truth @ map_from_camera_gt`` is in the frame of the map."""
    explained: float
    """Fraction of the accepted poses that are correct after the motion."""

    @property
    def translation_m(self) -> float:
        """Distance between the origins of the two frames [m]."""
        return float(np.linalg.norm(self.map_from_ground_truth[:3, 3]))

    @property
    def rotation_deg(self) -> float:
        """Angle between the axes of the two frames [deg]."""
        origin = np.eye(4)[None]
        return math.degrees(pose_errors(self.map_from_ground_truth[None], origin).rotation[0])


def find_rigid_alignment(
    results: MethodResults, map_from_camera_gt: FloatArray
) -> RigidAlignment | None:
    """
    Find the rigid motion that makes incorrect poses correct, by consensus and least squares.

    Each accepted pose proposes the motion that makes it exact. The proposal with the most correct
    poses is fitted again to these poses: mean rotation, and mean position.

    Parameters
    ----------
    results : MethodResults
        Poses or rejections of N images.
    map_from_camera_gt : (N, 4, 4) array
        Ground truth of the same images, in the frame of the map or in another one.

    Returns
    -------
    RigidAlignment or None
        None if the ground truth may be in the frame of the map: poses are correct as they are,
        too few agree on one motion, they show too few distinct views, or the motion is small.
    """
    accepted = results.is_accepted
    poses, poses_gt = results.map_from_camera[accepted], map_from_camera_gt[accepted]
    count = len(poses)
    if count < MIN_DISTINCT_VIEWS:
        return None
    if correct_mask(pose_errors(poses, poses_gt)).mean() > MAX_CORRECT_BEFORE:
        return None
    motion, explained = fit_motion(poses, poses_gt)
    if explained.mean() < MIN_EXPLAINED:
        return None
    if not _moves_cameras(motion, poses_gt[explained]):
        return None
    if count_distinct(poses_gt[explained], MIN_DISTINCT_VIEWS) < MIN_DISTINCT_VIEWS:
        return None
    return RigidAlignment(motion, float(explained.mean()))


def aligned_block(
    alignment: RigidAlignment | None,
    compute: Callable[[FloatArray], dict[str, Any]],
    map_from_camera_gt: FloatArray,
) -> dict[str, Any] | None:
    """
    Return the block ``aligned`` of ``metrics.json``: the motion, and the metrics after it.

    ``compute`` returns metrics for a ground truth (N, 4, 4). Without an alignment it is None.
    """
    if alignment is None:
        return None
    return {
        'map_from_ground_truth': alignment.map_from_ground_truth.tolist(),
        'translation_m': alignment.translation_m,
        'rotation_deg': alignment.rotation_deg,
        'explained': alignment.explained,
        **compute(alignment.map_from_ground_truth @ map_from_camera_gt),
    }


def _moves_cameras(motion: FloatArray, poses_gt: FloatArray) -> bool:
    """Return whether a motion moves half of the cameras by more than an error of the map."""
    moved = pose_errors(motion @ poses_gt, poses_gt)
    is_far = float(np.median(moved.translation)) > MIN_RATIO * CORRECT_WITHIN_M
    is_turned = np.degrees(np.median(moved.rotation)) > MIN_RATIO * CORRECT_WITHIN_DEG
    return bool(is_far or is_turned)
