"""Stamps of recordings, which count seconds."""

from nerf_reversal_ros.converters.left_out import LeftOutReason, UnusableFrameError

MAX_STAMP_S = 2.0**31
"""Seconds that a stamp of ROS can hold, in 32 bits."""


def stamp_from_seconds(stamp_s: object) -> int | None:
    """Return a stamp [ns], at least 1, because 0 means an unset stamp in ROS; None: no time."""
    if not isinstance(stamp_s, float | int) or not 0.0 <= stamp_s < MAX_STAMP_S:
        return None
    return max(1, round(stamp_s * 1e9))


def check_stamp(stamp_ns: int, name: str, remedy: str) -> None:
    """Raise UnusableFrameError for a stamp [ns] that is unset, 0."""
    if not stamp_ns:
        raise UnusableFrameError(
            LeftOutReason.BAD_STAMP, f'{name} is no time in seconds: {remedy}'
        )
