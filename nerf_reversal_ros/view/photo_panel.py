"""
Where was a photo taken? Uploads of a browser, localized as ``nerf-reversal localize`` does.

A photo stays in memory, and is shown to the browser that sent it alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock, Timer
from typing import Any, TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.image_sources import EncodedImage, ImageSource
from nerf_reversal_ros.capture.photo_camera import parse_photo_camera, PhotoCamera
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.camera_validation import MAX_FIELD_OF_VIEW_DEG
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.localization.pose_files import describe_outcome
from nerf_reversal_ros.localization.source_localizer import localize_source
from nerf_reversal_ros.maps.map_folder import Map
from nerf_reversal_ros.view.map_scene import add_frustum, MapScene
from nerf_reversal_ros.view.page_text import encode_jpeg, PHOTO_ORDER, picture, plain
from nerf_reversal_ros.view.shown_poses import encode_thumbnail, ShownPose

if TYPE_CHECKING:
    from viser import ClientHandle

    from nerf_reversal_ros.localization.localizer import Localizer

MAX_UPLOAD_BYTES = 50_000_000
TYPING_S = 0.5
"""Time without a key after which a number is complete [s]."""
UNSURE_FOCAL_LENGTH = (
    'A focal length that is found from one photo may be too uncertain: fill in the field of view.'
)
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

    @property
    def is_calibrated(self) -> bool:
        """Whether the intrinsics of photos are known, so that a field of view is of no use."""
        return bool(self._camera.models) or self._camera.intrinsics is not None

    @property
    def fov_deg(self) -> float:
        """Field of view of photos without another source [deg]; 0 if it is to be found."""
        return self._camera.fov_deg or 0.0

    def localize_photo(self, name: str, data: bytes, fov_deg: float = 0.0) -> ShownPose:
        """
        Localize the content of an image file.

        ``fov_deg`` is its horizontal field of view, used where no focal length is known; 0: that
        is found. ConfigError if it is impossible, or with MapError if the localizer cannot be
        loaded.
        """
        if len(data) > MAX_UPLOAD_BYTES:
            problem = (
                f'it has {len(data) / 1e6:.0f} MB, and {MAX_UPLOAD_BYTES / 1e6:.0f} are accepted:'
                ' reduce it'
            )
            return ShownPose(name, Rejection(RejectionReason.INVALID_IMAGE, problem))
        stated = parse_photo_camera(None, fov_deg or None)
        camera = replace(self._camera, fov_deg=stated.fov_deg)
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
            jpeg = None
            if image.rgb is not None and image.camera is not None:
                jpeg = encode_thumbnail(image.rgb, image.camera)
            label = image.name or f'{image.stamp_ns} ns'
            yield ShownPose(
                label, outcome, image.camera, jpeg, ' '.join(notes), image.is_camera_unknown
            )
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
        self._answering = Lock()
        self._newest: Timer | None = None
        gui = client.gui
        with gui.add_folder('Where was a photo taken?', order=PHOTO_ORDER):
            upload = gui.add_upload_button('Upload a photo', mime_type='image/*')
            self._fov = gui.add_number(
                'Field of view [deg]',
                localizer.fov_deg,
                min=0.0,
                max=MAX_FIELD_OF_VIEW_DEG,
                step=0.01,
                visible=not localizer.is_calibrated,
                hint='horizontal, of photos without a focal length in EXIF; 0: it is searched',
            )
            self._answer = gui.add_markdown('', image_root=Path())
            self._look = gui.add_button('Look from there', visible=False)
        upload.on_upload(
            lambda event: self.upload(event.target.value.name, event.target.value.content)
        )
        self._fov.on_update(lambda _: self._ask(TYPING_S))
        self._look.on_click(lambda _: self._look_from_there())

    def upload(self, name: str, data: bytes) -> None:
        """Localize the content of an image file, and show the answer."""
        self._upload = _Upload(name, data)
        self._ask(0.0)

    def _ask(self, wait_s: float) -> None:
        """Localize the last photo after a time, unless something newer is asked meanwhile."""
        self._newest = timer = Timer(wait_s, lambda: self._answer_if_newest(timer))
        timer.daemon = True
        timer.start()

    def _answer_if_newest(self, timer: Timer) -> None:
        with self._answering:
            if self._newest is timer and self._upload is not None:
                shown, text = self._localize(self._upload)
                if self._newest is timer:
                    self._show(shown, text)

    def _localize(self, upload: _Upload) -> tuple[ShownPose | None, str]:
        """Localize a photo; return its outcome, if there is one, and the answer."""
        self._answer.content = f'{plain(upload.name)}: looking for it'
        try:
            shown = self._localizer.localize_photo(
                upload.name, upload.data, self._fov.value or 0.0
            )
        except NerfReversalError as error:  # the map was replaced, or the field of view impossible
            return None, plain(str(error))
        text = f'{upload.name}: {describe_outcome(shown.outcome)}'
        if shown.lacks_focal_length:
            text = f'{upload.name}: its focal length is unknown. Fill in the field of view.'
        answer = plain(text)
        if shown.note:
            answer += f'\n\n{plain(shown.note)}'
            if _is_unsure(shown.outcome):
                answer += f'\n\n{plain(UNSURE_FOCAL_LENGTH)}'
        return shown, answer

    def _show(self, shown: ShownPose | None, text: str) -> None:
        if self._frustum is not None:
            self._frustum.remove()
        self._frustum = self._pose = None
        panes = []
        small = None if shown is None else shown.thumbnail
        if shown is not None and small is not None and shown.camera is not None:
            panes = [small]
            if isinstance(shown.outcome, PoseEstimate):
                self._pose = shown.outcome.map_from_camera
                height, width = small.shape[:2]
                panes.append(self._render(self._pose, shown.camera.scaled_to(width, height)))
                self._frustum = add_frustum(
                    self._client,
                    '/photo',
                    self._pose,
                    shown.camera,
                    2 * self._scene.frustum_m,
                    PHOTO_COLOR,
                    small,
                )
        self._look.visible = self._pose is not None
        image = f'\n\n{picture(encode_jpeg(np.hstack(panes)))}' if panes else ''
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


def _is_unsure(outcome: Outcome) -> bool:
    """Whether an image was rejected because its pose is too uncertain."""
    return isinstance(outcome, Rejection) and outcome.reason == RejectionReason.HIGH_COVARIANCE
