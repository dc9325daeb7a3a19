"""
Calibration of the correctness probability and the pose covariance with held-out frames.

Held-out frames are localized unchanged, corrupted, and mirrored; no pose of a mirrored frame is
correct. Logistic regression on the gate features, with a Gaussian prior at weights from other
rooms, gives the probability. The covariance is fitted to the errors of the correct poses. The
first pose of each image is used, or another that explains it better, and for some that of a retry.

References
----------
Platt, "Probabilistic outputs for support vector machines", 1999. Bar-Shalom et al., Estimation
with Applications, 2001, 5.4 (consistency of a covariance).
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import chi2

from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import error_vectors
from nerf_reversal_ros.core.outcome import (
    CORRECT_WITHIN_DEG,
    CORRECT_WITHIN_M,
    Diagnostics,
)
from nerf_reversal_ros.core.parallel import parallel_stream
from nerf_reversal_ros.localization.calibration import Calibration, match_weakness
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
COVARIANCE_PRIOR = ((6.0, 1.0), (0.003, 0.7), (0.08, 0.7))
"""Median, and standard deviation of the logarithm, of scale, floor [m] and floor [deg] in other
rooms."""
COVARIANCE_MINIMUM = (1.0, 0.002, 0.05)
"""Smallest scale, floor [m] and floor [deg]: a map is never better than its capture's poses."""
STUDENT_DEGREES = 5.0
"""Degrees of freedom of the Student distribution: a few errors are far larger than the rest."""
VARIANTS_PER_SAMPLE = 3.0
"""Corrupted copies of one frame that count as one sample: their errors are alike."""
PRIOR_STRENGTH = 40.0
"""Information of the prior on the gate weights, in images at even odds."""

PERMISSIVE_GATE = LocalizerConfig(
    retry_size=0,
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
PERMISSIVE_RETRY = replace(PERMISSIVE_GATE, query_size=0, retry_size=LocalizerConfig().retry_size)
"""The same for retries: other features are usual where more keypoints and the whole map match."""
RETRY_STRIDE = 3
"""Every so many images the pose of a retry is a sample too: retries are slow."""
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
    weakness: FloatArray
    """(N,) `match_weakness`."""
    correct: NDArray[np.bool_]
    """(N,) within `CORRECT_WITHIN_M` and `CORRECT_WITHIN_DEG` of ground truth."""


def collect_samples(localizer: Localizer, images: Iterable[PosedImage]) -> CalibrationSamples:
    """
    Localize images and collect the samples of all refined poses.

    ``localizer`` must use `IDENTITY_CALIBRATION` and no check of the camera, which would depend
    on the order of the images.
    """
    features, errors, covariances, weakness = [], [], [], []
    for image, diagnostics in _localize_permissively(localizer, images):
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
        scores = diagnostics.scores
        weakness.append(match_weakness(scores['explained'], scores['inlier_ratio']))
    error = np.array(errors).reshape(-1, 6)
    distance_m, angle_rad = (np.linalg.norm(part, axis=1) for part in (error[:, :3], error[:, 3:]))
    # Comparisons with NaN are False, so mirrored images are incorrect.
    correct = (distance_m < CORRECT_WITHIN_M) & (angle_rad < np.radians(CORRECT_WITHIN_DEG))
    return CalibrationSamples(
        np.array(features).reshape(-1, len(WEIGHTS)),
        error,
        np.array(covariances).reshape(-1, 6, 6) / np.reshape(weakness, (-1, 1, 1)),
        np.array(weakness),
        correct,
    )


def _localize_permissively(
    localizer: Localizer, images: Iterable[PosedImage]
) -> Iterator[tuple[PosedImage, Diagnostics]]:
    """Yield images with the first pose found for each, and for some the pose of a retry."""

    def localize(item: tuple[int, PosedImage]) -> list[tuple[PosedImage, Diagnostics]]:
        index, image = item
        configs = [PERMISSIVE_GATE, *([PERMISSIVE_RETRY] if index % RETRY_STRIDE == 0 else [])]
        return [
            (image, localizer.localize(image.rgb, image.camera, config).diagnostics)
            for config in configs
        ]

    for found in parallel_stream(localize, enumerate(images)):
        yield from found


def corrupted_variants(image: PosedImage, seed: int) -> list[PosedImage]:
    """Return an image unchanged, corrupted in several random ways, and mirrored."""
    rng = np.random.default_rng(seed)
    return [
        image,
        *(corrupt_randomly(image, rng) for _ in range(VARIANTS_PER_FRAME)),
        make_mirror_negative(image),
    ]


def fit_calibration(
    samples: CalibrationSamples, pose_noise: tuple[float, float] = (0.0, 0.0)
) -> tuple[Calibration, dict[str, int]]:
    """
    Fit the calibration of a map; return it with the number of all and of correct poses.

    Errors are those of adjusted poses. ``pose_noise`` [m], [deg] is added to the covariance of
    each pose: the noise of given poses, which a reference has as well, and what adjusted ones
    share with them.
    """
    correct = samples.correct
    metrics = {'calibration_poses': len(correct), 'calibration_right': int(correct.sum())}
    calibration = Calibration()
    if metrics['calibration_right'] >= MIN_CORRECT_POSES:
        bias, weights = fit_gate(samples.features, correct)
        # Corrupted images have full weight. A robot is farther from the mapping poses than
        # held-out frames are, and there the errors are larger relative to the PnP covariance.
        # An error of a weakly matched pose counts as the smaller one of a usual pose.
        errors = samples.errors[correct] / np.sqrt(samples.weakness[correct, None])
        calibration = fit_covariance(errors, samples.covariances[correct])
        calibration = replace(calibration, gate_bias=bias, gate_weights=weights)
    noise_m, noise_deg = pose_noise
    return replace(calibration, noise_m=noise_m, noise_deg=noise_deg), metrics


def fit_covariance(errors: FloatArray, covariances: FloatArray) -> Calibration:
    """
    Fit scale and floors of the covariance to errors (N, 6) with PnP covariances (N, 6, 6).

    The parameters maximize a Student likelihood of the errors, times a log-normal prior of other
    rooms: pose noise of the capture shows as a floor, noise of the keypoints as a scale. All are
    then enlarged until the fraction `COVERAGE_PROBABILITY` of the errors lies within the ellipsoid
    of that probability. ANEES, a mean of squares, would depend on the one or two largest errors.
    """
    mean, std = np.log([prior[0] for prior in COVARIANCE_PRIOR]), [p[1] for p in COVARIANCE_PRIOR]

    def cost(parameters: FloatArray) -> float:
        calibrated = _calibrated(np.exp(parameters), covariances)
        squared = _mahalanobis(errors, calibrated)
        log_likelihood = -0.5 * np.linalg.slogdet(calibrated)[1] - (
            STUDENT_DEGREES + 6
        ) / 2 * np.log1p(squared / STUDENT_DEGREES)
        prior = np.square((parameters - mean) / std).sum() / 2
        return float(prior - log_likelihood.sum() / VARIANTS_PER_SAMPLE)

    best = np.exp(minimize(cost, mean, method='Nelder-Mead').x)
    scale, floor_m, floor_deg = np.maximum(best, COVARIANCE_MINIMUM)
    squared = _mahalanobis(errors, _calibrated(np.array([scale, floor_m, floor_deg]), covariances))
    threshold = chi2.ppf(COVERAGE_PROBABILITY, 6)
    # Only enlarged: few errors are often smaller than they should be.
    factor = max(1.0, float(np.quantile(squared, COVERAGE_PROBABILITY)) / threshold)
    return Calibration(
        float(scale * factor), float(floor_m * factor**0.5), float(floor_deg * factor**0.5)
    )


def _calibrated(parameters: FloatArray, covariances: FloatArray) -> FloatArray:
    """Return covariances (N, 6, 6) with scale, floor [m] and floor [deg] applied."""
    scale, floor_m, floor_deg = (float(value) for value in parameters)
    calibration = Calibration(scale, floor_m, floor_deg)
    return np.array([calibration.covariance(covariance) for covariance in covariances])


def _mahalanobis(errors: FloatArray, covariances: FloatArray) -> FloatArray:
    """Return the squared Mahalanobis lengths (N,) of errors (N, 6)."""
    whitened = np.linalg.solve(covariances, errors[..., None])[..., 0]
    return np.asarray((errors * whitened).sum(1))


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
