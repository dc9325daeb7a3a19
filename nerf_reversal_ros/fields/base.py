"""Protocol of radiance fields, and the types that every implementation shares."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera

if TYPE_CHECKING:
    from torch import Tensor


class Occupancy(IntEnum):
    """Occupancy of a point of the map."""

    UNKNOWN = 0
    FREE = 1
    OCCUPIED = 2


@dataclass(frozen=True)
class Rendering:
    """Color, depth and opacity of a field, rendered for one camera pose."""

    rgb: NDArray[np.uint8]
    """(H, W, 3) colors; the background color of the field where a ray hits nothing."""
    depth: NDArray[np.float32]
    """(H, W) meters along the optical z axis; 0 where opacity is below one half."""
    opacity: NDArray[np.float32]
    """(H, W) one minus the transmittance along the ray, in [0, 1]."""


class PackedRaySamples(NamedTuple):
    """S ray segments, those of all rays in one array."""

    ray: 'Tensor'
    """(S,) index of the ray, ascending; the segments of a ray go from near to far."""
    points: 'Tensor'
    """(S, 3) where density and color are queried [m], from the origin of the field."""
    length_m: 'Tensor'
    """(S,) length of the segment."""


class RadianceField(Protocol):
    """A NeRF in meters of the map frame."""

    def render(self, map_from_camera: NDArray[np.float64], camera: Camera) -> list[Rendering]:
        """
        Render one view per pose.

        Parameters
        ----------
        map_from_camera : (N, 4, 4) array
            Poses of the optical camera frame in ``map``.
        camera : Camera
            Intrinsics and size of the renderings.
        """

    def occupancy(self, points: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Classify points (N, 3) [m, map frame]: (N,) values of `Occupancy`."""
