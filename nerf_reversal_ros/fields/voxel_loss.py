"""What both optimizers of a voxel field share: rays, constants of the loss, and of Adam."""

from typing import Any, NamedTuple

from nerf_reversal_ros.fields.ray_marching import MAX_CELLS_PER_RAY, SAMPLES_PER_CELL

DENSITY_SCALE = 5.0
"""Log densities are optimized in units of this, so that one learning rate serves all channels."""
MAX_DEPTH_ERROR_M = 0.2
"""Depth errors are clamped to this in the depth loss; light that passes all samples costs it."""
HUBER_COLOR = 0.1
"""The color loss is quadratic below this difference, and linear above."""
BETAS, EPSILON = (0.9, 0.99), 1e-8
"""Of Adam. A higher second beta overshoots at corners that few rays touch."""
SLOTS = MAX_CELLS_PER_RAY * SAMPLES_PER_CELL
"""Samples of a ray at most."""


class Rays(NamedTuple):
    """Training rays, as arrays or tensors."""

    origins: Any
    """(R, 3) float32 [m], from the corner of the grid."""
    directions: Any
    """(R, 3) float32."""
    colors: Any
    """(R, 3) float32: pixels of the images, in [0, 1]."""
    depths: Any
    """(R,) float32: measured depth, in lengths of the direction; 0 is unknown."""
    ends: Any
    """(R,) float32: a ray is complete with the cell that reaches beyond this."""
    frames: Any
    """(R,) int64: image of each ray."""
    offsets: Any
    """(R, `SLOTS`) float32: where each sample lies in its interval, in [0, 1)."""
