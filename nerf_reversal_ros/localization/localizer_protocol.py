"""What localizes one image, and the rejection of images that cannot be used."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import Outcome, Rejection, RejectionReason


class LocalizerProtocol(Protocol):
    """A localizer, or what stands for one."""

    def localize(
        self,
        rgb: NDArray[np.uint8],
        camera: Camera,
        *,
        expected_pose: FloatArray | None = None,
    ) -> Outcome:
        """Localize one image (H, W, 3), whose pose (4, 4) may be known roughly."""


def localize_or_reject(
    localizer: LocalizerProtocol,
    rgb: NDArray[np.uint8],
    camera: Camera,
    expected_pose: FloatArray | None = None,
) -> Outcome:
    """Localize an image (H, W, 3); reject an invalid one instead of raising its ImageError."""
    try:
        return localizer.localize(rgb, camera, expected_pose=expected_pose)
    except ImageError as error:
        return Rejection(RejectionReason.INVALID_IMAGE, str(error))
