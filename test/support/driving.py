"""A robot that drives about, its odometry, which drifts, and poses of a localizer."""

from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import inverse, make_pose

STEP_NS = 100_000_000
COVARIANCE = np.diag([0.006**2] * 3 + [0.002**2] * 3)


def walked(steps, step_m=0.1):
    """Return a walk (N, 4, 4) in rounds of some 15 m, up and down a little, facing forwards."""
    s = np.arange(steps + 1) * step_m
    places = np.stack([3 * np.cos(s / 2.5), 2 * np.sin(s / 2.5), 0.1 * np.sin(s)], axis=1)
    ways = np.diff(places, axis=0)
    turns = Rotation.from_euler('z', np.arctan2(ways[:, 1], ways[:, 0])[:, None])
    return np.stack([make_pose(turn, place) for turn, place in zip(turns, places, strict=False)])


def drifted(map_from_base, drift=0.03, turned_deg_m=0.5):
    """Return odometry (N, 4, 4) that is too long by a share and turns to the left as it goes."""
    odometry = [make_pose(Rotation.from_euler('z', 1.0), (5.0, -3.0, 0.0))]
    for before, after in pairwise(map_from_base):
        step = inverse(before) @ after
        length_m = np.linalg.norm(step[:3, 3])
        step[:3, 3] *= 1.0 + drift
        turn = make_pose(Rotation.from_euler('z', turned_deg_m * length_m, degrees=True))
        odometry.append(odometry[-1] @ step @ turn)
    return np.stack(odometry)


def noisy(map_from_base, rng, covariance=COVARIANCE):
    """Return a pose (4, 4) that is off as the covariance (6, 6) says."""
    error = rng.multivariate_normal(np.zeros(6), covariance)
    out = map_from_base.copy()
    out[:3, 3] += error[:3]
    out[:3, :3] = Rotation.from_rotvec(error[3:]).as_matrix() @ out[:3, :3]
    return out


def false_pose(rng):
    """Return a pose (4, 4) anywhere within some metres."""
    return make_pose(Rotation.random(random_state=rng), rng.uniform((-4, -3, -1), (4, 3, 1)))


def rms_m(found, true):
    """Return the root mean square distance [m] of poses (N, 4, 4)."""
    off_m = np.linalg.norm(found[:, :3, 3] - true[:, :3, 3], axis=1)
    return float(np.sqrt(np.mean(off_m**2)))
