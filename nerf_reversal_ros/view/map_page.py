"""The page of a map: the scene, the field behind it, and the panels of each browser."""

import math
from pathlib import Path
from typing import Any, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.maps.map_folder import FIELD_FILE, Map
from nerf_reversal_ros.view.answers_panel import AnswersPanel
from nerf_reversal_ros.view.coverage_panel import CoveragePanel
from nerf_reversal_ros.view.field_pictures import FieldPictures
from nerf_reversal_ros.view.map_scene import MapScene
from nerf_reversal_ros.view.page_text import plain, SHOW_ORDER
from nerf_reversal_ros.view.photo_panel import (
    PhotoLocalizer,
    PhotoPanel,
    Render,
    surface_renderer,
)

if TYPE_CHECKING:
    from viser import ClientHandle, ViserServer


class MapPage:
    """
    Shows a map on a page, and where photos were taken.

    Parameters
    ----------
    server : ViserServer
        An empty page.
    map_ : Map
        An opened map.
    localizer : PhotoLocalizer
        Localizes uploads.

    Raises
    ------
    MapError
        If a file of the map is malformed.
    """

    def __init__(self, server: 'ViserServer', map_: Map, localizer: PhotoLocalizer) -> None:
        self._server, self._localizer = server, localizer
        self.field, self.missing_field = _open_field(map_)
        self.scene = MapScene(server, map_)
        self._start = self.scene.start_pose()
        self._pictures: FieldPictures | None = None
        self._answers: AnswersPanel | None = None
        server.gui.add_markdown(self._description(map_), image_root=Path(), order=0)
        with server.gui.add_folder('Show', order=SHOW_ORDER):
            self._add_toggles()
        self._coverage = CoveragePanel(server, self.scene, map_, self.field, localizer)
        server.on_client_connect(self._on_connect)
        server.on_client_disconnect(self._on_disconnect)

    def answers(self) -> AnswersPanel:
        """Return the panel of answers, which the page has from the first call on."""
        if self._answers is None:
            self._answers = AnswersPanel(self._server, self.scene)
        return self._answers

    def close(self) -> None:
        """End the pictures and the page."""
        self._coverage.close()
        if self._pictures is not None:
            self._pictures.close()
        self._server.stop()

    def _description(self, map_: Map) -> str:
        scene = self.scene
        lines = [
            f'**{plain(map_.path.name)}**: {len(scene.walk)} images, {len(scene.atlas)} landmarks'
        ]
        if self.missing_field:
            lines.append(plain(self.missing_field))
        return '\n\n'.join(lines)

    def _add_toggles(self) -> None:
        gui, scene = self._server.gui, self.scene
        walls = gui.add_checkbox('Walls as points', True)
        walls.on_update(lambda _: scene.show_walls(walls.value))
        field = None if self.field is None else self._add_field_toggle(self.field, walls)
        walk = gui.add_checkbox('Walk', True, hint='of the mapping capture; click a frustum')
        walk.on_update(lambda _: scene.show_walk(walk.value))
        landmarks = gui.add_checkbox(
            'Landmarks', False, hint='from violet, seen in few views, to yellow, seen in many'
        )
        scene.show_landmarks(False)
        landmarks.on_update(lambda _: scene.show_landmarks(landmarks.value))
        low, high = scene.height_range_m
        low, high = math.floor(10 * low) / 10, math.ceil(10 * high) / 10
        height = gui.add_slider('Walls up to [m]', low, high, 0.05, high)
        height.on_update(lambda _: scene.cut_walls(height.value))

        def look_from_above(client: 'ClientHandle | None') -> None:
            if field is not None:  # its ceiling would hide the room
                field.value = False
            walls.value = True
            height.value = min(high, math.ceil(20 * scene.walk_height_m) / 20)
            scene.look_from_above(client)

        def look_from_inside(client: 'ClientHandle | None') -> None:
            height.value = high
            if field is not None:
                field.value, walls.value = True, False
            scene.look_from(client, self._start)

        above = gui.add_button('Look from above')
        above.on_click(lambda event: look_from_above(event.client))
        inside = gui.add_button('Look from inside')
        inside.on_click(lambda event: look_from_inside(event.client))

    def _add_field_toggle(self, field: VoxelField, walls: Any) -> Any:
        """Add the checkbox of the field, whose first picture takes the place of the walls."""
        shown = self._server.gui.add_checkbox(
            'Field', True, hint='rendered as the browser looks at it'
        )

        def hide_walls() -> None:
            walls.value = not shown.value

        pictures = self._pictures = FieldPictures(field, hide_walls)

        def show_field() -> None:
            pictures.is_shown = shown.value

        shown.on_update(lambda _: show_field())
        return shown

    def _on_connect(self, client: 'ClientHandle') -> None:
        self.scene.look_from(client, self._start)
        if self._pictures is not None:
            self._pictures.attach(client)
        PhotoPanel(client, self.scene, self._localizer, self._renderer())

    def _on_disconnect(self, client: 'ClientHandle') -> None:
        if self._pictures is not None:
            self._pictures.detach(client)

    def _renderer(self) -> Render:
        field = self.field
        if field is None:
            return surface_renderer(self.scene)

        def render(map_from_camera: FloatArray, camera: Camera) -> NDArray[np.uint8]:
            return field.render(map_from_camera[None], camera)[0].rgb

        return render


def _open_field(map_: Map) -> tuple[VoxelField | None, str]:
    """Return the field of a map, or why it has none."""
    try:
        return VoxelField.load(map_.file(FIELD_FILE)), ''
    except MapError as error:
        if FIELD_FILE in map_.manifest['files']:
            raise
        return None, f'{error}; its walls are drawn as points'
