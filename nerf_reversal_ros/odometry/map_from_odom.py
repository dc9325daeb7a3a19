"""
Smooth the transform map -> odom, and confirm a jump before it is broadcast.

Controllers that use TF need a transform without the centimeter noise of single poses. They must
not follow a single incorrect pose either, nor one that repeats because a similar view stays in
front of the robot. A kidnapped robot is relocated when several consecutive poses agree, of
different views or a second apart. By default that takes two seconds for a robot at rest.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import FloatArray, inverse, make_pose, pose_distance
from nerf_reversal_ros.core.validated_config import setting, ValidatedConfig
from nerf_reversal_ros.odometry.pose_consensus import MIN_INDEPENDENT_S

MIN_INDEPENDENT_M, MIN_INDEPENDENT_DEG = 0.05, 2.0
"""Minimum motion [m], [deg] by odometry between two poses that count as different views."""


@dataclass(frozen=True)
class TfSmoothingConfig(ValidatedConfig):
    """Settings of the transform map -> odom."""

    tf_smoothing: float = setting(
        0.3,
        'fraction of the correction of a new pose that is applied to map -> odom; 1: all of it',
        low=0.01,
        high=1.0,
        read_only=False,
    )
    tf_max_jump_m: float = setting(
        0.3, 'a pose that moves the robot by more than this [m] must be confirmed', low=0.0,
        read_only=False,
    )  # fmt: skip
    tf_max_jump_deg: float = setting(
        10.0, 'a pose that rotates the robot by more than this [deg] must be confirmed', low=0.0,
        high=180.0, read_only=False,
    )  # fmt: skip
    tf_rate_hz: float = setting(
        20.0,
        'broadcast rate [Hz], also between poses; 0: only with each pose',
        low=0.0,
        high=1000.0,
    )
    tf_tolerance_s: float = setting(
        0.1, 'post-date the transform by this [s], so that it is valid until the next one',
        low=0.0, high=10.0, read_only=False,
    )  # fmt: skip
    tf_jump_poses: int = setting(
        3, 'consecutive poses, of different views or a second apart, that confirm a jump',
        low=1, high=100, read_only=False,
    )  # fmt: skip
    tf_planar: bool = setting(
        False,
        'set height, roll and pitch to zero, as nav2 expects of a robot on a floor',
        read_only=False,
    )
    tf_max_age_s: float = setting(
        0.0,
        'stop broadcasting this long after the last accepted pose, by the clock of the node [s];'
        ' 0: never, so that the robot continues on its odometry',
        low=0.0,
        read_only=False,
    )


class _JumpCandidate(NamedTuple):
    """Pose that would move the robot by more than the limits."""

    stamp_ns: int
    map_from_odom: FloatArray
    odom_from_base: FloatArray


class MapFromOdomFilter:
    """Estimates map_from_odom from localized poses and the odometry at their stamps."""

    def __init__(self) -> None:
        self.current: FloatArray | None = None
        """``map_from_odom`` (4, 4); None before the first pose."""
        self._jump_candidates: list[_JumpCandidate] = []

    def update(
        self,
        stamp_ns: int,
        map_from_base: FloatArray,
        odom_from_base: FloatArray,
        config: TfSmoothingConfig,
    ) -> FloatArray:
        """
        Update the transform with a pose; return the filtered map_from_odom (4, 4).

        Jumps are measured at the robot, not at the origin of odom, which may be far away.

        Parameters
        ----------
        stamp_ns : int
            Stamp of the pose [ns].
        map_from_base : (4, 4) array
            Localized pose.
        odom_from_base : (4, 4) array
            Odometry at that stamp.
        config : TfSmoothingConfig
            Smoothing and limits of a jump.
        """
        if config.tf_planar:
            map_from_base = _project_to_plane(map_from_base)
            odom_from_base = _project_to_plane(odom_from_base)
        new = map_from_base @ inverse(odom_from_base)
        if self.current is None:
            self.current = new
        elif not _is_jump(self.current, new, odom_from_base, config):
            self._jump_candidates.clear()
            self.current = _interpolate(self.current, new, odom_from_base, config.tf_smoothing)
        elif self._is_confirmed(_JumpCandidate(stamp_ns, new, odom_from_base), config):
            self._jump_candidates.clear()
            self.current = new
        return self.current

    def reset(self) -> None:
        """Discard the transform and the candidates of a jump."""
        self.current = None
        self._jump_candidates.clear()

    def _is_confirmed(self, new: _JumpCandidate, config: TfSmoothingConfig) -> bool:
        """Add a candidate; return whether enough independent consistent candidates exist."""
        candidates = self._jump_candidates
        if candidates and _is_jump(
            candidates[-1].map_from_odom, new.map_from_odom, new.odom_from_base, config
        ):
            candidates.clear()
        if not candidates or _is_independent(candidates[-1], new):
            candidates.append(new)
        return len(candidates) >= config.tf_jump_poses


def _is_independent(old: _JumpCandidate, new: _JumpCandidate) -> bool:
    """Return whether two candidates are of different views or `MIN_INDEPENDENT_S` apart."""
    moved_m, moved_deg = pose_distance(old.odom_from_base, new.odom_from_base)
    is_later = abs(new.stamp_ns - old.stamp_ns) >= MIN_INDEPENDENT_S * 1e9
    return is_later or moved_m > MIN_INDEPENDENT_M or moved_deg > MIN_INDEPENDENT_DEG


def _project_to_plane(frame_from_base: FloatArray) -> FloatArray:
    """Return the pose (4, 4) at height zero and z up, with the same heading."""
    yaw = np.arctan2(frame_from_base[1, 0], frame_from_base[0, 0])
    return make_pose(Rotation.from_euler('z', yaw), (*frame_from_base[:2, 3], 0.0))


def _is_jump(
    first: FloatArray, second: FloatArray, odom_from_base: FloatArray, config: TfSmoothingConfig
) -> bool:
    """Return whether two map_from_odom (4, 4) move the robot by more than the limits."""
    distance_m, angle_deg = pose_distance(first @ odom_from_base, second @ odom_from_base)
    return distance_m > config.tf_max_jump_m or angle_deg > config.tf_max_jump_deg


def _interpolate(
    first: FloatArray, second: FloatArray, odom_from_base: FloatArray, fraction: float
) -> FloatArray:
    """Interpolate two map_from_odom (4, 4), linearly in the pose of the robot."""
    start, end = first @ odom_from_base, second @ odom_from_base
    rotvec = Rotation.from_matrix(end[:3, :3] @ start[:3, :3].T).as_rotvec() * fraction
    base = make_pose(
        Rotation.from_rotvec(rotvec) * Rotation.from_matrix(start[:3, :3]),
        start[:3, 3] + fraction * (end[:3, 3] - start[:3, 3]),
    )
    return base @ inverse(odom_from_base)
