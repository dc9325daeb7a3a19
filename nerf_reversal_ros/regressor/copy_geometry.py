"""Geometry of copies of images as turned cameras with the same center see them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray


class CopyGeometry(NamedTuple):
    """Where the pixels of C copies are in the image. A pure rotation needs no depth."""

    camera_from_copy: FloatArray
    """(C, 3, 3) rotations."""
    pixels: FloatArray
    """(C, h, w, 2) x and y in the image [px], pixel centers at integers."""
    within: NDArray[np.bool_]
    """(C, h, w) mask of the pixels inside the image."""


def copy_geometry(
    camera: Camera, rotations_deg: Sequence[tuple[float, float, float]]
) -> CopyGeometry:
    """Compute the geometry of copies by rotations (C, 3), given as vectors in degrees."""
    turns = Rotation.from_rotvec(np.radians(rotations_deg)).as_matrix()
    pixels = camera.project(camera.rays() @ turns[:, None].swapaxes(-1, -2))
    last = np.array([camera.width - 1, camera.height - 1])
    within = np.all((pixels > -0.5) & (pixels < last + 0.5), axis=-1)
    return CopyGeometry(turns, pixels, within)
