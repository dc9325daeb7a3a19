"""Where a map localizes: read from the map, or measured once for all browsers, and then kept."""

from threading import Event, Lock, Thread

import numpy as np

from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.coverage import Coverage
from nerf_reversal_ros.localization.coverage_measurement import free_places, measure_coverage
from nerf_reversal_ros.localization.localizer_protocol import LocalizerProtocol
from nerf_reversal_ros.maps.map_addition import add_file
from nerf_reversal_ros.maps.map_folder import COVERAGE_FILE, Map
from nerf_reversal_ros.view.listeners import Listeners

DRAWING_PERIOD = 5
"""Places that are measured between two drawings."""
END_S = 1.0
"""Time that a measurement has to end with the page [s]."""


class SharedCoverage:
    """
    The heat map that a map keeps; it is measured on request, and added to the map.

    Parameters
    ----------
    map_ : Map
    field : VoxelField, optional
        Without it, nothing can be measured.
    localizer : LocalizerProtocol

    Raises
    ------
    MapError
        If the file of the map is malformed.
    """

    def __init__(self, map_: Map, field: VoxelField | None, localizer: LocalizerProtocol) -> None:
        self._map, self._field, self._localizer = map_, field, localizer
        self._walk = map_.mapping_poses
        self._ended, self._starting = Event(), Lock()
        self._thread: Thread | None = None
        self.listeners = Listeners()
        """Called with each change of what follows."""
        self.coverage = Coverage.of_map(map_)
        """To be drawn; of no places as long as nothing is known."""
        self.text = ''
        """What is known, or how far the measurement is."""
        self.is_measured_now = False
        if len(self.coverage):
            self.text = coverage_text(self.coverage, len(self.coverage))
        elif field is None:
            self.text = 'The map holds no heat map, and none can be computed without its field.'

    @property
    def can_measure(self) -> bool:
        """Whether there is a field to measure with."""
        return self._field is not None

    def measure(self) -> None:
        """Begin to measure, unless that goes on."""
        with self._starting:
            if self.is_measured_now or self._field is None:
                return
            self.is_measured_now = True
        self.listeners.call()
        self._thread = Thread(
            target=self._measure, args=(self._field,), name='heat map', daemon=True
        )
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the measurement."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def close(self) -> None:
        """End the measurement."""
        self._ended.set()
        self.join(END_S)

    def _measure(self, field: VoxelField) -> None:
        try:
            places = free_places(field, self._walk)
            self._tell(f'{len(places)} places are free')
            for coverage in measure_coverage(
                field,
                self._localizer,
                self._map.capture_camera,
                places,
                go_on=lambda: not self._ended.is_set(),
            ):
                text, is_last = coverage_text(coverage, len(places)), len(coverage) == len(places)
                if is_last or len(coverage) % DRAWING_PERIOD == 0:
                    self.coverage = coverage
                self._tell(f'{text}. {self._keep(coverage)}' if is_last else text)
        except NerfReversalError as error:  # the map was replaced, or is corrupt
            self._tell(str(error))
        finally:
            self.is_measured_now = False
            self.listeners.call()

    def _keep(self, coverage: Coverage) -> str:
        """Add the heat map to the map, and return what became of it in a sentence."""
        try:
            self._map = add_file(self._map, COVERAGE_FILE, coverage.encode())
        except NerfReversalError as error:
            return f'It is not kept: {error}'
        return 'The map keeps it.'

    def _tell(self, text: str) -> None:
        self.text = text
        self.listeners.call()


def coverage_text(coverage: Coverage, count: int) -> str:
    """Say which part of the views was localized, and how sure they are at half of the places."""
    share = float(np.mean(coverage.localized))
    text = f'{len(coverage)} of {count} places: {share:.0%} of the views are localized'
    if not share:
        return text
    return f'{text}, at half of the places sure to {100 * np.nanmedian(coverage.std_m):.1f} cm'
