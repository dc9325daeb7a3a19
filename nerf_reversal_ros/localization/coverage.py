"""
Where a map localizes, and how surely: a few places, with what became of the views from them.

`coverage_measurement` measures it, and a map keeps it as a file of its own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
import safetensors.numpy

from nerf_reversal_ros.core.array_files import read_point_arrays
from nerf_reversal_ros.core.geometry import FloatArray

if TYPE_CHECKING:
    from nerf_reversal_ros.maps.map_folder import Map

NEVER_RGB, HALF_RGB, ALWAYS_RGB = (200, 40, 40), (240, 210, 60), (40, 160, 70)
"""Colors of places by the fraction of their views that is localized: none, a half, all."""


@dataclass(frozen=True)
class Coverage:
    """How the views from N places were localized."""

    positions_m: FloatArray
    """(N, 3) in the map."""
    localized: FloatArray
    """(N,) fraction of the views that were localized correctly."""
    std_m: FloatArray
    """(N,) largest standard deviation of the position of a view, the median of those that were
    localized [m]; NaN where none was."""

    def __len__(self) -> int:
        """Return the number of places."""
        return len(self.positions_m)

    def colors(self) -> NDArray[np.uint8]:
        """Return colors (N, 3): from red for no view over yellow to green for all."""
        colors = np.array([NEVER_RGB, HALF_RGB, ALWAYS_RGB], dtype=np.float64)
        channels = [np.interp(self.localized, [0.0, 0.5, 1.0], channel) for channel in colors.T]
        return np.stack(channels, axis=-1).round().astype(np.uint8)

    def encode(self) -> bytes:
        """Return the content of a safetensors file; `load` reads it."""
        origin_m = self.positions_m.mean(axis=0)
        arrays = {
            'origin_m': origin_m[None],
            'points': (self.positions_m - origin_m).astype(np.float32),
            'localized': self.localized.astype(np.float32),
            'std_m': np.nan_to_num(self.std_m).astype(np.float32),
        }
        return bytes(safetensors.numpy.save(arrays))

    @classmethod
    def load(cls, path: Path) -> 'Coverage':
        """
        Read what `encode` returned.

        Raises
        ------
        MapError
            If the file is missing or malformed.
        """
        rows = {
            'points': ((3,), 'float32'),
            'localized': ((), 'float32'),
            'std_m': ((), 'float32'),
        }
        stored = read_point_arrays(path, 'coverage', rows)
        localized = stored['localized'].astype(np.float64)
        std_m = np.where(localized > 0.0, stored['std_m'].astype(np.float64), np.nan)
        return cls(stored['origin_m'] + stored['points'], localized, std_m)

    @classmethod
    def of_map(cls, map_: 'Map') -> 'Coverage':
        """Return what a map keeps, of no places if it was not measured; MapError as `load`."""
        file = map_.coverage_file
        return NO_COVERAGE if file is None else cls.load(file)


NO_COVERAGE = Coverage(np.empty((0, 3)), np.empty(0), np.empty(0))
