"""
Whether a refined pose is to be believed.

The gate is conservative: a pose passes only when enough matches agree with it, they are spread
over the picture, the pose stays when it is tightened, the camera is where cameras can be, and the
surface drawn there looks like the picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import RejectionReason
from nerf_reversal_ros.fields.base import Rendering

WINDOW_PX = 11
"""Edge of the windows in which picture and render are compared."""
BIAS = -17.699
WEIGHTS = (0.007, 5.526, 3.220, 4.295, 0.033, -1.241, 1.245)
"""
Of `gate_features`, by logistic regression on some 1,050 poses in two rooms (the kitchen of 7-Scenes and
the demo room), from held-out frames of their walks made hard, before landmarks were adjusted:
``benchmark/gate_study.py`` prints them, and how well those of one room do in the other. A map has
its own, for which these are where learning starts.
"""
FEATURE_STATS = (
    (3.51, 0.83), (0.77, 0.16), (3.94, 0.72), (0.74, 0.16), (-1.51, 1.04), (-4.70, 1.08),
    (0.67, 0.19),
)  # fmt: skip
"""Mean and standard deviation of each feature in that sample."""
MIN_TEXTURE = 4.0
"""Standard deviation of the grey values, 0 to 255, below which a window says nothing."""


@dataclass(frozen=True)
class GateEvidence:
    """What the gate looks at, beside the picture's own fitness."""

    matched: int
    """Matches of descriptors alone that agree with one pose."""
    inlier_ratio: float
    """Their share of all such matches."""
    inliers: int
    """Landmarks found where the pose has them."""
    spread: float
    """Share of the cells of a 4 x 4 grid over the picture that hold an inlier."""
    disagreement_m: float
    """Distance between the positions before and after the pose was tightened."""
    disagreement_deg: float
    """Angle between their orientations."""
    std_m: float
    """Largest standard deviation of the position, any direction."""
    distance_m: float
    """Distance to the nearest walked position."""
    similarity: float | None = None
    """
    Agreement of the picture with the surface at the pose, -1 to 1, NaN where it is blank. None
    when nothing was drawn: that is only done for a pose that passes in all else.
    """

    def as_scores(self) -> dict[str, float]:
        """Return what was measured, by name."""
        return {name: float(value) for name, value in vars(self).items() if value is not None}


def gate_features(scores: Mapping[str, float]) -> FloatArray:
    """Return what the probability is computed from, (7,), given an evidence's `as_scores`."""
    return np.array(
        [
            np.log(max(scores['matched'], 1)),
            scores['inlier_ratio'],
            np.log(max(scores['inliers'], 1)),
            scores['similarity'],
            np.log(scores['disagreement_deg'] + 0.02),
            np.log(scores['disagreement_m'] + 0.001),
            scores['spread'],
        ]
    )


def correctness_probability(
    evidence: GateEvidence, bias: float = BIAS, weights: Sequence[float] = WEIGHTS
) -> float | None:
    """Return how probable it is that a pose is right; None for one that was not drawn."""
    if evidence.similarity is None:
        return None
    log_odds = bias + np.asarray(weights) @ gate_features(evidence.as_scores())
    return float(1 / (1 + np.exp(-log_odds)))


def find_rejection(
    evidence: GateEvidence, correctness: float | None, config: LocalizerConfig
) -> tuple[str, str] | None:
    """
    Return the reason and the figures why a pose is not believed, or None when it is.

    Parameters
    ----------
    evidence : Evidence
        On the pose.
    correctness : float or None
        Its `correctness_probability`; None when nothing was drawn yet.
    config : LocalizerConfig
        The limits.
    """
    e, c = evidence, config
    # Each is asked for what is wanted, so that a NaN is a fault too.
    checks = (
        (
            e.inliers >= c.min_inliers and e.inlier_ratio >= c.min_inlier_ratio,
            RejectionReason.TOO_FEW_INLIERS,
            f'{e.inliers} inliers, {e.inlier_ratio:.0%} of the matches'
            f' (needed: {c.min_inliers}, {c.min_inlier_ratio:.0%})',
        ),
        (
            e.spread >= c.min_spread,
            RejectionReason.CLUSTERED_INLIERS,
            f'inliers in {e.spread:.0%} of the picture (needed: {c.min_spread:.0%})',
        ),
        (
            e.disagreement_m <= c.max_disagreement_m
            and e.disagreement_deg <= c.max_disagreement_deg,
            RejectionReason.UNSTABLE_REFINEMENT,
            f'tightening moved the pose by {e.disagreement_m:.3f} m, {e.disagreement_deg:.2f} deg'
            f' (allowed: {c.max_disagreement_m} m, {c.max_disagreement_deg} deg)',
        ),
        (
            e.std_m <= c.max_std_m,
            RejectionReason.HIGH_COVARIANCE,
            f'standard deviation {e.std_m:.3f} m (allowed: {c.max_std_m} m)',
        ),
        (
            e.distance_m <= c.max_distance_m,
            RejectionReason.OUTSIDE_THE_MAP,
            f'{e.distance_m:.2f} m from the nearest walked position'
            f' (allowed: {c.max_distance_m} m)',
        ),
        (
            e.similarity is None or e.similarity >= c.min_similarity,
            RejectionReason.APPEARANCE_MISMATCH,
            f'similarity {e.similarity or 0:.2f} of picture and render'
            f' (needed: {c.min_similarity})',
        ),
        (
            correctness is None or correctness >= c.min_probability,
            RejectionReason.LOW_PROBABILITY,
            f'right with a probability of {_format_probability(correctness)} (needed: {c.min_probability}):'
            f' {e.matched} matches agree, {e.inliers} landmarks found, similarity'
            f' {e.similarity or 0:.2f}',
        ),
    )
    for passed, reason, detail in checks:
        if not passed:
            return reason, detail
    return None


def _format_probability(share: float | None) -> str:
    return f'{np.floor(1e4 * (share or 0.0)) / 1e4:.4f}'


def inlier_coverage(pixels: FloatArray, width: int, height: int) -> float:
    """Return the share of the cells of a 4 x 4 grid that hold one of the pixels (N, 2)."""
    cells = np.floor(pixels / (width, height) * 4).clip(0, 3).astype(int)
    return len(np.unique(cells[:, 0] * 4 + cells[:, 1])) / 16


def ncc_similarity(rgb: NDArray[np.uint8], rendering: Rendering) -> float:
    """
    Compare a picture with the render of the same view, insensitive to exposure and light.

    Normalised cross-correlation of grey values in small windows, averaged over the windows that
    the field covers and in which the picture has texture, weighted by the texture's contrast.

    Returns
    -------
    float
        -1 to 1; NaN when no window can be compared.
    """
    shown = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    shown = cv2.GaussianBlur(shown, (0, 0), 1.0).astype(np.float32)
    seen = cv2.cvtColor(rendering.rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    covered = (rendering.opacity > 0.5).astype(np.float32)
    full = _window_mean(covered) > 0.99
    mean_shown, mean_seen = _window_mean(shown), _window_mean(seen)
    variance_shown = np.maximum(_window_mean(shown**2) - mean_shown**2, 0)
    variance_seen = np.maximum(_window_mean(seen**2) - mean_seen**2, 0)
    product = _window_mean(shown * seen) - mean_shown * mean_seen
    correlation = product / np.sqrt(variance_shown * variance_seen + 1.0)
    weight = np.where(full & (variance_shown > MIN_TEXTURE**2), np.sqrt(variance_shown), 0)
    total = weight.sum()
    return float((weight * correlation).sum() / total) if total > 0 else float('nan')


def _window_mean(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return cv2.blur(picture, (WINDOW_PX, WINDOW_PX)).astype(np.float32)
