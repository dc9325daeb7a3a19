"""What every radiance field can do, whoever trained it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera


class Occupancy(IntEnum):
    """What a field knows of a point of the map."""

    UNKNOWN = 0
    FREE = 1
    OCCUPIED = 2


@dataclass(frozen=True)
class Rendering:
    """What a camera at one pose would see in the field."""

    rgb: NDArray[np.uint8]
    """(H, W, 3) colours; where nothing was hit, the field's idea of what lies beyond."""
    depth: NDArray[np.float32]
    """(H, W) metres along the optical z axis; 0 where opacity is below one half."""
    opacity: NDArray[np.float32]
    """(H, W) share of the light that matter along the ray stops, in [0, 1]."""


class RadianceField(Protocol):
    """A NeRF in metres of the map frame."""

    def render(self, map_from_camera: NDArray[np.float64], camera: Camera) -> list[Rendering]:
        """
        Render one view a pose.

        Parameters
        ----------
        map_from_camera : (N, 4, 4) array
            Poses of the optical camera frame in ``map``.
        camera : Camera
            Intrinsics and size of the wanted pictures.
        """

    def occupancy(self, points: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Tell for points (N, 3) [m, map frame] what is there: (N,) values of `DepthOccupancyGrid`."""
