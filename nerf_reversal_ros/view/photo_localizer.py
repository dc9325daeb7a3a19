"""Localizes uploads and other images for a page, as ``nerf-reversal localize`` does."""

from collections.abc import Iterator
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.image_sources import EncodedImage, ImageSource
from nerf_reversal_ros.capture.photo_camera import parse_photo_camera, PhotoCamera
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import Outcome, Rejection, RejectionReason
from nerf_reversal_ros.localization.source_localizer import localize_source
from nerf_reversal_ros.maps.map_folder import Map
from nerf_reversal_ros.view.shown_poses import encode_thumbnail, ShownPose

if TYPE_CHECKING:
    from nerf_reversal_ros.localization.localizer import Localizer

MAX_UPLOAD_BYTES = 50_000_000


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
            label = image.name or f'{(image.stamp_ns or 0) / 1e9:.3f} s'
            yield ShownPose(
                label,
                outcome,
                image.camera,
                jpeg,
                ' '.join(notes),
                image.is_camera_unknown,
                image.origin,
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
