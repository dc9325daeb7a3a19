"""The page in one browser: scene, field and panels, which no other browser sees or changes."""

from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any, Protocol, TYPE_CHECKING

from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.view.answers import Answers
from nerf_reversal_ros.view.answers_panel import AnswersPanel
from nerf_reversal_ros.view.coverage_panel import CoveragePanel
from nerf_reversal_ros.view.field_pictures import END_S, FieldPictures
from nerf_reversal_ros.view.map_content import MapContent
from nerf_reversal_ros.view.map_renderer import Render
from nerf_reversal_ros.view.map_scene import MapScene
from nerf_reversal_ros.view.mapping_images import MappingImages
from nerf_reversal_ros.view.page_text import plain, SHOW_ORDER
from nerf_reversal_ros.view.photo_localizer import PhotoLocalizer
from nerf_reversal_ros.view.photo_panel import PhotoPanel
from nerf_reversal_ros.view.shared_coverage import SharedCoverage
from nerf_reversal_ros.view.walk_image_panel import WalkImagePanel

if TYPE_CHECKING:
    from viser import ClientHandle


@dataclass(frozen=True)
class SharedContent:
    """What all browsers show."""

    name: str
    """Of the map."""
    map: MapContent
    field: VoxelField | None
    missing_field: str
    """Why there is no field; empty if there is one."""
    render: Render
    localizer: PhotoLocalizer
    coverage: SharedCoverage
    images: MappingImages | None = None
    answers: Answers | None = None


class _Panel(Protocol):
    def close(self) -> None:
        """Send nothing more to the browser."""


class BrowserPage:
    """
    Shows a map in a browser.

    Parameters
    ----------
    client : ClientHandle
    shared : SharedContent
    """

    def __init__(self, client: 'ClientHandle', shared: SharedContent) -> None:
        self._client, self._shared = client, shared
        self.scene = MapScene(client, shared.map)
        self.scene.look_from(shared.map.start_pose)
        self._pictures: FieldPictures | None = None
        client.gui.add_markdown(self._description(), image_root=Path(), order=0)
        with client.gui.add_folder('Show', order=SHOW_ORDER):
            self._add_toggles()
        self._panels: list[_Panel] = [
            PhotoPanel(client, self.scene, shared.localizer, shared.render),
            WalkImagePanel(client, self.scene, shared.images, shared.render),
            CoveragePanel(client, self.scene, shared.coverage),
        ]
        if shared.answers is not None:
            self._panels.append(AnswersPanel(client, self.scene, shared.answers, shared.render))

    def close(self) -> None:
        """Send nothing more to the browser."""
        for panel in self._panels:
            panel.close()
        if self._pictures is not None:
            self._pictures.close()

    def join(self) -> None:
        """Wait for the end of the last picture."""
        if self._pictures is not None:
            self._pictures.join(END_S)

    def _description(self) -> str:
        shared = self._shared
        lines = [
            f'**{plain(shared.name)}**: {len(shared.map.walk)} images,'
            f' {len(shared.map.atlas)} landmarks',
            'Click a frustum of the walk to see the map there, beside its image.',
        ]
        if shared.missing_field:
            lines.append(plain(shared.missing_field))
        return '\n\n'.join(lines)

    def _add_toggles(self) -> None:
        gui, scene, content = self._client.gui, self.scene, self._shared.map
        walls = gui.add_checkbox('Walls as points', True)
        walls.on_update(lambda _: scene.show_walls(walls.value))
        field = None if self._shared.field is None else self._add_field_toggle(walls)
        walk = gui.add_checkbox('Walk', True, hint='of the mapping capture; click a frustum')
        walk.on_update(lambda _: scene.show_walk(walk.value))
        landmarks = gui.add_checkbox(
            'Landmarks', False, hint='from violet, seen in few views, to yellow, seen in many'
        )
        scene.show_landmarks(False)
        landmarks.on_update(lambda _: scene.show_landmarks(landmarks.value))
        low, high = content.height_range_m
        low, high = math.floor(10 * low) / 10, math.ceil(10 * high) / 10
        height = gui.add_slider('Walls up to [m]', low, high, 0.05, high)
        height.on_update(lambda _: scene.cut_walls(height.value))

        def look_from_above() -> None:
            if field is not None:  # its ceiling would hide the room
                field.value = False
            walls.value = True
            height.value = min(high, math.ceil(20 * content.walk_height_m) / 20)
            scene.look_from_above()

        def look_from_inside() -> None:
            height.value = high
            if field is not None:
                field.value, walls.value = True, False
            scene.look_from(content.start_pose)

        above = gui.add_button('Look from above')
        above.on_click(lambda _: look_from_above())
        inside = gui.add_button('Look from inside')
        inside.on_click(lambda _: look_from_inside())

    def _add_field_toggle(self, walls: Any) -> Any:
        """Add the checkbox of the field, whose first picture takes the place of the walls."""
        assert self._shared.field is not None
        shown = self._client.gui.add_checkbox(
            'Field', True, hint='rendered as the browser looks at it'
        )

        def hide_walls() -> None:
            walls.value = not shown.value

        pictures = FieldPictures(self._shared.field, self._client, hide_walls)
        self._pictures = pictures

        def show_field() -> None:
            pictures.is_shown = shown.value

        shown.on_update(lambda _: show_field())
        return shown
