"""
Metrics of localization: errors, recall, covariance consistency, latency.

The localizer, its stages and the baselines are all reduced to `MethodResults` (a pose or a
rejection for each image). `compute_metrics` evaluates all of them in the same way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import FloatArray, pose_errors, PoseErrors
from nerf_reversal_ros.core.outcome import (
    CORRECT_WITHIN_DEG,
    CORRECT_WITHIN_M,
    Outcome,
    PoseEstimate,
    RejectionReason,
)

RECALL_THRESHOLDS = {
    '2cm_2deg': (0.02, 2.0),
    '5cm_5deg': (0.05, 5.0),
    '10cm_10deg': (0.10, 10.0),
    '25cm_2deg': (0.25, 2.0),
    '50cm_5deg': (0.50, 5.0),
}
"""Recall thresholds: largest translation error [m] and rotation error [deg]."""


@dataclass(frozen=True)
class MethodResults:
    """Poses or rejections of one method for N images."""

    map_from_camera: FloatArray
    """(N, 4, 4) poses; NaN where rejected."""
    latency_ms: FloatArray
    """(N,) time from the decoded image to the result [ms]; NaN where not measured."""
    reasons: tuple[str, ...]
    """N rejection reasons; empty where accepted."""
    covariance: FloatArray | None = None
    """(N, 6, 6) in the convention of `PoseEstimate.covariance`; NaN where unknown."""

    @property
    def is_accepted(self) -> NDArray[np.bool_]:
        """(N,) whether each image has a pose."""
        return np.array([not reason for reason in self.reasons], dtype=bool)


def results_from_outcomes(
    outcomes: Iterable[Outcome], latency_ms: Iterable[float]
) -> MethodResults:
    """Collect outcomes of the localizer and their latencies [ms]."""
    poses, covariances, reasons = [], [], []
    for outcome in outcomes:
        if isinstance(outcome, PoseEstimate):
            poses.append(outcome.map_from_camera)
            covariances.append(outcome.covariance)
            reasons.append('')
        else:
            poses.append(np.full((4, 4), np.nan))
            covariances.append(np.full((6, 6), np.nan))
            reasons.append(outcome.reason)
    latency = np.array(list(latency_ms), dtype=np.float64)
    return MethodResults(np.stack(poses), latency, tuple(reasons), np.stack(covariances))


def results_from_poses(
    timed_poses: Sequence[tuple[FloatArray | None, float]],
    reasons: Sequence[str] = (),
    covariances: Sequence[FloatArray | None] = (),
) -> MethodResults:
    """
    Collect poses and latencies [ms] of a baseline.

    ``None`` as a pose is a rejection, for the reason at the same index (default: no answer).
    """
    reasons = reasons or [RejectionReason.NO_ANSWER] * len(timed_poses)
    filled = [np.full((6, 6), np.nan) if item is None else item for item in covariances]
    return MethodResults(
        np.stack([np.full((4, 4), np.nan) if pose is None else pose for pose, _ in timed_poses]),
        np.array([latency_ms for _, latency_ms in timed_poses], dtype=np.float64),
        tuple(
            reason if pose is None else ''
            for (pose, _), reason in zip(timed_poses, reasons, strict=True)
        ),
        np.stack(filled) if filled else None,
    )


def compute_metrics(results: MethodResults, map_from_camera_gt: FloatArray) -> dict[str, Any]:
    """
    Compute the metrics of one method for ``metrics.json``; NaN and infinities remain.

    Medians and recall are over all images; a rejection counts as an infinite translation error
    and a rotation error of 180 degrees. ``anees`` and ``sigma_coverage`` are over the poses with
    a covariance.
    """
    errors = result_errors(results, map_from_camera_gt)
    error_m, error_deg = errors.translation, np.degrees(errors.rotation)
    accepted = results.is_accepted
    reasons = [reason for reason in results.reasons if reason]
    timed = results.latency_ms[np.isfinite(results.latency_ms)]
    return {
        'images': len(error_m),
        'published': int(accepted.sum()),
        'rejected': {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        'median_translation_m': float(np.median(error_m)),
        'median_rotation_deg': float(np.median(error_deg)),
        'recall': {
            name: float(np.mean((error_m <= max_m) & (error_deg <= max_deg)))
            for name, (max_m, max_deg) in RECALL_THRESHOLDS.items()
        },
        'accuracy_0.1m': float(np.mean(error_m <= 0.1)),
        'worst_published_translation_m': float(error_m[accepted].max(initial=-math.inf)),
        'worst_published_rotation_deg': float(error_deg[accepted].max(initial=-math.inf)),
        'wrong_published': int((~correct_mask(errors))[accepted].sum()),
        'anees': anees(results, map_from_camera_gt),
        'sigma_coverage': sigma_coverage(results, map_from_camera_gt),
        'latency_ms': {
            name: float(np.percentile(timed, percent)) if len(timed) else math.nan
            for name, percent in (('p50', 50), ('p95', 95), ('p99', 99))
        },
    }


def result_errors(results: MethodResults, map_from_camera_gt: FloatArray) -> PoseErrors:
    """Compute errors (N,) against ground truth; a rejection has infinite m and pi rad."""
    accepted = results.is_accepted
    translation, rotation = np.full(len(accepted), np.inf), np.full(len(accepted), np.pi)
    errors = pose_errors(results.map_from_camera[accepted], map_from_camera_gt[accepted])
    translation[accepted], rotation[accepted] = errors
    return PoseErrors(translation, rotation)


def correct_mask(errors: PoseErrors, ratio: float = 1.0) -> NDArray[np.bool_]:
    """Return which errors (N,) are within ``ratio`` times the limits of a correct pose."""
    near = errors.translation <= ratio * CORRECT_WITHIN_M
    return np.asarray(near & (np.degrees(errors.rotation) <= ratio * CORRECT_WITHIN_DEG))


def error_vectors(map_from_camera: FloatArray, map_from_camera_gt: FloatArray) -> FloatArray:
    """
    Compute errors (N, 6) in the order and axes of `PoseEstimate.covariance`.

    Columns: estimated minus true position [m, map axes], then the rotation vector about the
    fixed map axes [rad] from the true to the estimated orientation.
    """
    shift = map_from_camera[:, :3, 3] - map_from_camera_gt[:, :3, 3]
    rotation = map_from_camera[:, :3, :3] @ np.swapaxes(map_from_camera_gt[:, :3, :3], 1, 2)
    return np.hstack([shift, Rotation.from_matrix(rotation).as_rotvec()])


def anees(results: MethodResults, map_from_camera_gt: FloatArray) -> float | None:
    """
    Compute the average normalized estimation error squared (ANEES), e^T C^-1 e.

    The mean is over the poses with a covariance C. A consistent C gives 6, the number of degrees
    of freedom; more is overconfident, less underconfident. The value is infinite if a covariance
    is not positive definite, and None without any covariance. See Bar-Shalom et al., Estimation
    with Applications, 2001, 5.4.
    """
    vectors, covariances = _errors_with_covariance(results, map_from_camera_gt)
    if not len(vectors):
        return None
    if np.linalg.eigvalsh(covariances).min() <= 0.0:
        return math.inf
    whitened = np.linalg.solve(covariances, vectors[:, :, None])[:, :, 0]
    return float(np.mean(np.sum(vectors * whitened, axis=1)))


def sigma_coverage(
    results: MethodResults, map_from_camera_gt: FloatArray
) -> dict[str, dict[str, float]] | None:
    """
    Compute the fractions of error components within 1, 2 and 3 standard deviations.

    For a consistent Gaussian they are 0.683, 0.954 and 0.997. None without any covariance.
    """
    vectors, covariances = _errors_with_covariance(results, map_from_camera_gt)
    if not len(vectors):
        return None
    sigma = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    within = {str(k): np.abs(vectors) <= k * sigma for k in (1, 2, 3)}
    return {
        'translation': {k: float(inside[:, :3].mean()) for k, inside in within.items()},
        'rotation': {k: float(inside[:, 3:].mean()) for k, inside in within.items()},
    }


def _errors_with_covariance(
    results: MethodResults, map_from_camera_gt: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return errors (M, 6) and covariances (M, 6, 6) of the poses that have a covariance."""
    if results.covariance is not None:
        known = results.is_accepted & np.isfinite(results.covariance).all(axis=(1, 2))
        if known.any():
            vectors = error_vectors(results.map_from_camera[known], map_from_camera_gt[known])
            return vectors, results.covariance[known]
    return np.empty((0, 6)), np.empty((0, 6, 6))


def psnr_db(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Compute the PSNR of two images with values 0 to 255; at most 99 dB."""
    squared_error = float(np.mean(np.subtract(a, b, dtype=np.float64) ** 2))
    return min(99.0, 10.0 * math.log10(255.0**2 / max(squared_error, 1e-12)))


def json_safe(value: Any) -> Any:
    """Convert nested values to valid JSON: numbers that are not finite become None (null)."""
    if isinstance(value, Mapping):
        return {str(name): json_safe(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if math.isfinite(value) else None
    return value
