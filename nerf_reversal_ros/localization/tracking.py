"""
Predict the pose of the next image of a sequence from the last accepted poses.

`PoseSearch` tries the prediction first, but never alone: a wrong one costs time, not the pose.
The motion since the last accepted pose is that of the odometry, else that of constant velocity.
"""

from collections.abc import Callable
from typing import NamedTuple

from nerf_reversal_ros.core.geometry import FloatArray, inverse, pose_distance, scale_motion
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate

MAX_SPEED_M_S, MAX_SPEED_DEG_S = 3.0, 180.0
"""Speeds [m/s], [deg/s] beyond which two accepted poses are a jump, not a motion: a runner, or a
hand that turns the camera quickly. One of the poses is wrong, or the camera was carried away."""
MAX_EXTRAPOLATION = 2.0
"""Longest extrapolation, in intervals between the two poses that the velocity is from: the error
of the velocity grows with it."""

MotionBetween = Callable[[int, int], FloatArray | None]
"""Motion of the camera between two stamps [ns] by odometry, ``first_from_second`` (4, 4); None if
it is unknown."""


class _StampedPose(NamedTuple):
    stamp_ns: int
    map_from_camera: FloatArray
    frame: str
    """Coordinate frame of the pose, see `Diagnostics.frame`."""
    room: str | None


class PoseTracker:
    """
    Predicts poses of one camera from its last two accepted poses.

    Poses in two coordinate frames, of rooms that nothing links, have no motion between them.

    `reset` may be called from another thread than the other methods.
    """

    def __init__(self) -> None:
        self._poses: tuple[_StampedPose, ...] = ()
        """At most two, the newest last."""

    @property
    def room(self) -> str | None:
        """Room of a building in which the last accepted pose is."""
        poses = self._poses  # once: another thread may reset
        return poses[-1].room if poses else None

    def reset(self) -> None:
        """Forget all poses, as when another map is loaded."""
        self._poses = ()

    def add(self, outcome: Outcome, stamp_ns: int) -> None:
        """
        Add the outcome of an image.

        A stamp that is not later than the last accepted pose discards the earlier poses. So does
        a pose that no plausible motion explains.

        Parameters
        ----------
        outcome : Outcome
            What was published for the image; a rejection leaves the prediction as it is.
        stamp_ns : int
            Stamp of the image [ns].
        """
        last = self._poses[-1:]
        if last and stamp_ns <= last[0].stamp_ns:
            self._poses = last = ()
        if isinstance(outcome, PoseEstimate):
            diagnostics = outcome.diagnostics
            new = _StampedPose(
                stamp_ns, outcome.map_from_camera, diagnostics.frame, diagnostics.room
            )
            is_motion = bool(last) and _is_plausible_motion(last[0], new)
            self._poses = (*last, new) if is_motion else (new,)

    def predict(
        self, stamp_ns: int, timeout_s: float, motion_between: MotionBetween | None = None
    ) -> FloatArray | None:
        """
        Predict the pose of an image.

        Parameters
        ----------
        stamp_ns : int
            Stamp of the image [ns].
        timeout_s : float
            Maximum age of the last accepted pose [s]. Two poses farther apart give no velocity.
        motion_between : callable, optional
            Odometry. Where it knows no motion, the velocity of the last two poses is kept.

        Returns
        -------
        (4, 4) array or None
            ``map_from_camera``, in the frame of the last accepted pose; None without one before
            the stamp and within the timeout.
        """
        poses = self._poses  # once: another thread may reset
        if not poses or not 0 < stamp_ns - poses[-1].stamp_ns <= timeout_s * 1e9:
            return None
        last = poses[-1]
        motion = motion_between(last.stamp_ns, stamp_ns) if motion_between else None
        if motion is not None:
            return last.map_from_camera @ motion
        if len(poses) < 2 or last.stamp_ns - poses[0].stamp_ns > timeout_s * 1e9:
            return last.map_from_camera
        return _extrapolate(poses[0], last, stamp_ns)


def _is_plausible_motion(old: _StampedPose, new: _StampedPose) -> bool:
    if old.frame != new.frame:
        return False
    elapsed_s = (new.stamp_ns - old.stamp_ns) / 1e9
    moved_m, moved_deg = pose_distance(old.map_from_camera, new.map_from_camera)
    return moved_m <= MAX_SPEED_M_S * elapsed_s and moved_deg <= MAX_SPEED_DEG_S * elapsed_s


def _extrapolate(before: _StampedPose, last: _StampedPose, stamp_ns: int) -> FloatArray:
    """Continue the motion between two poses, for at most `MAX_EXTRAPOLATION` intervals."""
    intervals = (stamp_ns - last.stamp_ns) / (last.stamp_ns - before.stamp_ns)
    motion = inverse(before.map_from_camera) @ last.map_from_camera
    return last.map_from_camera @ scale_motion(motion, min(intervals, MAX_EXTRAPOLATION))
