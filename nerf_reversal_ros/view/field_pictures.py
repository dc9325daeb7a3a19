"""
The field behind the scene, drawn as the camera of a browser sees it.

While a camera moves, pictures are as coarse as the machine needs for more than ten a second. Once
it is still, a sharp one follows, in bands, so that a movement ends it at once.
"""

from collections.abc import Callable
from dataclasses import replace
from threading import Event, Thread
import time
import traceback
from typing import TYPE_CHECKING

import numpy as np

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, pose_from_quaternion
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.voxel import VoxelField

if TYPE_CHECKING:
    from viser import CameraHandle, ClientHandle

COARSE_S = 0.05
"""Time that a picture for a moving camera may take to render [s]."""
COARSE_HEIGHT_PX = 48, 360
"""Least and greatest height of such a picture [px]; the first one is between."""
SHARP_HEIGHT_PX = 640
ASPECT = 0.2, 5.0
"""Least and greatest width over height of a picture: beyond, it is stretched."""
BAND_ROWS = 32
"""Rows of a sharp picture that are rendered at a time."""
END_S = 1.0
"""Time that a thread has to end with the page [s]."""
STILL_S = 0.25
"""Time without a movement after which a camera is still [s]."""
DEPTH_STEP_M, DEPTH_STRIDE = 0.01024, 3
"""Rounding of the depth that hides what is behind a surface [m], and its pixels in sharp pictures:
it is sent as PNG, which takes long for more."""
FAR_M = 160.0
"""Depth of what the field does not hold [m]; viser transmits up to 167."""
BLANK = np.full((1, 1, 3), 255, np.uint8)


class FieldPictures:
    """
    Draws a field in a browser, in a thread.

    Parameters
    ----------
    field : VoxelField
    client : ClientHandle
    on_first : callable
        Called when the first picture has been sent: the first rendering compiles kernels.
    """

    def __init__(
        self, field: VoxelField, client: 'ClientHandle', on_first: Callable[[], None]
    ) -> None:
        self._field, self._client, self._on_first = field, client, on_first
        self._is_shown = True
        self._changed, self._is_closed = Event(), False
        self._coarse_height = 120.0
        self._view: bytes = b''
        client.camera.on_update(self._on_camera)
        self._changed.set()
        self._thread = Thread(target=self._run, name='field pictures', daemon=True)
        self._thread.start()

    @property
    def is_shown(self) -> bool:
        """Whether the field is drawn; setting it draws or clears it."""
        return self._is_shown

    @is_shown.setter
    def is_shown(self, is_shown: bool) -> None:
        self._is_shown = is_shown
        self._changed.set()

    def _on_camera(self, handle: 'CameraHandle') -> None:
        """Draw again if the camera has moved: browsers also tell that it has not."""
        view = np.array([*handle.wxyz, *handle.position, handle.fov, handle.aspect])
        moved = view.astype(np.float32).tobytes()
        if moved != self._view:
            self._view = moved
            self._changed.set()

    def close(self) -> None:
        """End the pictures."""
        self._is_closed = True
        self._changed.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        is_final = False
        while True:
            is_still = not self._changed.wait(None if is_final else STILL_S)
            if self._is_closed:
                return
            self._changed.clear()
            try:
                is_final = self._draw(is_still)
            except Exception:  # the next picture may succeed
                traceback.print_exc()
                is_final = True

    def _draw(self, is_still: bool) -> bool:
        """Draw a picture; return whether it is the last one unless something changes."""
        if not self._is_shown:
            self._client.scene.set_background_image(BLANK)
            return True
        if is_still:
            return self._draw_sharp()
        self._draw_coarse()
        return False

    def _draw_coarse(self) -> None:
        seen = browser_view(self._client.camera, round(self._coarse_height))
        if seen is None:
            return
        start = time.perf_counter()
        view = render_in_bands(self._field, *seen, lambda: True)
        assert view is not None
        took_s = time.perf_counter() - start
        self._send(view, 1, 70)
        # The time goes with the number of pixels; half a step, because other work disturbs it.
        fitting = self._coarse_height * (COARSE_S / took_s) ** 0.25
        self._coarse_height = float(np.clip(fitting, *COARSE_HEIGHT_PX))

    def _draw_sharp(self) -> bool:
        """Draw a sharp picture; return whether no movement came between."""
        seen = browser_view(self._client.camera, SHARP_HEIGHT_PX)
        if seen is None:
            return True
        view = render_in_bands(self._field, *seen, lambda: not self._changed.is_set())
        if view is not None:
            self._send(view, DEPTH_STRIDE, 90)
        return view is not None

    def _send(self, view: Rendering, depth_stride: int, quality: int) -> None:
        depth = view.depth[::depth_stride, ::depth_stride]
        depth = np.where(depth > 0, np.round(depth / DEPTH_STEP_M) * DEPTH_STEP_M, FAR_M)
        self._client.scene.set_background_image(
            view.rgb, format='jpeg', jpeg_quality=quality, depth=depth
        )
        on_first, self._on_first = self._on_first, _nothing
        on_first()


def render_in_bands(
    field: VoxelField, map_from_camera: FloatArray, camera: Camera, go_on: Callable[[], bool]
) -> Rendering | None:
    """Render a view in bands; None as soon as ``go_on`` returns false."""
    bands = []
    for row in range(0, camera.height, BAND_ROWS):
        if not go_on():
            return None
        rows = min(BAND_ROWS, camera.height - row)
        band = replace(camera, height=rows, cy=camera.cy - row)
        bands += field.render(map_from_camera[None], band)
    view = Rendering(
        np.concatenate([band.rgb for band in bands]),
        np.concatenate([band.depth for band in bands]),
        np.concatenate([band.opacity for band in bands]),
    )
    inside = map_from_camera[:3, 3] - field.origin_m
    if np.any(inside < 0) or np.any(inside > field.extent_m):
        view.rgb[view.opacity < 0.5] = 255  # the background was learned from inside
    return view


def browser_view(handle: 'CameraHandle', height: int) -> tuple[FloatArray, Camera] | None:
    """
    Return map_from_camera (4, 4) and intrinsics of a browser's camera, at a height [px].

    None if there is nothing to see: a browser may have a window without height.
    """
    w, x, y, z = handle.wxyz
    values = np.array([w, x, y, z, *handle.position, handle.fov, handle.aspect])
    is_usable = np.isfinite(values).all() and values[:4].any()
    if not is_usable or not 0 < handle.fov < np.pi or handle.aspect <= 0:
        return None
    pose = pose_from_quaternion(np.asarray(handle.position), np.array([x, y, z, w]))
    width = max(1, round(height * float(np.clip(handle.aspect, *ASPECT))))
    focal = height / 2 / np.tan(handle.fov / 2)
    return pose, Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def _nothing() -> None:
    """Do nothing."""
