"""
Frame selection: blurred frames, duplicates, and frames that cover all views.

Sharpness is the variance of the Laplacian.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import FloatArray

MEDIAN_WINDOW = 15
"""Number of frames of the sliding median of sharpness: half a second at 30 Hz."""


def sharpness(gray: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian of a gray image; comparable within one scene."""
    return float(cv2.Laplacian(gray, cv2.CV_32F).var())


def is_blurred(scores: NDArray[np.float64], ratio: float) -> NDArray[np.bool_]:
    """
    Detect frames that are much less sharp than their neighbors.

    Neighbors show nearly the same scene, so that a wall without texture is not taken for blur.

    Parameters
    ----------
    scores : (N,) array
        Sharpness of the frames in the order of their stamps.
    ratio : float
        Frames below this fraction of the sliding median are blurred.

    Returns
    -------
    (N,) array
        Whether each frame is blurred.
    """
    median = median_filter(scores, size=MEDIAN_WINDOW, mode='nearest')
    return np.asarray(scores < ratio * median)


def is_duplicate(
    map_from_camera: FloatArray, min_move_m: float, min_rotation_rad: float
) -> NDArray[np.bool_]:
    """
    Detect frames (N,) with too little motion since the last frame that is no duplicate.

    Parameters
    ----------
    map_from_camera : (N, 4, 4) array
        Poses in the order of their stamps.
    min_move_m, min_rotation_rad : float
        A frame that reaches either of them is no duplicate.
    """
    duplicate = np.zeros(len(map_from_camera), bool)
    last = 0
    for i in range(1, len(map_from_camera)):
        move_m = np.linalg.norm(map_from_camera[i, :3, 3] - map_from_camera[last, :3, 3])
        relative = map_from_camera[last, :3, :3].T @ map_from_camera[i, :3, :3]
        rotation_rad = Rotation.from_matrix(relative).magnitude()
        duplicate[i] = move_m < min_move_m and rotation_rad < min_rotation_rad
        if not duplicate[i]:
            last = i
    return duplicate


def select_farthest_poses(
    candidates: FloatArray,
    max_count: int,
    spacing_m: float,
    spacing_deg: float,
) -> NDArray[np.intp]:
    """
    Select poses by farthest-point sampling, starting with the first.

    The distance of two poses combines their distance by ``spacing_m`` and the angle between
    their optical axes by ``spacing_deg``. Sampling ends when all others are nearer than 1.

    Parameters
    ----------
    candidates : (N, 4, 4) array
        Poses to select from.
    max_count : int
        Maximum number of poses.
    spacing_m : float
        Spacing of the positions [m].
    spacing_deg : float
        Spacing of the directions [deg].

    Returns
    -------
    (K,) array
        Indices, in the order of selection.
    """
    position = candidates[:, :3, 3] / spacing_m
    axis = candidates[:, :3, 2]
    selected = [0]
    distance = np.full(len(candidates), np.inf)
    while len(selected) < min(max_count, len(candidates)):
        last = selected[-1]
        angle = np.degrees(np.arccos(np.clip(axis @ axis[last], -1, 1))) / spacing_deg
        shift = np.linalg.norm(position - position[last], axis=1)
        distance = np.minimum(distance, np.hypot(shift, angle))
        farthest = int(distance.argmax())
        if distance[farthest] < 1.0:
            break
        selected.append(farthest)
    return np.array(selected)
