"""
Poses in a chain, odometry between them and poses of the localizer at some, solved by gtsam.

The way from one keyframe to the next is a factor as loose as the odometry may drift; a pose of
the localizer is a factor on one keyframe, an *anchor*, as loose as its covariance says, with a
robust loss (Cauchy), so that one that is off and passed for right does not bend the path.
"""

from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from nerf_reversal_ros.core.config import OdometryDriftConfig
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.geometry import FloatArray, inverse
from nerf_reversal_ros.odometry.odometry_check import OdometrySample, SIGMAS

MIN_INDEPENDENT_STEPS = 5
"""Fewer steps between two anchors are as uncertain as each of so many: errors of odometry are
not independent from step to step."""
CAUCHY_SCALE = 3.0
"""An anchor that is off by so many standard deviations counts half."""


class PoseMeasurement(NamedTuple):
    """A pose of the localizer, brought to a keyframe."""

    stamp_ns: int
    """Of the pose itself."""
    map_from_base: FloatArray
    """(4, 4)."""
    covariance: FloatArray
    """(6, 6) of x, y, z [m] and rotations about the fixed map axes [rad] (REP 103)."""


@dataclass
class Keyframe:
    """One pose of the chain."""

    serial: int
    """Its number: those of a chain are consecutive."""
    odometry: OdometrySample
    """What the odometry says."""
    map_from_base: FloatArray | None = None
    """(4, 4), the present estimate; None before the first anchor."""
    measurement: PoseMeasurement | None = None


class MarginalPrior(NamedTuple):
    """What all that left the window says about its first keyframe."""

    map_from_base: FloatArray
    """(4, 4)."""
    covariance: FloatArray
    """(6, 6), axes as in `PoseMeasurement`."""


class ChainSolver:
    """
    Solves chains of keyframes; remembers the factors that do not change from one to the next.

    Raises
    ------
    ConfigError
        If gtsam is not installed.
    """

    def __init__(self, config: OdometryDriftConfig) -> None:
        self.config = config
        self._gtsam = _import_gtsam()
        self._optimizer_params = self._gtsam.LevenbergMarquardtParams()
        self._optimizer_params.setRelativeErrorTol(1e-4)
        self._odometry_factors: dict[int, tuple[float, float, Any]] = {}
        self._measurement_factors: dict[int, tuple[PoseMeasurement, Any]] = {}

    def solve(self, keyframes: list[Keyframe], prior: MarginalPrior | None) -> list[FloatArray]:
        """Return the most probable poses (4, 4), from the present ones on."""
        graph, values = self._build_graph(keyframes, prior)
        found = self._gtsam.LevenbergMarquardtOptimizer(
            graph, values, self._optimizer_params
        ).optimize()
        return [found.atPose3(keyframe.serial).matrix() for keyframe in keyframes]

    def marginals(self, keyframes: list[Keyframe], prior: MarginalPrior | None) -> 'Marginals':
        """Return what is asked for the covariance of each pose."""
        return Marginals(self._gtsam.Marginals(*self._build_graph(keyframes, prior)))

    def drop_before(self, serial: int) -> None:
        """Forget the factors of keyframes that are not asked about any more."""
        for kept in (self._odometry_factors, self._measurement_factors):
            for old in [number for number in kept if number < serial]:
                del kept[old]

    def _build_graph(
        self, keyframes: list[Keyframe], prior: MarginalPrior | None
    ) -> tuple[Any, Any]:
        """Return the factors and the present poses."""
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
        stds = odometry_step_stds(keyframes, prior is not None, self.config)
        for (before, after), both in zip(pairwise(keyframes), stds.tolist(), strict=True):
            graph.add(self._odometry_factor(before, after, both))
        return graph, values

    def _measurement_factor(self, serial: int, anchor: PoseMeasurement) -> Any:
        known, factor = self._measurement_factors.get(serial, (None, None))
        if known is not anchor:
            gtsam = self._gtsam
            noise = gtsam.noiseModel.Robust.Create(
                gtsam.noiseModel.mEstimator.Cauchy.Create(CAUCHY_SCALE),
                self._gaussian_noise(anchor),
            )
            factor = gtsam.PriorFactorPose3(serial, gtsam.Pose3(anchor.map_from_base), noise)
            self._measurement_factors[serial] = anchor, factor
        return factor

    def _odometry_factor(self, before: Keyframe, after: Keyframe, stds: list[float]) -> Any:
        std_rad, std_m = stds
        *known, factor = self._odometry_factors.get(after.serial, (None, None, None))
        if known != [std_rad, std_m]:
            gtsam = self._gtsam
            way = gtsam.Pose3(inverse(before.odometry.pose) @ after.odometry.pose)
            noise = gtsam.noiseModel.Diagonal.Sigmas(np.repeat(stds, 3))  # rotation first
            factor = gtsam.BetweenFactorPose3(before.serial, after.serial, way, noise)
            self._odometry_factors[after.serial] = std_rad, std_m, factor
        return factor

    def _gaussian_noise(self, pose: PoseMeasurement | MarginalPrior) -> Any:
        covariance = tangent_covariance(pose.covariance, pose.map_from_base)
        return self._gtsam.noiseModel.Gaussian.Covariance(covariance)


class Marginals:
    """The covariance of each pose of a solved chain."""

    def __init__(self, gtsam_marginals: Any) -> None:
        self._gtsam_marginals = gtsam_marginals

    def covariance(self, keyframe: Keyframe) -> FloatArray:
        """Return that of one pose, (6, 6), axes as in `PoseMeasurement`."""
        covariance = self._gtsam_marginals.marginalCovariance(keyframe.serial)
        return fixed_axes_covariance(covariance, current_pose(keyframe))


def tangent_covariance(covariance: FloatArray, map_from_base: FloatArray) -> FloatArray:
    """
    Return a covariance (6, 6) in the tangent space of gtsam's Pose3.

    Ours is of (dp, dr): the position moves by dp along the axes of the map, and the orientation
    becomes Exp(dr) R, a rotation about the axes of the map. gtsam's is of (w, v): the pose T
    becomes T Exp(w, v), which turns it to R Exp(w) and moves it by R v. So w = R^T dr, v = R^T dp.
    """
    jacobian = _tangent_from_fixed_axes(map_from_base)
    return jacobian @ covariance @ jacobian.T


def fixed_axes_covariance(covariance: FloatArray, map_from_base: FloatArray) -> FloatArray:
    """Return a covariance (6, 6) of gtsam's Pose3 in ours: the way back of the above."""
    jacobian = _tangent_from_fixed_axes(map_from_base).T
    return jacobian @ covariance @ jacobian.T


def _tangent_from_fixed_axes(map_from_base: FloatArray) -> FloatArray:
    """Return J (6, 6), orthogonal, of `tangent_covariance`."""
    jacobian = np.zeros((6, 6))
    jacobian[:3, 3:] = jacobian[3:, :3] = map_from_base[:3, :3].T
    return jacobian


def odometry_step_stds(
    keyframes: list[Keyframe], has_prior: bool, config: OdometryDriftConfig
) -> FloatArray:
    """
    Return how far the odometry may be off from each of N keyframes to the next.

    All steps from one anchor to the next have an equal part in the drift of that way. ``has_prior``
    tells that the first keyframe has a prior, which is an anchor too.

    Returns
    -------
    (N - 1, 2) array
        Standard deviations about each axis [rad] and along it [m].
    """
    ends = [
        k for k, keyframe in enumerate(keyframes) if keyframe.measurement or (has_prior and k == 0)
    ]
    ends = sorted({0, *ends, len(keyframes) - 1})
    out = np.empty((len(keyframes) - 1, 2))
    for a, b in pairwise(ends):
        stds = drift_stds(keyframes[a].odometry, keyframes[b].odometry, b - a, config)
        out[a:b] = stds / np.sqrt(b - a)
    return out


def drift_stds(
    a: OdometrySample, b: OdometrySample, steps: float, config: OdometryDriftConfig
) -> FloatArray:
    """
    Return how far the odometry may be off on a way of so many steps, about [rad] and along [m].

    The bounds of the settings are taken as `SIGMAS` standard deviations: a share of the way, for
    drift goes on in one direction, and a constant. Fewer steps than `MIN_INDEPENDENT_STEPS` are taken as a
    part of so many, whose errors are independent.
    """
    longer = max(MIN_INDEPENDENT_STEPS / steps, 1.0)
    turned_rad = np.radians(abs(b.total_rotation_deg - a.total_rotation_deg))
    bound_rad = np.radians(config.odometry_drift_deg) + config.odometry_drift * longer * turned_rad
    travelled_m = abs(b.path_length_m - a.path_length_m)
    bound_m = config.odometry_drift_m + config.odometry_drift * longer * travelled_m
    return np.array([bound_rad, bound_m]) / SIGMAS / np.sqrt(longer)


def drift_covariance(
    a: OdometrySample, b: OdometrySample, steps: float, config: OdometryDriftConfig
) -> FloatArray:
    """
    Return the covariance (6, 6) that a pose gains on the way, axes as in `PoseMeasurement`.

    What the orientation goes astray, evenly on the way, moves its end as well: by a third of the
    square of angle times distance.
    """
    if steps <= 0.0:
        return np.zeros((6, 6))
    std_rad, std_m = drift_stds(a, b, steps, config)
    distance_m = np.linalg.norm(b.pose[:3, 3] - a.pose[:3, 3])
    variance = std_m**2 + (std_rad * distance_m) ** 2 / 3.0
    return np.diag(np.repeat([variance, std_rad**2], 3))


def current_pose(keyframe: Keyframe) -> FloatArray:
    """Return map_from_base (4, 4) of a keyframe that has one."""
    assert keyframe.map_from_base is not None
    return keyframe.map_from_base


def _import_gtsam() -> Any:
    remedy = 'pip install --no-deps -r requirements/loop_closer.txt'
    try:
        import gtsam
    except ImportError as error:
        raise ConfigError(
            f'the loop closer needs gtsam, which cannot be imported ({error}): {remedy}'
        ) from error
    gtsam_version = metadata.version('gtsam')
    if gtsam_version.startswith('4.2') and not np.__version__.startswith('1.'):
        raise ConfigError(
            f'gtsam {gtsam_version} would crash with NumPy {np.__version__}: {remedy}'
        )
    return gtsam
