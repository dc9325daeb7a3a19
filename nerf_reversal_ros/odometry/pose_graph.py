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
        self._solver = ChainSolver(config)
        self._prior: MarginalPrior | None = None
        self._frozen_path: list[tuple[int, FloatArray]] = []
        self._marginals: Marginals | None = None
        self._last_solved_index = 0  # the index of the last keyframe that they know
        self._next_serial = 0

    def configure(self, config: LoopClosureConfig) -> None:
        """Take other settings for what comes."""
        self.config = self._solver.config = config

    @property
    def measurement_indices(self) -> list[int]:
        """Indices of the keyframes that have an anchor."""
        return [k for k, keyframe in enumerate(self.keyframes) if keyframe.measurement is not None]

    @property
    def has_prior(self) -> bool:
        """Whether anchors have left the window, so that they cannot be taken back."""
        return self._prior is not None

    @property
    def path(self) -> list[tuple[int, FloatArray]]:
        """Stamps [ns] and poses map_from_base (4, 4) of all keyframes that are still known."""
        known = [(k.odometry.stamp_ns, k.map_from_base) for k in self.keyframes]
        return [*self._frozen_path, *((stamp, pose) for stamp, pose in known if pose is not None)]

    def extend(self, sample: OdometrySample) -> bool:
        """Add a keyframe if the robot moved far enough from the last; tell whether it did."""
        if self.keyframes and self._keyframe_fraction(self.keyframes[-1].odometry, sample) < 1.0:
            return False
        self.keyframes.append(Keyframe(self._next_serial, sample, self.predict(sample)))
        self._next_serial += 1
        if len(self.keyframes) > self.config.window:
            self._marginalize(max(1, self.config.window // 4))
        return True

    def predict(self, sample: OdometrySample) -> FloatArray | None:
        """Return map_from_base (4, 4) where the odometry leads from the last keyframe."""
        return None if self.map_from_odom is None else self.map_from_odom @ sample.pose

    def nearest_index(self, sample: OdometrySample) -> int:
        """Return the index of the keyframe that is the shortest way from a reading."""
        stamps = [keyframe.odometry.stamp_ns for keyframe in self.keyframes]
        after = min(bisect_left(stamps, sample.stamp_ns), len(stamps) - 1)
        near = max(after - 1, 0), after
        return min(near, key=lambda k: self._keyframe_fraction(self.keyframes[k].odometry, sample))

    def transport(
        self, measurement: PoseMeasurement, source: OdometrySample, target: OdometrySample
    ) -> PoseMeasurement:
        """
        Bring a pose from where the robot was at one reading to where it was at another near it.

        The covariance grows by the lever, by the drift on that way, and by the least that a pose
        is taken to be off.
        """
        there = measurement.map_from_base @ inverse(source.pose) @ target.pose
        covariance = shift_covariance(
            measurement.covariance, there[:3, 3] - measurement.map_from_base[:3, 3]
        )
        drift = drift_covariance(
            source, target, self._keyframe_fraction(source, target), self.config
        )
        least = np.square([self.config.min_std_m, np.radians(self.config.min_std_deg)])
        covariance = covariance + drift + np.diag(np.repeat(least, 3))
        return PoseMeasurement(measurement.stamp_ns, there, covariance)

    def _keyframe_fraction(self, a: OdometrySample, b: OdometrySample) -> float:
        """Return how long the way between two readings is, in keyframes."""
        travelled_m = abs(b.path_length_m - a.path_length_m)
        turned_deg = abs(b.total_rotation_deg - a.total_rotation_deg)
        return max(travelled_m / self.config.keyframe_m, turned_deg / self.config.keyframe_deg)

    def covariance(self, k: int) -> FloatArray:
        """
        Return the covariance (6, 6) of a keyframe's pose, axes as in `PoseMeasurement`.

        That of keyframes that came after the last correction is the last one's, grown by drift.
        """
        if self._marginals is None:
            self._marginals = self._solver.marginals(self.keyframes, self._prior)
            self._last_solved_index = len(self.keyframes) - 1
        known = min(k, self._last_solved_index)
        covariance = self._marginals.covariance(self.keyframes[known])
        if known == k:
            return covariance
        a, b = self.keyframes[known], self.keyframes[k]
        way = current_pose(b)[:3, 3] - current_pose(a)[:3, 3]
        drift = drift_covariance(a.odometry, b.odometry, k - known, self.config)
        return shift_covariance(covariance, way) + drift

    def add_measurement(self, k: int, measurement: PoseMeasurement) -> None:
        """Make a pose, brought to keyframe ``k``, its anchor, and correct all poses."""
        self.keyframes[k].measurement = measurement
        if self.map_from_odom is None:
            self._initialize_from(k)
        self._optimize()

    def reinitialize(self, measurements: dict[int, PoseMeasurement], freeze_before: int) -> None:
        """
        Take other anchors instead of all that the graph has.

        Keyframes before ``freeze_before`` stay in the path as they are and are given up, for the
        odometry does not lead from there; 0 keeps them all, and they are corrected.
        """
        self._freeze(freeze_before)
        self._prior = None
        for keyframe in self.keyframes:
            keyframe.measurement = None
        for k, anchor in measurements.items():
            self.keyframes[k - freeze_before].measurement = anchor
        self._initialize_from(max(measurements) - freeze_before)
        self._optimize()

    def _initialize_from(self, k: int) -> None:
        """Lay all keyframes along the odometry from an anchor."""
        anchor = self.keyframes[k].measurement
        assert anchor is not None
        self.map_from_odom = anchor.map_from_base @ inverse(self.keyframes[k].odometry.pose)
        for keyframe in self.keyframes:
            keyframe.map_from_base = self.map_from_odom @ keyframe.odometry.pose

    def _optimize(self) -> None:
        """Correct all poses of the window."""
        poses = self._solver.solve(self.keyframes, self._prior)
        for keyframe, pose in zip(self.keyframes, poses, strict=True):
            keyframe.map_from_base = pose
        last = self.keyframes[-1]
        self.map_from_odom = poses[-1] @ inverse(last.odometry.pose)
        self._marginals = None

    def _marginalize(self, count: int) -> None:
        """Sum up the oldest keyframes in a prior on the next one, without what came later."""
        old = [replace(keyframe) for keyframe in self.keyframes[: count + 1]]
        old[-1].measurement = None
        if self._prior is not None or any(keyframe.measurement for keyframe in old):
            for keyframe, pose in zip(old, self._solver.solve(old, self._prior), strict=True):
                keyframe.map_from_base = pose
            covariance = self._solver.marginals(old, self._prior).covariance(old[-1])
            self._prior = MarginalPrior(current_pose(old[-1]), covariance)
        self._freeze(count)

    def _freeze(self, count: int) -> None:
        """Leave the oldest keyframes in the path alone, and thin it out."""
        known = [(k.odometry.stamp_ns, k.map_from_base) for k in self.keyframes[:count]]
        self._frozen_path += [(stamp, pose) for stamp, pose in known if pose is not None]
        if len(self._frozen_path) > self.config.path_poses:
            self._frozen_path = self._frozen_path[::2]
        del self.keyframes[:count]
        self._solver.drop_before(self.keyframes[0].serial)
        self._marginals = None
