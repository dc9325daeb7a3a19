"""
A graph of where the robot was: keyframes along the odometry, poses of the localizer at some.

A keyframe comes after each small piece of the path. The graph is a chain (`pose_chain`), and
all of its window is solved anew when a pose comes, in milliseconds. Keyframes that leave the
window are summed up in a prior on the oldest that stays, which for a chain loses nothing but the
freedom to change their mind; their poses stay in the path, thinned out in the end. So time and
memory do not grow.

References
----------
Dellaert and Kaess, Factor Graphs for Robot Perception, 2017.
"""

from bisect import bisect_left
from dataclasses import replace

import numpy as np

from nerf_reversal_ros.core.config import LoopClosureConfig
from nerf_reversal_ros.core.geometry import FloatArray, inverse, shift_covariance
from nerf_reversal_ros.odometry.odometry_check import OdometrySample
from nerf_reversal_ros.odometry.pose_chain import (
    ChainSolver,
    current_pose,
    drift_covariance,
    Keyframe,
    MarginalPrior,
    Marginals,
    PoseMeasurement,
)


class PoseGraph:
    """
    The keyframes of a window, and the path before it.

    Raises
    ------
    ConfigError
        If gtsam is not installed.
    """

    def __init__(self, config: LoopClosureConfig) -> None:
        self.config = config
        self.keyframes: list[Keyframe] = []
        self.map_from_odom: FloatArray | None = None
        """(4, 4) for the last keyframe; None before the first anchor."""
        self._chain = ChainSolver(config)
        self._prior: MarginalPrior | None = None
        self._settled: list[tuple[int, FloatArray]] = []
        self._marginals: Marginals | None = None
        self._corrected = 0  # the index of the last keyframe that they know
        self._serial = 0

    def configure(self, config: LoopClosureConfig) -> None:
        """Take other settings for what comes."""
        self.config = self._chain.config = config

    @property
    def anchored(self) -> list[int]:
        """Indices of the keyframes that have an anchor."""
        return [k for k, keyframe in enumerate(self.keyframes) if keyframe.anchor is not None]

    @property
    def settled(self) -> bool:
        """Whether anchors have left the window, so that they cannot be taken back."""
        return self._prior is not None

    @property
    def path(self) -> list[tuple[int, FloatArray]]:
        """Stamps [ns] and poses map_from_base (4, 4) of all keyframes that are still known."""
        known = [(k.reading.stamp_ns, k.map_from_base) for k in self.keyframes]
        return [*self._settled, *((stamp, pose) for stamp, pose in known if pose is not None)]

    def extend(self, reading: OdometrySample) -> bool:
        """Add a keyframe if the robot moved far enough from the last; tell whether it did."""
        if self.keyframes and self._share(self.keyframes[-1].reading, reading) < 1.0:
            return False
        self.keyframes.append(Keyframe(self._serial, reading, self.predicted(reading)))
        self._serial += 1
        if len(self.keyframes) > self.config.window:
            self._settle(max(1, self.config.window // 4))
        return True

    def predicted(self, reading: OdometrySample) -> FloatArray | None:
        """Return map_from_base (4, 4) where the odometry leads from the last keyframe."""
        return None if self.map_from_odom is None else self.map_from_odom @ reading.pose

    def nearest(self, reading: OdometrySample) -> int:
        """Return the index of the keyframe that is the shortest way from a reading."""
        stamps = [keyframe.reading.stamp_ns for keyframe in self.keyframes]
        after = min(bisect_left(stamps, reading.stamp_ns), len(stamps) - 1)
        near = max(after - 1, 0), after
        return min(near, key=lambda k: self._share(self.keyframes[k].reading, reading))

    def brought(
        self, known: PoseMeasurement, at: OdometrySample, to: OdometrySample
    ) -> PoseMeasurement:
        """
        Bring a pose from where the robot was at one reading to where it was at another near it.

        The covariance grows by the lever, by the drift on that way, and by the least that a pose
        is taken to be off.
        """
        there = known.map_from_base @ inverse(at.pose) @ to.pose
        covariance = shift_covariance(known.covariance, there[:3, 3] - known.map_from_base[:3, 3])
        drift = drift_covariance(at, to, self._share(at, to), self.config)
        least = np.square([self.config.min_std_m, np.radians(self.config.min_std_deg)])
        covariance = covariance + drift + np.diag(np.repeat(least, 3))
        return PoseMeasurement(known.stamp_ns, there, covariance)

    def _share(self, a: OdometrySample, b: OdometrySample) -> float:
        """Return how long the way between two readings is, in keyframes."""
        travelled_m = abs(b.travelled_m - a.travelled_m)
        turned_deg = abs(b.turned_deg - a.turned_deg)
        return max(travelled_m / self.config.keyframe_m, turned_deg / self.config.keyframe_deg)

    def covariance(self, k: int) -> FloatArray:
        """
        Return the covariance (6, 6) of a keyframe's pose, axes as in `PoseMeasurement`.

        That of keyframes that came after the last correction is the last one's, grown by drift.
        """
        if self._marginals is None:
            self._marginals = self._chain.marginals(self.keyframes, self._prior)
            self._corrected = len(self.keyframes) - 1
        known = min(k, self._corrected)
        covariance = self._marginals.covariance(self.keyframes[known])
        if known == k:
            return covariance
        a, b = self.keyframes[known], self.keyframes[k]
        way = current_pose(b)[:3, 3] - current_pose(a)[:3, 3]
        drift = drift_covariance(a.reading, b.reading, k - known, self.config)
        return shift_covariance(covariance, way) + drift

    def anchor(self, k: int, anchor: PoseMeasurement) -> None:
        """Make a pose, brought to keyframe ``k``, its anchor, and correct all poses."""
        self.keyframes[k].anchor = anchor
        if self.map_from_odom is None:
            self._start_from(k)
        self._optimize()

    def start_again(self, anchors: dict[int, PoseMeasurement], forget_before: int) -> None:
        """
        Take other anchors instead of all that the graph has.

        Keyframes before ``forget_before`` stay in the path as they are and are given up, for the
        odometry does not lead from there; 0 keeps them all, and they are corrected.
        """
        self._give_up(forget_before)
        self._prior = None
        for keyframe in self.keyframes:
            keyframe.anchor = None
        for k, anchor in anchors.items():
            self.keyframes[k - forget_before].anchor = anchor
        self._start_from(max(anchors) - forget_before)
        self._optimize()

    def _start_from(self, k: int) -> None:
        """Lay all keyframes along the odometry from an anchor."""
        anchor = self.keyframes[k].anchor
        assert anchor is not None
        self.map_from_odom = anchor.map_from_base @ inverse(self.keyframes[k].reading.pose)
        for keyframe in self.keyframes:
            keyframe.map_from_base = self.map_from_odom @ keyframe.reading.pose

    def _optimize(self) -> None:
        """Correct all poses of the window."""
        poses = self._chain.solved(self.keyframes, self._prior)
        for keyframe, pose in zip(self.keyframes, poses, strict=True):
            keyframe.map_from_base = pose
        last = self.keyframes[-1]
        self.map_from_odom = poses[-1] @ inverse(last.reading.pose)
        self._marginals = None

    def _settle(self, count: int) -> None:
        """Sum up the oldest keyframes in a prior on the next one, without what came later."""
        old = [replace(keyframe) for keyframe in self.keyframes[: count + 1]]
        old[-1].anchor = None
        if self._prior is not None or any(keyframe.anchor for keyframe in old):
            for keyframe, pose in zip(old, self._chain.solved(old, self._prior), strict=True):
                keyframe.map_from_base = pose
            covariance = self._chain.marginals(old, self._prior).covariance(old[-1])
            self._prior = MarginalPrior(current_pose(old[-1]), covariance)
        self._give_up(count)

    def _give_up(self, count: int) -> None:
        """Leave the oldest keyframes in the path alone, and thin it out."""
        known = [(k.reading.stamp_ns, k.map_from_base) for k in self.keyframes[:count]]
        self._settled += [(stamp, pose) for stamp, pose in known if pose is not None]
        if len(self._settled) > self.config.path_poses:
            self._settled = self._settled[::2]
        del self.keyframes[:count]
        self._chain.forget_before(self.keyframes[0].serial)
        self._marginals = None
