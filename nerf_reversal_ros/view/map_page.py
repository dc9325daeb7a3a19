"""The page of a map: what all browsers share, and a page for each of them."""

from typing import TYPE_CHECKING

from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.maps.map_folder import FIELD_FILE, Map
from nerf_reversal_ros.view.answers import Answers
from nerf_reversal_ros.view.browser_page import BrowserPage, SharedContent
from nerf_reversal_ros.view.map_content import MapContent
from nerf_reversal_ros.view.map_renderer import map_renderer
from nerf_reversal_ros.view.mapping_images import MappingImages
from nerf_reversal_ros.view.photo_localizer import PhotoLocalizer
from nerf_reversal_ros.view.shared_coverage import SharedCoverage

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
    images : MappingImages, optional
        Shown beside the map; the page closes them.
    answers : Answers, optional
        Shown in all browsers.

    Raises
    ------
    MapError
        If a file of the map is malformed.
    """

    def __init__(
        self,
        server: 'ViserServer',
        map_: Map,
        localizer: PhotoLocalizer,
        *,
        images: MappingImages | None = None,
        answers: Answers | None = None,
    ) -> None:
        self._server = server
        field, missing_field = _open_field(map_)
        content = MapContent(map_)
        self.shared = SharedContent(
            name=map_.path.name,
            map=content,
            field=field,
            missing_field=missing_field,
            render=map_renderer(field, content.surface),
            localizer=localizer,
            coverage=SharedCoverage(map_, field, localizer),
            images=images,
            answers=answers,
        )
        """What all browsers show."""
        self._browsers: dict[int, BrowserPage] = {}
        server.on_client_connect(self._on_connect)
        server.on_client_disconnect(self._on_disconnect)

    def close(self) -> None:
        """End the pictures and the page."""
        self.shared.coverage.close()
        browsers = [self._browsers.pop(number) for number in list(self._browsers)]
        for browser in browsers:
            browser.close()
        for browser in browsers:
            browser.join()
        self._server.stop()
        if self.shared.images is not None:
            self.shared.images.close()

    def _on_connect(self, client: 'ClientHandle') -> None:
        self._browsers[client.client_id] = BrowserPage(client, self.shared)

    def _on_disconnect(self, client: 'ClientHandle') -> None:
        if browser := self._browsers.pop(client.client_id, None):
            browser.close()


def _open_field(map_: Map) -> tuple[VoxelField | None, str]:
    """Return the field of a map, or why it has none."""
    try:
        return VoxelField.load(map_.file(FIELD_FILE)), ''
    except MapError as error:
        if FIELD_FILE in map_.manifest['files']:
            raise
        return None, f'{error}; its walls are drawn as points'
