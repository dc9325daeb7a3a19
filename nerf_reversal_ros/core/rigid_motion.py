"""
Fit one rigid motion between two frames to poses of the same cameras in both, by consensus.

Each pair of poses proposes the motion that makes it exact. The proposal that explains most pairs
is fitted again to these.
"""

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.geometry import FloatArray, inverse, mean_pose, pose_errors
from nerf_reversal_ros.core.metrics import correct_mask
from nerf_reversal_ros.core.sampling import evenly_spaced_indices

MIN_RATIO = 2.0
"""How many times the limits of a correct pose distinct views must be apart."""
MAX_PROPOSALS = 200
"""Pairs of poses that propose a motion, evenly spaced, at most: it bounds the time."""
MAX_REFITS = 10
"""Fits to the explained poses, at most; they settle after two or three."""


def fit_motion(poses: FloatArray, poses_gt: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """
    Fit the motion of the ground truth that makes most poses correct.

    Parameters
    ----------
    poses, poses_gt : (N, 4, 4) arrays
        Estimated poses and ground truth of N images, at least one.

    Returns
    -------
    (4, 4) array, (N,) array
        ``map_from_ground_truth``, and which poses are correct after it.
    """
    proposals = poses @ inverse(poses_gt)
    indices = evenly_spaced_indices(len(poses), MAX_PROPOSALS)
    masks = [_explained_mask(proposals[index], poses, poses_gt) for index in indices]
    best = int(np.argmax([mask.sum() for mask in masks]))
    motion, explained = proposals[indices[best]], masks[best]
    for _ in range(MAX_REFITS):
        refitted = _least_squares_motion(poses[explained], poses_gt[explained])
        mask = _explained_mask(refitted, poses, poses_gt)
        if mask.sum() < explained.sum():
            break
        is_settled = bool((mask == explained).all())
        motion, explained = refitted, mask
        if is_settled:
            break
    return motion, explained


def _least_squares_motion(poses: FloatArray, poses_gt: FloatArray) -> FloatArray:
    """Return the motion (4, 4) of the mean rotation that brings the mean positions together."""
    motion = mean_pose(poses @ inverse(poses_gt))
    motion[:3, 3] = poses[:, :3, 3].mean(0) - motion[:3, :3] @ poses_gt[:, :3, 3].mean(0)
    return motion


def _explained_mask(
    motion: FloatArray, poses: FloatArray, poses_gt: FloatArray
) -> NDArray[np.bool_]:
    """Return which poses (N,) are correct after a motion (4, 4) of their ground truth."""
    return correct_mask(pose_errors(poses, motion @ poses_gt))


def count_distinct(poses_gt: FloatArray, limit: int) -> int:
    """Count poses (N, 4, 4) that are far from each other, up to a limit."""
    distinct = poses_gt[:1]
    for pose in poses_gt[1:]:
        errors = pose_errors(np.broadcast_to(pose, distinct.shape), distinct)
        is_near = correct_mask(errors, ratio=MIN_RATIO)
        if not is_near.any():
            distinct = np.concatenate([distinct, pose[None]])
        if len(distinct) == limit:
            break
    return len(distinct)
