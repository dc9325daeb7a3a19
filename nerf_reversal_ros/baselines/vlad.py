"""
Image retrieval by VLAD of RootSIFT descriptors.

References
----------
R. Arandjelovic and A. Zisserman, "Three things everyone should know", CVPR 2012 (RootSIFT). VLAD:
`nerf_reversal_ros.capture.vlad`.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.baselines.opencv_sift import OpencvSift
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.vlad import VladIndex
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback

REFERENCE_STRIDE = 4
"""Step between the reference images that are kept."""
MAX_FEATURES, CONTRAST_THRESHOLD = 1500, 0.04
"""Limit and threshold of the SIFT detector; the threshold is OpenCV's default."""


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
