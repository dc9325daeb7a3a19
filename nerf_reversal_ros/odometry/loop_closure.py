"""
Correct the trajectory of the odometry by localized poses: gating, consensus and pose graph.

A localized pose arrives later than the odometry of its stamp, and is transported to the nearest
keyframe of the graph. A chi-squared test compares it with the keyframe, given both covariances and
the drift. Single outliers are rejected. Enough outliers that are mutually consistent by odometry
mean that the graph is incorrect: the initial pose was wrong, or the robot was kidnapped. They then
replace the pose measurements that they contradict.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from nerf_reversal_ros.core.geometry import FloatArray, pose_distance
from nerf_reversal_ros.core.outcome import ClosureRejectionReason
from nerf_reversal_ros.odometry.config import LoopClosureConfig
from nerf_reversal_ros.odometry.odometry_buffer import OdometryBuffer, OdometrySample
from nerf_reversal_ros.odometry.pose_chain import PoseMeasurement
from nerf_reversal_ros.odometry.pose_consensus import ConflictingPoses, PoseObservation
from nerf_reversal_ros.odometry.pose_graph import PoseGraph

MAX_WAITING = 100
"""Maximum number of poses that wait for odometry of their stamp: then the oldest is rejected."""
MAX_DISTANCE_M = 1e6
"""Maximum coordinate [m] of a pose in the map."""
MIN_VARIANCE, MAX_VARIANCE = 1e-12, 1e2
"""Covariance eigenvalues [m^2, rad^2] are clamped to this range: placeholder values such as 1e-30
or 9999 make the GTSAM problem ill-conditioned."""
MAX_ODOMETRY_DELAY_S = 2.0
"""Delay [s] of the odometry behind a waiting pose that is reported."""
MAX_STAMPS = 1000
"""Number of stamps that are kept to detect duplicates."""


class ClosureResult(NamedTuple):
    """What the loop closer did with one pose."""

    stamp_ns: int
    accepted: bool
    reason: str = ''
    """A `ClosureRejectionReason`; empty if accepted."""
    detail: str = ''
    """Measured and allowed values."""
    reanchored: bool = False
    """Whether the pose, with others, replaced the pose measurements that it contradicts."""
    keyframe_ns: int = 0
    """Stamp of the keyframe that the pose was transported to."""
    residual_m: float = 0.0
    """Distance from the estimate of the graph before the correction."""
    residual_deg: float = 0.0
    """Angle from the estimate of the graph before the correction."""
    chi2: float = 0.0
    """Squared Mahalanobis distance of that residual, 6 degrees of freedom."""
    chi2_limit: float = 0.0
    """A larger ``chi2`` is an outlier."""
    travelled_m: float = 0.0
    """Path length since the last accepted pose."""
    correction_m: float = 0.0
    """Distance by which the last pose of the path was corrected."""
    correction_deg: float = 0.0
    """Angle by which the last pose of the path was corrected."""

    @property
    def is_consistent(self) -> bool:
        """Whether the pose agrees with the graph: accepted, or redundant."""
        return self.accepted or self.reason == ClosureRejectionReason.REDUNDANT


class CorrectedPose(NamedTuple):
    """Current pose of the robot."""

    stamp_ns: int
    """Stamp of the last odometry."""
    map_from_base: FloatArray
    """(4, 4)."""
    covariance: FloatArray
    """(6, 6) of x, y, z [m] and rotations about the fixed map axes [rad] (REP 103)."""


class LoopCloser:
    """
    Fuses odometry and localized poses to a corrected trajectory.

    Stamps may be late, duplicate or out of order. A time jump of the odometry backward by more
    than a second resets the state, as when a bag is restarted.

    Raises
    ------
    ConfigError
        If gtsam is not installed.
    """

    def __init__(self, config: LoopClosureConfig) -> None:
        self.config = config
        self.time_jump_count = 0
        """Number of backward time jumps of the odometry."""
        self.reset()

    def configure(self, config: LoopClosureConfig) -> None:
        """Set the settings for later odometry and poses."""
        self.config = config
        self.graph.configure(config)

    def reset(self) -> None:
        """Discard odometry, poses and graph."""
        self.graph = PoseGraph(self.config)
        self._odometry_buffer = OdometryBuffer()
        self._waiting_poses: list[PoseMeasurement] = []
        self._stamps: deque[int] = deque(maxlen=MAX_STAMPS)
        self._conflicting_poses = ConflictingPoses()
        self._last_accepted_sample: OdometrySample | None = None

    def add_odometry(self, stamp_ns: int, odom_from_base: FloatArray) -> list[ClosureResult]:
        """Add an odometry pose (4, 4); return the results of the poses that waited for it."""
        if not self._odometry_buffer.add(stamp_ns, odom_from_base):
            self.time_jump_count += 1
            self.reset()
            self._odometry_buffer.add(stamp_ns, odom_from_base)
        last = self._odometry_buffer.last
        assert last is not None
        if last.stamp_ns == stamp_ns:
            self.graph.extend(last)
        waiting = self._waiting_poses
        self._waiting_poses = [pose for pose in waiting if pose.stamp_ns > last.stamp_ns]
        due = [pose for pose in waiting if pose.stamp_ns <= last.stamp_ns]
        return [self._process_pose(pose) for pose in due]

    def add_pose(
        self, stamp_ns: int, map_from_base: FloatArray, covariance: FloatArray
    ) -> list[ClosureResult]:
        """
        Add a localized pose.

        Parameters
        ----------
        stamp_ns : int
            Stamp of the image [ns].
        map_from_base : (4, 4) array
            Pose of the frame that the odometry is of.
        covariance : (6, 6) array
            Of x, y, z [m] and rotations about the fixed map axes [rad] (REP 103).

        Returns
        -------
        list of ClosureResult
            Empty while the pose waits for the odometry of its stamp.
        """
        pose = PoseMeasurement(stamp_ns, map_from_base, covariance)
        if problem := _pose_problem(pose):
            return [ClosureResult(stamp_ns, False, ClosureRejectionReason.UNUSABLE_POSE, problem)]
        if stamp_ns in self._stamps:
            return [ClosureResult(stamp_ns, False, ClosureRejectionReason.DUPLICATE_STAMP)]
        self._stamps.append(stamp_ns)
        pose = pose._replace(covariance=_clamp_covariance(covariance))
        last = self._odometry_buffer.last
        if last is not None and stamp_ns <= last.stamp_ns:
            return [self._process_pose(pose)]
        self._waiting_poses.append(pose)
        self._waiting_poses.sort(key=lambda waiting: waiting.stamp_ns)
        if len(self._waiting_poses) <= MAX_WAITING:
            return []
        oldest = self._waiting_poses.pop(0)
        reason = ClosureRejectionReason.NO_ODOMETRY
        return [ClosureResult(oldest.stamp_ns, False, reason, 'none received')]

    @property
    def waiting_reason(self) -> str:
        """Why poses wait for odometry, in words; empty if none waits for long."""
        if not self._waiting_poses:
            return ''
        last, count = self._odometry_buffer.last, len(self._waiting_poses)
        if last is None:
            return f'no odometry came, for which poses wait ({count})'
        delay_s = (self._waiting_poses[0].stamp_ns - last.stamp_ns) / 1e9
        if delay_s < MAX_ODOMETRY_DELAY_S:
            return ''
        return f'the odometry is {delay_s:.1f} s behind poses that wait for it ({count})'

    def current_pose(self) -> CorrectedPose | None:
        """Return the pose at the last odometry; None before a pose was accepted."""
        last = self._odometry_buffer.last
        if last is None or self.graph.map_from_odom is None:
            return None
        k = len(self.graph.keyframes) - 1
        sample = self.graph.keyframes[k].odometry
        map_from_base = self.graph.predict(sample)
        assert map_from_base is not None
        at_keyframe = PoseMeasurement(sample.stamp_ns, map_from_base, self.graph.covariance(k))
        current = self.graph.transport(at_keyframe, sample, last)
        return CorrectedPose(last.stamp_ns, current.map_from_base, current.covariance)

    def _process_pose(self, pose: PoseMeasurement) -> ClosureResult:
        """Test a pose against the graph, and add it if it is accepted."""
        tolerance_s = self.config.odometry_tolerance_s
        sample = self._odometry_buffer.sample_at(pose.stamp_ns, tolerance_s)
        if sample is None:
            detail = f'none within {tolerance_s:g} s of the stamp'
            return ClosureResult(pose.stamp_ns, False, ClosureRejectionReason.NO_ODOMETRY, detail)
        k = self.graph.nearest_index(sample)
        keyframe = self.graph.keyframes[k]
        measurement = self.graph.transport(pose, sample, keyframe.odometry)
        result = ClosureResult(pose.stamp_ns, True, keyframe_ns=keyframe.odometry.stamp_ns)
        if self.graph.map_from_odom is not None:
            result = self._compare_with_graph(result, k, measurement, sample)
        if result.chi2 > result.chi2_limit:
            observation = PoseObservation(pose.map_from_base, pose.covariance, sample)
            if not self._conflicting_poses.add(observation, self.config):
                reason, detail = ClosureRejectionReason.OUTLIER, self._format_detail(result)
                return result._replace(accepted=False, reason=reason, detail=detail)
            result = result._replace(reanchored=True)
        elif keyframe.measurement is not None and not _is_more_certain(
            measurement, keyframe.measurement
        ):
            self._conflicting_poses.reset()
            return result._replace(accepted=False, reason=ClosureRejectionReason.REDUNDANT)
        result = self._add_to_graph(result, k, measurement)
        self._last_accepted_sample = sample
        return result

    def _add_to_graph(
        self, result: ClosureResult, k: int, measurement: PoseMeasurement
    ) -> ClosureResult:
        """Correct the graph by an accepted pose; return the result with the correction."""
        before = self.graph.keyframes[-1].map_from_base
        if result.reanchored:
            self._replace_measurements()
        else:
            self.graph.add_measurement(k, measurement)
        self._conflicting_poses.reset()
        after = self.graph.keyframes[-1].map_from_base
        if before is None or after is None:
            return result
        correction_m, correction_deg = pose_distance(before, after)
        return result._replace(correction_m=correction_m, correction_deg=correction_deg)

    def _compare_with_graph(
        self, result: ClosureResult, k: int, measurement: PoseMeasurement, sample: OdometrySample
    ) -> ClosureResult:
        """Compute residual and chi-squared of a pose, transported to keyframe ``k``."""
        estimate = self.graph.keyframes[k].map_from_base
        assert estimate is not None
        rotation = measurement.map_from_base[:3, :3] @ estimate[:3, :3].T
        rotvec = Rotation.from_matrix(rotation).as_rotvec()
        shift = measurement.map_from_base[:3, 3] - estimate[:3, 3]
        residual = np.concatenate([shift, rotvec])
        covariance = self.graph.covariance(k) + measurement.covariance
        travelled_m = 0.0
        if self._last_accepted_sample is not None:
            travelled_m = abs(sample.path_length_m - self._last_accepted_sample.path_length_m)
        return result._replace(
            residual_m=float(np.linalg.norm(shift)),
            residual_deg=float(np.degrees(np.linalg.norm(rotvec))),
            chi2=float(residual @ np.linalg.solve(covariance, residual)),
            chi2_limit=float(chi2.ppf(self.config.gate, 6)),
            travelled_m=travelled_m,
        )

    def _format_detail(self, result: ClosureResult) -> str:
        return (
            f'{result.residual_m:.2f} m and {result.residual_deg:.1f} deg from the path'
            f' (chi2 {result.chi2:.0f}, allowed {result.chi2_limit:.0f});'
            f' {len(self._conflicting_poses)} of {self.config.odometry_witnesses} poses that would'
            ' replace the earlier ones'
        )

    def _replace_measurements(self) -> None:
        """
        Replace the pose measurements of the graph by the consistent conflicting poses.

        Fewer measurements than conflicting poses mean a wrong initial pose: the whole path is
        corrected. Otherwise the robot was kidnapped: the earlier path is frozen, because odometry
        does not connect it.
        """
        measurements = {}
        for map_from_base, covariance, sample in self._conflicting_poses.consistent_poses:
            k = self.graph.nearest_index(sample)
            pose = PoseMeasurement(sample.stamp_ns, map_from_base, covariance)
            measurements[k] = self.graph.transport(pose, sample, self.graph.keyframes[k].odometry)
        earlier_count = len(self.graph.measurement_indices)
        is_wrong_start = not self.graph.has_prior and earlier_count < len(self._conflicting_poses)
        self.graph.reinitialize(measurements, 0 if is_wrong_start else min(measurements))


def _is_more_certain(new: PoseMeasurement, old: PoseMeasurement) -> bool:
    """Compare the volumes of the covariance ellipsoids."""
    return np.linalg.slogdet(new.covariance)[1] < np.linalg.slogdet(old.covariance)[1]


def _pose_problem(pose: PoseMeasurement) -> str:
    """Return why a pose cannot be used, in words; empty if it can."""
    if not np.all(np.isfinite(pose.map_from_base)) or not np.all(np.isfinite(pose.covariance)):
        return 'it is not finite: see to its source'
    distance_m = float(np.abs(pose.map_from_base[:3, 3]).max())
    if distance_m > MAX_DISTANCE_M:
        return f'it is {distance_m:.3g} m from the origin of the map: see to its source'
    smallest = np.linalg.eigvalsh(_symmetrize(pose.covariance))[0]
    if smallest <= 0.0:
        return f'its covariance is not positive definite (eigenvalue {smallest:.3g}): set it'
    return ''


def _clamp_covariance(covariance: FloatArray) -> FloatArray:
    """Clamp the eigenvalues to `MIN_VARIANCE` and `MAX_VARIANCE`."""
    variances, axes = np.linalg.eigh(_symmetrize(covariance))
    clamped = axes * np.clip(variances, MIN_VARIANCE, MAX_VARIANCE) @ axes.T
    return np.asarray(clamped)


def _symmetrize(covariance: FloatArray) -> FloatArray:
    return covariance / 2.0 + covariance.T / 2.0  # halved first: the sum of maxima would overflow
