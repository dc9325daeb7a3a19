"""
Compare the given poses of a bag with the motions of its images, and measure what differs.

The angle of a motion does not depend on the axes of the camera, its mounting or the unit of
length. So angles alone give the offset of the clocks and the focal length. With the clocks known,
one constant transform between the frame of the poses and the camera, and one ratio of lengths,
must explain all motions (hand-eye calibration, A X = X B).

References
----------
Tsai & Lenz, "A new technique for fully autonomous and efficient 3D robotics hand/eye
calibration", IEEE Transactions on Robotics and Automation 1989.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.pose_convention import POSE_CONVENTIONS, world_from_camera
from nerf_reversal_ros.capture.visual_motion import VisualMotions
from nerf_reversal_ros.core.geometry import FloatArray, inverse, make_pose

PosesAt = Callable[[NDArray[np.int64]], FloatArray]
"""Returns the recorded poses (M, 4, 4), in the convention of the bag, at stamps (M,) [ns]."""

MAX_OFFSET_S, OFFSET_STEP_S = 2.0, 0.01
"""Offsets of the clocks that are searched, about a first guess."""
MAX_ANGLE_ERROR_DEG = 5.0
"""Larger differences of angles count as this much, so that a jump of the poses does not."""
MIN_ANGLE_DEG = 1.0
"""Smallest median rotation of the motions that determines anything."""
MIN_ANGLE_GAIN, ANGLE_NOISE_DEG = 1.5, 0.1
"""An offset counts if the angles fit this many times better with it, above their noise."""
MAX_FOCAL_RATIO = 2.5
"""Largest ratio of a wrong focal length to the true one that is considered."""
MAX_ANGLE_MISFIT = 0.25
"""Largest mean difference of the angles at a true offset, relative to the motions."""
MAX_RESIDUAL_DEG = 1.5
"""Largest median rotation error of a transform that explains the motions."""
MAX_RESIDUAL_M, MAX_RESIDUAL = 0.015, 0.25
"""Largest median translation error of one [m], and as a fraction of the median motion."""
MIN_MOVED = 1e-4
"""Smallest length of the motions of poses relative to those of images, in any unit."""
MIN_MOTIONS = 8
"""Fewest motions that are compared with poses."""


@dataclass(frozen=True)
class HandEye:
    """A constant transform that explains the motions."""

    pose_from_camera: FloatArray
    """(4, 4) camera optical frame in the frame of the poses."""
    error_deg: float
    """Median rotation error."""
    error_m: float
    """Median translation error."""
    is_complete: bool
    """False if the motions leave a direction open, as of a robot on a level floor."""


@dataclass(frozen=True)
class MotionComparison:
    """How poses and motions of a capture relate."""

    motions: VisualMotions
    first_poses: FloatArray
    """(M, 4, 4) recorded pose at the first frame of each pair, after the offset."""
    second_poses: FloatArray
    """(M, 4, 4) at the second one."""
    offset_s: float
    """Add this to the stamps of the images to get the clock of the poses [s]; 0: they agree."""
    has_offset: bool
    """Whether ``offset_s`` is measured, and not a guess."""
    angle_ratio: float
    """Median angle of the motions relative to that of the poses."""

    def given(self, axes: str = 'optical') -> FloatArray:
        """Return the motions (M, 4, 4) of the poses, first_from_second, under a convention."""
        first, second = (world_from_camera(p, axes) for p in (self.first_poses, self.second_poses))
        return inverse(first) @ second

    @property
    def angle_errors_deg(self) -> FloatArray:
        """Difference (M,) of the angles of poses and images."""
        visual = self.motions.first_from_second
        return np.abs(_angles_deg(self.given()) - _angles_deg(visual))

    @property
    def has_still_positions(self) -> bool:
        """Whether the positions of the poses stay while the images move."""
        motions = self.given(), self.motions.first_from_second
        lengths = [float(np.median(np.linalg.norm(m[:, :3, 3], axis=1))) for m in motions]
        return lengths[0] < MIN_MOVED * lengths[1]

    @property
    def agrees_on_angles(self) -> bool:
        """Whether the poses turn as the images do."""
        angle_deg = float(np.median(_angles_deg(self.motions.first_from_second)))
        return float(np.median(self.angle_errors_deg)) < max(
            MAX_RESIDUAL_DEG / 2, 0.15 * angle_deg
        )


def compare_motions(
    motions: VisualMotions, poses_at: PosesAt, stamps_ns: NDArray[np.int64], guess_s: float = 0.0
) -> MotionComparison:
    """
    Measure the offset of the clocks and compare the angles of the motions.

    Parameters
    ----------
    motions : VisualMotions
        At least `MIN_MOTIONS` motions.
    poses_at : callable
        The recorded poses.
    stamps_ns : (N,) array
        Stamps of all frames [ns].
    guess_s : float
        Offset about which is searched [s].
    """
    stamps = stamps_ns[motions.pairs]
    measured = _angles_deg(motions.first_from_second)

    def poses(offsets_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        shifts_ns = np.rint(offsets_s * 1e9).astype(np.int64)
        shifted = (stamps.T[:, None] + shifts_ns[:, None]).reshape(2, -1)
        return poses_at(shifted[0]), poses_at(shifted[1])

    def errors_at(offsets_s: FloatArray) -> FloatArray:
        first, second = poses(offsets_s)
        angles = _angles_deg(inverse(first) @ second).reshape(-1, len(measured))
        ratios = np.array([_ratio(measured, row) for row in angles])
        differences = np.abs(ratios[:, None] * angles - measured)
        return np.asarray(np.minimum(differences, MAX_ANGLE_ERROR_DEG).mean(1))

    offsets = guess_s + np.arange(-MAX_OFFSET_S, MAX_OFFSET_S + OFFSET_STEP_S / 2, OFFSET_STEP_S)
    errors = errors_at(offsets)
    limit_deg = MIN_ANGLE_GAIN * (errors.min() + ANGLE_NOISE_DEG)
    typical_deg = float(np.median(measured))
    is_clear = typical_deg > MIN_ANGLE_DEG and errors.max() > limit_deg
    is_clear &= errors.min() < MAX_ANGLE_MISFIT * min(typical_deg, MAX_ANGLE_ERROR_DEG)
    is_better = is_clear and errors_at(np.array([guess_s]))[0] > limit_deg
    offset_s = float(offsets[errors.argmin()]) if is_better else guess_s
    first, second = poses(np.array([offset_s]))
    ratio = _ratio(measured, _angles_deg(inverse(first) @ second))
    return MotionComparison(motions, first, second, offset_s, bool(is_clear), ratio)


def fit_scale(comparison: MotionComparison) -> tuple[str, float] | None:
    """
    Fit the ratio of the lengths of poses and depth, with the camera as the frame of the poses.

    Returns
    -------
    (str, float) or None
        Pose convention, and length of a motion in poses divided by that in depth; None if no
        convention explains the motions.
    """
    visual = comparison.motions.first_from_second
    best: tuple[float, str, float] | None = None
    for axes in POSE_CONVENTIONS:
        given = comparison.given(axes)
        turn_deg = float(np.median(_angles_deg(inverse(given) @ visual)))
        moved, seen = given[:, :3, 3], visual[:, :3, 3]
        far = np.linalg.norm(moved, axis=1) >= np.median(np.linalg.norm(moved, axis=1))
        lengths = np.linalg.norm(seen[far], axis=1)
        scale = float(np.median(np.linalg.norm(moved[far], axis=1) / np.maximum(lengths, 1e-9)))
        error = np.linalg.norm(moved[far] - scale * seen[far], axis=1)
        residual = float(np.median(error) / max(np.median(scale * lengths), 1e-9))
        if scale > 0 and turn_deg < MAX_RESIDUAL_DEG and residual < MAX_RESIDUAL:
            if best is None or residual < best[0]:
                best = residual, axes, scale
    return None if best is None else best[1:]


def fit_mounting(comparison: MotionComparison) -> HandEye | None:
    """
    Fit the pose of the camera in the frame of the poses; None if none explains the motions.

    A direction that the motions leave open is set to 0.
    """
    given, visual = comparison.given(), comparison.motions.first_from_second
    turns = Rotation.from_matrix(visual[:, :3, :3])
    start, _ = Rotation.align_vectors(
        Rotation.from_matrix(given[:, :3, :3]).as_rotvec() + 1e-12, turns.as_rotvec() + 1e-12
    )
    axis = np.linalg.svd(turns.as_rotvec(), full_matrices=False)[2][0]
    # About the axis of a robot that turns about one axis alone, only translations decide.
    starts = [
        start * Rotation.from_rotvec(axis * angle) for angle in np.radians([0, 90, 180, 270])
    ]
    lengths = np.linalg.norm(given[:, :3, 3], axis=1)
    scale_m = max(MAX_RESIDUAL_M, 0.1 * float(np.median(lengths)))

    def residuals(values: FloatArray) -> FloatArray:
        pose = make_pose(Rotation.from_rotvec(values[:3]), values[3:])
        left, right = given @ pose, pose @ visual
        turn = Rotation.from_matrix(np.swapaxes(left[:, :3, :3], 1, 2) @ right[:, :3, :3])
        moved = (left - right)[:, :3, 3] / scale_m
        return np.concatenate(
            [turn.as_rotvec().ravel() / np.radians(1.0), moved.ravel(), 1e-3 * values[3:]]
        )

    fits = [
        least_squares(residuals, [*first.as_rotvec(), 0, 0, 0], loss='cauchy', max_nfev=60)
        for first in starts
    ]
    best = min(fits, key=lambda fit: fit.cost)
    pose = make_pose(Rotation.from_rotvec(best.x[:3]), best.x[3:])
    left, right = given @ pose, pose @ visual
    error_deg = float(np.median(_angles_deg(inverse(left) @ right)))
    error_m = float(np.median(np.linalg.norm((left - right)[:, :3, 3], axis=1)))
    if error_deg > MAX_RESIDUAL_DEG:
        return None
    if error_m > max(MAX_RESIDUAL_M, MAX_RESIDUAL * float(np.median(lengths))):
        return None
    stacked = (given[:, :3, :3] - np.eye(3)).reshape(-1, 3)
    weakest = float(np.linalg.svd(stacked, compute_uv=False)[-1]) / np.sqrt(len(given))
    return HandEye(pose, error_deg, error_m, weakest > np.radians(MIN_ANGLE_DEG))


def _ratio(measured_deg: FloatArray, given_deg: FloatArray) -> float:
    """Return the median ratio of angles (M,), within what a wrong focal length explains."""
    turning = measured_deg > MIN_ANGLE_DEG
    if not turning.any():
        return 1.0
    ratios = measured_deg[turning] / np.maximum(given_deg[turning], 1e-3)
    return float(np.clip(np.median(ratios), 1 / MAX_FOCAL_RATIO, MAX_FOCAL_RATIO))


def _angles_deg(poses: FloatArray) -> FloatArray:
    """Return the rotation angles of poses (M, 4, 4)."""
    return np.degrees(Rotation.from_matrix(poses[:, :3, :3]).magnitude())
