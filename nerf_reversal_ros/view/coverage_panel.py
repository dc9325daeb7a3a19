"""The heat map of a page: where the map would localize a camera, computed when it is asked for."""

from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.localizer_protocol import LocalizerProtocol
from nerf_reversal_ros.view.coverage import covered_places, CoveredPlace, free_places
from nerf_reversal_ros.view.field_pictures import END_S
from nerf_reversal_ros.view.map_scene import MapScene
from nerf_reversal_ros.view.page_text import COVERAGE_ORDER, plain

if TYPE_CHECKING:
    from viser import ViserServer

NEVER_COLOR, HALF_COLOR, ALWAYS_COLOR = (200, 40, 40), (240, 210, 60), (40, 160, 70)


class CoveragePanel:
    """
    Computes and draws the heat map.

    Parameters
    ----------
    server : ViserServer
    scene : MapScene
    field : VoxelField
    localizer : LocalizerProtocol
    """

    def __init__(
        self,
        server: 'ViserServer',
        scene: MapScene,
        field: VoxelField,
        localizer: LocalizerProtocol,
    ) -> None:
        self._server, self._scene, self._field = server, scene, field
        self._localizer = localizer
        self._ended = Event()
        self._thread: Thread | None = None
        gui = server.gui
        with gui.add_folder('Where would it localize?', order=COVERAGE_ORDER):
            self._text = gui.add_markdown('', image_root=Path())
            self._button = gui.add_button(
                'Compute', hint='takes a minute or more; renders views and localizes them'
            )
        self._button.on_click(lambda _: self._start())

    def close(self) -> None:
        """End the computation."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(END_S)

    def _start(self) -> None:
        self._button.disabled = True
        self._thread = Thread(target=self._compute, name='heat map', daemon=True)
        self._thread.start()

    def _compute(self) -> None:
        places = free_places(self._field, self._scene.walk)
        views = covered_places(
            self._field,
            self._localizer,
            self._scene.camera,
            places,
            go_on=lambda: not self._ended.is_set(),
        )
        done: list[CoveredPlace] = []
        self._text.content = plain(f'{len(places)} places are free')
        try:
            for place in views:
                done.append(place)
                self._draw(done, len(places))
        except NerfReversalError as error:  # the map was replaced, or is corrupt
            self._text.content = plain(str(error))
        finally:
            self._button.disabled = self._ended.is_set()

    def _draw(self, done: list[CoveredPlace], count: int) -> None:
        self._text.content = plain(coverage_text(done, count))
        if len(done) % 5 and len(done) < count:
            return
        points = np.stack([place.position_m for place in done])
        points[:, 2] = self._scene.surface_box()[0][2] + self._scene.frustum_m  # on the floor
        self._server.scene.add_point_cloud(
            '/coverage',
            points,
            coverage_colors(np.array([place.localized for place in done])),
            point_size=3 * self._scene.frustum_m,
            point_shape='circle',
        )


def coverage_text(done: list[CoveredPlace], count: int) -> str:
    """Say which part of the views was localized, and how sure half of these are."""
    share = float(np.mean([place.localized for place in done]))
    stds_m = [std for place in done for std in place.stds_m]
    text = f'{len(done)} of {count} places: {share:.0%} of the views are localized'
    return f'{text}, half of them sure to {100 * np.median(stds_m):.1f} cm' if stds_m else text


def coverage_colors(localized: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return colors (N, 3) of fractions (N,) in [0, 1]: red, yellow at a half, green."""
    colors = np.array([NEVER_COLOR, HALF_COLOR, ALWAYS_COLOR], dtype=np.float64)
    channels = [np.interp(localized, [0.0, 0.5, 1.0], channel) for channel in colors.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
