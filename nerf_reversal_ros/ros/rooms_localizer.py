"""The localizer of a building as the localizer node uses it: rooms come and go beside the work."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import Outcome
from nerf_reversal_ros.localization.map_placement import transform_surface
from nerf_reversal_ros.localization.surface import Surface

if TYPE_CHECKING:  # a node imports it when it opens a building
    from nerf_reversal_ros.building.building_localizer import BuildingLocalizer

MB = 1e6


class RoomsLocalizer:
    """
    Localizes images in the rooms of a building; see `BuildingLocalizer`.

    Parameters
    ----------
    localizer : BuildingLocalizer
        That does not wait for rooms. `close` closes it.
    """

    def __init__(self, localizer: 'BuildingLocalizer') -> None:
        self._localizer = localizer

    @property
    def device(self) -> str:
        """Device of the networks, ``cpu`` or ``cuda``."""
        return self._localizer.rooms.device

    def to(self, device: str) -> None:
        """Move the networks of all rooms to a device."""
        self._localizer.rooms.to(device)

    def localize(
        self,
        rgb: NDArray[np.uint8],
        camera: Camera,
        config: LocalizerConfig,
        expected_pose: FloatArray | None,
        time_limit_s: float,
        expected_room: str | None = None,
    ) -> Outcome:
        """Localize one undistorted image; try the expected pose, in a room, first."""
        return self._localizer.localize(
            rgb, camera, config, expected_pose, time_limit_s, expected_room
        )

    def close(self) -> None:
        """Let all rooms go; images are rejected from then on."""
        self._localizer.close()

    def describe(self) -> dict[str, object]:
        """Return what /diagnostics tells: the present room, what is loaded, and what cannot be."""
        rooms, building = self._localizer.rooms, self._localizer.building
        loaded, failures = sorted(rooms.loaded), rooms.failures
        described: dict[str, object] = {
            'present room': self._localizer.present_room or 'none yet',
            'rooms loaded': f'{len(loaded)} of {len(building.rooms)}: {", ".join(loaded)}',
            'memory of rooms [MB]': f'{rooms.nbytes / MB:.0f}',
        }
        if failures:
            told = (f'{name}: {reason}' for name, reason in failures.items())
            described['rooms left out'] = '; '.join(told)
        return described

    def surface(self, room: str | None) -> Surface | None:
        """Return the surface of a room in the frame of its poses; None unless it is loaded."""
        if room is None or room not in self._localizer.rooms.loaded:
            return None
        localizer = self._localizer.rooms.localizer(room, wait=False)
        if localizer is None:
            return None
        placement = self._localizer.building.rooms[room].building_from_room
        if placement is None:
            return localizer.surface
        return transform_surface(localizer.surface, placement)
