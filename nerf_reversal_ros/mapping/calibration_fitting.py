"""
Calibration of the correctness probability and the pose covariance with held-out frames.

Held-out frames are localized unchanged, corrupted, and mirrored; no pose of a mirrored frame is
correct. Logistic regression on the gate features, with a Gaussian prior at weights from two other
rooms, gives the probability. The covariance is scaled to the errors of the correct poses. Only the
first pose hypothesis of an image is used; retries of the localizer are not modeled.

References
----------
Platt, "Probabilistic outputs for support vector machines", 1999. Bar-Shalom et al., Estimation
with Applications, 2001, 5.4 (consistency of a covariance).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import chi2

from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import error_vectors
from nerf_reversal_ros.core.outcome import CORRECT_WITHIN_DEG, CORRECT_WITHIN_M
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.localization.gate import BIAS, FEATURE_STATS, gate_features, WEIGHTS
from nerf_reversal_ros.localization.localizer import Localizer
from nerf_reversal_ros.synthesis.image_corruption import (
    corrupt_randomly,
    make_mirror_negative,
    PosedImage,
)

VARIANTS_PER_FRAME = 6
"""Corrupted copies of each held-out frame."""
MIN_CORRECT_POSES = 10
"""Correct poses that a fit needs; with fewer, the defaults of other rooms are kept."""
COVERAGE_PROBABILITY = 0.9
"""Fraction of the errors that must lie within the covariance ellipsoid of this probability."""
MAX_COVARIANCE_SCALE, BISECTIONS = 100.0, 40
"""Upper limit of the factor on the covariance, and steps of its search on a log scale."""
PRIOR_STRENGTH = 40.0
"""Information of the prior on the gate weights, in images at even odds."""

PERMISSIVE_GATE = LocalizerConfig(
    min_inliers=12,
    min_inlier_ratio=0.0,
    min_spread=0.0,
    max_disagreement_m=10.0,
    max_disagreement_deg=180.0,
    max_camera_deviation=1e6,
    min_similarity=-1.0,
    max_std_m=10.0,
    max_distance_m=1000.0,
    min_probability=0.0,
)
"""Settings that accept nearly every pose, so that the gate features of all are known."""
IDENTITY_CALIBRATION = Calibration(covariance_scale=1.0, floor_m=0.0, floor_deg=0.0)
"""Calibration that leaves the PnP covariance unchanged."""


class CalibrationSamples(NamedTuple):
    """Gate features, errors and covariances of N refined poses; see `collect_samples`."""

    features: FloatArray
    """(N, F) gate features."""
    errors: FloatArray
    """(N, 6) [m] and [rad], see `error_vectors`; NaN for mirrored images."""
    covariances: FloatArray
    """(N, 6, 6) covariances of PnP."""
    correct: NDArray[np.bool_]
    """(N,) within `CORRECT_WITHIN_M` and `CORRECT_WITHIN_DEG` of ground truth."""


def collect_samples(localizer: Localizer, images: Iterable[PosedImage]) -> CalibrationSamples:
    """
    Localize images and collect the samples of all refined poses.

    ``localizer`` must use `PERMISSIVE_GATE` and `IDENTITY_CALIBRATION`.
    """
    features, errors, covariances = [], [], []
    for image in images:
        diagnostics = localizer.localize(image.rgb, image.camera).diagnostics
        if diagnostics.refined_pose is None or 'similarity' not in diagnostics.scores:
            continue
        image_features = gate_features(diagnostics.scores)
        if not np.isfinite(image_features).all():  # the surface cloud is empty at the pose
            continue
        features.append(image_features)
        if np.isfinite(image.map_from_camera).all():
            poses = diagnostics.refined_pose[None], image.map_from_camera[None]
            errors.append(error_vectors(*poses)[0])
        else:
            errors.append(np.full(6, np.nan))
        covariances.append(diagnostics.refined_covariance)
    error = np.array(errors).reshape(-1, 6)
    distance_m, angle_rad = (np.linalg.norm(part, axis=1) for part in (error[:, :3], error[:, 3:]))
    # Comparisons with NaN are False, so mirrored images are incorrect.
    correct = (distance_m < CORRECT_WITHIN_M) & (angle_rad < np.radians(CORRECT_WITHIN_DEG))
    return CalibrationSamples(
        np.array(features).reshape(-1, len(WEIGHTS)),
        error,
        np.array(covariances).reshape(-1, 6, 6),
        correct,
    )


def corrupted_variants(image: PosedImage, seed: int) -> list[PosedImage]:
    """Return an image unchanged, corrupted in several random ways, and mirrored."""
    rng = np.random.default_rng(seed)
    return [
        image,
        *(corrupt_randomly(image, rng) for _ in range(VARIANTS_PER_FRAME)),
        make_mirror_negative(image),
    ]


def fit_calibration(samples: CalibrationSamples) -> tuple[Calibration, dict[str, int]]:
    """Fit the calibration of a map; return it with the number of all and of correct poses."""
    correct = samples.correct
    metrics = {'calibration_poses': len(correct), 'calibration_right': int(correct.sum())}
    if metrics['calibration_right'] < MIN_CORRECT_POSES:
        return Calibration(), metrics
    bias, weights = fit_gate(samples.features, correct)
    # Corrupted images have full weight. A robot is farther from the mapping poses than held-out
    # frames are, and there the errors are larger relative to the PnP covariance.
    scale = fit_covariance_scale(samples.errors[correct], samples.covariances[correct])
    return Calibration(scale, gate_bias=bias, gate_weights=weights), metrics


def fit_covariance_scale(errors: FloatArray, covariances: FloatArray) -> float:
    """
    Find the factor >= 1 on covariances (N, 6, 6) that makes them cover errors (N, 6).

    With it the fraction `COVERAGE_PROBABILITY` of the errors lies within the ellipsoid of that
    probability. ANEES, a mean of squares, would depend on the one or two largest errors.
    """
    threshold = float(chi2.ppf(COVERAGE_PROBABILITY, 6))

    def excess(scale: float) -> float:
        scaled = [Calibration(scale).covariance(covariance) for covariance in covariances]
        whitened = np.linalg.solve(scaled, errors[..., None])[..., 0]
        squared = (errors * whitened).sum(1)
        return float(np.quantile(squared, COVERAGE_PROBABILITY, method='lower')) - threshold

    low, high = 1.0, MAX_COVARIANCE_SCALE
    if excess(low) <= 0:  # the covariance is never reduced
        return low
    for _ in range(BISECTIONS):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high


def fit_gate(
    features: FloatArray, correct: NDArray[np.bool_], prior_strength: float = PRIOR_STRENGTH
) -> tuple[float, tuple[float, ...]]:
    """
    Fit bias and weights of the log odds by logistic regression with a Gaussian prior.

    Parameters
    ----------
    features : (N, F) array
        Gate features.
    correct : (N,) array
        Whether each pose is correct.
    prior_strength : float
        Information of the prior, whose mean is the weights of other rooms, in images at even odds.

    Returns
    -------
    tuple
        Bias, and one weight per feature.
    """
    mean, std = np.array(FEATURE_STATS).T
    prior = np.array([BIAS + np.array(WEIGHTS) @ mean, *(np.array(WEIGHTS) * std)])
    design = np.column_stack([np.ones(len(features)), (features - mean) / std])
    sign = np.where(correct, 1.0, -1.0)

    def cost(parameters: FloatArray) -> tuple[float, FloatArray]:
        margin = sign * (design @ parameters)
        offset = parameters - prior
        gradient = -(sign / (1 + np.exp(np.clip(margin, -500, 500)))) @ design
        # At even odds an image has the information 1/4.
        value = np.logaddexp(0, -margin).sum() + 0.5 * prior_strength / 4 * offset @ offset
        return float(value), gradient + prior_strength / 4 * offset

    best = minimize(cost, prior, jac=True, method='L-BFGS-B').x
    weights = best[1:] / std
    return float(best[0] - weights @ mean), tuple(float(weight) for weight in weights)
