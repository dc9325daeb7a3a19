"""Match CameraInfo messages to images by their stamps."""

from collections import OrderedDict
import threading

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo

MAX_MESSAGES = 64
"""Buffered messages, about two seconds of a 30 Hz camera."""
SAME_STAMP_WAIT_S = 0.1
"""Wait for the CameraInfo with the stamp of an image [s], if earlier images had their own."""


class CameraInfoBuffer:
    """
    Buffers the latest CameraInfo messages.

    Drivers of cameras with changing intrinsics send one message for each image, with its stamp
    (an iPhone, whose stabilization changes them). Others send one from time to time. An image
    gets the message with its stamp, or else the latest.
    """

    def __init__(self) -> None:
        self._by_stamp: OrderedDict[tuple[int, int], CameraInfo] = OrderedDict()
        self._stamps_match = False
        self._changed = threading.Condition()
        self._closed = False

    @property
    def latest(self) -> CameraInfo | None:
        """Return the message received last, or None before the first."""
        with self._changed:
            return self._latest()

    def put(self, info: CameraInfo) -> None:
        """Add a message."""
        with self._changed:
            self._by_stamp[_stamp_key(info.header.stamp)] = info
            self._by_stamp.move_to_end(_stamp_key(info.header.stamp))
            if len(self._by_stamp) > MAX_MESSAGES:
                self._by_stamp.popitem(last=False)
            self._changed.notify_all()

    def wait_for(self, stamp: Time, timeout_s: float) -> CameraInfo | None:
        """Return the message of an image; wait up to ``timeout_s`` [s] for the very first one."""
        key = _stamp_key(stamp)
        with self._changed:
            self._changed.wait_for(lambda: self._by_stamp or self._closed, timeout_s)
            if self._stamps_match:
                self._changed.wait_for(
                    lambda: key in self._by_stamp or self._closed, SAME_STAMP_WAIT_S
                )
            self._stamps_match = key in self._by_stamp
            return self._by_stamp.get(key, self._latest())

    def close(self) -> None:
        """End all waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _latest(self) -> CameraInfo | None:
        return next(reversed(self._by_stamp.values()), None)


def _stamp_key(stamp: Time) -> tuple[int, int]:
    return stamp.sec, stamp.nanosec
