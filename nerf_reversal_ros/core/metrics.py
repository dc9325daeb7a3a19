"""
The measures of localization: errors, recall, calibration, latency.

Every method, the localizer as well as its stages and the baselines, is reduced to `MethodResults`
(a pose, or none, for every picture) and then measured by the same `compute_metrics`.
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
"""Recall thresholds: within so many metres and, at once, so many degrees."""


@dataclass(frozen=True)
class MethodResults:
    """What one method answered to N pictures."""

    map_from_camera: FloatArray
    """(N, 4, 4) poses; NaN where the method gave no answer."""
    latency_ms: FloatArray
    """(N,) milliseconds from decoded pixels to the answer; NaN where it was not measured."""
    reasons: tuple[str, ...]
    """Why there is no answer; empty where there is one."""
    covariance: FloatArray | None = None
    """(N, 6, 6) in the convention of `PoseEstimate.covariance`; NaN where there is none."""

    @property
    def is_accepted(self) -> NDArray[np.bool_]:
        """(N,) whether there is an answer."""
        return np.array([not reason for reason in self.reasons], dtype=bool)


def results_from_outcomes(
    outcomes: Iterable[Outcome], latency_ms: Iterable[float]
) -> MethodResults:
    """Turn the localizer's outcomes, with their measured times, into answers."""
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
    """Turn poses (or None, for one of the reasons) with milliseconds into answers."""
    reasons = reasons or [RejectionReason.NO_ANSWER] * len(timed_poses)
    known = [np.full((6, 6), np.nan) if item is None else item for item in covariances]
    return MethodResults(
        np.stack([np.full((4, 4), np.nan) if pose is None else pose for pose, _ in timed_poses]),
        np.array([milliseconds for _, milliseconds in timed_poses], dtype=np.float64),
        tuple(
            why if pose is None else ''
            for (pose, _), why in zip(timed_poses, reasons, strict=True)
        ),
        np.stack(known) if known else None,
    )


def compute_metrics(results: MethodResults, map_from_camera_gt: FloatArray) -> dict[str, Any]:
    """
    Measure one method: the block of ``metrics.json``, with NaN and infinities still in it.

    Medians and shares are over all pictures: one without an answer counts as infinitely far and
    180 degrees off. ``anees`` and ``sigma_coverage`` are over those with a covariance.
    """
    errors = result_errors(results, map_from_camera_gt)
    metres, degrees = errors.translation, np.degrees(errors.rotation)
    published = results.is_accepted
    reasons = [reason for reason in results.reasons if reason]
    timed = results.latency_ms[np.isfinite(results.latency_ms)]
    return {
        'images': len(metres),
        'published': int(published.sum()),
        'rejected': {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        'median_translation_m': float(np.median(metres)),
        'median_rotation_deg': float(np.median(degrees)),
        'recall': {
            name: float(np.mean((metres <= near_m) & (degrees <= near_deg)))
            for name, (near_m, near_deg) in RECALL_THRESHOLDS.items()
        },
        'accuracy_0.1m': float(np.mean(metres <= 0.1)),
        'worst_published_translation_m': float(metres[published].max(initial=-math.inf)),
        'worst_published_rotation_deg': float(degrees[published].max(initial=-math.inf)),
        'wrong_published': int(
            ((metres > CORRECT_WITHIN_M) | (degrees > CORRECT_WITHIN_DEG))[published].sum()
        ),
        'anees': anees(results, map_from_camera_gt),
        'sigma_coverage': sigma_coverage(results, map_from_camera_gt),
        'latency_ms': {
            name: float(np.percentile(timed, share)) if len(timed) else math.nan
            for name, share in (('p50', 50), ('p95', 95), ('p99', 99))
        },
    }


def result_errors(results: MethodResults, map_from_camera_gt: FloatArray) -> PoseErrors:
    """Compare answers (N) with the truth; no answer is infinitely far and turned by pi."""
    published = results.is_accepted
    translation, rotation = np.full(len(published), np.inf), np.full(len(published), np.pi)
    errors = pose_errors(results.map_from_camera[published], map_from_camera_gt[published])
    translation[published], rotation[published] = errors
    return PoseErrors(translation, rotation)


def error_vectors(map_from_camera: FloatArray, map_from_camera_gt: FloatArray) -> FloatArray:
    """
    Return errors (N, 6) in the order and axes of `PoseEstimate.covariance`.

    Columns: estimated minus true position [m, map axes], then the rotation vector about the
    fixed map axes [rad] that turns the true orientation into the estimated one.
    """
    shift = map_from_camera[:, :3, 3] - map_from_camera_gt[:, :3, 3]
    turn = map_from_camera[:, :3, :3] @ np.swapaxes(map_from_camera_gt[:, :3, :3], 1, 2)
    return np.hstack([shift, Rotation.from_matrix(turn).as_rotvec()])


def anees(results: MethodResults, map_from_camera_gt: FloatArray) -> float | None:
    """
    Average normalised estimation error squared, e^T C^-1 e, over the poses with a covariance.

    A covariance C that can be believed gives 6, the number of degrees of freedom; more means
    too sure, less too modest. Infinite if a covariance is not positive definite, None where there
    is none. See Bar-Shalom et al., Estimation with Applications, 2001, 5.4.
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
    Shares of error components within 1, 2 and 3 of their own standard deviations.

    For a Gaussian error that is described well they are 0.683, 0.954 and 0.997.
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
    answers: MethodResults, map_from_camera_true: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return errors (M, 6) and covariances (M, 6, 6) of the answers that have a covariance."""
    if answers.covariance is not None:
        known = answers.is_accepted & np.isfinite(answers.covariance).all(axis=(1, 2))
        if known.any():
            vectors = error_vectors(answers.map_from_camera[known], map_from_camera_true[known])
            return vectors, answers.covariance[known]
    return np.empty((0, 6)), np.empty((0, 6, 6))


def psnr_db(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio of two pictures with values 0 to 255; equal ones have 99 dB."""
    error = float(np.mean(np.subtract(a, b, dtype=np.float64) ** 2))
    return min(99.0, 10.0 * math.log10(255.0**2 / max(error, 1e-12)))


def json_safe(value: Any) -> Any:
    """Make nested values valid JSON: what is not a finite number becomes None (null)."""
    if isinstance(value, Mapping):
        return {str(name): json_safe(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if math.isfinite(value) else None
    return value
