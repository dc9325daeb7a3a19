"""Keypoints of pictures: SIFT with square-rooted descriptors."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.geometry import FloatArray

DESCRIPTOR_DIM = 128
"""Numbers of a descriptor."""
OPENCV_SHIFT_PX = 0.25
"""OpenCV doubles a picture before it looks, and forgets half a pixel of the doubled one."""


class Keypoints(NamedTuple):
    """N keypoints of one picture."""

    pixels: FloatArray
    """(N, 2) positions; pixel centres are at integers."""
    sizes: FloatArray
    """(N,) diameters of what was looked at [px]."""
    descriptors: NDArray[np.float32]
    """(N, 128) of length one."""


class KeypointDetector:
    """
    Finds keypoints of RGB pictures.

    Parameters
    ----------
    most : int
        At most so many a picture, those of the highest contrast.
    contrast : float
        Least contrast, OpenCV's ``contrastThreshold``.

    References
    ----------
    Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004; Arandjelovic &
    Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012.
    """

    def __init__(self, max_count: int, contrast: float) -> None:
        self._sift = cv2.SIFT_create(nfeatures=max_count, contrastThreshold=contrast)  # type: ignore[attr-defined]

    def __call__(self, rgb: NDArray[np.uint8]) -> Keypoints:
        """Return the keypoints of a picture (H, W, 3)."""
        found, raw = self._sift.detectAndCompute(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), None)
        if raw is None:
            return Keypoints(
                np.empty((0, 2)), np.empty(0), np.empty((0, DESCRIPTOR_DIM), np.float32)
            )
        root = np.sqrt(raw / np.maximum(raw.sum(1, keepdims=True), 1e-9))
        return Keypoints(
            np.asarray(cv2.KeyPoint.convert(found), dtype=np.float64) - OPENCV_SHIFT_PX,
            np.array([point.size for point in found], dtype=np.float64),
            root.astype(np.float32),
        )


def match_descriptors(
    first_descriptors: NDArray[np.float32],
    second_descriptors: NDArray[np.float32],
    ratio: float,
    positions: FloatArray | None = None,
    same_position_m: float = 0.0,
    mutual: bool = True,
) -> NDArray[np.int64]:
    """
    Match descriptors with their nearest neighbors by Lowe's ratio test.

    Parameters
    ----------
    first_descriptors, second_descriptors : (M, 128), (N, 128) arrays
        Descriptors of unit length.
    ratio : float
        Maximum distance of the best match, as a fraction of that of the second best.
    positions : (N, 3) array, optional
        Positions of the points that ``second_descriptors`` describe [m]. Two points within
        ``same_position_m`` do not compete: one surface point may have several descriptors.
    same_position_m : float
        See ``positions`` [m].
    mutual : bool
        Whether each descriptor of a pair must be the nearest neighbor of the other.

    Returns
    -------
    (K, 2) array
        Rows of ``first_descriptors`` and ``second_descriptors``.
    """
    if len(first_descriptors) < 1 or len(second_descriptors) < 3:
        return np.empty((0, 2), dtype=np.int64)
    similarity = first_descriptors @ second_descriptors.T
    rows = np.arange(len(first_descriptors))
    best = similarity.argmax(1)
    first = similarity[rows, best]
    if mutual:
        rows = rows[first == similarity.max(0)[best]]
    best, first = best[rows], first[rows]
    others = similarity[rows]
    others[np.arange(len(rows)), best] = -1.0
    second = np.empty_like(first)
    asked = np.arange(len(rows))
    while len(asked):
        rival = others[asked].argmax(1)
        second[asked] = others[asked, rival]
        if positions is None:
            break
        near = np.linalg.norm(positions[best[asked]] - positions[rival], axis=1) < same_position_m
        near &= second[asked] > -1.0
        asked = asked[near]
        others[asked, rival[near]] = -1.0
    # |a - b|^2 = 2 - 2 a.b for vectors of length one.
    good = (1 - first < ratio**2 * (1 - second)) & (first > 0)
    return np.column_stack([rows[good], best[good]])
