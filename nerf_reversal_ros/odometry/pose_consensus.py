"""
Consistency of localized poses with each other by odometry.

Odometry has no pose in the map, but measures the motion of the last meters well. The motion
between two correct poses in the map equals that of the odometry, except for the uncertainty of
both poses and the drift between them.
"""

from typing import NamedTuple

import numpy as np

from nerf_reversal_ros.core.geometry import FloatArray, inverse, pose_distance, shift_covariance
from nerf_reversal_ros.core.outcome import CORRECT_WITHIN_DEG, CORRECT_WITHIN_M
from nerf_reversal_ros.odometry.config import OdometryDriftConfig
from nerf_reversal_ros.odometry.odometry_buffer import OdometrySample

SIGMAS = 3.0
"""Number of standard deviations that bound the error of a pose."""
MIN_INDEPENDENT_S = 1.0
"""Minimum time [s] between two conflicting poses of one view that count as independent."""


class PoseObservation(NamedTuple):
    """Localized pose with the odometry at its stamp."""

    map_from_body: FloatArray
    """(4, 4) of the body that ``odometry`` is of."""
    covariance: FloatArray
    """(6, 6) as in `PoseEstimate.covariance`."""
    odometry: OdometrySample


class MotionComparison(NamedTuple):
    """Difference of the motion between two poses and the motion by odometry."""

    error_m: float
    error_deg: float
    max_error_m: float
    """Bound of ``error_m`` from drift and pose uncertainty."""
    max_error_deg: float
    """Bound of ``error_deg``."""
    is_near: bool
    """Whether the pose is correct if the older one is, even with the maximum drift: within
    `CORRECT_WITHIN_M` and `CORRECT_WITHIN_DEG`."""

    @property
    def is_consistent(self) -> bool:
        """Whether drift and pose uncertainty explain the difference."""
        return self.error_m <= self.max_error_m and self.error_deg <= self.max_error_deg


def compare_motion(
    old: PoseObservation, new: PoseObservation, config: OdometryDriftConfig
) -> MotionComparison:
    """
    Compare the motion between two poses with the motion by odometry.

    Drift is bounded by a fraction of path length and rotation, plus a constant. The bound adds
    `SIGMAS` standard deviations of both poses in the most uncertain direction. An orientation
    error of the older pose acts with the motion as its lever arm.
    """
    motion = inverse(old.odometry.odom_from_body) @ new.odometry.odom_from_body
    expected = old.map_from_body @ motion
    error_m, error_deg = pose_distance(expected, new.map_from_body)
    lever_arm = expected[:3, 3] - old.map_from_body[:3, 3]
    covariance = new.covariance + shift_covariance(old.covariance, lever_arm)
    std_m, std_rad = (
        np.sqrt(np.linalg.eigvalsh(block)[-1])
        for block in (covariance[:3, :3], covariance[3:, 3:])
    )
    path_m = abs(new.odometry.path_length_m - old.odometry.path_length_m)
    rotation_deg = abs(new.odometry.total_rotation_deg - old.odometry.total_rotation_deg)
    drift_m = config.odometry_drift_m + config.odometry_drift * path_m
    drift_deg = config.odometry_drift_deg + config.odometry_drift * rotation_deg
    return MotionComparison(
        error_m,
        error_deg,
        float(drift_m + SIGMAS * std_m),
        float(drift_deg + SIGMAS * np.degrees(std_rad)),
        error_m + drift_m <= CORRECT_WITHIN_M and error_deg + drift_deg <= CORRECT_WITHIN_DEG,
    )


class ConflictingPoses:
    """New poses that contradict the earlier ones; enough consistent ones replace those."""

    def __init__(self) -> None:
        self.consistent_poses: list[PoseObservation] = []
        """Conflicting poses that are consistent with the newest one, oldest first."""

    def __len__(self) -> int:
        """Return the number of consistent poses."""
        return len(self.consistent_poses)

    def reset(self) -> None:
        """Discard all poses, as after a pose that agrees with the earlier ones."""
        self.consistent_poses = []

    def add(self, new: PoseObservation, config: OdometryDriftConfig) -> bool:
        """
        Add a conflicting pose; return whether enough of them are consistent.

        A pose of the same view as the last one counts only after `MIN_INDEPENDENT_S`.
        """
        consistent = [
            old for old in self.consistent_poses if compare_motion(old, new, config).is_consistent
        ]
        if not consistent or _is_independent(consistent[-1], new, config):
            consistent.append(new)
        self.consistent_poses = consistent
        return len(consistent) >= config.odometry_witnesses


def is_other_view(old: PoseObservation, new: PoseObservation, config: OdometryDriftConfig) -> bool:
    """Return whether the robot moved or rotated by more than the constant drift in between."""
    path_m = new.odometry.path_length_m - old.odometry.path_length_m
    rotation_deg = new.odometry.total_rotation_deg - old.odometry.total_rotation_deg
    return path_m >= config.odometry_drift_m or rotation_deg >= config.odometry_drift_deg


def _is_independent(
    old: PoseObservation, new: PoseObservation, config: OdometryDriftConfig
) -> bool:
    elapsed_ns = new.odometry.stamp_ns - old.odometry.stamp_ns
    return is_other_view(old, new, config) or elapsed_ns >= MIN_INDEPENDENT_S * 1e9
