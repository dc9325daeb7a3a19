"""Which frames of a walk are no use: blurred ones and duplicates."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import FloatArray

MEDIAN_WINDOW = 15
"""Frames, centred on the one judged, whose median sharpness it is compared with."""


def is_blurred(sharpness: NDArray[np.float64], ratio: float) -> NDArray[np.bool_]:
    """
    Tell frames that are much less sharp than their neighbours.

    Neighbours see nearly the same, so that a bare wall is not taken for blur.

    Parameters
    ----------
    sharpness : (N,) array
        Any measure that grows with sharpness, in the order of the walk.
    ratio : float
        Frames below this share of their neighbours' median are blurred.

    Returns
    -------
    (N,) array
        True: blurred.
    """
    typical = median_filter(sharpness, size=MEDIAN_WINDOW, mode='nearest')
    return np.asarray(sharpness < ratio * typical)


def is_duplicate(
    map_from_camera: FloatArray, min_move_m: float, min_rotation_rad: float
) -> NDArray[np.bool_]:
    """
    Tell frames (N,) that neither moved nor turned enough since the last frame that did.

    Parameters
    ----------
    map_from_camera : (N, 4, 4) array
        Poses in the order of the walk.
    min_move_m, min_turn_rad : float
        A frame that reached either of them is no duplicate.
    """
    duplicate = np.zeros(len(map_from_camera), bool)
    last = 0
    for i in range(1, len(map_from_camera)):
        move = np.linalg.norm(map_from_camera[i, :3, 3] - map_from_camera[last, :3, 3])
        relative = map_from_camera[last, :3, :3].T @ map_from_camera[i, :3, :3]
        turn = Rotation.from_matrix(relative).magnitude()
        duplicate[i] = move < min_move_m and turn < min_rotation_rad
        if not duplicate[i]:
            last = i
    return duplicate
