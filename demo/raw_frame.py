"""What the renderer hands to the simulated sensors."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class RawFrame(NamedTuple):
    """Output of the renderer; `demo.sensors` turns it into a frame of a camera."""

    radiance: Floats
    """(H, W, 3) linear color."""

    depth: Floats
    """(h, w) depth along the optical axis [m], at the pixel centers of the depth camera."""

    albedo: Floats
    """(h, w) mean albedo of the three colors."""

    facing: Floats
    """(h, w) cosine of the angle between ray and surface normal."""

    shiny: NDArray[np.bool_]
    """(h, w) glass, screens, lamps."""
