"""Keypoints of the methods of others: OpenCV's SIFT, as their users have it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.descriptor_kernels import DESCRIPTOR_DIM
from nerf_reversal_ros.capture.sift import Keypoints

SHIFT_PX = 0.25
"""Offset of OpenCV's SIFT positions: it upsamples by 2 and ignores half a pixel of the result."""


@dataclass(frozen=True)
class OpencvSift:
    """
    RootSIFT detector for RGB images, by OpenCV.

    Parameters
    ----------
    max_count : int
        Largest number of keypoints per image; those of the highest contrast are kept.
    contrast : float
        Least contrast, ``contrastThreshold``.

    References
    ----------
    Arandjelovic & Zisserman, "Three things everyone should know to improve object retrieval",
    CVPR 2012.
    """

    max_count: int
    contrast: float

    @cached_property
    def _sift(self) -> Any:
        return cv2.SIFT_create(  # type: ignore[attr-defined]
            nfeatures=self.max_count, contrastThreshold=self.contrast
        )

    def __call__(self, rgb: NDArray[np.uint8]) -> Keypoints:
        """Detect and describe the keypoints of an image (H, W, 3)."""
        points, raw = self._sift.detectAndCompute(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), None)
        if raw is None:
            return Keypoints(
                np.empty((0, 2)), np.empty(0), np.empty((0, DESCRIPTOR_DIM), np.float32)
            )
        root = np.sqrt(raw / np.maximum(raw.sum(1, keepdims=True), 1e-9))
        return Keypoints(
            np.asarray(cv2.KeyPoint.convert(points), dtype=np.float64) - SHIFT_PX,
            np.array([point.size for point in points], dtype=np.float64),
            root.astype(np.float32),
        )
