"""Stamped poses over time, and their interpolation."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from nerf_reversal_ros.core.geometry import FloatArray, pose_from_quaternion

Stamps = NDArray[np.int64]


POSE_TYPES = (
    'PoseStamped',
    'PoseWithCovarianceStamped',
    'TransformStamped',
    'Odometry',
    'Path',
)
"""Message types of ``pose_topic``."""


class Trajectory(NamedTuple):
    """Stamped poses over time."""

    stamps_ns: Stamps
    """(N,) ascending [ns]."""
    poses: FloatArray
    """(N, 4, 4) in the convention of the bag."""


def interpolate(trajectory: Trajectory, query_ns: Stamps) -> tuple[FloatArray, Stamps]:
    """
    Interpolate a trajectory: slerp of rotations, linear interpolation of positions.

    Stamps outside of the trajectory get its first or last pose.

    Returns
    -------
    (M, 4, 4) array, (M,) array
        Poses, and the time to the nearest recorded pose [ns].
    """
    stamps = trajectory.stamps_ns
    after = np.clip(np.searchsorted(stamps, query_ns), 0, len(stamps) - 1)
    before = np.clip(after - 1, 0, None)
    gap_ns = np.minimum(abs(stamps[after] - query_ns), abs(stamps[before] - query_ns))
    if len(stamps) == 1:
        return np.repeat(trajectory.poses, len(query_ns), axis=0), gap_ns
    start = stamps[0]  # float64 cannot resolve nanoseconds in seconds since 1970
    times_s, query_s = (stamps - start) * 1e-9, np.clip((query_ns - start) * 1e-9, 0, None)
    query_s = np.minimum(query_s, times_s[-1])
    poses = np.broadcast_to(np.eye(4), (len(query_ns), 4, 4)).copy()
    slerp = Slerp(times_s, Rotation.from_matrix(trajectory.poses[:, :3, :3]))
    poses[:, :3, :3] = slerp(query_s).as_matrix()
    for axis in range(3):
        poses[:, axis, 3] = np.interp(query_s, times_s, trajectory.poses[:, axis, 3])
    return poses, gap_ns


def pose_values(position: Any, rotation: Any) -> list[float]:
    """Return x, y, z [m] and the quaternion x, y, z, w of a pose or transform message."""
    return [position.x, position.y, position.z, rotation.x, rotation.y, rotation.z, rotation.w]


def make_trajectory(stamps: list[int], values: list[list[float]]) -> tuple[Trajectory, int]:
    """Sort poses by stamp, and drop repeated stamps and invalid poses; also count the latter."""
    numbers = np.array(values, dtype=np.float64).reshape(-1, 7)
    norm = np.linalg.norm(numbers[:, 3:], axis=1)
    valid = np.all(np.isfinite(numbers), axis=1) & (norm > 0.5) & (norm < 2.0)
    stamps_ns, first = np.unique(np.array(stamps, dtype=np.int64)[valid], return_index=True)
    if not len(stamps_ns):
        return Trajectory(stamps_ns, np.empty((0, 4, 4))), len(stamps)
    unique = numbers[valid][first]
    poses = pose_from_quaternion(unique[:, :3], unique[:, 3:])
    return Trajectory(stamps_ns, poses), int(np.sum(~valid))
