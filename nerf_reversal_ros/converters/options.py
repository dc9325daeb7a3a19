"""Options of a conversion, and what it returns."""

from dataclasses import dataclass, replace
from pathlib import Path

from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback

EXIF_CHOICES = ('auto', 'turn', 'ignore')
MAX_LEFT_OUT = 0.2
"""Default of the largest fraction of frames that may be left out."""


@dataclass(frozen=True)
class ConvertOptions:
    """Options of all converters; see `converters.convert`."""

    frames: slice | None = None
    max_left_out: float = MAX_LEFT_OUT
    trust_paths: bool = False
    exif: str = 'auto'
    use_depth: bool = True
    depth_unit_m: float | None = None
    """Length of one unit of the stored depth [m]; None: that of the format."""
    camera: str | None = None
    """For tum: what `parse_photo_camera` reads; None: as published."""
    progress: ProgressCallback = no_progress

    def __post_init__(self) -> None:
        """Reject values outside of their limits."""
        if not 0.0 <= self.max_left_out <= 1.0:
            raise ConfigError(
                f'max_left_out = {self.max_left_out:g} is no fraction: give 0 to 1, such as'
                f' {MAX_LEFT_OUT:g}'
            )
        unit_m = self.depth_unit_m
        if unit_m is not None and not 0.0 < unit_m < float('inf'):
            raise ConfigError(
                f'depth_unit_m = {unit_m:g} is no length: give meters for each unit of the stored'
                ' depth, such as 0.001'
            )
        if self.exif not in EXIF_CHOICES:
            raise ConfigError(f'exif = {self.exif!r} is not one of {", ".join(EXIF_CHOICES)}')


@dataclass(frozen=True)
class Conversion:
    """A finished conversion."""

    bag: Path
    frame_count: int
    """Number of frames in the bag."""
    notes: tuple[str, ...] = ()
    """Sentences about left out frames and unused values, for the user."""

    def with_notes(self, *notes: str) -> 'Conversion':
        """Return the conversion with more notes."""
        return replace(self, notes=(*self.notes, *notes))
