"""
Where odom is in map, smoothed, and slow to believe a jump.

What steers by TF must not be shaken by the centimetre by which poses differ from picture to
picture, nor thrown across the room by one wrong pose. A robot that was carried away is believed
all the same, when several poses in turn say so.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.config import Checked, option
from nerf_reversal_ros.geometry import Array, inverse, pose, pose_errors


@dataclass(frozen=True)
class SmoothingConfig(Checked):
    """How map -> odom follows the poses."""

    tf_smoothing: float = option(
        0.3,
        'share of the way from the broadcast map -> odom to that of a new pose; 1: all of it',
        low=0.01,
        high=1.0,
        read_only=False,
    )
    tf_max_jump_m: float = option(
        0.3, 'a pose that would move the robot by more than this [m] is waited with', low=0.0,
        read_only=False,
    )  # fmt: skip
    tf_max_jump_deg: float = option(
        10.0, 'and one that would turn it by more than this [deg]', low=0.0, high=180.0,
        read_only=False,
    )  # fmt: skip
    tf_rate_hz: float = option(
        20.0,
        'broadcast so often, also while no pose comes; 0: with each pose',
        low=0.0,
        high=1000.0,
    )
    tf_tolerance_s: float = option(
        0.1, 'date it so far ahead, so that it is found for what happens meanwhile [s]', low=0.0,
        high=10.0, read_only=False,
    )  # fmt: skip
    tf_jump_poses: int = option(
        3, 'until so many poses in turn agree with each other on it', low=1, high=100,
        read_only=False,
    )  # fmt: skip


class MapFromOdom:
    """Follows the poses of a robot whose odometry is known."""

    def __init__(self) -> None:
        self.present: Array | None = None
        """``map_from_odom`` (4, 4), or None before the first pose."""
        self._jumps: list[Array] = []

    def follow(
        self, map_from_base: Array, odom_from_base: Array, config: SmoothingConfig
    ) -> Array:
        """
        Take a pose (4, 4), and the odometry (4, 4) of the same time; return what is believed.

        How far a jump goes is measured where the robot is, not at the origin of odom, which may
        be far away.
        """
        new = map_from_base @ inverse(odom_from_base)
        if self.present is None:
            self.present = new
        elif not _apart(self.present, new, odom_from_base, config):
            self._jumps.clear()
            self.present = _between(self.present, new, odom_from_base, config.tf_smoothing)
        else:
            if self._jumps and _apart(self._jumps[-1], new, odom_from_base, config):
                self._jumps.clear()
            self._jumps.append(new)
            if len(self._jumps) >= config.tf_jump_poses:
                self._jumps.clear()
                self.present = new
        return self.present

    def forget(self) -> None:
        """Know nothing again."""
        self.present = None
        self._jumps.clear()


def _apart(one: Array, other: Array, odom_from_base: Array, config: SmoothingConfig) -> bool:
    """Tell whether two map_from_odom place the robot further apart than is smoothed over."""
    off = pose_errors((one @ odom_from_base)[None], (other @ odom_from_base)[None])
    return bool(
        off.translation[0] > config.tf_max_jump_m
        or np.degrees(off.rotation[0]) > config.tf_max_jump_deg
    )


def _between(one: Array, other: Array, odom_from_base: Array, share: float) -> Array:
    """Go a share of the way from one map_from_odom to another, straight where the robot is."""
    start, end = one @ odom_from_base, other @ odom_from_base
    turn = Rotation.from_matrix(end[:3, :3] @ start[:3, :3].T).as_rotvec() * share
    base = pose(
        Rotation.from_rotvec(turn) * Rotation.from_matrix(start[:3, :3]),
        start[:3, 3] + share * (end[:3, 3] - start[:3, 3]),
    )
    return base @ inverse(odom_from_base)
