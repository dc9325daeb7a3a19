"""Advice on a wrong camera_info: the focal length that fits several images of one camera."""

from collections import deque

import numpy as np

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.outcome import Outcome, Rejection, RejectionReason

MIN_IMAGES = 5
"""Rejected images that the advice needs: the fit of a single one may be wrong."""
MAX_IMAGES = 200
"""Latest rejected images that count."""
MAX_SPREAD = 0.05
"""Largest interquartile range of the focal scales of consistent images; those of one camera have
0.02."""
CORRECT_FOCAL = 0.02
"""Largest deviation of a focal scale from 1 that does not explain the rejections."""


class CameraAdvice:
    """
    Collects the images of one camera that are rejected for their intrinsics.

    Parameters
    ----------
    name : str
        Name of the intrinsics in sentences.
    """

    def __init__(self, name: str = 'camera_info') -> None:
        self._name = name
        self._camera: Camera | None = None
        self._focal_scales: deque[float] = deque(maxlen=MAX_IMAGES)
        self._is_announced = False

    @property
    def sentence(self) -> str:
        """What would fit the images, as one sentence; empty while it is not known."""
        scales, camera = self._focal_scales, self._camera
        if camera is None or len(scales) < MIN_IMAGES:
            return ''
        low, median, high = np.percentile(scales, (25, 50, 75))
        if high - low > MAX_SPREAD * median:
            return (
                f'{self._name} contradicts {len(scales)} images in different ways: check that it'
                ' belongs to these images, and that they are not distorted'
            )
        if abs(median - 1) <= CORRECT_FOCAL:
            return (
                f'{self._name} has a focal length that fits {len(scales)} images, but not their'
                ' principal point or fx / fy: calibrate the camera'
            )
        return (
            f'{self._name} has fx {camera.fx:.1f} px, fy {camera.fy:.1f} px, and {len(scales)}'
            f' images fit {median:.3g} times as much (median): '
            + remedies.FOCAL_LENGTH.format(fx=camera.fx * median, fy=camera.fy * median)
        )

    def add(self, outcome: Outcome, camera: Camera) -> None:
        """Count the outcome of one image; intrinsics other than before start anew."""
        if camera != self._camera:
            self._camera = camera
            self._focal_scales.clear()
            self._is_announced = False
        scale = outcome.diagnostics.scores.get('focal_scale')
        is_implausible = (
            isinstance(outcome, Rejection) and outcome.reason == RejectionReason.IMPLAUSIBLE_CAMERA
        )
        if is_implausible and scale is not None:
            self._focal_scales.append(scale)

    def announce(self) -> str:
        """Return `sentence` when it is known for the first time, else an empty text."""
        if self._is_announced or not (sentence := self.sentence):
            return ''
        self._is_announced = True
        return sentence
