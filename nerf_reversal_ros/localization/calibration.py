"""Calibration of a map's results: correctness probability of the gate, and size of covariances."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.localization.gate import BIAS, WEIGHTS

TYPICAL_EXPLAINED, TYPICAL_INLIER_RATIO = 0.05, 0.7
"""`GateEvidence.explained` and `inlier_ratio` of a usual pose, whose `match_weakness` is 1."""
SMALLEST_EXPLAINED, SMALLEST_INLIER_RATIO = 0.005, 0.05
"""Smaller values count as these."""
FEATURES_OF_OLDER_MAPS = 7
"""Number of gate weights in maps of older versions."""


@dataclass(frozen=True)
class Calibration:
    """
    Uncertainty calibration of one map, fitted by `mapping.calibration_fitting` during the build.

    The growth of the floors is not fitted: all maps share the default.
    """

    covariance_scale: float = 10.0
    """Factor on the covariance of PnP."""
    floor_m: float = 0.002
    """Minimum standard deviation of the position of a usual pose on the mapping trajectory, each
    axis."""
    floor_deg: float = 0.05
    """Minimum standard deviation of the orientation there, each axis."""
    floor_growth: float = 1.0
    """Relative growth of both floors for each extent of the trajectory away from it."""
    noise_m: float = 0.0
    """Noise of the recorded positions, each axis, where the map is built from adjusted ones; see
    `mapping.trajectory_alignment.estimate_noise`. The gate does not count it."""
    noise_deg: float = 0.0
    """The same of the orientation."""
    counts_weakness: bool = True
    """Whether `match_weakness` was counted in the fit; maps of older versions did without."""
    gate_bias: float = BIAS
    """Bias of the log odds that a pose is correct."""
    gate_weights: tuple[float, ...] = WEIGHTS
    """Weights of `gate_features` in these log odds."""

    def covariance(
        self,
        pnp_covariance: FloatArray,
        distance_in_extents: float = 0.0,
        weakness: float = 1.0,
    ) -> FloatArray:
        """
        Return the calibrated covariance (6, 6) of a pose.

        Parameters
        ----------
        pnp_covariance : (6, 6) array
            Covariance of PnP, see `pnp.pose_covariance`.
        distance_in_extents : float
            Distance of the pose from the mapping trajectory, in extents of the trajectory. Errors
            of the mapping poses bend the map and grow by this lever arm, and so does the floor.
        weakness : float
            `match_weakness` of the pose.
        """
        growth = 1 + self.floor_growth * distance_in_extents
        floor = _isotropic(growth * self.floor_m, growth * self.floor_deg)
        covariance: FloatArray = self.covariance_scale * pnp_covariance + floor
        return weakness * covariance if self.counts_weakness else covariance

    @property
    def noise_covariance(self) -> FloatArray:
        """Covariance (6, 6) of the noise, to be added to that of each pose."""
        return _isotropic(self.noise_m, self.noise_deg)

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON; `from_dict` is the inverse."""
        return {
            'covariance_scale': self.covariance_scale,
            'floor_m': self.floor_m,
            'floor_deg': self.floor_deg,
            'floor_growth': self.floor_growth,
            'noise_m': self.noise_m,
            'noise_deg': self.noise_deg,
            'counts_weakness': self.counts_weakness,
            'gate_bias': self.gate_bias,
            'gate_weights': self.gate_weights,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> 'Calibration':
        """
        Read and validate the result of `as_dict`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a number is missing, is not a number, or is not finite.
        """
        weights = tuple(float(weight) for weight in stored['gate_weights'])
        numbers = {
            name: float(stored[name])
            for name in ('covariance_scale', 'floor_m', 'floor_deg', 'gate_bias')
        }
        # Maps of older versions lack these numbers.
        for name in ('floor_growth', 'noise_m', 'noise_deg'):
            numbers[name] = float(stored.get(name, getattr(cls, name)))
        if len(weights) == FEATURES_OF_OLDER_MAPS:
            # They weigh other features: the gate of all rooms takes their place.
            weights, numbers['gate_bias'] = WEIGHTS, BIAS
        if len(weights) != len(WEIGHTS):
            raise ValueError(f'gate_weights has {len(weights)} numbers, not {len(WEIGHTS)}')
        if not np.isfinite([*weights, *numbers.values()]).all():
            raise ValueError('a number is not finite')
        for name in ('covariance_scale', 'floor_m', 'floor_deg'):
            if numbers[name] <= 0:
                raise ValueError(f'{name} must be more than 0, got {numbers[name]}')
        counts_weakness = bool(stored.get('counts_weakness', False))
        return cls(**numbers, counts_weakness=counts_weakness, gate_weights=weights)


def match_weakness(explained: float, inlier_ratio: float) -> float:
    """
    Return the factor on the covariance of a pose by how well its landmarks are matched.

    Blur, noise and occlusion displace keypoints together, which their residuals do not show. But
    fewer of the visible landmarks are found then, and fewer matches agree. The errors of held-out
    images in ten rooms are more likely with it, with exponents of 0.5 to 1
    (``benchmark/gate_study.py``). It is less than 1 where more than usual is found.

    Parameters
    ----------
    explained, inlier_ratio : float
        See `GateEvidence`.
    """
    explained = max(explained, SMALLEST_EXPLAINED) / TYPICAL_EXPLAINED
    inlier_ratio = max(inlier_ratio, SMALLEST_INLIER_RATIO) / TYPICAL_INLIER_RATIO
    return float(explained**-0.5 / inlier_ratio)


def _isotropic(std_m: float, std_deg: float) -> FloatArray:
    """Return the covariance (6, 6) of equal standard deviations along and about each axis."""
    return np.diag(np.square([std_m] * 3 + [np.radians(std_deg)] * 3))
