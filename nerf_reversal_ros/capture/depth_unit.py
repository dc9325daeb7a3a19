"""Check that the depth of a bag is that of a room, and find a wrong unit by its magnitude."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.sampling import evenly_spaced_indices

MAX_DEPTH_CHECKS = 16
"""Depth images that are read for the check; more only cost time on a broken sensor."""
TYPICAL_DEPTH_M = 2.0
"""Median depth in a room [m], in whose powers of ten a unit is looked for."""
MIN_MEDIAN_DEPTH_M = 0.02
"""Smallest median depth that a sensor can measure [m]."""
MAX_FAR_QUANTILE = 0.05
"""Share of the depth that must lie within ``max_depth_m``."""
MAX_MEDIAN_RATIO = 10.0
"""Largest ratio of the median depth to ``max_depth_m`` that is no wrong unit."""


def check_depth_values(
    read: Callable[[int, float], NDArray[np.float32]], count: int, config: CaptureConfig
) -> None:
    """
    Check the depth of some evenly spaced images.

    Parameters
    ----------
    read : callable
        Reads depth (h, w) [m] by its index and the length of one unit as in ``depth_unit_m``.
    count : int
        Number of depth images.
    config : CaptureConfig
        The unit and the largest depth.

    Raises
    ------
    CaptureError
        If the depth is unknown or beyond ``max_depth_m`` everywhere, or in another unit; the
        message proposes the unit.
    """
    indices = evenly_spaced_indices(count, MAX_DEPTH_CHECKS)
    samples = [(int(k), read(int(k), config.depth_unit_m)) for k in indices]
    known = np.concatenate([depth[depth > 0] for _, depth in samples])
    topic = f'the depth on {config.depth_topic}'
    if not len(known):
        raise CaptureError(
            f'{topic} is 0 everywhere: check the sensor, or {remedies.NO_DEPTH_TOPIC}'
        )
    median_m = float(np.median(known))
    factor = 10.0 ** round(float(np.log10(median_m / TYPICAL_DEPTH_M)))
    index, depth = next((k, depth) for k, depth in samples if depth.any())
    unit_m = float(depth.max() / read(index, 1.0).max()) / factor
    if not MIN_MEDIAN_DEPTH_M <= median_m <= MAX_MEDIAN_RATIO * config.max_depth_m:
        size = f'{factor:g} times too large' if factor > 1 else f'{1 / factor:g} times too small'
        raise CaptureError(
            f'{topic} has a median of {median_m:.4g} m, which looks {size}:'
            f' {remedies.DEPTH_UNIT.format(unit_m=format_unit(unit_m))}'
        )
    if np.quantile(known, MAX_FAR_QUANTILE) > config.max_depth_m:
        farther = remedies.FARTHER_DEPTH.format(unit_m=format_unit(unit_m))
        raise CaptureError(
            f'{topic} is beyond max_depth_m = {config.max_depth_m} m nearly everywhere, its median'
            f' is {median_m:.4g} m: {farther}'
        )


def format_unit(unit_m: float) -> str:
    """Return a unit to three digits, without the exponent that YAML takes for text."""
    return np.format_float_positional(float(f'{unit_m:.3g}'), trim='-')
