"""Stamps of recordings, which count seconds."""

MAX_STAMP_S = 2.0**31
"""Seconds that a stamp of ROS can hold, in 32 bits."""


def stamp_from_seconds(stamp_s: object) -> int | None:
    """Return a stamp [ns], at least 1, because 0 means an unset stamp in ROS; None: no time."""
    if not isinstance(stamp_s, float | int) or not 0.0 <= stamp_s < MAX_STAMP_S:
        return None
    return max(1, round(stamp_s * 1e9))
