"""
Confirm or reject a localized pose by the robot's odometry since earlier poses.

A pose with a probability slightly too low is accepted if several earlier poses are consistent with
it. A pose that contradicts them is rejected. The earlier poses may be incorrect, or the robot may
have been kidnapped: enough new poses that are mutually consistent replace the earlier ones.
"""

from dataclasses import replace

from nerf_reversal_ros.core.geometry import FloatArray, inverse
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.odometry.config import OdometryConfig
from nerf_reversal_ros.odometry.odometry_buffer import OdometryBuffer, TIME_RESET_S
from nerf_reversal_ros.odometry.pose_consensus import (
    compare_motion,
    ConflictingPoses,
    is_other_view,
    MotionComparison,
    PoseObservation,
)


class OdometryCheck:
    """
    Compares each pose with the last poses that the gate accepted.

    Poses that odometry alone confirmed are not kept: they are no independent evidence. A reset of
    time discards all poses. Poses of different coordinate frames, of rooms that nothing links, are
    not compared with each other.
    """

    def __init__(self) -> None:
        self._odometry_buffer = OdometryBuffer()
        self._accepted: dict[str, _AcceptedPoses] = {}
        """By coordinate frame."""

    def reset(self) -> None:
        """Discard the earlier poses, as when another map is loaded."""
        self._accepted = {}

    def add_odometry(self, stamp_ns: int, odom_from_base: FloatArray) -> None:
        """Add the pose (4, 4) of the base by odometry."""
        if not self._odometry_buffer.add(stamp_ns, odom_from_base):
            self.reset()

    def camera_motion(
        self, start_ns: int, end_ns: int, base_from_camera: FloatArray, tolerance_s: float
    ) -> FloatArray | None:
        """
        Return the motion of the camera between two stamps by the odometry of the base.

        Parameters
        ----------
        start_ns, end_ns : int
            Stamps [ns].
        base_from_camera : (4, 4) array
            Extrinsics of the camera.
        tolerance_s : float
            Maximum time from a stamp to the nearest odometry [s].

        Returns
        -------
        (4, 4) array or None
            ``start_from_end``; None without odometry at one of the stamps.
        """
        motion = self._odometry_buffer.motion_between(start_ns, end_ns, tolerance_s)
        return None if motion is None else inverse(base_from_camera) @ motion @ base_from_camera

    def check(
        self, outcome: Outcome, stamp_ns: int, base_from_camera: FloatArray, config: OdometryConfig
    ) -> Outcome:
        """
        Confirm or reject the outcome of one image.

        Parameters
        ----------
        outcome : Outcome
            Result of the localizer.
        stamp_ns : int
            Stamp of the image [ns].
        base_from_camera : (4, 4) array
            Extrinsics of the camera.
        config : OdometryConfig
            Bounds of the drift, and numbers of consistent poses.

        Returns
        -------
        Outcome
            The outcome itself without odometry near the stamp. Otherwise the same outcome, the
            confirmed pose of a low probability, or `RejectionReason.ODOMETRY_DISAGREES`. The
            scores give the number of compared and of consistent earlier poses.
        """
        candidate = _candidate_pose(outcome, config)
        sample = self._odometry_buffer.sample_at(stamp_ns, config.odometry_tolerance_s)
        if candidate is None or sample is None:
            return outcome
        sample = sample._replace(odom_from_body=sample.odom_from_body @ base_from_camera)
        new = PoseObservation(candidate.map_from_camera, candidate.covariance, sample)
        self._reset_if_time_was_reset(stamp_ns)
        earlier = self._accepted.setdefault(candidate.diagnostics.frame, _AcceptedPoses())
        comparisons = [compare_motion(old, new, config) for old in earlier.poses]
        scores = {
            'odometry_compared': float(len(comparisons)),
            'odometry_agreeing': float(_count_consistent(comparisons)),
        }
        diagnostics = candidate.diagnostics
        diagnostics = replace(diagnostics, scores={**diagnostics.scores, **scores})
        candidate = replace(candidate, diagnostics=diagnostics)
        if isinstance(outcome, Rejection):
            is_confirmed = _confirms(comparisons, config)
            return candidate if is_confirmed else replace(outcome, diagnostics=diagnostics)
        if earlier.take(new, comparisons, config):
            return candidate
        return _disagreement(candidate, comparisons, len(earlier.conflicting), config)

    def _reset_if_time_was_reset(self, stamp_ns: int) -> None:
        stamps_ns = (
            accepted.poses[-1].odometry.stamp_ns
            for accepted in self._accepted.values()
            if accepted.poses
        )
        if max(stamps_ns, default=0) - stamp_ns > TIME_RESET_S * 1e9:
            self.reset()


class _AcceptedPoses:
    """The last poses in one coordinate frame, and those that contradict them."""

    def __init__(self) -> None:
        self.poses: list[PoseObservation] = []
        self.conflicting = ConflictingPoses()

    def take(
        self, new: PoseObservation, comparisons: list[MotionComparison], config: OdometryConfig
    ) -> bool:
        """Take in a pose that the gate accepted; return False if it contradicts the others."""
        if _majority_agrees(comparisons):
            self.conflicting.reset()
            if not comparisons or is_other_view(self.poses[-1], new, config):
                self.poses.append(new)
            del self.poses[: -2 * config.odometry_witnesses]
            return True
        if self.conflicting.add(new, config):
            self.poses = [new]
            self.conflicting.reset()
            return True
        return False


def _disagreement(
    candidate: PoseEstimate,
    comparisons: list[MotionComparison],
    conflicting: int,
    config: OdometryConfig,
) -> Rejection:
    newest = next(item for item in reversed(comparisons) if not item.is_consistent)
    return Rejection(
        RejectionReason.ODOMETRY_DISAGREES,
        f'{newest.error_m:.2f} m and {newest.error_deg:.1f} deg from an earlier pose moved by'
        f' the odometry (allowed: {newest.max_error_m:.2f} m, {newest.max_error_deg:.1f} deg);'
        f' {conflicting} of {config.odometry_witnesses} new poses that would replace the earlier'
        ' ones',
        candidate.diagnostics,
    )


def _candidate_pose(outcome: Outcome, config: OdometryConfig) -> PoseEstimate | None:
    """Return the pose of an outcome that was accepted or failed by a low probability alone."""
    if isinstance(outcome, PoseEstimate):
        return outcome
    diagnostics = outcome.diagnostics
    probability = diagnostics.scores.get('probability', 0.0)
    if (
        outcome.reason != RejectionReason.LOW_PROBABILITY
        or diagnostics.refined_pose is None
        or diagnostics.refined_covariance is None
        or not probability >= config.min_confirmed_probability
    ):
        return None
    return PoseEstimate(diagnostics.refined_pose, diagnostics.refined_covariance, diagnostics)


def _count_consistent(comparisons: list[MotionComparison]) -> int:
    return sum(comparison.is_consistent for comparison in comparisons)


def _majority_agrees(comparisons: list[MotionComparison]) -> bool:
    return not comparisons or 2 * _count_consistent(comparisons) > len(comparisons)


def _confirms(comparisons: list[MotionComparison], config: OdometryConfig) -> bool:
    """Return whether earlier poses confirm a pose of low probability."""
    near = [comparison for comparison in comparisons if comparison.is_near]
    is_enough = _count_consistent(near) >= config.odometry_witnesses
    return _majority_agrees(comparisons) and is_enough
