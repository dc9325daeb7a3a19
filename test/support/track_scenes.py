"""Feature tracks of a cloud of points that known cameras see."""

import numpy as np
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import inverse, look_at, make_pose, transform_points
from nerf_reversal_ros.mapping.feature_tracks import FeatureTracks

FOCAL_PX = 400.0
"""Focal length of the synthetic cameras."""


def circling_poses(count=30):
    """Return map_from_camera (count, 4, 4) on an arc around the origin, looking at it."""
    angles = np.linspace(0, 2, count)
    return np.stack(
        [
            look_at(
                np.array([2 * np.cos(a), 2 * np.sin(a), 0.4 * np.sin(5 * a)]),
                np.array([0.3 * np.sin(2 * a), 0.2, 0.1]),
            )
            for a in angles
        ]
    )


def make_tracks(poses, *, points=300, noise_px=0.3, focal_scale=1.0, distortion=0.0, seed=0):
    """
    Observe random points by cameras of given poses, with noise.

    The images have a focal length of ``focal_scale`` times the one that the rays assume.
    """
    rng = np.random.default_rng(seed)
    cloud = rng.uniform(-1, 1, (points, 3)) * [1.0, 1.0, 0.8]
    rays, frame, track, depth_m = [], [], [], []
    for i, pose in enumerate(poses):
        local = transform_points(inverse(pose), cloud)
        ideal = local[:, :2] / local[:, 2:]
        seen = np.all(np.abs(ideal) < [0.8, 0.6], axis=1) & (local[:, 2] > 0.2)
        radius2 = (ideal**2).sum(1, keepdims=True)
        image = focal_scale * ideal * (1 + distortion * radius2)
        rays.append((image + rng.normal(0, noise_px / FOCAL_PX, image.shape))[seen])
        frame.append(np.full(seen.sum(), i))
        track.append(np.flatnonzero(seen))
        depth_m.append(local[seen, 2] * (1 + rng.normal(0, 0.01, seen.sum())))
    order = np.argsort(np.concatenate(track), kind='stable')
    _, numbers = np.unique(np.concatenate(track)[order], return_inverse=True)
    return FeatureTracks(
        np.arange(len(poses)),
        np.concatenate(frame)[order],
        numbers,
        np.concatenate(rays)[order],
        np.concatenate(depth_m)[order],
        np.full(len(poses), FOCAL_PX),
    )


def shake(poses, std_m, std_deg, seed=1):
    """Return poses with independent errors along and about each axis."""
    rng = np.random.default_rng(seed)
    errors = rng.normal(0, 1, (len(poses), 2, 3)) * [[std_m], [np.radians(std_deg)]]
    return np.stack(
        [
            pose @ make_pose(Rotation.from_rotvec(turn), move)
            for pose, (move, turn) in zip(poses, errors, strict=True)
        ]
    )


def drift(poses, std_m, std_deg, seed=2):
    """Return poses whose motions have errors that add up."""
    motions = shake(inverse(poses[:-1]) @ poses[1:], std_m, std_deg, seed)
    out = [poses[0]]
    for motion in motions:
        out.append(out[-1] @ motion)
    return np.stack(out)
