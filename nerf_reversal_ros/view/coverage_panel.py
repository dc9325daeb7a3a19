"""The heat map of a page: where the map localizes a camera, measured on request and then kept."""

from pathlib import Path
from threading import Event, Thread
from typing import Any, TYPE_CHECKING

import numpy as np

from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.coverage import Coverage
from nerf_reversal_ros.localization.coverage_measurement import free_places, measure_coverage
from nerf_reversal_ros.localization.localizer_protocol import LocalizerProtocol
from nerf_reversal_ros.maps.map_addition import add_file
from nerf_reversal_ros.maps.map_folder import COVERAGE_FILE, Map
from nerf_reversal_ros.view.field_pictures import END_S
from nerf_reversal_ros.view.map_scene import MapScene
from nerf_reversal_ros.view.page_text import COVERAGE_ORDER, plain

if TYPE_CHECKING:
    from viser import ViserServer

DRAWING_PERIOD = 5
"""Places that are measured between two drawings."""


class CoveragePanel:
    """
    Draws the heat map that a map keeps; measures it on request, and adds it to the map.

    Parameters
    ----------
    server : ViserServer
    scene : MapScene
        Of the map.
    map_ : Map
    field : VoxelField, optional
        Without it, nothing can be measured.
    localizer : LocalizerProtocol

    Raises
    ------
    MapError
        If the file of the map is malformed.
    """

    def __init__(
        self,
        server: 'ViserServer',
        scene: MapScene,
        map_: Map,
        field: VoxelField | None,
        localizer: LocalizerProtocol,
    ) -> None:
        self._server, self._scene, self._map = server, scene, map_
        self._localizer = localizer
        self._ended = Event()
        self._thread: Thread | None = None
        self._points: Any = None
        gui = server.gui
        with gui.add_folder('Where would it localize?', order=COVERAGE_ORDER):
            self._text = gui.add_markdown('', image_root=Path())
            self._shown = gui.add_checkbox('Heat map', True)
            self._shown.on_update(lambda _: self._show())
            if field is not None:
                self._button = gui.add_button(
                    'Compute', hint='takes a minute or more; renders views and localizes them'
                )
                self._button.on_click(lambda _: self._start(field))
        if kept := Coverage.of_map(map_):
            self._draw(kept)
            self._say(coverage_text(kept, len(kept)))
        elif field is None:
            self._say('The map holds no heat map, and none can be computed without its field.')

    def close(self) -> None:
        """End the computation."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(END_S)

    def _start(self, field: VoxelField) -> None:
        self._button.disabled = True
        self._thread = Thread(target=self._compute, args=(field,), name='heat map', daemon=True)
        self._thread.start()

    def _compute(self, field: VoxelField) -> None:
        places = free_places(field, self._scene.walk)
        self._say(f'{len(places)} places are free')
        try:
            for coverage in measure_coverage(
                field,
                self._localizer,
                self._scene.camera,
                places,
                go_on=lambda: not self._ended.is_set(),
            ):
                text, is_last = coverage_text(coverage, len(places)), len(coverage) == len(places)
                self._say(text)
                if is_last or len(coverage) % DRAWING_PERIOD == 0:
                    self._draw(coverage)
                if is_last:
                    self._say(f'{text}. {self._keep(coverage)}')
        except NerfReversalError as error:  # the map was replaced, or is corrupt
            self._say(str(error))
        finally:
            self._button.disabled = self._ended.is_set()

    def _keep(self, coverage: Coverage) -> str:
        """Add the heat map to the map, and return what became of it in a sentence."""
        try:
            self._map = add_file(self._map, COVERAGE_FILE, coverage.encode())
        except NerfReversalError as error:
            return f'It is not kept: {error}'
        return 'The map keeps it.'

    def _say(self, text: str) -> None:
        self._text.content = plain(text)

    def _draw(self, coverage: Coverage) -> None:
        points = coverage.positions_m.copy()
        points[:, 2] = self._scene.surface_box()[0][2] + self._scene.frustum_m  # on the floor
        self._points = self._server.scene.add_point_cloud(
            '/coverage',
            points,
            coverage.colors(),
            point_size=3 * self._scene.frustum_m,
            point_shape='circle',
        )
        self._show()

    def _show(self) -> None:
        if self._points is not None:
            self._points.visible = self._shown.value


def coverage_text(coverage: Coverage, count: int) -> str:
    """Say which part of the views was localized, and how sure they are at half of the places."""
    share = float(np.mean(coverage.localized))
    text = f'{len(coverage)} of {count} places: {share:.0%} of the views are localized'
    if not share:
        return text
    return f'{text}, at half of the places sure to {100 * np.nanmedian(coverage.std_m):.1f} cm'
