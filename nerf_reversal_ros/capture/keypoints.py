"""RootSIFT keypoints, and matching of their descriptors by mutual ratio test."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.sift import detect_sift, Keypoints
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.parallel import one_blas_thread, parallel_map

MIN_PARALLEL_PRODUCTS = 4_000_000
"""Products of two descriptors from which all cores compute them: those with a whole map."""
ROWS_PER_CHUNK = 256
"""Descriptors that are multiplied, or whose second best match is searched, at once."""


@dataclass(frozen=True)
class KeypointDetector:
    """
    RootSIFT detector for RGB images.

    Parameters
    ----------
    max_count : int
        Largest number of keypoints per image; those of the highest contrast are kept.
    contrast : float
        Smallest contrast, ``contrastThreshold`` of OpenCV.

    References
    ----------
    Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004; Arandjelovic &
    Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012.
    """

    max_count: int
    contrast: float

    def __call__(self, rgb: NDArray[np.uint8]) -> Keypoints:
        """Detect and describe the keypoints of an image (H, W, 3)."""
        gray = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        return detect_sift(gray, self.max_count, self.contrast)


def match_descriptors(
    first_descriptors: NDArray[np.float32],
    second_descriptors: NDArray[np.float32],
    ratio: float,
    positions: FloatArray | None = None,
    same_position_m: FloatArray | None = None,
    mutual: bool = True,
) -> NDArray[np.int64]:
    """
    Match descriptors with their nearest neighbors by Lowe's ratio test.

    Parameters
    ----------
    first_descriptors, second_descriptors : (M, 128), (N, 128) arrays
        Descriptors of unit length.
    ratio : float
        The nearest descriptor must be closer than this fraction of the second nearest distance.
    positions : (N, 3) array, optional
        Positions of the points that ``second_descriptors`` describe.
    same_position_m : (N,) array, optional
        Given with ``positions``: descriptors within this distance of the nearest one describe the
        same point, so that they are not the second nearest of the ratio test.
    mutual : bool
        Whether each descriptor of a pair must be the nearest neighbor of the other.

    Returns
    -------
    (K, 2) array
        Rows of ``first_descriptors`` and ``second_descriptors``.
    """
    if len(first_descriptors) < 1 or len(second_descriptors) < 3:
        return np.empty((0, 2), dtype=np.int64)
    similarity = _similarities(first_descriptors, second_descriptors)
    rows = np.arange(len(first_descriptors))
    best = similarity.argmax(1)
    first = similarity[rows, best]
    if mutual:
        rows = rows[first == similarity.max(0)[best]]
    best, first = best[rows], first[rows]
    second = np.empty_like(first)
    for start in range(0, len(rows), ROWS_PER_CHUNK):
        part = slice(start, start + ROWS_PER_CHUNK)
        others = similarity[rows[part]]
        second[part] = _second_best(others, best[part], positions, same_position_m)
    # |a - b|^2 = 2 - 2 a.b for unit vectors.
    passed = (1 - first < ratio**2 * (1 - second)) & (first > 0)
    return np.column_stack([rows[passed], best[passed]])


def _similarities(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the products (M, N) of descriptors (M, 128) and (N, 128)."""
    product = np.empty((len(first), len(second)), np.float32)

    def multiply(start: int) -> None:
        part = slice(start, start + ROWS_PER_CHUNK)
        np.matmul(first[part], second.T, out=product[part])

    with one_blas_thread():
        if product.size < MIN_PARALLEL_PRODUCTS:
            return np.matmul(first, second.T, out=product)
        parallel_map(multiply, range(0, len(first), ROWS_PER_CHUNK))
    return product


def _second_best(
    similarity: NDArray[np.float32],
    best: NDArray[np.intp],
    positions: FloatArray | None,
    same_position_m: FloatArray | None,
) -> NDArray[np.float32]:
    """Return the largest similarity of each row (M, N) to another point; overwrite the rows."""
    similarity[np.arange(len(best)), best] = -1.0
    second = np.empty(len(best), np.float32)
    unresolved = np.arange(len(best))
    while len(unresolved):
        candidate = similarity[unresolved].argmax(1)
        second[unresolved] = similarity[unresolved, candidate]
        if positions is None or same_position_m is None:
            break
        nearest = best[unresolved]
        distance_m = np.linalg.norm(positions[nearest] - positions[candidate], axis=1)
        same_point = (distance_m < same_position_m[nearest]) & (second[unresolved] > -1.0)
        unresolved = unresolved[same_point]
        similarity[unresolved, candidate[same_point]] = -1.0
    return second
