"""Simulated robot: trajectory of the base, odometry with drift, and poses of a localizer."""

from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import inverse, make_pose

STEP_NS = 100_000_000
"""Time between two poses [ns]."""
COVARIANCE = np.diag([0.006**2] * 3 + [0.002**2] * 3)
"""(6, 6) of a localized pose."""


def loop_trajectory(steps, step_m=0.1):
    """Return poses (N, 4, 4) in loops of about 15 m, slightly up and down, facing forward."""
    s = np.arange(steps + 1) * step_m
    positions = np.stack([3 * np.cos(s / 2.5), 2 * np.sin(s / 2.5), 0.1 * np.sin(s)], axis=1)
    motions = np.diff(positions, axis=0)
    rotations = Rotation.from_euler('z', np.arctan2(motions[:, 1], motions[:, 0])[:, None])
    return np.stack([make_pose(r, p) for r, p in zip(rotations, positions, strict=False)])


def simulate_odometry(map_from_base, drift=0.03, yaw_drift_deg_m=0.5):
    """Return odometry (N, 4, 4) that overestimates motion by a fraction and drifts to the left."""
    odometry = [make_pose(Rotation.from_euler('z', 1.0), (5.0, -3.0, 0.0))]
    for before, after in pairwise(map_from_base):
        step = inverse(before) @ after
        length_m = np.linalg.norm(step[:3, 3])
        step[:3, 3] *= 1.0 + drift
        yaw = make_pose(Rotation.from_euler('z', yaw_drift_deg_m * length_m, degrees=True))
        odometry.append(odometry[-1] @ step @ yaw)
    return np.stack(odometry)


def perturb_pose(map_from_base, rng, covariance=COVARIANCE):
    """Return a pose (4, 4) with a random error of the given covariance (6, 6)."""
    error = rng.multivariate_normal(np.zeros(6), covariance)
    out = map_from_base.copy()
    out[:3, 3] += error[:3]
    out[:3, :3] = Rotation.from_rotvec(error[3:]).as_matrix() @ out[:3, :3]
    return out


def random_pose(rng):
    """Return a pose (4, 4) anywhere within a few meters, unrelated to the robot."""
    return make_pose(Rotation.random(random_state=rng), rng.uniform((-4, -3, -1), (4, 3, 1)))


def rms_distance_m(map_from_base, map_from_base_gt):
    """Return the root mean square distance [m] between positions of poses (N, 4, 4)."""
    distance_m = np.linalg.norm(map_from_base[:, :3, 3] - map_from_base_gt[:, :3, 3], axis=1)
    return float(np.sqrt(np.mean(distance_m**2)))
