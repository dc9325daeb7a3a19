"""
Where odom is in map, smoothed, and slow to believe a jump.

What steers by TF must not be shaken by the centimetre by which poses differ from picture to
picture, nor thrown across the room by one wrong pose, nor at once by one that comes again and
again, as a robot has it that stands before a view like another. A robot that was carried away is
believed all the same, when several poses in turn, of different views or a second apart, say so:
by default after two seconds where it stands.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.config import setting, ValidatedConfig
from nerf_reversal_ros.core.geometry import FloatArray, inverse, make_pose, pose_distance
from nerf_reversal_ros.odometry.odometry_check import MIN_INDEPENDENT_S

MIN_INDEPENDENT_M, MIN_INDEPENDENT_DEG = 0.05, 2.0
"""When the odometry moved by more than one of these, a pose is of another view."""


@dataclass(frozen=True)
class TfSmoothingConfig(ValidatedConfig):
    """How map -> odom follows the poses."""

    tf_smoothing: float = setting(
        0.3,
        'share of the way from the broadcast map -> odom to that of a new pose; 1: all of it',
        low=0.01,
        high=1.0,
        read_only=False,
    )
    tf_max_jump_m: float = setting(
        0.3, 'a pose that would move the robot by more than this [m] is waited with', low=0.0,
        read_only=False,
    )  # fmt: skip
    tf_max_jump_deg: float = setting(
        10.0, 'and one that would turn it by more than this [deg]', low=0.0, high=180.0,
        read_only=False,
    )  # fmt: skip
    tf_rate_hz: float = setting(
        20.0,
        'broadcast so often, also while no pose comes; 0: with each pose',
        low=0.0,
        high=1000.0,
    )
    tf_tolerance_s: float = setting(
        0.1, 'date it so far ahead, so that it is found for what happens meanwhile [s]', low=0.0,
        high=10.0, read_only=False,
    )  # fmt: skip
    tf_jump_poses: int = setting(
        3, 'until so many poses in turn, of different views or a second apart, agree on it',
        low=1, high=100, read_only=False,
    )  # fmt: skip
    tf_planar: bool = setting(
        False,
        'leave out height, roll and pitch, as nav2 wants it of a robot that drives on a floor',
        read_only=False,
    )
    tf_max_age_s: float = setting(
        0.0,
        'broadcast nothing more when the last pose that was believed came so long ago, by the'
        ' clock of the node [s]; 0: go on for ever, so that the robot drives on by its odometry',
        low=0.0,
        read_only=False,
    )


class _JumpCandidate(NamedTuple):
    """A pose that would move the robot far."""

    stamp_ns: int
    map_from_odom: FloatArray
    odom_from_base: FloatArray


class MapFromOdomFilter:
    """Follows the poses of a robot whose odometry is known."""

    def __init__(self) -> None:
        self.current: FloatArray | None = None
        """``map_from_odom`` (4, 4), or None before the first pose."""
        self._jump_candidates: list[_JumpCandidate] = []

    def update(
        self,
        stamp_ns: int,
        map_from_base: FloatArray,
        odom_from_base: FloatArray,
        config: TfSmoothingConfig,
    ) -> FloatArray:
        """
        Take a pose (4, 4), and the odometry (4, 4) of the same time; return what is believed.

        How far a jump goes is measured where the robot is, not at the origin of odom, which may
        be far away.
        """
        if config.tf_planar:
            map_from_base, odom_from_base = (
                _project_to_plane(map_from_base),
                _project_to_plane(odom_from_base),
            )
        new = map_from_base @ inverse(odom_from_base)
        if self.current is None:
            self.current = new
        elif not _is_jump(self.current, new, odom_from_base, config):
            self._jump_candidates.clear()
            self.current = _interpolate(self.current, new, odom_from_base, config.tf_smoothing)
        else:
            jump = _JumpCandidate(stamp_ns, new, odom_from_base)
            if self._jump_candidates and _is_jump(
                self._jump_candidates[-1].map_from_odom, new, odom_from_base, config
            ):
                self._jump_candidates.clear()
            if not self._jump_candidates or _is_independent(self._jump_candidates[-1], jump):
                self._jump_candidates.append(jump)
            if len(self._jump_candidates) >= config.tf_jump_poses:
                self._jump_candidates.clear()
                self.current = new
        return self.current

    def reset(self) -> None:
        """Know nothing again."""
        self.current = None
        self._jump_candidates.clear()


def _is_independent(old: _JumpCandidate, new: _JumpCandidate) -> bool:
    """Tell whether a jump is of another view than the one before, or a second later."""
    moved_m, moved_deg = pose_distance(old.odom_from_base, new.odom_from_base)
    later = abs(new.stamp_ns - old.stamp_ns) >= MIN_INDEPENDENT_S * 1e9
    return later or moved_m > MIN_INDEPENDENT_M or moved_deg > MIN_INDEPENDENT_DEG


def _project_to_plane(frame_from_base: FloatArray) -> FloatArray:
    """Return the pose (4, 4) on the floor, z up, with the same heading."""
    yaw = np.arctan2(frame_from_base[1, 0], frame_from_base[0, 0])
    return make_pose(Rotation.from_euler('z', yaw), (*frame_from_base[:2, 3], 0.0))


def _is_jump(
    one: FloatArray, other: FloatArray, odom_from_base: FloatArray, config: TfSmoothingConfig
) -> bool:
    """Tell whether two map_from_odom place the robot further apart than is smoothed over."""
    off_m, off_deg = pose_distance(one @ odom_from_base, other @ odom_from_base)
    return off_m > config.tf_max_jump_m or off_deg > config.tf_max_jump_deg


def _interpolate(
    one: FloatArray, other: FloatArray, odom_from_base: FloatArray, share: float
) -> FloatArray:
    """Go a share of the way from one map_from_odom to another, straight where the robot is."""
    start, end = one @ odom_from_base, other @ odom_from_base
    turn = Rotation.from_matrix(end[:3, :3] @ start[:3, :3].T).as_rotvec() * share
    base = make_pose(
        Rotation.from_rotvec(turn) * Rotation.from_matrix(start[:3, :3]),
        start[:3, 3] + share * (end[:3, 3] - start[:3, 3]),
    )
    return base @ inverse(odom_from_base)
