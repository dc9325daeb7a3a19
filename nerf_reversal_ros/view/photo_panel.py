"""
Where was a photo taken? Uploads of a browser, localized as ``nerf-reversal localize`` does.

A photo stays in memory, and is shown to the browser that sent it alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.image_sources import EncodedImage, ImageSource
from nerf_reversal_ros.capture.photo_camera import PhotoCamera
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.localization.pose_files import describe_outcome
from nerf_reversal_ros.localization.source_localizer import localize_source
from nerf_reversal_ros.maps.map_folder import Map
from nerf_reversal_ros.view.map_scene import add_frustum, MapScene
from nerf_reversal_ros.view.page_text import PHOTO_ORDER, picture, plain
from nerf_reversal_ros.view.shown_poses import ShownPose, thumbnail

if TYPE_CHECKING:
    from viser import ClientHandle

    from nerf_reversal_ros.localization.localizer import Localizer

MAX_UPLOAD_BYTES = 50_000_000
MIN_FOV_DEG, MAX_FOV_DEG = 10.0, 150.0
PHOTO_COLOR = 30, 160, 60
Render = Callable[[FloatArray, Camera], NDArray[np.uint8]]


class PhotoLocalizer:
    """
    Localizes photos and other images in a map, one at a time.

    Parameters
    ----------
    map_ : Map
    config : LocalizerConfig
    camera : PhotoCamera
        Intrinsics of photos.
    """

    def __init__(self, map_: Map, config: LocalizerConfig, camera: PhotoCamera) -> None:
        self._map, self._config, self._camera = map_, config, camera
        self._localizer: Localizer | None = None
        self._lock = Lock()

    def localize_photo(self, name: str, data: bytes, fov_deg: float | None = None) -> ShownPose:
        """
        Localize the content of an image file.

        ``fov_deg`` is its horizontal field of view, used where no focal length is known. MapError
        or ConfigError if the localizer cannot be loaded.
        """
        if len(data) > MAX_UPLOAD_BYTES:
            problem = (
                f'it has {len(data) / 1e6:.0f} MB, and {MAX_UPLOAD_BYTES / 1e6:.0f} are accepted:'
                ' reduce it'
            )
            return ShownPose(name, Rejection(RejectionReason.INVALID_IMAGE, problem))
        camera = self._camera if fov_deg is None else replace(self._camera, fov_deg=fov_deg)
        (answer,) = self.localize_source(EncodedImage(name, lambda: data, camera))
        return answer

    def localize_source(self, source: ImageSource) -> Iterator[ShownPose]:
        """Localize the images of a source, as ``nerf-reversal localize`` does; raises as that."""
        notes: list[str] = []
        with self._lock:
            images = localize_source(self._open(), source, tell=notes.append)
        while True:
            with self._lock:  # of several browsers one after the other
                following = next(images, None)
            if following is None:
                return
            image, outcome = following
            small = None
            if image.rgb is not None and image.camera is not None:
                small = thumbnail(image.rgb, image.camera)
            label = image.name or f'{image.stamp_ns} ns'
            yield ShownPose(label, outcome, image.camera, small, ' '.join(notes))
            notes.clear()

    def localize(
        self,
        rgb: NDArray[np.uint8],
        camera: Camera,
        *,
        expected_pose: FloatArray | None = None,
    ) -> Outcome:
        """
        Localize an image (H, W, 3), as `Localizer.localize` does; the first call loads that.

        Raises
        ------
        ImageError
            If the image does not fit the camera.
        MapError, ConfigError
            If the localizer cannot be loaded.
        """
        with self._lock:
            return self._open().localize(rgb, camera, expected_pose=expected_pose)

    def _open(self) -> 'Localizer':
        if self._localizer is None:
            self._localizer = self._map.localizer(self._config)
        return self._localizer


@dataclass(frozen=True)
class _Upload:
    """A photo as it was uploaded."""

    name: str
    data: bytes


class PhotoPanel:
    """
    The panel of one browser.

    Parameters
    ----------
    client : ClientHandle
    scene : MapScene
    localizer : PhotoLocalizer
    render : callable
        Renders a view of the map (h, w, 3), of a pose (4, 4) and a camera.
    """

    def __init__(
        self, client: 'ClientHandle', scene: MapScene, localizer: PhotoLocalizer, render: Render
    ) -> None:
        self._client, self._scene = client, scene
        self._localizer, self._render = localizer, render
        self._upload: _Upload | None = None
        self._pose: FloatArray | None = None
        self._frustum: Any = None
        gui = client.gui
        with gui.add_folder('Where was a photo taken?', order=PHOTO_ORDER):
            upload = gui.add_upload_button('Upload a photo', mime_type='image/*')
            self._fov = gui.add_number(
                'Field of view [deg]',
                0.0,
                min=0.0,
                max=MAX_FOV_DEG,
                step=0.01,
                hint='horizontal, of photos without a focal length in EXIF; 0: it is searched',
            )
            self._answer = gui.add_markdown('', image_root=Path())
            self._look = gui.add_button('Look from there', visible=False)
        upload.on_upload(lambda event: self._on_upload(event.target.value))
        self._fov.on_update(lambda _: self._answer_upload())
        self._look.on_click(lambda _: self._look_from_there())

    def _on_upload(self, file: Any) -> None:
        self._upload = _Upload(file.name, file.content)
        self._answer_upload()

    def _answer_upload(self) -> None:
        """Localize the last photo, and show the answer."""
        upload = self._upload
        if upload is None:
            return
        self._answer.content = f'{plain(upload.name)}: looking for it'
        fov_deg = self._fov.value if self._fov.value >= MIN_FOV_DEG else None
        try:
            shown = self._localizer.localize_photo(upload.name, upload.data, fov_deg)
        except NerfReversalError as error:  # the map was replaced, or is corrupt
            self._show(None, plain(str(error)))
            return
        text = f'{upload.name}: {describe_outcome(shown.outcome)}'
        if _lacks_focal_length(shown.outcome):
            text = f'{upload.name}: its focal length is unknown. Fill in the field of view.'
        found = f'\n\n{plain(shown.note)}' if shown.note else ''
        self._show(shown, plain(text) + found)

    def _show(self, shown: ShownPose | None, text: str) -> None:
        if self._frustum is not None:
            self._frustum.remove()
        self._frustum = self._pose = None
        panes = []
        if shown is not None and shown.thumbnail is not None and shown.camera is not None:
            panes = [shown.thumbnail]
            if isinstance(shown.outcome, PoseEstimate):
                self._pose = shown.outcome.map_from_camera
                height, width = shown.thumbnail.shape[:2]
                panes.append(self._render(self._pose, shown.camera.scaled_to(width, height)))
                self._frustum = add_frustum(
                    self._client,
                    '/photo',
                    self._pose,
                    shown.camera,
                    2 * self._scene.frustum_m,
                    PHOTO_COLOR,
                    shown.thumbnail,
                )
        self._look.visible = self._pose is not None
        image = f'\n\n{picture(np.hstack(panes))}' if panes else ''
        self._answer.content = f'{text}{image}'

    def _look_from_there(self) -> None:
        if self._pose is not None:
            self._scene.look_from(self._client, self._pose)


def surface_renderer(scene: MapScene) -> Render:
    """Return what draws the points of the walls, for a map without a field."""

    def render(map_from_camera: FloatArray, camera: Camera) -> NDArray[np.uint8]:
        view = scene.surface.render(map_from_camera, camera.downscaled_to(160))
        size = (camera.width, camera.height)
        enlarged = cv2.resize(view.rgb, size, interpolation=cv2.INTER_NEAREST)
        return np.asarray(enlarged, dtype=np.uint8)

    return render


def _lacks_focal_length(outcome: Outcome) -> bool:
    """Whether an image was rejected because nothing tells its focal length."""
    return (
        isinstance(outcome, Rejection)
        and outcome.reason == RejectionReason.INVALID_IMAGE
        and outcome.detail.endswith(remedies.PHOTO_CAMERA)
    )
