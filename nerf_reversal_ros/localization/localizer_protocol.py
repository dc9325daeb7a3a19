"""What localizes one image, and the rejection of images that cannot be used."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import Outcome, Rejection, RejectionReason
from nerf_reversal_ros.localization.camera_search import FoundCamera


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


class CameraSearchProtocol(Protocol):
    """Finds the camera of images of one size."""

    def __len__(self) -> int:
        """Return the number of images that were added."""

    def add(self, rgb: NDArray[np.uint8]) -> bool:
        """Match an image (H, W, 3); return whether it fits what is mapped."""

    def find(self) -> FoundCamera | None:
        """Return the camera that the images fit; None if none of them tells it."""


class SourceLocalizer(LocalizerProtocol, Protocol):
    """A localizer of images whose camera may be unknown: of a map, or of a building."""

    def camera_search(self) -> CameraSearchProtocol:
        """Return a search for the camera of images, all of one size."""

    def trust(self, found: FoundCamera) -> None:
        """Let the covariances of poses hold the uncertainty of a camera that was found."""


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
