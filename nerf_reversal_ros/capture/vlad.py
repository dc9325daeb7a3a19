"""
VLAD: the descriptors of an image, aggregated by visual words to one vector.

References
----------
H. Jegou et al., "Aggregating local descriptors into a compact image representation", CVPR 2010.
R. Arandjelovic and A. Zisserman, "All about VLAD", CVPR 2013 (intra-normalization: each word's
residual by itself).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Descriptors = NDArray[np.float32]

VOCABULARY_SIZE = 32
"""Visual words, at most."""
MAX_CLUSTERED_DESCRIPTORS = 20000
"""Descriptors that are clustered to words, about: more change the words little."""


class VladIndex:
    """
    Index of images by one VLAD vector each.

    Parameters
    ----------
    image_descriptors : list of (n, 128) arrays
        RootSIFT descriptors of length 1 of each image; the visual words are clustered from them.
    """

    def __init__(self, image_descriptors: Sequence[Descriptors]) -> None:
        self._words = cluster_words(np.concatenate(image_descriptors))
        self._vlads = np.stack(
            [vlad(descriptors, self._words) for descriptors in image_descriptors]
        )

    @property
    def nbytes(self) -> int:
        """Size of the words and the vectors."""
        return self._words.nbytes + self._vlads.nbytes

    def nearest_images(self, descriptors: Descriptors, count: int) -> NDArray[np.intp]:
        """Return the indices of the images most similar to descriptors (n, 128), best first."""
        return np.argsort(-(self._vlads @ vlad(descriptors, self._words)))[:count]

    def similar_images(self, count: int) -> NDArray[np.intp]:
        """Return the most similar images (N, count) of each image of the index, itself first."""
        return np.argsort(-(self._vlads @ self._vlads.T), axis=1)[:, :count]


def vlad(descriptors: Descriptors, words: Descriptors) -> Descriptors:
    """Aggregate descriptors (n, 128) of an image by words (W, 128) to a unit vector (W * 128,)."""
    nearest = np.argmax(descriptors @ words.T, axis=1)
    belongs = (nearest == np.arange(len(words))[:, None]).astype(np.float32)
    residuals = belongs @ descriptors - belongs.sum(1, keepdims=True) * words
    residuals /= np.maximum(np.linalg.norm(residuals, axis=1, keepdims=True), 1e-9)
    flat: Descriptors = residuals.ravel() / max(float(np.linalg.norm(residuals)), 1e-9)
    return flat


def cluster_words(
    descriptors: Descriptors, count: int = VOCABULARY_SIZE, seed: int = 0
) -> Descriptors:
    """Cluster descriptors (n, 128) by k-means to unit words (W, 128), at most ``count``."""
    cv2.setRNGSeed(seed)
    sample = descriptors[:: max(1, len(descriptors) // MAX_CLUSTERED_DESCRIPTORS)]
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    count = min(count, len(sample))
    _, _, centers = cv2.kmeans(  # type: ignore[call-overload]
        sample, count, None, stop, 1, cv2.KMEANS_PP_CENTERS
    )
    words: Descriptors = centers / np.linalg.norm(centers, axis=1, keepdims=True)
    return words
