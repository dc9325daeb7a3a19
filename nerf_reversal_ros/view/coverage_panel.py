"""The heat map in one browser: where the map localizes a camera."""

from pathlib import Path
from typing import Any, TYPE_CHECKING

from nerf_reversal_ros.localization.coverage import Coverage, NO_COVERAGE
from nerf_reversal_ros.view.map_scene import MapScene
from nerf_reversal_ros.view.page_text import COVERAGE_ORDER, plain
from nerf_reversal_ros.view.shared_coverage import SharedCoverage

if TYPE_CHECKING:
    from viser import ClientHandle


class CoveragePanel:
    """
    Draws the heat map of a page in a browser.

    Parameters
    ----------
    client : ClientHandle
    scene : MapScene
    shared : SharedCoverage
    """

    def __init__(self, client: 'ClientHandle', scene: MapScene, shared: SharedCoverage) -> None:
        self._client, self._scene, self._shared = client, scene, shared
        self._drawn = NO_COVERAGE
        self._points: Any = None
        self._button: Any = None
        gui = client.gui
        with gui.add_folder('Where would it localize?', order=COVERAGE_ORDER):
            self._text = gui.add_markdown('', image_root=Path())
            self._shown = gui.add_checkbox('Heat map', True)
            self._shown.on_update(lambda _: self._show())
            if shared.can_measure:
                self._button = gui.add_button(
                    'Compute', hint='takes a minute or more; renders views and localizes them'
                )
                self._button.on_click(lambda _: shared.measure())
        shared.listeners.add(self._update)
        self._update()

    def close(self) -> None:
        """Draw no longer."""
        self._shared.listeners.remove(self._update)

    def _update(self) -> None:
        """Show what is known by now."""
        shared, coverage = self._shared, self._shared.coverage
        self._text.content = plain(shared.text)
        if self._button is not None:
            self._button.disabled = shared.is_measured_now
        if len(coverage) and coverage is not self._drawn:
            self._drawn = coverage
            self._draw(coverage)

    def _draw(self, coverage: Coverage) -> None:
        content = self._scene.content
        points = coverage.positions_m.copy()
        points[:, 2] = content.surface_box()[0][2] + content.frustum_m  # on the floor
        self._points = self._client.scene.add_point_cloud(
            '/coverage',
            points,
            coverage.colors(),
            point_size=3 * content.frustum_m,
            point_shape='circle',
        )
        self._show()

    def _show(self) -> None:
        if self._points is not None:
            self._points.visible = self._shown.value
