"""Match CameraInfo messages to images, by coordinate frame and stamp."""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import ImageError
from nerf_reversal_ros.core.sampling import nearest_stamp_indices


class FrameMatch(NamedTuple):
    """The coordinate frames whose CameraInfo messages may belong to an image."""

    frames: tuple[str, ...]
    warning: str = ''
    """Sentence about frames that differ; empty if they do not."""
    is_same: bool = True
    """False if the frames are others than that of the image."""


def match_frames(image_frame: str, info_frames: Collection[str]) -> FrameMatch:
    """
    Select the frames of CameraInfo messages that belong to images of a frame.

    The same frame wins. An empty frame belongs to all others. The only frame there is belongs to
    any image, with a warning.

    Raises
    ------
    ImageError
        If CameraInfo messages of several other frames are there, and none is of the image.
    """
    others = ', '.join(sorted(info_frames))
    if not image_frame:
        warning = (
            f'camera_info is of several frames ({others}), but the images have no frame_id: set'
            f' it, or {remedies.CALIBRATION}'
        )
        is_ambiguous = len(set(info_frames) - {''}) > 1
        return FrameMatch(tuple(info_frames), warning if is_ambiguous else '')
    same = [frame for frame in info_frames if frame.lstrip('/') == image_frame.lstrip('/')]
    if same or '' in info_frames:
        return FrameMatch(tuple(same or ('',)))
    remedy = f'give the topic of the camera_info of the images, or {remedies.CALIBRATION}'
    if len(info_frames) > 1:
        raise ImageError(
            f'the images are of the frame {image_frame}, but camera_info has only {others}:'
            f' {remedy}'
        )
    warning = (
        f'the images are of the frame {image_frame}, but camera_info is of {others}, and is used:'
        f' if it is of another camera, {remedy}'
    )
    return FrameMatch(tuple(info_frames), warning, is_same=False)


class CameraInfoIndex:
    """CameraInfo messages of a bag, or the one of a calibration file for all images."""

    def __init__(self, calibration: Any = None) -> None:
        self._calibration = calibration
        self._by_frame: dict[str, dict[int, Any]] = {}

    def __bool__(self) -> bool:
        """Whether there is any message."""
        return self._calibration is not None or bool(self._by_frame)

    def add(self, message: Any, stamp_ns: int) -> None:
        """Add a message; of those with one frame and stamp, the last counts."""
        self._by_frame.setdefault(message.header.frame_id, {})[stamp_ns] = message

    def nearest(
        self, image_frame: str, stamps_ns: NDArray[np.int64]
    ) -> tuple[list[Any], tuple[str, ...]]:
        """
        Return the message of the nearest stamp for images (N,) of one frame, and warnings.

        Raises
        ------
        ImageError
            If no message belongs to the frame.
        """
        if self._calibration is not None:
            return [self._calibration] * len(stamps_ns), ()
        match = match_frames(image_frame, self._by_frame)
        messages = {
            stamp: info for frame in match.frames for stamp, info in self._by_frame[frame].items()
        }
        ordered = sorted(messages)
        nearest = nearest_stamp_indices(np.array(ordered, np.int64), stamps_ns)
        return [messages[ordered[i]] for i in nearest], (match.warning,) if match.warning else ()
