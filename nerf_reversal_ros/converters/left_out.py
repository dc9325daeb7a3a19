"""Frames that cannot be converted: left out, counted by reason, up to a fraction of all."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
import math
from pathlib import Path
from typing import TypeVar

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError

T = TypeVar('T')


class LeftOutReason(Enum):
    """Why a frame is left out, in words for the user."""

    NO_IMAGE = 'no image file'
    BAD_IMAGE = 'damaged image'
    IMAGE_SIZE = 'image size does not fit the intrinsics'
    EXIF = 'EXIF orientation is ambiguous'
    NO_DEPTH = 'no depth'
    BAD_DEPTH = 'damaged depth'
    BAD_MASK = 'missing or damaged mask'
    NO_POSE = 'no pose'
    BAD_POSE = 'invalid pose'
    BAD_STAMP = 'invalid stamp'
    BAD_CAMERA = 'missing or invalid intrinsics'


_DEPTH_REASONS = (LeftOutReason.NO_DEPTH, LeftOutReason.BAD_DEPTH)


class UnusableFrameError(CaptureError):
    """One frame of a recording cannot be converted; the others may be."""

    def __init__(self, reason: LeftOutReason, message: str) -> None:
        """Store the reason to count it by, and what is wrong with this frame."""
        super().__init__(message)
        self.reason = reason


@dataclass
class LeftOutFrames:
    """
    The frames of one conversion that are left out, by reason.

    Parameters
    ----------
    source : Path
        The recording.
    total : int
        Number of its frames, at least 1.
    max_fraction : float
        Largest fraction of them that may be left out, rounded up to a whole frame.
    """

    source: Path
    total: int
    max_fraction: float
    by_reason: dict[LeftOutReason, list[tuple[str, str]]] = field(default_factory=dict)
    """Name of, and message about, each frame."""

    @property
    def count(self) -> int:
        """Number of frames left out."""
        return sum(map(len, self.by_reason.values()))

    def attempt(self, name: str, read: Callable[[], T]) -> T | None:
        """Return what ``read`` gives; None if it raises `UnusableFrameError`, which is counted."""
        try:
            return read()
        except UnusableFrameError as error:
            self.by_reason.setdefault(error.reason, []).append((name, str(error)))
            return None

    def check(self) -> None:
        """Raise CaptureError if more frames are left out than allowed."""
        allowed = math.ceil(self.max_fraction * self.total)
        if self.count <= min(allowed, self.total - 1):
            return
        reason, frames = max(self.by_reason.items(), key=lambda item: len(item[1]))
        name, message = frames[0]
        example = f'{reason.value} ({len(frames)} of them, such as frame {name}: {message})'
        without = f', or {remedies.NO_DEPTH}' if reason in _DEPTH_REASONS else ''
        if self.count == self.total:
            raise CaptureError(
                f'none of the {self.total} frames of {self.source} can be used, most often because'
                f' of: {example}; mend them{without}'
            )
        needed = math.ceil(100 * self.count / self.total) / 100
        remedy = remedies.MAX_LEFT_OUT.format(needed=needed)
        raise CaptureError(
            f'{self.count} of the {self.total} frames of {self.source} cannot be used, more than'
            f' the fraction {self.max_fraction:g} allows, most often because of: {example};'
            f' mend them, or {remedy}{without}'
        )

    def lines(self) -> list[str]:
        """Return one line for each reason, the commonest first."""
        ordered = sorted(self.by_reason.items(), key=lambda item: -len(item[1]))
        return [
            f'left out {len(frames)} of {self.total} frames, {reason.value}: such as'
            f' {frames[0][0]}: {frames[0][1]}'
            for reason, frames in ordered
        ]
