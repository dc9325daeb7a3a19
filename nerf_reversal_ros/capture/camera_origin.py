"""Where the intrinsics of an image come from, and what to do if they seem wrong."""

from enum import Enum

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, RejectionReason


class CameraOrigin(Enum):
    """Where intrinsics come from: the name in sentences, and the remedy if they seem wrong."""

    CAMERA_INFO = 'camera_info', ''
    """Of a bag or a topic: the remedies of `RejectionReason` speak of it."""
    STATED = '--camera', remedies.STATED_CAMERA
    EXIF = 'the focal length in EXIF', remedies.EXIF_CAMERA
    """A 35 mm equivalent, which is rounded."""
    FIELD_OF_VIEW = '--fov', remedies.FIELD_OF_VIEW
    FOUND = 'the focal length that was found', remedies.FOUND_CAMERA
    """From the images and the map."""

    def __init__(self, words: str, remedy: str) -> None:
        self.words, self.remedy = words, remedy

    def remedy_of(self, outcome: Outcome) -> str:
        """Return what to do about a rejection; empty if there is nothing but the detail."""
        if isinstance(outcome, PoseEstimate) or not isinstance(outcome.reason, RejectionReason):
            return ''
        reasons = {RejectionReason.IMPLAUSIBLE_CAMERA, RejectionReason.UNSTABLE_REFINEMENT}
        if self is CameraOrigin.FOUND:  # it is less certain than others
            reasons.add(RejectionReason.HIGH_COVARIANCE)
        if self.remedy and outcome.reason in reasons:
            return self.remedy[0].upper() + self.remedy[1:]
        return outcome.reason.remedy.replace('camera_info', self.words)
