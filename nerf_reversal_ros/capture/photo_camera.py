"""
Intrinsics of photos: of a calibration, else of EXIF, else of a field of view.

A calibration may belong to the pixels as the sensor stores them, or to the image turned upright.
Its size tells, or its principal point; where both fit, it belongs to the stored pixels.
"""

from dataclasses import dataclass
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.camera_info_file import read_camera_info_file
from nerf_reversal_ros.bags.camera_model import camera_model_from_info, CameraModel
from nerf_reversal_ros.bags.colmap_camera import (
    ColmapCamera,
    opencv_distortion,
    PARAMETERS,
    read_colmap_cameras,
)
from nerf_reversal_ros.capture.camera_origin import CameraOrigin
from nerf_reversal_ros.capture.orientation import turn, turn_camera
from nerf_reversal_ros.capture.photo import Photo
from nerf_reversal_ros.capture.photo_exif import DIAGONAL_35MM
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.camera_validation import (
    IntrinsicsSource,
    make_camera,
    MAX_FIELD_OF_VIEW_DEG,
    MIN_FIELD_OF_VIEW_DEG,
)
from nerf_reversal_ros.core.capture_config import CameraInfoConfig
from nerf_reversal_ros.core.errors import CaptureError, ConfigError, ImageError

_Intrinsics = tuple[float, float, float, float]


class UnknownFocalLengthError(ImageError):
    """Nothing tells the focal length of an image."""


@dataclass(frozen=True)
class PhotoCamera:
    """What is known of the camera of photos."""

    name: str = ''
    """Name of the calibration in messages, the value of ``--camera``."""
    models: tuple[CameraModel, ...] = ()
    """Calibrated cameras of images of a known size; that of the shape of an image is used."""
    intrinsics: _Intrinsics | None = None
    """fx, fy, cx, cy [px] of images of any size, without distortion."""
    fov_deg: float | None = None
    """Horizontal field of view [deg] of upright images without another source."""

    def origin(self, photo: Photo) -> CameraOrigin:
        """Return where the intrinsics of a photo come from; FOUND if nothing states them."""
        if self.models or self.intrinsics is not None:
            return CameraOrigin.STATED
        if photo.focal_length_35mm is not None:
            return CameraOrigin.EXIF
        return CameraOrigin.FOUND if self.fov_deg is None else CameraOrigin.FIELD_OF_VIEW

    def undistort(self, photo: Photo) -> tuple[NDArray[np.uint8], Camera]:
        """
        Turn a photo upright and undo its distortion.

        Returns
        -------
        (H, W, 3) uint8 array, Camera
            The image, and its intrinsics.

        Raises
        ------
        UnknownFocalLengthError
            If no intrinsics are known.
        ImageError
            If they cannot be those of the image.
        """
        height, width = photo.rgb.shape[:2]
        upright = turn_camera(Camera(width, height, 1.0, 1.0, 0.0, 0.0), photo.orientation)
        sizes = ((width, height), (upright.width, upright.height))
        model, is_stored = self._model(photo, sizes)
        if is_stored:
            rgb = turn(model.undistort_rgb(photo.rgb), photo.orientation)
            return rgb, turn_camera(model.camera, photo.orientation)
        return model.undistort_rgb(turn(photo.rgb, photo.orientation)), model.camera

    def _model(self, photo: Photo, sizes: tuple[tuple[int, int], ...]) -> tuple[CameraModel, bool]:
        """Return the model, and whether it is of the stored and not the upright image."""
        if self.models:
            return self._calibrated_model(sizes)
        if self.intrinsics is not None:
            size = min(sizes, key=self._center_distance)
            camera, _ = make_camera(size, self.intrinsics, _words(self.name))
            return CameraModel(camera), size == sizes[0]
        width, height = sizes[1]
        if photo.focal_length_35mm is not None:
            focal_px = photo.focal_length_35mm / DIAGONAL_35MM * math.hypot(width, height)
            name = f'EXIF, with a 35 mm equivalent of {photo.focal_length_35mm:g} mm,'
        elif self.fov_deg is not None:
            focal_px = width / 2 / math.tan(math.radians(self.fov_deg) / 2)
            name = f'the field of view of {self.fov_deg:g} deg'
        else:
            raise UnknownFocalLengthError(
                f'the focal length of an image of {width}x{height} pixels is unknown, because it'
                f' has none in EXIF, or was cropped: {remedies.PHOTO_CAMERA}'
            )
        center = (width - 1) / 2, (height - 1) / 2
        camera, _ = make_camera((width, height), (focal_px, focal_px, *center), _words(name))
        return CameraModel(camera), False

    def _calibrated_model(self, sizes: tuple[tuple[int, int], ...]) -> tuple[CameraModel, bool]:
        for size in sizes:
            fitting = [model for model in self.models if _fits(model.camera, size)]
            same_size = [m for m in fitting if (m.camera.width, m.camera.height) == size]
            if len(same_size or fitting) > 1:
                raise ImageError(
                    f'{self.name} holds {len(same_size or fitting)} cameras for images of'
                    f' {size[0]}x{size[1]} pixels: leave one of them in it'
                )
            if fitting:
                return (same_size or fitting)[0].scaled_to(*size), size == sizes[0]
        known = ', '.join(f'{m.camera.width}x{m.camera.height}' for m in self.models)
        raise ImageError(
            f'{self.name} is of images of {known} pixels, but this one has'
            f' {sizes[0][0]}x{sizes[0][1]}, another aspect ratio: {remedies.PHOTO_CAMERA}'
        )

    def _center_distance(self, size: tuple[int, int]) -> float:
        """Return how far the principal point is from the middle of images of a size [px]."""
        _, _, cx, cy = self.intrinsics or (0.0,) * 4
        return math.hypot(cx - (size[0] - 1) / 2, cy - (size[1] - 1) / 2)


def parse_photo_camera(
    text: str | None, fov_deg: float | None = None, *, remedy: str = remedies.PHOTO_CAMERA
) -> PhotoCamera:
    """
    Read what a user states about the camera of photos.

    Parameters
    ----------
    text : str, optional
        A YAML file of camera_calibration, a ``cameras.txt`` of COLMAP, or ``fx fy cx cy`` [px]
        with pixel centers at integers.
    fov_deg : float, optional
        Horizontal field of view [deg].
    remedy : str
        What to do about a camera that is none, for messages.

    Raises
    ------
    ConfigError
        If the text or the file is none of these, or the field of view is impossible.
    """
    if fov_deg is not None and not MIN_FIELD_OF_VIEW_DEG <= fov_deg <= MAX_FIELD_OF_VIEW_DEG:
        raise ConfigError(
            f'a field of view of {fov_deg:g} deg is none of a camera: state the horizontal one,'
            f' {MIN_FIELD_OF_VIEW_DEG:g} to {MAX_FIELD_OF_VIEW_DEG:g} deg'
        )
    if text is None:
        return PhotoCamera(fov_deg=fov_deg)
    if (intrinsics := _four_numbers(text)) is not None:
        return PhotoCamera(f'the camera {text!r}', intrinsics=intrinsics)
    file = Path(text)
    if not file.is_file():
        raise ConfigError(f'the camera {text!r} is neither a file nor four numbers: {remedy}')
    if file.suffix.lower() == '.txt':
        return PhotoCamera(text, _read_colmap_models(file, remedy))
    return PhotoCamera(text, (_read_calibration(file, remedy),))


def _four_numbers(text: str) -> _Intrinsics | None:
    try:
        fx, fy, cx, cy = map(float, text.replace(',', ' ').split())
    except ValueError:
        return None
    return fx, fy, cx, cy


def _read_calibration(file: Path, remedy: str) -> CameraModel:
    """Read a YAML file of camera_calibration."""
    info = read_camera_info_file(str(file))
    try:
        return camera_model_from_info(info, info.width, info.height, CameraInfoConfig())
    except ImageError as error:
        cause = str(error).partition(': ')[0]  # what follows advises on a camera_info of ROS
        raise ConfigError(f'{file}: {cause}: {remedy}') from error


def _read_colmap_models(file: Path, remedy: str) -> tuple[CameraModel, ...]:
    """Read a ``cameras.txt`` of COLMAP."""
    try:
        cameras = read_colmap_cameras(file, remedy)
    except CaptureError as error:
        raise ConfigError(str(error)) from error
    if not cameras:
        raise ConfigError(f'{file} holds no camera of COLMAP: {remedy}')
    try:
        return tuple(_colmap_model(camera, str(file)) for camera in cameras)
    except ImageError as error:
        cause = str(error).partition(': ')[0]
        raise ConfigError(f'{file} has a camera that is none ({cause}): {remedy}') from error


def _colmap_model(camera: ColmapCamera, name: str) -> CameraModel:
    """Return the model of a camera; ImageError if it is none that is known."""
    if camera.model not in PARAMETERS:
        raise ImageError(f'the model {camera.model} is not one of {", ".join(PARAMETERS)}')
    values = camera.values
    # The origin of COLMAP is the corner of the first pixel, that of Camera its center.
    intrinsics = (values['fl_x'], values['fl_y'], values['cx'] - 0.5, values['cy'] - 0.5)
    pinhole, _ = make_camera((camera.width, camera.height), intrinsics, _words(name))
    distortion, is_fisheye = opencv_distortion(camera.model, values)
    if not np.all(np.isfinite(distortion)):
        raise ImageError(f'its distortion {distortion} is not finite')
    return CameraModel(pinhole, distortion, is_fisheye)


def _fits(camera: Camera, size: tuple[int, int]) -> bool:
    """Whether a camera is of images of the shape of a size (width, height)."""
    tolerance = max(*size, camera.width, camera.height)  # a pixel of either
    return abs(camera.width * size[1] - camera.height * size[0]) <= tolerance


def _words(name: str) -> IntrinsicsSource:
    return IntrinsicsSource(
        name,
        remedies.PHOTO_CAMERA,
        f'scale it from {{width}}x{{height}} to the size of the image, or {remedies.PHOTO_CAMERA}',
    )
