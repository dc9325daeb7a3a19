"""
Whether the robot's odometry confirms or contradicts a pose.

Odometry does not know where the robot is in the map, but it knows well how the robot moved in the
last metres. So the way from an earlier pose to a new one, in the map, should be that of the
odometry, but for what both poses may be off and what the odometry may have drifted in between. A
pose that agrees with several earlier ones is published although it is a little too improbable by
itself; one that contradicts them is not published. It may be the earlier ones that are wrong, or
the robot may have been carried away: new poses that agree with each other replace them.
"""

from bisect import bisect_left
from collections import deque
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.bags.trajectory import interpolate, Trajectory
from nerf_reversal_ros.core.config import OdometryConfig, OdometryDriftConfig
from nerf_reversal_ros.core.geometry import (
    FloatArray,
    inverse,
    make_pose,
    pose_distance,
    shift_covariance,
)
from nerf_reversal_ros.core.outcome import (
    CORRECT_WITHIN_DEG,
    CORRECT_WITHIN_M,
    Outcome,
    PoseEstimate,
    Rejection,
    RejectionReason,
)

BUFFER_DURATION_S = 10.0
"""Odometry older than this is forgotten: pictures are answered sooner."""
TIME_RESET_S = 1.0
"""Odometry, or a picture, that is older than its predecessor by more means that time began anew;
by less, that it came late."""
MIN_STEP_M, MIN_STEP_DEG = 0.01, 0.5
"""Smaller movements do not add to the path: else the noise of standing still would."""
MAX_GAP = 4.0
"""Odometry is not interpolated over a silence of more than so many tolerances."""
SIGMAS = 3.0
"""Poses may be off by so many of their standard deviations."""
MIN_INDEPENDENT_S = 1.0
"""New poses from one place, that contradict the earlier ones, count when so far apart in time."""


class OdometrySample(NamedTuple):
    """What the odometry says about one time."""

    stamp_ns: int
    pose: FloatArray
    """(4, 4) in the odometry's frame: of the base in a track, of the camera in a sighting."""
    path_length_m: float
    """Length of the path since the track began."""
    total_rotation_deg: float
    """Sum of all turns since the track began."""


class OdometryBuffer:
    """The odometry of the last seconds."""

    def __init__(self) -> None:
        self._samples: deque[OdometrySample] = deque()
        self._last_step_pose: FloatArray | None = (
            None  # the pose up to which the path was measured
        )

    @property
    def last(self) -> OdometrySample | None:
        """The newest reading."""
        return self._samples[-1] if self._samples else None

    def add(self, stamp_ns: int, odom_from_base: FloatArray) -> bool:
        """Add a pose (4, 4); False if time jumped back, so that all before it was forgotten."""
        last = self.last
        jumped = last is not None and stamp_ns < last.stamp_ns - TIME_RESET_S * 1e9
        if last is None or jumped or self._last_step_pose is None:
            self._samples.clear()
            self._last_step_pose, travelled_m, turned_deg = odom_from_base, 0.0, 0.0
        elif stamp_ns <= last.stamp_ns:
            return True  # overtaken by a newer one
        else:
            _, _, travelled_m, turned_deg = last
            step_m, step_deg = pose_distance(self._last_step_pose, odom_from_base)
            if step_m >= MIN_STEP_M or step_deg >= MIN_STEP_DEG:
                self._last_step_pose = odom_from_base
                travelled_m, turned_deg = travelled_m + step_m, turned_deg + step_deg
        self._samples.append(OdometrySample(stamp_ns, odom_from_base, travelled_m, turned_deg))
        while self._samples[0].stamp_ns < stamp_ns - BUFFER_DURATION_S * 1e9:
            self._samples.popleft()
        return not jumped

    def sample_at(self, stamp_ns: int, tolerance_s: float) -> OdometrySample | None:
        """Interpolate at a stamp, or carry on from before it; None without a message near it."""
        if not self._samples:
            return None
        stamps = [reading.stamp_ns for reading in self._samples]
        after = max(1, min(bisect_left(stamps, stamp_ns), len(stamps) - 1))
        near = [self._samples[k] for k in sorted({after - 1, min(after, len(stamps) - 1)})]
        known_ns = np.array([reading.stamp_ns for reading in near], dtype=np.int64)
        gap_ns = abs(known_ns - stamp_ns).min()
        if gap_ns == 0:
            return near[int(np.flatnonzero(known_ns == stamp_ns)[0])]
        if gap_ns > tolerance_s * 1e9 or known_ns[-1] - known_ns[0] > MAX_GAP * tolerance_s * 1e9:
            return None
        if stamp_ns > known_ns[-1] and len(near) == 2:
            return _extrapolate(near[0], near[1], stamp_ns)
        track = Trajectory(known_ns, np.stack([reading.pose for reading in near]))
        poses, _ = interpolate(track, np.array([stamp_ns], dtype=np.int64))
        travelled_m, turned_deg = (
            float(np.interp(stamp_ns - known_ns[0], known_ns - known_ns[0], values))
            for values in zip(*(reading[2:] for reading in near), strict=True)
        )
        return OdometrySample(stamp_ns, poses[0], travelled_m, turned_deg)


def _extrapolate(before: OdometrySample, last: OdometrySample, stamp_ns: int) -> OdometrySample:
    """Go on from the last reading as fast as since the one before."""
    share = (stamp_ns - last.stamp_ns) / (last.stamp_ns - before.stamp_ns)
    step = inverse(before.pose) @ last.pose
    turn = Rotation.from_rotvec(share * Rotation.from_matrix(step[:3, :3]).as_rotvec())
    return OdometrySample(
        stamp_ns,
        last.pose @ make_pose(turn, share * step[:3, 3]),
        last.path_length_m + share * (last.path_length_m - before.path_length_m),
        last.total_rotation_deg + share * (last.total_rotation_deg - before.total_rotation_deg),
    )


class PoseObservation(NamedTuple):
    """A pose in the map, and what the odometry said about that time."""

    map_from_body: FloatArray
    """(4, 4)."""
    covariance: FloatArray
    """(6, 6) as in `PoseEstimate.covariance`."""
    odometry: OdometrySample


class MotionComparison(NamedTuple):
    """How well the way from one sighting to another is that of the odometry."""

    error_m: float
    error_deg: float
    """The difference of the two ways."""
    max_error_m: float
    max_error_deg: float
    """What drift and uncertainty explain."""
    is_near: bool
    """Whether the pose is right (`CORRECT_WITHIN_M`, `CORRECT_WITHIN_DEG`) if the older is, whatever the drift."""

    @property
    def is_consistent(self) -> bool:
        """Whether that explains the difference."""
        return self.error_m <= self.max_error_m and self.error_deg <= self.max_error_deg


def compare_motion(
    old: PoseObservation, new: PoseObservation, config: OdometryDriftConfig
) -> MotionComparison:
    """
    Compare the motion between two sightings with that of the odometry.

    The drift is bounded by a share of the path, and of the angle turned, plus a constant. To it
    come `SIGMAS` standard deviations of both poses, the larger for each direction; an error of
    the older orientation turns the whole way.
    """
    way_in_odom = inverse(old.odometry.pose) @ new.odometry.pose
    expected = old.map_from_body @ way_in_odom
    off_m, off_deg = pose_distance(expected, new.map_from_body)
    way = expected[:3, 3] - old.map_from_body[:3, 3]
    covariance = new.covariance + shift_covariance(old.covariance, way)
    std_m, std_rad = (
        np.sqrt(np.linalg.eigvalsh(block)[-1])
        for block in (covariance[:3, :3], covariance[3:, 3:])
    )
    travelled_m = abs(new.odometry.path_length_m - old.odometry.path_length_m)
    turned_deg = abs(new.odometry.total_rotation_deg - old.odometry.total_rotation_deg)
    drift_m = config.odometry_drift_m + config.odometry_drift * travelled_m
    drift_deg = config.odometry_drift_deg + config.odometry_drift * turned_deg
    return MotionComparison(
        off_m,
        off_deg,
        float(drift_m + SIGMAS * std_m),
        float(drift_deg + SIGMAS * np.degrees(std_rad)),
        off_m + drift_m <= CORRECT_WITHIN_M and off_deg + drift_deg <= CORRECT_WITHIN_DEG,
    )


class ConflictingPoses:
    """New poses that contradict the earlier ones; enough of them replace those."""

    def __init__(self) -> None:
        self.consistent_poses: list[PoseObservation] = []
        """Those that agree with the newest, in their order, that included."""

    def __len__(self) -> int:
        return len(self.consistent_poses)

    def reset(self) -> None:
        """Begin anew, as when a pose agreed with the earlier ones."""
        self.consistent_poses = []

    def add(self, new: PoseObservation, config: OdometryDriftConfig) -> bool:
        """
        Count a pose that contradicts; tell whether enough agree with each other.

        One that is neither of another view than the last nor a second later proves nothing more.
        """
        agreeing = [
            old for old in self.consistent_poses if compare_motion(old, new, config).is_consistent
        ]
        if (
            not agreeing
            or _is_other_view(agreeing[-1], new, config)
            or _is_later(agreeing[-1], new)
        ):
            agreeing.append(new)
        self.consistent_poses = agreeing
        return len(agreeing) >= config.odometry_witnesses


class OdometryCheck:
    """
    Remembers the last poses that the gate believed, and compares each new one with them.

    What the odometry alone confirmed is not remembered: it is no witness for others. When time
    jumps backwards, all is forgotten.
    """

    def __init__(self) -> None:
        self._odometry_buffer = OdometryBuffer()
        self._history: list[PoseObservation] = []
        self._conflicting_poses = ConflictingPoses()

    def reset(self) -> None:
        """Forget the earlier poses, as when another map is used."""
        self._history = []
        self._conflicting_poses.reset()

    def add_odometry(self, stamp_ns: int, odom_from_base: FloatArray) -> None:
        """Take what the odometry said: the pose (4, 4) of the base at a time."""
        if not self._odometry_buffer.add(stamp_ns, odom_from_base):
            self.reset()

    def check(
        self, outcome: Outcome, stamp_ns: int, base_from_camera: FloatArray, config: OdometryConfig
    ) -> Outcome:
        """
        Confirm or contradict what the localizer said about a picture.

        Parameters
        ----------
        outcome : Outcome
            The localizer's.
        stamp_ns : int
            When the picture was taken.
        base_from_camera : (4, 4) array
            Where the camera is mounted.
        config : OdometryConfig
            How far the odometry may be trusted.

        Returns
        -------
        Outcome
            The same, as always without odometry near the stamp; or the pose of a picture that was
            too improbable, now confirmed; or ``odometry disagrees``. Its scores tell how many of
            the remembered poses agree.
        """
        found_pose = (
            outcome
            if isinstance(outcome, PoseEstimate)
            else _low_probability_pose(outcome, config)
        )
        reading = self._odometry_buffer.sample_at(stamp_ns, config.odometry_tolerance_s)
        if found_pose is None or reading is None:
            return outcome
        reading = reading._replace(pose=reading.pose @ base_from_camera)
        new = PoseObservation(found_pose.map_from_camera, found_pose.covariance, reading)
        late_ns = self._history[-1].odometry.stamp_ns - stamp_ns if self._history else 0
        if late_ns > TIME_RESET_S * 1e9:
            self.reset()
        found = [compare_motion(old, new, config) for old in self._history]
        agreeing = sum(comparison.is_consistent for comparison in found)
        agreed = 2 * agreeing > len(found) or not found
        scores = {'odometry_compared': float(len(found)), 'odometry_agreeing': float(agreeing)}
        told = found_pose.diagnostics
        told = replace(told, scores={**told.scores, **scores})
        if isinstance(outcome, Rejection):
            witnesses = sum(
                comparison.is_consistent and comparison.is_near for comparison in found
            )
            confirmed = agreed and witnesses >= config.odometry_witnesses
            return replace(found_pose if confirmed else outcome, diagnostics=told)
        if agreed:
            self._conflicting_poses.reset()
            if not found or _is_other_view(self._history[-1], new, config):
                self._history.append(new)
            del self._history[: -2 * config.odometry_witnesses]
            return replace(found_pose, diagnostics=told)
        if self._conflicting_poses.add(new, config):
            self._history = [new]
            self._conflicting_poses.reset()
            return replace(found_pose, diagnostics=told)
        worst = next(comparison for comparison in reversed(found) if not comparison.is_consistent)
        return Rejection(
            RejectionReason.ODOMETRY_DISAGREES,
            f'{worst.error_m:.2f} m and {worst.error_deg:.1f} deg from where the odometry leads from'
            f' an earlier pose (allowed: {worst.max_error_m:.2f} m, {worst.max_error_deg:.1f} deg);'
            f' {len(self._conflicting_poses)} of {config.odometry_witnesses} new poses that would'
            ' replace the earlier ones',
            told,
        )


def _low_probability_pose(rejected: Rejection, config: OdometryConfig) -> PoseEstimate | None:
    """Return the pose of a picture that lacked nothing but a little probability."""
    told = rejected.diagnostics
    probability = told.scores.get('probability', 0.0)
    if (
        rejected.reason != RejectionReason.LOW_PROBABILITY
        or told.refined_pose is None
        or told.refined_covariance is None
        or not probability >= config.min_confirmed_probability
    ):
        return None
    return PoseEstimate(told.refined_pose, told.refined_covariance, told)


def _is_other_view(
    old: PoseObservation, new: PoseObservation, config: OdometryDriftConfig
) -> bool:
    """Tell whether two sightings are of different views: else the second proves nothing more."""
    travelled_m = new.odometry.path_length_m - old.odometry.path_length_m
    turned_deg = new.odometry.total_rotation_deg - old.odometry.total_rotation_deg
    return travelled_m >= config.odometry_drift_m or turned_deg >= config.odometry_drift_deg


def _is_later(old: PoseObservation, new: PoseObservation) -> bool:
    return new.odometry.stamp_ns - old.odometry.stamp_ns >= MIN_INDEPENDENT_S * 1e9
