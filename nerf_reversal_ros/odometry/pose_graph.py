"""
Sliding-window pose graph: keyframes along the odometry, pose measurements at some of them.

A keyframe is added after each small motion. The keyframes form a chain (`pose_chain`), whose whole
window is optimized for each pose measurement, in milliseconds. Keyframes that leave the window are
marginalized: their information becomes a prior on the oldest keyframe that remains. Their poses
stay in the path, which is thinned out in the end, so that time and memory are bounded.

References
----------
Dellaert and Kaess, Factor Graphs for Robot Perception, 2017.
"""

from bisect import bisect_left
from dataclasses import replace

import numpy as np

from nerf_reversal_ros.core.geometry import FloatArray, inverse, shift_covariance
from nerf_reversal_ros.odometry.config import LoopClosureConfig
from nerf_reversal_ros.odometry.odometry_buffer import OdometrySample
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
    Keyframes of the window, and the path before it.

    Raises
    ------
    ConfigError
        If gtsam is not installed.
    """

    def __init__(self, config: LoopClosureConfig) -> None:
        self.config = config
        self.keyframes: list[Keyframe] = []
        self.map_from_odom: FloatArray | None = None
        """(4, 4) at the last keyframe; None before the first pose measurement."""
        self._solver = ChainSolver(config)
        self._prior: MarginalPrior | None = None
        self._frozen_path: list[tuple[int, FloatArray]] = []
        self._marginals: Marginals | None = None
        self._last_solved_index = 0
        """Index of the last keyframe in ``_marginals``."""
        self._next_serial = 0

    def configure(self, config: LoopClosureConfig) -> None:
        """Set the settings for later odometry and poses."""
        self.config = self._solver.config = config

    @property
    def measurement_indices(self) -> list[int]:
        """Indices of the keyframes that have a pose measurement."""
        return [k for k, keyframe in enumerate(self.keyframes) if keyframe.measurement is not None]

    @property
    def has_prior(self) -> bool:
        """Whether pose measurements were marginalized, and can no longer be removed."""
        return self._prior is not None

    @property
    def path(self) -> list[tuple[int, FloatArray]]:
        """Stamps [ns] and poses map_from_base (4, 4) of all keyframes, frozen ones included."""
        return [*self._frozen_path, *_stamped_poses(self.keyframes)]

    def extend(self, sample: OdometrySample) -> bool:
        """Add a keyframe if the robot moved far enough since the last; return whether it did."""
        if self.keyframes and self._keyframe_fraction(self.keyframes[-1].odometry, sample) < 1.0:
            return False
        self.keyframes.append(Keyframe(self._next_serial, sample, self.predict(sample)))
        self._next_serial += 1
        if len(self.keyframes) > self.config.window:
            self._marginalize(max(1, self.config.window // 4))
        return True

    def predict(self, sample: OdometrySample) -> FloatArray | None:
        """Return map_from_base (4, 4), predicted by odometry from the last keyframe."""
        return None if self.map_from_odom is None else self.map_from_odom @ sample.odom_from_body

    def nearest_index(self, sample: OdometrySample) -> int:
        """Return the index of the keyframe with the shortest motion to a sample."""
        stamps = [keyframe.odometry.stamp_ns for keyframe in self.keyframes]
        after = min(bisect_left(stamps, sample.stamp_ns), len(stamps) - 1)
        neighbors = max(after - 1, 0), after
        return min(
            neighbors, key=lambda k: self._keyframe_fraction(self.keyframes[k].odometry, sample)
        )

    def transport(
        self, measurement: PoseMeasurement, source: OdometrySample, target: OdometrySample
    ) -> PoseMeasurement:
        """
        Move a pose from one odometry sample to a near one.

        The covariance grows by the lever arm, by the drift between both samples, and by the
        minimum variance of a pose.
        """
        moved = measurement.map_from_base @ inverse(source.odom_from_body) @ target.odom_from_body
        covariance = shift_covariance(
            measurement.covariance, moved[:3, 3] - measurement.map_from_base[:3, 3]
        )
        drift = drift_covariance(
            source, target, self._keyframe_fraction(source, target), self.config
        )
        min_variance = np.square([self.config.min_std_m, np.radians(self.config.min_std_deg)])
        covariance = covariance + drift + np.diag(np.repeat(min_variance, 3))
        return PoseMeasurement(measurement.stamp_ns, moved, covariance)

    def _keyframe_fraction(self, a: OdometrySample, b: OdometrySample) -> float:
        """Return the motion between two samples in keyframe intervals."""
        path_m = abs(b.path_length_m - a.path_length_m)
        rotation_deg = abs(b.total_rotation_deg - a.total_rotation_deg)
        return max(path_m / self.config.keyframe_m, rotation_deg / self.config.keyframe_deg)

    def covariance(self, k: int) -> FloatArray:
        """
        Return the covariance (6, 6) of the pose of keyframe ``k``, axes as in `PoseMeasurement`.

        Keyframes after the last optimization have the covariance of the last optimized one, grown
        by drift.
        """
        if self._marginals is None:
            self._marginals = self._solver.marginals(self.keyframes, self._prior)
            self._last_solved_index = len(self.keyframes) - 1
        solved = min(k, self._last_solved_index)
        covariance = self._marginals.covariance(self.keyframes[solved])
        if solved == k:
            return covariance
        source, target = self.keyframes[solved], self.keyframes[k]
        lever_arm = current_pose(target)[:3, 3] - current_pose(source)[:3, 3]
        drift = drift_covariance(source.odometry, target.odometry, k - solved, self.config)
        return shift_covariance(covariance, lever_arm) + drift

    def add_measurement(self, k: int, measurement: PoseMeasurement) -> None:
        """Add a pose measurement, transported to keyframe ``k``, and optimize all poses."""
        self.keyframes[k].measurement = measurement
        if self.map_from_odom is None:
            self._initialize_from(k)
        self._optimize()

    def reinitialize(self, measurements: dict[int, PoseMeasurement], freeze_before: int) -> None:
        """
        Replace all pose measurements.

        Parameters
        ----------
        measurements : dict
            Pose measurements by the index of their keyframe.
        freeze_before : int
            Keyframes before this index leave the window and keep their poses in the path, because
            odometry does not connect them; 0 keeps all keyframes and corrects them.
        """
        self._freeze(freeze_before)
        self._prior = None
        for keyframe in self.keyframes:
            keyframe.measurement = None
        for k, measurement in measurements.items():
            self.keyframes[k - freeze_before].measurement = measurement
        self._initialize_from(max(measurements) - freeze_before)
        self._optimize()

    def _initialize_from(self, k: int) -> None:
        """Place all keyframes by odometry relative to the pose measurement of keyframe ``k``."""
        measurement = self.keyframes[k].measurement
        assert measurement is not None
        odom_from_base = self.keyframes[k].odometry.odom_from_body
        self.map_from_odom = measurement.map_from_base @ inverse(odom_from_base)
        for keyframe in self.keyframes:
            keyframe.map_from_base = self.map_from_odom @ keyframe.odometry.odom_from_body

    def _optimize(self) -> None:
        """Optimize all poses of the window."""
        poses = self._solver.solve(self.keyframes, self._prior)
        for keyframe, pose in zip(self.keyframes, poses, strict=True):
            keyframe.map_from_base = pose
        self.map_from_odom = poses[-1] @ inverse(self.keyframes[-1].odometry.odom_from_body)
        self._marginals = None

    def _marginalize(self, count: int) -> None:
        """
        Marginalize the oldest keyframes to a prior on the next one.

        The prior excludes the measurement of that keyframe and everything later, which remain
        factors of the graph.
        """
        old = [replace(keyframe) for keyframe in self.keyframes[: count + 1]]
        old[-1].measurement = None
        if self._prior is not None or any(keyframe.measurement for keyframe in old):
            for keyframe, pose in zip(old, self._solver.solve(old, self._prior), strict=True):
                keyframe.map_from_base = pose
            covariance = self._solver.marginals(old, self._prior).covariance(old[-1])
            self._prior = MarginalPrior(current_pose(old[-1]), covariance)
        self._freeze(count)

    def _freeze(self, count: int) -> None:
        """Move the oldest keyframes from the window to the frozen path, and thin that out."""
        self._frozen_path += _stamped_poses(self.keyframes[:count])
        if len(self._frozen_path) > self.config.path_poses:
            self._frozen_path = self._frozen_path[::2]
        del self.keyframes[:count]
        self._solver.drop_before(self.keyframes[0].serial)
        self._marginals = None


def _stamped_poses(keyframes: list[Keyframe]) -> list[tuple[int, FloatArray]]:
    """Return stamps [ns] and poses map_from_base (4, 4) of the keyframes with an estimate."""
    return [
        (keyframe.odometry.stamp_ns, keyframe.map_from_base)
        for keyframe in keyframes
        if keyframe.map_from_base is not None
    ]
