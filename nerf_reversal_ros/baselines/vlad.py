"""
Which of some real pictures looks most like another: SIFT features summed up by visual words.

References
----------
H. Jegou et al., "Aggregating local descriptors into a compact image representation", CVPR 2010.
R. Arandjelovic and A. Zisserman, "Three things everyone should know", CVPR 2012 (RootSIFT), and
"All about VLAD", CVPR 2013 (each word's residual is normalized by itself).
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.keypoints import KeypointDetector
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback

Descriptors = NDArray[np.float32]

REFERENCE_STRIDE = 4
"""Of the pictures of a walk each fourth is kept."""
MAX_FEATURES, CONTRAST_THRESHOLD = 1500, 0.04
VOCABULARY_SIZE = 32


class VladIndex:
    """
    Pictures as one vector each, found again by likeness.

    Parameters
    ----------
    pictures : list of (n, 128) arrays
        The RootSIFT descriptors, of length 1, of each picture; the words are learned from them.
    """

    def __init__(self, image_descriptors: Sequence[Descriptors]) -> None:
        self._words = _cluster_words(np.concatenate(image_descriptors))
        self._vlads = np.stack([self._vlad(descriptors) for descriptors in image_descriptors])

    @property
    def nbytes(self) -> int:
        """How much is kept."""
        return self._words.nbytes + self._vlads.nbytes

    def nearest_images(self, descriptors: Descriptors, count: int) -> NDArray[np.intp]:
        """Return which pictures are most like one with descriptors (n, 128), best first."""
        return np.argsort(-(self._vlads @ self._vlad(descriptors)))[:count]

    def _vlad(self, descriptors: Descriptors) -> Descriptors:
        """Describe a picture as a whole: (WORDS * 128,) of length 1."""
        word = np.argmax(descriptors @ self._words.T, axis=1)
        residuals = np.zeros_like(self._words)
        np.add.at(residuals, word, descriptors - self._words[word])
        residuals /= np.maximum(np.linalg.norm(residuals, axis=1, keepdims=True), 1e-9)
        flat: Descriptors = residuals.ravel() / max(float(np.linalg.norm(residuals)), 1e-9)
        return flat


class VladRetrieval:
    """
    The pose of the most alike of every fourth picture of a capture; depth is not needed.

    Published systems retrieve with learned descriptors (NetVLAD and its heirs), whose weights
    would have to be fetched; this is their hand-made ancestor.

    Raises
    ------
    CaptureError
        If no picture of the capture has features.
    """

    def __init__(self, reference: Capture, *, progress: ProgressCallback = no_progress) -> None:
        self._detect = KeypointDetector(MAX_FEATURES, CONTRAST_THRESHOLD)
        pictures, poses = [], []
        for frame in every_nth_frame(reference, REFERENCE_STRIDE, 'vlad_retrieval', progress):
            descriptors = self._detect(frame.rgb).descriptors
            if len(descriptors):
                pictures.append(descriptors)
                poses.append(frame.map_from_camera)
        if not pictures:
            raise CaptureError(
                f'no picture of {reference.source} has SIFT features: vlad_retrieval needs a'
                ' reference with texture'
            )
        self._index = VladIndex(pictures)
        self._poses = np.stack(poses)
        self.nbytes = self._index.nbytes + self._poses.nbytes

    def localize(self, rgb: NDArray[np.uint8]) -> FloatArray | None:
        """Return map_from_camera (4, 4) of the picture most like one (H, W, 3), or None."""
        descriptors = self._detect(rgb).descriptors
        if not len(descriptors):
            return None
        found: FloatArray = self._poses[self._index.nearest_images(descriptors, 1)[0]]
        return found


def every_nth_frame(
    reference: Capture, stride: int, name: str, progress: ProgressCallback
) -> Iterator[Frame]:
    """Go through each ``stride``-th frame of what a peer of that name learns from."""
    for number, frame in enumerate(reference):
        if number % stride == 0:
            yield frame
        progress(Progress(f'{name} reference', number + 1, len(reference)))


def _cluster_words(descriptors: Descriptors) -> Descriptors:
    """Cluster descriptors (n, 128) to visual words (WORDS, 128), always the same ones."""
    cv2.setRNGSeed(0)
    sample = descriptors[:: max(1, len(descriptors) // 20000)]
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    count = min(VOCABULARY_SIZE, len(sample))
    _, _, centres = cv2.kmeans(sample, count, None, stop, 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    unit: Descriptors = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    return unit
