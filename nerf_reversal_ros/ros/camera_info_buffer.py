"""Match CameraInfo messages to images by their frames and stamps."""

from collections import OrderedDict
from dataclasses import dataclass
import threading

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from nerf_reversal_ros.bags.camera_info_matching import match_frames
from nerf_reversal_ros.core.errors import ImageError

MAX_MESSAGES = 64
"""Buffered messages of each camera, about two seconds at 30 Hz."""
MAX_FRAMES = 16
"""Cameras on one topic; the one that was silent longest is dropped."""
SAME_STAMP_WAIT_S = 0.1
"""Wait for the CameraInfo with the stamp of an image [s], if earlier images had their own."""


@dataclass(frozen=True)
class CameraInfoMatch:
    """The CameraInfo of an image."""

    info: CameraInfo | None
    """None: no message was received in time, or none that belongs to the image."""
    note: str = ''
    """Sentence about frames that differ; empty if they do not."""


class CameraInfoBuffer:
    """
    Buffers the latest CameraInfo messages of each camera.

    Drivers of cameras with changing intrinsics send one message for each image, with its stamp
    (an iPhone, whose stabilization changes them). Others send one from time to time. An image
    gets the message of its frame with its stamp, or else the latest of its frame.
    """

    def __init__(self) -> None:
        self._by_frame: OrderedDict[str, OrderedDict[tuple[int, int], CameraInfo]] = OrderedDict()
        self._stamps_match = False
        self._unmatched_frames: set[str] = set()
        self._changed = threading.Condition()
        self._closed = False

    @property
    def is_empty(self) -> bool:
        """Whether no message has been received yet."""
        with self._changed:
            return not self._by_frame

    def put(self, info: CameraInfo) -> None:
        """Add a message."""
        with self._changed:
            frame, key = info.header.frame_id, _stamp_key(info.header.stamp)
            by_stamp = self._by_frame.setdefault(frame, OrderedDict())
            self._by_frame.move_to_end(frame)
            by_stamp[key] = info
            by_stamp.move_to_end(key)
            if len(by_stamp) > MAX_MESSAGES:
                by_stamp.popitem(last=False)
            if len(self._by_frame) > MAX_FRAMES:
                self._by_frame.popitem(last=False)
            self._changed.notify_all()

    def latest(self, header: Header) -> CameraInfoMatch:
        """Return the message for an image that is not part of the sequence, without waiting."""
        with self._changed:
            return self._match(header)

    def wait_for(self, header: Header, timeout_s: float) -> CameraInfoMatch:
        """Return the message of an image; wait up to ``timeout_s`` [s] for the frame's first."""
        with self._changed:
            if header.frame_id not in self._unmatched_frames:
                self._changed.wait_for(
                    lambda: self._has_frame(header.frame_id) or self._closed, timeout_s
                )
                if self._by_frame and not self._has_frame(header.frame_id):
                    if len(self._unmatched_frames) >= MAX_FRAMES:
                        self._unmatched_frames.clear()
                    self._unmatched_frames.add(header.frame_id)  # the next image need not wait
            if self._stamps_match:
                self._changed.wait_for(
                    lambda: self._has_stamp(header) or self._closed, SAME_STAMP_WAIT_S
                )
            self._stamps_match = self._has_stamp(header)
            return self._match(header)

    def close(self) -> None:
        """End all waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_frame(self, image_frame: str) -> bool:
        """Return whether a message has the frame of an image, or one of the two has none."""
        try:
            return bool(self._by_frame) and match_frames(image_frame, self._by_frame).is_same
        except ImageError:
            return False

    def _has_stamp(self, header: Header) -> bool:
        info = self._match(header).info
        return info is not None and info.header.stamp == header.stamp

    def _match(self, header: Header) -> CameraInfoMatch:
        if not self._by_frame:
            return CameraInfoMatch(None)
        try:
            match = match_frames(header.frame_id, self._by_frame)
        except ImageError as error:
            return CameraInfoMatch(None, str(error))
        key = _stamp_key(header.stamp)
        buffers = [self._by_frame[frame] for frame in self._by_frame if frame in match.frames]
        with_stamp = [buffer[key] for buffer in buffers if key in buffer]
        latest = next(reversed(buffers[-1].values()))
        return CameraInfoMatch(with_stamp[-1] if with_stamp else latest, match.warning)


def _stamp_key(stamp: Time) -> tuple[int, int]:
    return stamp.sec, stamp.nanosec
