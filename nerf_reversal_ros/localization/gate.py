"""
Pose verification: accept or reject a refined pose.

The gate is conservative. A pose passes only if enough inliers cover the image and refinement is
stable. In addition, it must be certain, near the mapping trajectory, and similar to the image when
the surface is rendered at it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import RejectionReason
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.localization.camera_check import CameraEvidence

WINDOW_PX = 11
"""Edge [px] of the windows in which image and rendering are correlated."""
BIAS = -17.699
WEIGHTS = (0.007, 5.526, 3.220, 4.295, 0.033, -1.241, 1.245, 0.0, 0.0, 0.0)
"""
Bias and weights of `gate_features` in the log odds that a pose is correct.

Logistic regression on about 1,050 poses in two rooms: the kitchen of 7-Scenes and the demo room.
The poses are from held-out frames with synthetic corruptions, before landmarks were refined.
``benchmark/gate_study.py`` prints them, and how well the weights of one room do in the other. A
map has weights of its own; these are the mean of the prior in their fit. The last three features
are younger than that sample and have no weight in the prior.
"""
FEATURE_STATS = (
    (3.51, 0.83), (0.77, 0.16), (3.94, 0.72), (0.74, 0.16), (-1.51, 1.04), (-4.70, 1.08),
    (0.67, 0.19), (-2.0, 1.0), (-2.0, 1.0), (-5.0, 1.0),
)  # fmt: skip
"""Mean and standard deviation of each feature in that sample; of the last three, round numbers
that only scale their prior."""
MIN_MATCHED = 8
"""Minimum number of descriptor matches that agree with a pose. Guided matching finds many inliers
at a wrong pose in a large image, but six matches of equal things were the only ones there."""
MIN_TEXTURE = 4.0
"""Minimum standard deviation of the gray values, 0 to 255, of a window that is compared."""
MIN_OPACITY = 0.5
"""Minimum opacity of a rendered pixel that counts as covered by the surface."""


@dataclass(frozen=True)
class GateEvidence:
    """Measurements on one refined pose that the gate decides on."""

    matched: int
    """RANSAC inliers of the descriptor matches."""
    inlier_ratio: float
    """Fraction of the descriptor matches that are RANSAC inliers."""
    inliers: int
    """Landmarks matched near their projections (guided matching)."""
    spread: float
    """Fraction of the cells of a 4 x 4 grid over the image that hold an inlier."""
    disagreement_m: float
    """Distance between the positions before and after refinement."""
    disagreement_deg: float
    """Angle between the orientations before and after refinement."""
    explained: float
    """Fraction of the landmarks inside the image that are inliers."""
    halves_m: float
    """Distance between the positions that two halves of the inliers give."""
    halves_deg: float
    """Angle between the orientations that two halves of the inliers give."""
    std_m: float
    """Largest standard deviation of the position in any direction."""
    distance_m: float
    """Distance to the nearest mapping position."""
    similarity: float | None = None
    """
    NCC of the image and the surface rendered at the pose, -1 to 1; NaN where the map is blank.
    None if the surface was not rendered, as for a pose that fails another check.
    """
    camera: CameraEvidence | None = None
    """Intrinsics that fit the image; None if they were not fitted."""

    def as_scores(self) -> dict[str, float]:
        """Return the measurements by the names that diagnostics and files use."""
        scores = {
            'matched': float(self.matched),
            'inlier_ratio': float(self.inlier_ratio),
            'inliers': float(self.inliers),
            'spread': float(self.spread),
            'disagreement_m': float(self.disagreement_m),
            'disagreement_deg': float(self.disagreement_deg),
            'explained': float(self.explained),
            'halves_m': float(self.halves_m),
            'halves_deg': float(self.halves_deg),
            'std_m': float(self.std_m),
            'distance_m': float(self.distance_m),
        }
        if self.similarity is not None:
            scores['similarity'] = float(self.similarity)
        if self.camera is not None:
            scores.update(self.camera.as_scores())
        return scores


def gate_features(scores: Mapping[str, float]) -> FloatArray:
    """Return the features (10,) of the correctness probability, from `GateEvidence.as_scores`."""
    return np.array(
        [
            np.log(max(scores['matched'], 1)),
            scores['inlier_ratio'],
            np.log(max(scores['inliers'], 1)),
            scores['similarity'],
            np.log(scores['disagreement_deg'] + 0.02),
            np.log(scores['disagreement_m'] + 0.001),
            scores['spread'],
            np.log(scores['explained'] + 0.005),
            np.log(scores['halves_deg'] + 0.02),
            np.log(scores['halves_m'] + 0.001),
        ]
    )


def correctness_probability(
    evidence: GateEvidence, bias: float = BIAS, weights: Sequence[float] = WEIGHTS
) -> float | None:
    """Return the probability that a pose is correct; None without a rendered similarity."""
    if evidence.similarity is None:
        return None
    log_odds = bias + np.asarray(weights) @ gate_features(evidence.as_scores())
    return float(1 / (1 + np.exp(-log_odds)))


def find_rejection(
    evidence: GateEvidence, correctness: float | None, config: LocalizerConfig
) -> tuple[RejectionReason, str] | None:
    """
    Return the first check that a pose fails, or None if the gate accepts it.

    Parameters
    ----------
    evidence : GateEvidence
        Measurements on the pose.
    correctness : float or None
        Its `correctness_probability`; None before the surface was rendered.
    config : LocalizerConfig
        Limits of the checks.

    Returns
    -------
    tuple of RejectionReason and str, or None
        Reason, and the measured and the required values.
    """
    checks = chain(
        _geometry_checks(evidence, config), _appearance_checks(evidence, correctness, config)
    )
    for passed, reason, detail in checks:
        if not passed:
            return reason, detail
    return None


_Check = tuple[bool, RejectionReason, str]
"""Whether a pose passes, and reason and detail if not. A NaN compares false and fails."""


def _geometry_checks(e: GateEvidence, c: LocalizerConfig) -> Iterator[_Check]:
    """Yield the checks that need no rendering."""
    yield (
        e.inliers >= c.min_inliers and e.inlier_ratio >= c.min_inlier_ratio,
        RejectionReason.TOO_FEW_INLIERS,
        f'{e.inliers} inliers, {e.inlier_ratio:.0%} of the matches'
        f' (needed: {c.min_inliers}, {c.min_inlier_ratio:.0%})',
    )
    yield (
        e.spread >= c.min_spread,
        RejectionReason.CLUSTERED_INLIERS,
        f'inliers in {e.spread:.0%} of the image (needed: {c.min_spread:.0%})',
    )
    yield (
        e.disagreement_m <= c.max_disagreement_m and e.disagreement_deg <= c.max_disagreement_deg,
        RejectionReason.UNSTABLE_REFINEMENT,
        f'refinement moved the pose by {e.disagreement_m:.3f} m, {e.disagreement_deg:.2f} deg'
        f' (allowed: {c.max_disagreement_m} m, {c.max_disagreement_deg} deg)',
    )
    deviation = e.camera.deviation_text(c.max_camera_deviation) if e.camera else ''
    yield not deviation, RejectionReason.IMPLAUSIBLE_CAMERA, deviation
    of_camera = ''
    if e.camera is not None and e.camera.camera_std_m > 0:
        of_camera = f', {e.camera.camera_std_m:.3f} m of it by a camera that few views verify'
    yield (
        e.std_m <= c.max_std_m,
        RejectionReason.HIGH_COVARIANCE,
        f'standard deviation {e.std_m:.3f} m{of_camera} (allowed: {c.max_std_m} m)',
    )
    yield (
        e.distance_m <= c.max_distance_m,
        RejectionReason.OUTSIDE_THE_MAP,
        f'{e.distance_m:.2f} m from the nearest mapping position (allowed: {c.max_distance_m} m)',
    )


def _appearance_checks(
    e: GateEvidence, correctness: float | None, c: LocalizerConfig
) -> Iterator[_Check]:
    """Yield the checks on the rendered surface; they pass before it was rendered."""
    similarity = e.similarity or 0
    yield (
        e.similarity is None or e.matched >= MIN_MATCHED,
        RejectionReason.TOO_FEW_INLIERS,
        f'{e.matched} descriptor matches agree with the pose (needed: {MIN_MATCHED})',
    )
    yield (
        e.similarity is None or e.similarity >= c.min_similarity,
        RejectionReason.APPEARANCE_MISMATCH,
        f'similarity {similarity:.2f} of image and rendering (needed: {c.min_similarity})',
    )
    # Rounded down, so that a probability below the limit does not read as the limit.
    probability = np.floor(1e4 * (correctness or 0.0)) / 1e4
    yield (
        correctness is None or correctness >= c.min_probability,
        RejectionReason.LOW_PROBABILITY,
        f'correct with probability {probability:.4f} (needed: {c.min_probability}):'
        f' {e.matched} matches agree, {e.inliers} inliers, similarity {similarity:.2f}',
    )


def inlier_coverage(pixels: FloatArray, width: int, height: int) -> float:
    """Return the fraction of the cells of a 4 x 4 grid that hold one of the pixels (N, 2)."""
    cells = np.floor(pixels / (width, height) * 4).clip(0, 3).astype(int)
    return len(np.unique(cells[:, 0] * 4 + cells[:, 1])) / 16


def ncc_similarity(rgb: NDArray[np.uint8], rendering: Rendering) -> float:
    """
    Compare an image with a rendering of the same view by local normalized cross-correlation.

    The NCC of gray values in small windows is insensitive to exposure and light. It is averaged
    over the windows that the surface covers and that have texture in the image, weighted by the
    contrast of the image.

    Parameters
    ----------
    rgb : (H, W, 3) uint8 array
        Observed image.
    rendering : Rendering
        Rendered view of the same size.

    Returns
    -------
    float
        -1 to 1; NaN if no window can be compared.
    """
    correlation, weight = window_correlation(rgb, rendering)
    total = weight.sum()
    return float((weight * correlation).sum() / total) if total > 0 else float('nan')


def window_correlation(
    rgb: NDArray[np.uint8], rendering: Rendering
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the NCC (H, W) in the window around each pixel, and its weight (H, W)."""
    observed = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    observed = cv2.GaussianBlur(observed, (0, 0), 1.0).astype(np.float32)
    rendered = cv2.cvtColor(rendering.rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    opaque = (rendering.opacity > MIN_OPACITY).astype(np.float32)
    is_covered = _window_mean(opaque) > 0.99
    observed_mean, rendered_mean = _window_mean(observed), _window_mean(rendered)
    observed_variance = np.maximum(_window_mean(observed**2) - observed_mean**2, 0)
    rendered_variance = np.maximum(_window_mean(rendered**2) - rendered_mean**2, 0)
    covariance = _window_mean(observed * rendered) - observed_mean * rendered_mean
    correlation = covariance / np.sqrt(observed_variance * rendered_variance + 1.0)
    is_textured = observed_variance > MIN_TEXTURE**2
    weight = np.where(is_covered & is_textured, np.sqrt(observed_variance), 0)
    return correlation, weight.astype(np.float32)


def _window_mean(gray: NDArray[np.float32]) -> NDArray[np.float32]:
    return cv2.blur(gray, (WINDOW_PX, WINDOW_PX)).astype(np.float32)
