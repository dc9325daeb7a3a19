"""What a map knows about its own answers: how sure the gate may be, and how wide errors are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.localization.gate import BIAS, WEIGHTS


@dataclass(frozen=True)
class Calibration:
    """
    Learned when a map is built, by `nerf_reversal_ros.mapping.calibration_fitting`.

    The floors and their growth are not learned: they are what they are for every map.
    """

    covariance_scale: float = 10.0
    """Factor on the covariance that the matches give."""
    floor_m: float = 0.002
    """Standard deviation of the position on the walk that no matches remove, each axis."""
    floor_deg: float = 0.05
    """The same of the orientation."""
    floor_growth: float = 1.0
    """Both grow by this share of themselves with each extent of the walk away from it."""
    gate_bias: float = BIAS
    """With ``gate_weights``: the log odds that a pose is right, linear in the gate's features."""
    gate_weights: tuple[float, ...] = WEIGHTS

    def covariance(
        self, pnp_covariance: FloatArray, distance_in_extents: float = 0.0
    ) -> FloatArray:
        """
        Return the covariance (6, 6) to be published for the one that the matches give.

        Parameters
        ----------
        pnp_covariance : (6, 6) array
            What the matches give.
        distance_in_extents : float
            How far the pose is from the walk, in units of the walk's extent. Errors of the walked
            poses bend the map; by this lever they grow, and with them the floor.
        """
        floor = np.array([self.floor_m] * 3 + [np.radians(self.floor_deg)] * 3)
        floor *= 1 + self.floor_growth * distance_in_extents
        covariance: FloatArray = self.covariance_scale * pnp_covariance + np.diag(floor**2)
        return covariance

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON; `from_dict` is the way back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> 'Calibration':
        """
        Read what `as_dict` returned.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a number is missing, is none, or is not finite.
        """
        weights = tuple(float(weight) for weight in stored['gate_weights'])
        names = 'covariance_scale', 'floor_m', 'floor_deg', 'gate_bias'
        numbers = {name: float(stored[name]) for name in names}
        # Maps of before the floors grew do not have it.
        numbers['floor_growth'] = float(stored.get('floor_growth', cls.floor_growth))
        if len(weights) != len(WEIGHTS):
            raise ValueError(f'{len(weights)} weights of the gate, not {len(WEIGHTS)}')
        if not np.isfinite([*weights, *numbers.values()]).all():
            raise ValueError('numbers that are not finite')
        for name in names[:3]:
            if numbers[name] <= 0:
                raise ValueError(f'{name} must be more than 0, got {numbers[name]}')
        return cls(**numbers, gate_weights=weights)
