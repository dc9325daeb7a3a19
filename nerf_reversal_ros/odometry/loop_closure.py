"""
Which poses of the localizer correct the odometry's path, and which are left aside.

A pose comes later than the odometry of its stamp, and is brought to a keyframe of the graph near
it. If the graph knows where that is, the pose must be as near to it as both covariances and the
drift allow (chi-squared test); if not, it contradicts. A few poses that contradict are false. But
when enough of them agree with each other by the odometry, it is the graph that is wrong: it
started from a false pose, or the robot was carried away. Then they replace what they contradict.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from nerf_reversal_ros.core.config import LoopClosureConfig
from nerf_reversal_ros.core.geometry import FloatArray, pose_distance
from nerf_reversal_ros.core.outcome import ClosureRejectionReason
from nerf_reversal_ros.odometry.odometry_check import (
    ConflictingPoses,
    OdometryBuffer,
    OdometrySample,
    PoseObservation,
)
from nerf_reversal_ros.odometry.pose_chain import PoseMeasurement
from nerf_reversal_ros.odometry.pose_graph import PoseGraph

MAX_WAITING = 100
"""So many poses, at most, wait for the odometry of their time; then the oldest is given up."""
MAX_DISTANCE_M = 1e6
"""No pose is farther from the origin of the map."""
MIN_VARIANCE, MAX_VARIANCE = 1e-12, 1e2
"""A covariance is brought within these [m^2, rad^2]: a source that says 1e-30 or 9999, as many do
for what they do not know, would leave gtsam a chain that it cannot solve."""
MAX_ODOMETRY_DELAY_S = 2.0
"""Odometry that comes later than this after a pose of its time is missed."""
MAX_STAMPS = 1000
"""So many stamps are remembered to tell duplicates."""


class ClosureResult(NamedTuple):
    """What was done with one pose."""

    stamp_ns: int
    accepted: bool
    reason: str = ''
    """Empty when accepted, else a `ClosureRejectionReason`."""
    detail: str = ''
    """The figures behind the reason, in words."""
    reanchored: bool = False
    """Whether it replaced, with others, what it contradicted."""
    keyframe_ns: int = 0
    """Stamp of the keyframe that it was brought to."""
    residual_m: float = 0.0
    residual_deg: float = 0.0
    """How far it was, before the correction, from where the graph had it."""
    chi2: float = 0.0
    """The same as a squared Mahalanobis distance, 6 degrees of freedom."""
    chi2_limit: float = 0.0
    """Beyond this it contradicts."""
    travelled_m: float = 0.0
    """Way since the last accepted pose."""
    correction_m: float = 0.0
    correction_deg: float = 0.0
    """By how much the last pose of the path moved."""

    @property
    def is_consistent(self) -> bool:
        """Whether the pose was where the graph has it: accepted, or right and nothing new."""
        return self.accepted or self.reason == ClosureRejectionReason.REDUNDANT


class CorrectedPose(NamedTuple):
    """Where the robot is."""

    stamp_ns: int
    """Of the last odometry."""
    map_from_base: FloatArray
    """(4, 4)."""
    covariance: FloatArray
    """(6, 6) of x, y, z [m] and rotations about the fixed map axes [rad] (REP 103)."""


class LoopCloser:
    """
    Odometry and poses in, the corrected path out.

    Stamps may come late, twice or out of order. When the odometry's time jumps back by more than
    a second, all is forgotten: a bag was started again.

    Raises
    ------
    ConfigError
        If gtsam is not installed.
    """

    def __init__(self, config: LoopClosureConfig) -> None:
        self.config = config
        self.time_jump_count = 0
        """How often the time of the odometry jumped back."""
        self.reset()

    def configure(self, config: LoopClosureConfig) -> None:
        """Take other settings for what comes."""
        self.config = config
        self.graph.configure(config)

    def reset(self) -> None:
        """Forget everything."""
        self.graph = PoseGraph(self.config)
        self._odometry_buffer = OdometryBuffer()
        self._waiting_poses: list[PoseMeasurement] = []
        self._stamps: deque[int] = deque(maxlen=MAX_STAMPS)
        self._conflicting_poses = ConflictingPoses()
        self._last_accepted_sample: OdometrySample | None = None

    def add_odometry(self, stamp_ns: int, odom_from_base: FloatArray) -> list[ClosureResult]:
        """Take what the odometry said, (4, 4); return what it made of poses that waited for it."""
        if not self._odometry_buffer.add(stamp_ns, odom_from_base):
            self.time_jump_count += 1
            self.reset()
            self._odometry_buffer.add(stamp_ns, odom_from_base)
        last = self._odometry_buffer.last
        assert last is not None
        if last.stamp_ns == stamp_ns:
            self.graph.extend(last)
        due = [seen for seen in self._waiting_poses if seen.stamp_ns <= last.stamp_ns]
        self._waiting_poses = [
            seen for seen in self._waiting_poses if seen.stamp_ns > last.stamp_ns
        ]
        return [self._process_pose(seen) for seen in due]

    def add_pose(
        self, stamp_ns: int, map_from_base: FloatArray, covariance: FloatArray
    ) -> list[ClosureResult]:
        """
        Take a pose of the localizer.

        Parameters
        ----------
        stamp_ns : int
            When its picture was taken.
        map_from_base : (4, 4) array
            Of the frame that the odometry is of.
        covariance : (6, 6) array
            Of x, y, z [m] and rotations about the fixed map axes [rad] (REP 103).

        Returns
        -------
        list of Closure
            What was done; empty while it waits for the odometry of its time.
        """
        seen = PoseMeasurement(stamp_ns, map_from_base, covariance)
        if fault := _pose_problem(seen):
            return [ClosureResult(stamp_ns, False, ClosureRejectionReason.UNUSABLE_POSE, fault)]
        if stamp_ns in self._stamps:
            return [ClosureResult(stamp_ns, False, ClosureRejectionReason.DUPLICATE_STAMP)]
        self._stamps.append(stamp_ns)
        seen = seen._replace(covariance=_clamp_covariance(covariance))
        last = self._odometry_buffer.last
        if last is not None and stamp_ns <= last.stamp_ns:
            return [self._process_pose(seen)]
        self._waiting_poses.append(seen)
        self._waiting_poses.sort(key=lambda waiting: waiting.stamp_ns)
        if len(self._waiting_poses) <= MAX_WAITING:
            return []
        return [
            ClosureResult(
                self._waiting_poses.pop(0).stamp_ns,
                False,
                ClosureRejectionReason.NO_ODOMETRY,
                'none came',
            )
        ]

    @property
    def waiting_reason(self) -> str:
        """What keeps the poses that wait from being judged, in words; empty if nothing does."""
        if not self._waiting_poses:
            return ''
        last, count = self._odometry_buffer.last, len(self._waiting_poses)
        if last is None:
            return f'no odometry came, for which poses wait ({count})'
        ahead_s = (self._waiting_poses[0].stamp_ns - last.stamp_ns) / 1e9
        if ahead_s < MAX_ODOMETRY_DELAY_S:
            return ''
        return f'the odometry is {ahead_s:.1f} s behind poses that wait for it ({count})'

    def current_pose(self) -> CorrectedPose | None:
        """Return where the robot is; None before a pose was accepted."""
        last = self._odometry_buffer.last
        if last is None or self.graph.map_from_odom is None:
            return None
        k = len(self.graph.keyframes) - 1
        at = self.graph.keyframes[k].odometry
        there = self.graph.predict(at)
        assert there is not None
        known = PoseMeasurement(at.stamp_ns, there, self.graph.covariance(k))
        here = self.graph.transport(known, at, last)
        return CorrectedPose(last.stamp_ns, here.map_from_base, here.covariance)

    def _process_pose(self, seen: PoseMeasurement) -> ClosureResult:
        """Judge a pose whose odometry is there."""
        graph = self.graph
        reading = self._odometry_buffer.sample_at(seen.stamp_ns, self.config.odometry_tolerance_s)
        if reading is None:
            detail = f'none within {self.config.odometry_tolerance_s:g} s of the stamp'
            return ClosureResult(seen.stamp_ns, False, ClosureRejectionReason.NO_ODOMETRY, detail)
        k = graph.nearest_index(reading)
        keyframe = graph.keyframes[k]
        anchor = graph.transport(seen, reading, keyframe.odometry)
        closure = ClosureResult(seen.stamp_ns, True, keyframe_ns=keyframe.odometry.stamp_ns)
        if graph.map_from_odom is not None:
            closure = self._compare_with_graph(closure, k, anchor, reading)
        if closure.chi2 > closure.chi2_limit:
            sighting = PoseObservation(seen.map_from_base, seen.covariance, reading)
            if not self._conflicting_poses.add(sighting, self.config):
                return closure._replace(
                    accepted=False,
                    reason=ClosureRejectionReason.OUTLIER,
                    detail=self._format_detail(closure),
                )
            closure = closure._replace(reanchored=True)
        elif keyframe.measurement is not None and not _is_more_certain(
            anchor, keyframe.measurement
        ):
            self._conflicting_poses.reset()
            return closure._replace(accepted=False, reason=ClosureRejectionReason.REDUNDANT)
        before = graph.keyframes[-1].map_from_base
        if closure.reanchored:
            self._replace_measurements()
        else:
            graph.add_measurement(k, anchor)
        self._conflicting_poses.reset()
        self._last_accepted_sample = reading
        after = graph.keyframes[-1].map_from_base
        if before is None or after is None:
            return closure
        correction_m, correction_deg = pose_distance(before, after)
        return closure._replace(correction_m=correction_m, correction_deg=correction_deg)

    def _compare_with_graph(
        self, closure: ClosureResult, k: int, anchor: PoseMeasurement, reading: OdometrySample
    ) -> ClosureResult:
        """Compare a pose, brought to keyframe ``k``, with the graph's."""
        expected = self.graph.keyframes[k].map_from_base
        assert expected is not None
        turn = Rotation.from_matrix(anchor.map_from_base[:3, :3] @ expected[:3, :3].T).as_rotvec()
        off = np.concatenate([anchor.map_from_base[:3, 3] - expected[:3, 3], turn])
        covariance = self.graph.covariance(k) + anchor.covariance
        travelled_m = 0.0
        if self._last_accepted_sample is not None:
            travelled_m = abs(reading.path_length_m - self._last_accepted_sample.path_length_m)
        return closure._replace(
            residual_m=float(np.linalg.norm(off[:3])),
            residual_deg=float(np.degrees(np.linalg.norm(turn))),
            chi2=float(off @ np.linalg.solve(covariance, off)),
            chi2_limit=float(chi2.ppf(self.config.gate, 6)),
            travelled_m=travelled_m,
        )

    def _format_detail(self, closure: ClosureResult) -> str:
        return (
            f'{closure.residual_m:.2f} m and {closure.residual_deg:.1f} deg from the path'
            f' (chi2 {closure.chi2:.0f}, allowed {closure.chi2_limit:.0f});'
            f' {len(self._conflicting_poses)} of {self.config.odometry_witnesses} poses that would'
            ' replace those before'
        )

    def _replace_measurements(self) -> None:
        """
        Believe the challengers.

        What they contradict is a false start if it is less than they are; then all before is
        corrected by them. Else it was right then, and the odometry does not lead from there.
        """
        graph, anchors = self.graph, {}
        for map_from_base, covariance, reading in self._conflicting_poses.consistent_poses:
            k = graph.nearest_index(reading)
            seen = PoseMeasurement(reading.stamp_ns, map_from_base, covariance)
            anchors[k] = graph.transport(seen, reading, graph.keyframes[k].odometry)
        false_start = not graph.has_prior and len(graph.measurement_indices) < len(
            self._conflicting_poses
        )
        graph.reinitialize(anchors, 0 if false_start else min(anchors))


def _is_more_certain(new: PoseMeasurement, old: PoseMeasurement) -> bool:
    return np.linalg.slogdet(new.covariance)[1] < np.linalg.slogdet(old.covariance)[1]


def _pose_problem(seen: PoseMeasurement) -> str:
    """Return what is wrong with a pose, in words; empty if nothing is."""
    if not np.all(np.isfinite(seen.map_from_base)) or not np.all(np.isfinite(seen.covariance)):
        return 'it is not finite: see to its source'
    far_m = float(np.abs(seen.map_from_base[:3, 3]).max())
    if far_m > MAX_DISTANCE_M:
        return f'it is {far_m:.3g} m from the origin of the map: see to its source'
    least = np.linalg.eigvalsh(_symmetrize(seen.covariance))[0]
    if least <= 0.0:
        return f'its covariance is not positive definite (least eigenvalue {least:.3g}): set it'
    return ''


def _clamp_covariance(covariance: FloatArray) -> FloatArray:
    variances, axes = np.linalg.eigh(_symmetrize(covariance))
    bounded = axes * np.clip(variances, MIN_VARIANCE, MAX_VARIANCE) @ axes.T
    return np.asarray(bounded)


def _symmetrize(covariance: FloatArray) -> FloatArray:
    return covariance / 2.0 + covariance.T / 2.0  # halved first: a source may say the most of all
