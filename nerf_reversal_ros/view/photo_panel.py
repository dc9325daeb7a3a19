"""
Where was a photo taken? Uploads of a browser, localized as ``nerf-reversal localize`` does.

A photo stays in memory, and is shown to the browser that sent it alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TYPE_CHECKING

from nerf_reversal_ros.core.camera_validation import MAX_FIELD_OF_VIEW_DEG
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.localization.pose_files import describe_outcome
from nerf_reversal_ros.view.map_renderer import Render, small_rendering
from nerf_reversal_ros.view.map_scene import add_frustum, MapScene
from nerf_reversal_ros.view.newest_task import IsNewest, NewestTask
from nerf_reversal_ros.view.page_text import PHOTO_ORDER, pictures, plain
from nerf_reversal_ros.view.photo_localizer import PhotoLocalizer
from nerf_reversal_ros.view.shown_poses import ShownPose

if TYPE_CHECKING:
    from viser import ClientHandle

TYPING_S = 0.5
"""Time without a key after which a number is complete [s]."""
UNSURE_FOCAL_LENGTH = (
    'Fill in the field of view: the focal length that is found from one photo is too uncertain.'
)
PHOTO_COLOR = 30, 160, 60


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
        See `Render`.
    """

    def __init__(
        self, client: 'ClientHandle', scene: MapScene, localizer: PhotoLocalizer, render: Render
    ) -> None:
        self._client, self._scene = client, scene
        self._localizer, self._render = localizer, render
        self._upload: _Upload | None = None
        self._pose: FloatArray | None = None
        self._frustum: Any = None
        self._task = NewestTask()
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

    def close(self) -> None:
        """Answer no longer."""
        self._task.drop()

    def upload(self, name: str, data: bytes) -> None:
        """Localize the content of an image file, and show the answer."""
        self._upload = _Upload(name, data)
        self._ask(0.0)

    def _ask(self, wait_s: float) -> None:
        """Localize the last photo after a time, unless something newer is asked meanwhile."""
        self._task.ask(self._answer_upload, wait_s)

    def _answer_upload(self, is_newest: IsNewest) -> None:
        if self._upload is not None:
            shown, text = self._localize(self._upload)
            if is_newest():
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
        remedy = UNSURE_FOCAL_LENGTH if shown.note and _is_unsure(shown.outcome) else ''
        text = f'{upload.name}: {describe_outcome(shown.outcome, shown.origin, remedy=remedy)}'
        if shown.lacks_focal_length:
            text = f'{upload.name}: its focal length is unknown. Fill in the field of view.'
        answer = plain(text)
        if shown.note:
            answer += f'\n\n{plain(shown.note)}'
        return shown, answer

    def _show(self, shown: ShownPose | None, text: str) -> None:
        if self._frustum is not None:
            self._frustum.remove()
        self._frustum = self._pose = None
        image = rendering = None
        if shown is not None and shown.camera is not None:
            image = shown.thumbnail
            if isinstance(shown.outcome, PoseEstimate):
                self._pose = shown.outcome.map_from_camera
                rendering = small_rendering(self._render, self._pose, shown.camera)
                self._frustum = add_frustum(
                    self._client,
                    '/photo',
                    self._pose,
                    shown.camera,
                    2 * self._scene.content.frustum_m,
                    PHOTO_COLOR,
                    image,
                )
        self._look.visible = self._pose is not None
        self._answer.content = text + pictures(image, rendering)

    def _look_from_there(self) -> None:
        if self._pose is not None:
            self._scene.look_from(self._pose)


def _is_unsure(outcome: Outcome) -> bool:
    """Whether an image was rejected because its pose is too uncertain."""
    return isinstance(outcome, Rejection) and outcome.reason == RejectionReason.HIGH_COVARIANCE
