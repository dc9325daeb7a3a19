"""
Pose graph of one chain, solved by GTSAM: odometry between keyframes, pose measurements at some.

The motion between two keyframes is a binary factor whose noise is the possible drift. A localized
pose is a unary factor on one keyframe, with its covariance as noise. A robust loss (Cauchy) limits
the effect of an incorrect pose that was accepted.
"""

from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.geometry import FloatArray, inverse
from nerf_reversal_ros.odometry.config import OdometryDriftConfig
from nerf_reversal_ros.odometry.odometry_buffer import OdometrySample
from nerf_reversal_ros.odometry.pose_consensus import SIGMAS

MIN_INDEPENDENT_STEPS = 5
"""Minimum number of steps with independent errors. Fewer steps count as a part of so many, because
consecutive errors of odometry are correlated."""
CAUCHY_SCALE = 3.0
"""Residual, in standard deviations, at which the Cauchy loss halves the weight of a pose."""


class PoseMeasurement(NamedTuple):
    """Localized pose, transported to a keyframe: a unary factor."""

    stamp_ns: int
    """Stamp of the localized pose."""
    map_from_base: FloatArray
    """(4, 4)."""
    covariance: FloatArray
    """(6, 6) of x, y, z [m] and rotations about the fixed map axes [rad] (REP 103)."""


@dataclass
class Keyframe:
    """Node of the chain."""

    serial: int
    """Consecutive number in the chain, the key of its GTSAM variable."""
    odometry: OdometrySample
    """Odometry of the base."""
    map_from_base: FloatArray | None = None
    """(4, 4) current estimate; None before the first pose measurement."""
    measurement: PoseMeasurement | None = None


class MarginalPrior(NamedTuple):
    """Marginal of the eliminated keyframes on the first keyframe of the window."""

    map_from_base: FloatArray
    """(4, 4)."""
    covariance: FloatArray
    """(6, 6), axes as in `PoseMeasurement`."""


class ChainSolver:
    """
    Solves chains of keyframes by Levenberg-Marquardt, and caches their factors.

    Raises
    ------
    ConfigError
        If gtsam is not installed.
    """

    def __init__(self, config: OdometryDriftConfig) -> None:
        self.config = config
        self._gtsam = import_gtsam('the loop closer')
        self._optimizer_params = self._gtsam.LevenbergMarquardtParams()
        self._optimizer_params.setRelativeErrorTol(1e-4)
        self._odometry_factors: dict[int, tuple[float, float, Any]] = {}
        self._measurement_factors: dict[int, tuple[PoseMeasurement, Any]] = {}

    def solve(self, keyframes: list[Keyframe], prior: MarginalPrior | None) -> list[FloatArray]:
        """Return the maximum a posteriori poses (4, 4), starting from the current estimates."""
        graph, initial = self._build_graph(keyframes, prior)
        optimizer = self._gtsam.LevenbergMarquardtOptimizer(graph, initial, self._optimizer_params)
        solution = optimizer.optimize()
        return [solution.atPose3(keyframe.serial).matrix() for keyframe in keyframes]

    def marginals(self, keyframes: list[Keyframe], prior: MarginalPrior | None) -> 'Marginals':
        """Linearize at the current estimates; return the marginal covariances."""
        return Marginals(self._gtsam.Marginals(*self._build_graph(keyframes, prior)))

    def drop_before(self, serial: int) -> None:
        """Drop the cached factors of keyframes before a serial."""
        for cache in (self._odometry_factors, self._measurement_factors):
            for old in [key for key in cache if key < serial]:
                del cache[old]

    def _build_graph(
        self, keyframes: list[Keyframe], prior: MarginalPrior | None
    ) -> tuple[Any, Any]:
        """Return the GTSAM factor graph and the current estimates as values."""
        gtsam = self._gtsam
        graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        for keyframe in keyframes:
            values.insert(keyframe.serial, gtsam.Pose3(current_pose(keyframe)))
            if keyframe.measurement is not None:
                graph.add(self._measurement_factor(keyframe.serial, keyframe.measurement))
        if prior is not None:
            pose = gtsam.Pose3(prior.map_from_base)
            graph.add(
                gtsam.PriorFactorPose3(keyframes[0].serial, pose, self._gaussian_noise(prior))
            )
        step_stds = odometry_step_stds(keyframes, prior is not None, self.config)
        for (before, after), stds in zip(pairwise(keyframes), step_stds.tolist(), strict=True):
            graph.add(self._odometry_factor(before, after, stds))
        return graph, values

    def _measurement_factor(self, serial: int, measurement: PoseMeasurement) -> Any:
        cached, factor = self._measurement_factors.get(serial, (None, None))
        if cached is not measurement:
            gtsam = self._gtsam
            noise = gtsam.noiseModel.Robust.Create(
                gtsam.noiseModel.mEstimator.Cauchy.Create(CAUCHY_SCALE),
                self._gaussian_noise(measurement),
            )
            pose = gtsam.Pose3(measurement.map_from_base)
            factor = gtsam.PriorFactorPose3(serial, pose, noise)
            self._measurement_factors[serial] = measurement, factor
        return factor

    def _odometry_factor(self, before: Keyframe, after: Keyframe, stds: list[float]) -> Any:
        std_rad, std_m = stds
        *cached, factor = self._odometry_factors.get(after.serial, (None, None, None))
        if cached != [std_rad, std_m]:
            gtsam = self._gtsam
            motion = gtsam.Pose3(
                inverse(before.odometry.odom_from_body) @ after.odometry.odom_from_body
            )
            noise = gtsam.noiseModel.Diagonal.Sigmas(np.repeat(stds, 3))  # rotation first
            factor = gtsam.BetweenFactorPose3(before.serial, after.serial, motion, noise)
            self._odometry_factors[after.serial] = std_rad, std_m, factor
        return factor

    def _gaussian_noise(self, pose: PoseMeasurement | MarginalPrior) -> Any:
        covariance = tangent_covariance(pose.covariance, pose.map_from_base)
        return self._gtsam.noiseModel.Gaussian.Covariance(covariance)


class Marginals:
    """Marginal covariances of a solved chain."""

    def __init__(self, gtsam_marginals: Any) -> None:
        self._gtsam_marginals = gtsam_marginals

    def covariance(self, keyframe: Keyframe) -> FloatArray:
        """Return the marginal covariance (6, 6) of one pose, axes as in `PoseMeasurement`."""
        covariance = self._gtsam_marginals.marginalCovariance(keyframe.serial)
        return fixed_axes_covariance(covariance, current_pose(keyframe))


def tangent_covariance(covariance: FloatArray, map_from_base: FloatArray) -> FloatArray:
    """
    Convert a covariance (6, 6) from fixed map axes to the tangent space of GTSAM's Pose3.

    Fixed axes have (dp, dr): the position moves by dp along the map axes, and the orientation
    becomes Exp(dr) R. GTSAM has (w, v): the pose T becomes T Exp(w, v), so the orientation becomes
    R Exp(w) and the position moves by R v. Hence w = R^T dr and v = R^T dp.
    """
    jacobian = _tangent_from_fixed_axes(map_from_base)
    return jacobian @ covariance @ jacobian.T


def fixed_axes_covariance(covariance: FloatArray, map_from_base: FloatArray) -> FloatArray:
    """Convert a covariance (6, 6) from GTSAM's Pose3: the inverse of `tangent_covariance`."""
    jacobian = _tangent_from_fixed_axes(map_from_base).T
    return jacobian @ covariance @ jacobian.T


def _tangent_from_fixed_axes(map_from_base: FloatArray) -> FloatArray:
    """Return the orthogonal Jacobian (6, 6) of `tangent_covariance`."""
    jacobian = np.zeros((6, 6))
    jacobian[:3, 3:] = jacobian[3:, :3] = map_from_base[:3, :3].T
    return jacobian


def odometry_step_stds(
    keyframes: list[Keyframe], has_prior: bool, config: OdometryDriftConfig
) -> FloatArray:
    """
    Return the standard deviations of the odometry between N consecutive keyframes.

    All steps between two pose measurements have an equal part of the drift between these two.

    Parameters
    ----------
    keyframes : list of Keyframe
        N keyframes of a chain.
    has_prior : bool
        Whether the first keyframe has a prior, which counts as a pose measurement.
    config : OdometryDriftConfig
        Bounds of the drift.

    Returns
    -------
    (N - 1, 2) array
        Standard deviations about each axis [rad] and along each axis [m].
    """
    measured = [
        k for k, keyframe in enumerate(keyframes) if keyframe.measurement or (has_prior and k == 0)
    ]
    ends = sorted({0, *measured, len(keyframes) - 1})
    out = np.empty((len(keyframes) - 1, 2))
    for a, b in pairwise(ends):
        stds = drift_stds(keyframes[a].odometry, keyframes[b].odometry, b - a, config)
        out[a:b] = stds / np.sqrt(b - a)
    return out


def drift_stds(
    a: OdometrySample, b: OdometrySample, steps: float, config: OdometryDriftConfig
) -> FloatArray:
    """
    Return the standard deviations (2,) of the odometry over a number of steps: [rad], [m].

    The bounds of the settings count as `SIGMAS` standard deviations: a fraction of the motion,
    because drift is systematic, and a constant. Fewer steps than `MIN_INDEPENDENT_STEPS` count as
    a part of so many, whose errors are independent.
    """
    extension = max(MIN_INDEPENDENT_STEPS / steps, 1.0)
    fraction = config.odometry_drift * extension
    rotation_rad = np.radians(abs(b.total_rotation_deg - a.total_rotation_deg))
    bound_rad = np.radians(config.odometry_drift_deg) + fraction * rotation_rad
    path_m = abs(b.path_length_m - a.path_length_m)
    bound_m = config.odometry_drift_m + fraction * path_m
    return np.array([bound_rad, bound_m]) / SIGMAS / np.sqrt(extension)


def drift_covariance(
    a: OdometrySample, b: OdometrySample, steps: float, config: OdometryDriftConfig
) -> FloatArray:
    """
    Return the covariance (6, 6) that odometry adds to a pose, axes as in `PoseMeasurement`.

    An orientation error that grows linearly over the motion also moves the end position. Its
    variance there is a third of the squared product of angle and distance.
    """
    if steps <= 0.0:
        return np.zeros((6, 6))
    std_rad, std_m = drift_stds(a, b, steps, config)
    distance_m = np.linalg.norm(b.odom_from_body[:3, 3] - a.odom_from_body[:3, 3])
    variance = std_m**2 + (std_rad * distance_m) ** 2 / 3.0
    return np.diag(np.repeat([variance, std_rad**2], 3))


def current_pose(keyframe: Keyframe) -> FloatArray:
    """Return map_from_base (4, 4) of a keyframe that has an estimate."""
    assert keyframe.map_from_base is not None
    return keyframe.map_from_base


def import_gtsam(purpose: str) -> Any:
    """Import gtsam; ConfigError with the command of the installation if it is missing."""
    try:
        import gtsam
    except ImportError as error:
        raise ConfigError(
            f'{purpose} needs gtsam, which cannot be imported ({error}): {remedies.INSTALL_GTSAM}'
        ) from error
    gtsam_version = metadata.version('gtsam')
    if gtsam_version.startswith('4.2') and not np.__version__.startswith('1.'):
        raise ConfigError(
            f'gtsam {gtsam_version} crashes with NumPy {np.__version__}: {remedies.INSTALL_GTSAM}'
        )
    return gtsam
