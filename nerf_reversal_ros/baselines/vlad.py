"""
Image retrieval by VLAD: RootSIFT descriptors, aggregated by visual words.

References
----------
H. Jegou et al., "Aggregating local descriptors into a compact image representation", CVPR 2010.
R. Arandjelovic and A. Zisserman, "Three things everyone should know", CVPR 2012 (RootSIFT), and
"All about VLAD", CVPR 2013 (intra-normalization: each word's residual by itself).
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.baselines.opencv_sift import OpencvSift
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback

Descriptors = NDArray[np.float32]

REFERENCE_STRIDE = 4
"""Step between the reference images that are kept."""
MAX_FEATURES, CONTRAST_THRESHOLD = 1500, 0.04
"""Limit and threshold of the SIFT detector; the threshold is OpenCV's default."""
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
        self._words = _cluster_words(np.concatenate(image_descriptors))
        self._vlads = np.stack([self._vlad(descriptors) for descriptors in image_descriptors])

    @property
    def nbytes(self) -> int:
        """Size of the words and the vectors."""
        return self._words.nbytes + self._vlads.nbytes

    def nearest_images(self, descriptors: Descriptors, count: int) -> NDArray[np.intp]:
        """Return the indices of the images most similar to descriptors (n, 128), best first."""
        return np.argsort(-(self._vlads @ self._vlad(descriptors)))[:count]

    def similar_images(self, count: int) -> NDArray[np.intp]:
        """Return the most similar images (N, count) of each image of the index, itself first."""
        return np.argsort(-(self._vlads @ self._vlads.T), axis=1)[:, :count]

    def _vlad(self, descriptors: Descriptors) -> Descriptors:
        """Aggregate descriptors (n, 128) of an image to a unit vector (words * 128,)."""
        words = np.argmax(descriptors @ self._words.T, axis=1)
        belongs = (words == np.arange(len(self._words))[:, None]).astype(np.float32)
        residuals = belongs @ descriptors - belongs.sum(1, keepdims=True) * self._words
        residuals /= np.maximum(np.linalg.norm(residuals, axis=1, keepdims=True), 1e-9)
        flat: Descriptors = residuals.ravel() / max(float(np.linalg.norm(residuals)), 1e-9)
        return flat


class VladRetrieval:
    """
    Return the pose of the most similar of every fourth image of a capture; needs no depth.

    Published systems retrieve with learned descriptors (NetVLAD and its successors), whose weights
    need a download. VLAD is their predecessor with hand-crafted descriptors.

    Parameters
    ----------
    reference : Capture
        Mapping images with their poses.
    progress : callable
        Receives the progress over the reference.

    Raises
    ------
    CaptureError
        If no image of the capture has features.
    """

    def __init__(self, reference: Capture, *, progress: ProgressCallback = no_progress) -> None:
        self._detect = OpencvSift(MAX_FEATURES, CONTRAST_THRESHOLD)
        image_descriptors, poses = [], []
        for frame in every_nth_frame(reference, REFERENCE_STRIDE, 'vlad_retrieval', progress):
            descriptors = self._detect(frame.rgb).descriptors
            if len(descriptors):
                image_descriptors.append(descriptors)
                poses.append(frame.map_from_camera)
        if not image_descriptors:
            raise CaptureError(
                f'no image of {reference.source} has SIFT features: give vlad_retrieval a'
                ' reference of a textured room'
            )
        self._index = VladIndex(image_descriptors)
        self._poses = np.stack(poses)
        self.nbytes = self._index.nbytes + self._poses.nbytes

    def localize(self, rgb: NDArray[np.uint8]) -> FloatArray | None:
        """Return map_from_camera (4, 4) of the reference image most similar to (H, W, 3)."""
        descriptors = self._detect(rgb).descriptors
        if not len(descriptors):
            return None
        pose: FloatArray = self._poses[self._index.nearest_images(descriptors, 1)[0]]
        return pose


def every_nth_frame(
    reference: Capture, stride: int, name: str, progress: ProgressCallback
) -> Iterator[Frame]:
    """Iterate over every ``stride``-th frame of the reference of the baseline ``name``."""
    for index, frame in enumerate(reference):
        if index % stride == 0:
            yield frame
        progress(Progress(f'{name} reference', index + 1, len(reference)))


def _cluster_words(descriptors: Descriptors) -> Descriptors:
    """Cluster descriptors (n, 128) to visual words (words, 128) by k-means with a fixed seed."""
    cv2.setRNGSeed(0)
    sample = descriptors[:: max(1, len(descriptors) // MAX_CLUSTERED_DESCRIPTORS)]
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    count = min(VOCABULARY_SIZE, len(sample))
    _, _, centers = cv2.kmeans(  # type: ignore[call-overload]
        sample, count, None, stop, 1, cv2.KMEANS_PP_CENTERS
    )
    words: Descriptors = centers / np.linalg.norm(centers, axis=1, keepdims=True)
    return words
