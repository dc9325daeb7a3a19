"""Recent odometry of the robot: buffered samples, interpolated or extrapolated to a stamp."""

from bisect import bisect_left
from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.trajectory import interpolate, Trajectory
from nerf_reversal_ros.core.geometry import FloatArray, inverse, pose_distance, scale_motion

BUFFER_DURATION_S = 10.0
"""Age [s] at which samples are dropped: localization of an image takes less."""
TIME_RESET_S = 1.0
"""A stamp that is older than its predecessor by more than this [s] means that time was reset; by
less, that the message was delayed."""
MIN_STEP_M, MIN_STEP_DEG = 0.01, 0.5
"""Minimum motion [m], [deg] that adds to path length and rotation: noise of a robot at rest must
not accumulate."""
MAX_GAP = 4.0
"""Maximum gap between two samples that is interpolated, in tolerances."""


class OdometrySample(NamedTuple):
    """Pose of the robot by odometry at one stamp."""

    stamp_ns: int
    odom_from_body: FloatArray
    """(4, 4); the body is the base in an `OdometryBuffer`, the camera in an `OdometryCheck`."""
    path_length_m: float
    """Length of the path since the buffer was started."""
    total_rotation_deg: float
    """Sum of the absolute rotations since the buffer was started."""


class OdometryBuffer:
    """Odometry of the last `BUFFER_DURATION_S`."""

    def __init__(self) -> None:
        self._samples: deque[OdometrySample] = deque()
        self._last_step_pose: FloatArray | None = None
        """(4, 4) pose at which path length and rotation were last increased."""

    @property
    def last(self) -> OdometrySample | None:
        """The newest sample."""
        return self._samples[-1] if self._samples else None

    def add(self, stamp_ns: int, odom_from_base: FloatArray) -> bool:
        """Add a pose (4, 4); return False if time was reset, which clears the earlier samples."""
        last = self.last
        is_reset = last is not None and stamp_ns < last.stamp_ns - TIME_RESET_S * 1e9
        if last is None or is_reset or self._last_step_pose is None:
            self._samples.clear()
            self._last_step_pose, path_length_m, total_rotation_deg = odom_from_base, 0.0, 0.0
        elif stamp_ns <= last.stamp_ns:
            return True  # delayed: a newer sample exists
        else:
            path_length_m, total_rotation_deg = last.path_length_m, last.total_rotation_deg
            step_m, step_deg = pose_distance(self._last_step_pose, odom_from_base)
            if step_m >= MIN_STEP_M or step_deg >= MIN_STEP_DEG:
                self._last_step_pose = odom_from_base
                path_length_m += step_m
                total_rotation_deg += step_deg
        self._samples.append(
            OdometrySample(stamp_ns, odom_from_base, path_length_m, total_rotation_deg)
        )
        while self._samples[0].stamp_ns < stamp_ns - BUFFER_DURATION_S * 1e9:
            self._samples.popleft()
        return not is_reset

    def sample_at(self, stamp_ns: int, tolerance_s: float) -> OdometrySample | None:
        """
        Interpolate the odometry at a stamp, or extrapolate it beyond the newest sample.

        Parameters
        ----------
        stamp_ns : int
            Stamp [ns].
        tolerance_s : float
            Maximum time from the stamp to the nearest sample [s].

        Returns
        -------
        OdometrySample or None
            None without a sample within the tolerance, or in a gap of the odometry.
        """
        if not self._samples:
            return None
        neighbors = self._neighbors(stamp_ns)
        stamps_ns = np.array([sample.stamp_ns for sample in neighbors], dtype=np.int64)
        nearest_ns = abs(stamps_ns - stamp_ns).min()
        if nearest_ns == 0:
            return neighbors[int(np.flatnonzero(stamps_ns == stamp_ns)[0])]
        gap_ns = stamps_ns[-1] - stamps_ns[0]
        if nearest_ns > tolerance_s * 1e9 or gap_ns > MAX_GAP * tolerance_s * 1e9:
            return None
        if stamp_ns > stamps_ns[-1] and len(neighbors) == 2:
            return _extrapolate(neighbors[0], neighbors[1], stamp_ns)
        return _interpolate(neighbors, stamps_ns, stamp_ns)

    def motion_between(self, start_ns: int, end_ns: int, tolerance_s: float) -> FloatArray | None:
        """Return the motion between two stamps [ns], ``start_from_end`` (4, 4), as `sample_at`."""
        start = self.sample_at(start_ns, tolerance_s)
        end = self.sample_at(end_ns, tolerance_s)
        if start is None or end is None:
            return None
        return inverse(start.odom_from_body) @ end.odom_from_body

    def _neighbors(self, stamp_ns: int) -> list[OdometrySample]:
        """Return the samples before and after a stamp, the last two beyond, or a single one."""
        stamps = [sample.stamp_ns for sample in self._samples]
        after = max(1, min(bisect_left(stamps, stamp_ns), len(stamps) - 1))
        return [self._samples[k] for k in sorted({after - 1, min(after, len(stamps) - 1)})]


def _interpolate(
    neighbors: list[OdometrySample], stamps_ns: NDArray[np.int64], stamp_ns: int
) -> OdometrySample:
    """Interpolate pose, path length and rotation between samples."""
    trajectory = Trajectory(stamps_ns, np.stack([sample.odom_from_body for sample in neighbors]))
    poses, _ = interpolate(trajectory, np.array([stamp_ns], dtype=np.int64))
    path_length_m, total_rotation_deg = (
        float(np.interp(stamp_ns - stamps_ns[0], stamps_ns - stamps_ns[0], values))
        for values in zip(
            *((sample.path_length_m, sample.total_rotation_deg) for sample in neighbors),
            strict=True,
        )
    )
    return OdometrySample(stamp_ns, poses[0], path_length_m, total_rotation_deg)


def _extrapolate(before: OdometrySample, last: OdometrySample, stamp_ns: int) -> OdometrySample:
    """Continue the last motion with constant velocity."""
    fraction = (stamp_ns - last.stamp_ns) / (last.stamp_ns - before.stamp_ns)
    step = inverse(before.odom_from_body) @ last.odom_from_body
    rotation_deg = last.total_rotation_deg - before.total_rotation_deg
    return OdometrySample(
        stamp_ns,
        last.odom_from_body @ scale_motion(step, fraction),
        last.path_length_m + fraction * (last.path_length_m - before.path_length_m),
        last.total_rotation_deg + fraction * rotation_deg,
    )
