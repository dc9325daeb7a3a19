"""An image of the walk beside the map at its pose, in the browser that clicks its frustum."""

from pathlib import Path
from typing import Any, TYPE_CHECKING

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.localization.pose_files import heading_deg
from nerf_reversal_ros.view.map_renderer import Render, small_image, small_rendering
from nerf_reversal_ros.view.map_scene import add_frustum, MapScene, WALK_COLOR
from nerf_reversal_ros.view.mapping_images import MappingImages
from nerf_reversal_ros.view.newest_task import IsNewest, NewestTask
from nerf_reversal_ros.view.page_text import pictures, plain, WALK_IMAGE_ORDER

if TYPE_CHECKING:
    from viser import ClientHandle

NO_IMAGES = f'A map keeps no images: to see this one beside it, {remedies.REFERENCE}.'
NO_IMAGE = 'The bag does not hold this image.'


class WalkImagePanel:
    """
    Shows mapping images in a browser, one at a time.

    Parameters
    ----------
    client : ClientHandle
    scene : MapScene
        Of the browser.
    images : MappingImages, optional
        Without them, the map is rendered alone.
    render : callable
        See `Render`.
    """

    def __init__(
        self, client: 'ClientHandle', scene: MapScene, images: MappingImages | None, render: Render
    ) -> None:
        self._client, self._scene = client, scene
        self._images, self._render = images, render
        self._task = NewestTask()
        self._index = 0
        self._folder: Any = None
        self._text: Any = None
        self._frustum: Any = None
        scene.on_click(self.show)

    def show(self, index: int) -> None:
        """Show the mapping image of a number, from 0, soon."""
        self._index = index
        self._task.ask(self._show)

    def close(self) -> None:
        """Show no more images."""
        self._task.drop()

    def _show(self, is_newest: IsNewest) -> None:
        index, content = self._index, self._scene.content
        pose, camera, image, missing = content.walk[index], content.camera, None, NO_IMAGES
        if self._images is not None:
            try:
                read, missing = self._images.read(index), NO_IMAGE
            except NerfReversalError as error:  # the bag is gone
                read, missing = None, str(error)
            if read is not None:
                (rgb, camera), missing = read, ''
                image = small_image(rgb, camera)
        rendering = small_rendering(self._render, pose, camera)
        if not is_newest():
            return
        if self._folder is None:
            self._add_folder()
        x, y, z = pose[:3, 3]
        where = (
            f'image {index + 1} of {len(content.walk)}, x {x:.3f} y {y:.3f} z {z:.3f} m, heading'
            f' {heading_deg(pose):.1f} deg'
        )
        note = missing or 'Left the image, right the map.'
        self._text.content = f'{plain(where)}\n\n{plain(note)}{pictures(image, rendering)}'
        self._frustum = add_frustum(
            self._client,
            '/walk_image',
            pose,
            camera,
            2 * content.frustum_m,
            WALK_COLOR,
            rendering if image is None else image,
        )

    def _add_folder(self) -> None:
        gui = self._client.gui
        self._folder = gui.add_folder('Image of the walk', order=WALK_IMAGE_ORDER)
        with self._folder:
            self._text = gui.add_markdown('', image_root=Path())
            look = gui.add_button('Look from this one')
            hide = gui.add_button('Hide this image')
        look.on_click(lambda _: self._scene.look_from(self._scene.content.walk[self._index]))
        hide.on_click(lambda _: self._hide())

    def _hide(self) -> None:
        self._task.ask(self._remove)

    def _remove(self, _: IsNewest) -> None:
        if self._folder is not None:
            self._folder.remove()
            self._frustum.remove()
        self._folder = None
