"""
Learn when a map's answers are right, and how far off they are, from frames that were held out.

Held-out frames are localized as they are, made hard, and in a mirror, where no answer is right.
From what the gate looked at, the probability that a pose is right is fitted by logistic
regression, starting from what other rooms taught: few pictures change it little. The covariance
is scaled to the errors of the right poses. What is judged is the first pose that is found for a
picture; that a localizer tries others when it does not believe the first is not accounted for.

References
----------
Platt, "Probabilistic outputs for support vector machines", 1999. Bar-Shalom et al., Estimation
with Applications, 2001, 5.4 (what errors a covariance promises).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

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
"""So many times each frame is made hard."""
MIN_CORRECT_POSES = 10
"""With fewer right poses nothing is learned."""
COVERAGE_PROBABILITY = 0.9
"""Share of the errors that lie within the ellipsoid of this probability."""
PRIOR_STRENGTH = 40.0
"""Information, in pictures at even odds, with which weights stay at those of other rooms."""

PERMISSIVE_GATE = LocalizerConfig(
    min_inliers=12,
    min_inlier_ratio=0.0,
    min_spread=0.0,
    max_disagreement_m=10.0,
    max_disagreement_deg=180.0,
    min_similarity=-1.0,
    max_std_m=10.0,
    max_distance_m=1000.0,
    min_probability=0.0,
)
"""A gate that lets nearly everything pass, to see what it would have looked at."""
IDENTITY_CALIBRATION = Calibration(covariance_scale=1.0, floor_m=0.0, floor_deg=0.0)
"""Leaves a covariance as the matches give it."""


class CalibrationSamples(NamedTuple):
    """N refined poses, with what the gate saw of each; see `collect_samples`."""

    features: FloatArray
    """(N, F) of the gate."""
    errors: FloatArray
    """(N, 6) [m] and [rad], see `error_vectors`; NaN where no pose is right."""
    covariances: FloatArray
    """(N, 6, 6) as the matches give them."""
    correct: NDArray[np.bool_]
    """(N,) within `CORRECT_WITHIN_M` and `CORRECT_WITHIN_DEG` of the truth."""


def collect_samples(localizer: Localizer, images: Iterable[PosedImage]) -> CalibrationSamples:
    """Localize shots and keep what was refined; the localizer is `PERMISSIVE_GATE` and `IDENTITY_CALIBRATION`."""
    rows, errors, covariances = [], [], []
    for shot in images:
        told = localizer.localize(shot.rgb, shot.camera).diagnostics
        if told.refined_pose is None or 'similarity' not in told.scores:
            continue
        seen = gate_features(told.scores)
        if not np.isfinite(seen).all():  # where the map is blank there is no similarity
            continue
        known = np.isfinite(shot.map_from_camera).all()
        pair = told.refined_pose[None], shot.map_from_camera[None]
        rows.append(seen)
        errors.append(error_vectors(*pair)[0] if known else np.full(6, np.nan))
        covariances.append(told.refined_covariance)
    error = np.array(errors).reshape(-1, 6)
    off_m, off_rad = (np.linalg.norm(part, axis=1) for part in (error[:, :3], error[:, 3:]))
    return CalibrationSamples(
        np.array(rows).reshape(-1, len(WEIGHTS)),
        error,
        np.array(covariances).reshape(-1, 6, 6),
        (off_m < CORRECT_WITHIN_M)
        & (off_rad < np.radians(CORRECT_WITHIN_DEG)),  # not where the error is NaN
    )


def corrupted_variants(image: PosedImage, seed: int) -> list[PosedImage]:
    """Return a shot as it is, made hard in several ways, and in a mirror."""
    rng = np.random.default_rng(seed)
    return [
        image,
        *(corrupt_randomly(image, rng) for _ in range(VARIANTS_PER_FRAME)),
        make_mirror_negative(image),
    ]


def fit_calibration(samples: CalibrationSamples) -> tuple[Calibration, dict[str, Any]]:
    """Fit a calibration to the poses of one map, and tell what it rests on."""
    right = samples.correct
    found = {'calibration_poses': len(right), 'calibration_right': int(right.sum())}
    if found['calibration_right'] < MIN_CORRECT_POSES:
        return Calibration(), found
    bias, weights = fit_gate(samples.features, right)
    # Hard pictures count in full: a robot sees the room from elsewhere than the walk did, where
    # errors are larger beside what the matches say than on held-out frames as they are.
    scale = fit_covariance_scale(samples.errors[right], samples.covariances[right])
    return Calibration(scale, gate_bias=bias, gate_weights=weights), found


def fit_covariance_scale(errors: FloatArray, covariances: FloatArray) -> float:
    """
    Return the factor on covariances (N, 6, 6) with which they cover errors (N, 6).

    So many errors as should, the share `COVERAGE_PROBABILITY`, lie within their ellipsoid then. The mean of the
    squared errors, which ANEES is, would hang on the one or two worst of so few pictures.
    """
    within = float(chi2.ppf(COVERAGE_PROBABILITY, 6))

    def surplus(scale: float) -> float:
        published = [Calibration(scale).covariance(fitted) for fitted in covariances]
        whitened = np.linalg.solve(published, errors[..., None])[..., 0]
        return (
            float(np.quantile((errors * whitened).sum(1), COVERAGE_PROBABILITY, method='lower'))
            - within
        )

    low, high = 1.0, 100.0
    if surplus(low) <= 0:  # it may widen the covariance, never narrow it
        return low
    for _ in range(40):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if surplus(middle) > 0 else (low, middle)
    return high


def fit_gate(
    rows: FloatArray, correct: NDArray[np.bool_], prior_strength: float = PRIOR_STRENGTH
) -> tuple[float, tuple[float, ...]]:
    """
    Fit bias and weights of the log odds by logistic regression with a Gaussian prior.

    Parameters
    ----------
    rows : (N, F) array
        Features of the gate.
    correct : (N,) array
        Whether the pose was.
    prior_strength : float
        Of the prior, which has its mean at the weights of other rooms.
    """
    centre, spread = np.array(FEATURE_STATS).T
    start = np.array([BIAS + np.array(WEIGHTS) @ centre, *(np.array(WEIGHTS) * spread)])
    design = np.column_stack([np.ones(len(rows)), (rows - centre) / spread])
    sign = np.where(correct, 1.0, -1.0)

    def cost(log_odds_of: FloatArray) -> tuple[float, FloatArray]:
        margin = sign * (design @ log_odds_of)
        off = log_odds_of - start
        slope = -(sign / (1 + np.exp(np.clip(margin, -500, 500)))) @ design
        value = np.logaddexp(0, -margin).sum() + 0.5 * prior_strength / 4 * off @ off
        return float(value), slope + prior_strength / 4 * off

    best = minimize(cost, start, jac=True, method='L-BFGS-B').x
    weights = best[1:] / spread
    return float(best[0] - weights @ centre), tuple(float(weight) for weight in weights)
