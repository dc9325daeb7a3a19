"""
Camera models of CameraInfo messages: pinhole intrinsics, and undistortion of color and depth.

The functions accept any object with the fields of sensor_msgs/CameraInfo, from rclpy or rosbags.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.camera_validation import IntrinsicsSource, make_camera
from nerf_reversal_ros.core.capture_config import CameraInfoConfig
from nerf_reversal_ros.core.errors import ImageError

_COEFFICIENT_COUNTS = (4, 5, 8, 12, 14)
"""Numbers of distortion coefficients that OpenCV accepts for models other than fisheye."""
_DISTORTION_MODELS = ('plumb_bob', 'rational_polynomial', 'equidistant')
_FISHEYE_MODELS = ('equidistant', 'fisheye')
"""Names of the equidistant model: sensor_msgs, and OpenCV and older calibration tools."""
_NO_MODELS = ('', 'none', 'pinhole')
"""Names that drivers give to a camera without distortion."""
_RECTIFIED_TOPIC = re.compile(r'(^|/)(image_rect(?!_raw)\w*|rect)(/|$)')
"""Topics of rectified images: of image_proc, or with /rect/. RealSense's image_rect_raw is not."""
_RAW_TOPIC = re.compile(r'(^|/)image_raw(/|$)')
"""Topics of images as the sensor gives them, by the convention of image_proc."""
_SAME_INTRINSICS = 0.01
"""Relative difference up to which K and P are the same camera; more moves poses by centimeters."""


@dataclass(frozen=True)
class CameraModel:
    """Calibrated intrinsics: a pinhole camera with lens distortion."""

    camera: Camera
    """Pinhole camera of undistorted images."""
    distortion: tuple[float, ...] = ()
    """OpenCV coefficients: k1, k2, p1, p2, k3, ..., or k1 to k4 of a fisheye; empty: all 0."""
    is_fisheye: bool = False
    """Whether the model is equidistant, where coefficients of 0 are an ideal fisheye."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """Sentences about what is possible but strange."""

    @property
    def has_distortion(self) -> bool:
        """Whether images differ from those of the pinhole camera."""
        return self.is_fisheye or any(self.distortion)

    def undistort_rgb(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Undistort an image (H, W, 3) to the view of ``camera``; black where it has no data."""
        if not self.has_distortion:
            return rgb
        return np.asarray(
            cv2.remap(rgb, *_undistortion_maps(self), cv2.INTER_LINEAR), dtype=np.uint8
        )

    def undistort_depth(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undistort depth (h, w) to the view of ``camera``; 0 where it has no data."""
        if not self.has_distortion:
            return depth
        return np.asarray(
            cv2.remap(depth, *_undistortion_maps(self), cv2.INTER_NEAREST), dtype=np.float32
        )

    def scaled_to(self, width: int, height: int) -> 'CameraModel':
        """
        Return the model of the same view at another image size.

        Raises
        ------
        ImageError
            If the aspect ratio differs by more than 2 %, which means another view.
        """
        own = self.camera
        if (width, height) == (own.width, own.height):
            return self
        if abs(width * own.height / (height * own.width) - 1.0) > 0.02:
            raise ImageError(
                f'{width}x{height} pixels are not the same view as {own.width}x{own.height}:'
                ' the aspect ratios differ, record depth that is aligned with the color image'
            )
        return replace(self, camera=own.scaled_to(width, height))


def camera_model_from_info(
    message: Any, width: int, height: int, config: CameraInfoConfig, topic: str = ''
) -> CameraModel:
    """
    Convert a CameraInfo to the camera model of images of ``width`` x ``height`` pixels.

    Intrinsics are K, or P without distortion for rectified images. They are scaled to an image of
    the same aspect ratio; a CameraInfo without a size has the size of the image. With a region of
    interest the image is that region, binned.

    Parameters
    ----------
    message : CameraInfo
        The message, or a `CameraInfoFile`.
    width, height : int
        Size of the images [px].
    config : CameraInfoConfig
        Whether the images are rectified, and the size that the intrinsics belong to.
    topic : str
        Name of the image topic, by which rectified images are recognized; empty: unknown.

    Raises
    ------
    ImageError
        If the intrinsics are not set or cannot belong to the image, the distortion is unknown, or
        the topic is of rectified images and the intrinsics are of the raw ones.
    """
    if config.rectified:
        model = _pinhole_model(message, width, height, config, 'P')
        if any(message.d) and _RAW_TOPIC.search(topic):
            warning = (
                f'rectified is true, but the topic {topic} is one of raw images and camera_info'
                f' has distortion: if the images are not rectified, {remedies.NOT_RECTIFIED}'
            )
            model = replace(model, warnings=(*model.warnings, warning))
        return model
    model = _raw_model(message, width, height, config)
    if _RECTIFIED_TOPIC.search(topic) and not config.camera_info_file:
        _check_rectified(message, model, topic)
    return model


def _raw_model(message: Any, width: int, height: int, config: CameraInfoConfig) -> CameraModel:
    """Convert K and the distortion of a CameraInfo."""
    name, distortion = message.distortion_model, tuple(float(value) for value in message.d)
    is_known = name in (*_DISTORTION_MODELS, *_FISHEYE_MODELS, *_NO_MODELS)
    if not is_known and (any(distortion) or 'fisheye' in name.lower()):
        raise ImageError(
            f'distortion model {name!r} of camera_info is unknown: rectify the images first'
            f' (image_proc) and {remedies.RECTIFIED}, or {remedies.CALIBRATION}, as'
            f' {", ".join(_DISTORTION_MODELS)}'
        )
    if not np.all(np.isfinite(distortion)):
        raise ImageError(
            f'distortion {distortion} of camera_info is not finite: {remedies.CALIBRATION}'
        )
    is_fisheye, count = name in _FISHEYE_MODELS, len(distortion)
    if any(distortion) and (count < 4 if is_fisheye else count not in _COEFFICIENT_COUNTS):
        raise ImageError(
            f'camera_info has {count} distortion coefficients for the model {name!r}, OpenCV takes'
            f' {"4" if is_fisheye else ", ".join(map(str, _COEFFICIENT_COUNTS))}:'
            f' {remedies.CALIBRATION}'
        )
    pinhole = _pinhole_model(message, width, height, config, 'K')
    warnings = pinhole.warnings
    if not is_known:
        warning = (
            f'distortion model {name!r} of camera_info is unknown and has no coefficients, so that'
            f' the images are used as they are: if they are distorted, {remedies.CALIBRATION}'
        )
        warnings = (*warnings, warning)
    return CameraModel(pinhole.camera, distortion, is_fisheye, warnings)


def _pinhole_model(
    info: Any, width: int, height: int, config: CameraInfoConfig, matrix: str
) -> CameraModel:
    """Convert the matrix K or P of a CameraInfo to a checked camera without distortion."""
    size = config.calibrated_size or (info.width or width, info.height or height)
    camera, warnings = make_camera(
        size,
        _intrinsics(info, matrix),
        IntrinsicsSource(
            f'{matrix} of camera_info', remedies.CALIBRATION, remedies.CAMERA_INFO_SIZE
        ),
        is_crop=config.calibrated_size == (width, height),
    )
    region, full_image = info.roi, (0, 0, info.width, info.height)
    cropped = (region.x_offset, region.y_offset, region.width, region.height) != full_image
    if cropped and region.width and region.height:
        return CameraModel(_crop(camera, info, (width, height)), warnings=warnings)
    if abs(camera.width * height - camera.height * width) > max(width, height):
        raise ImageError(
            f'camera_info is of {camera.width}x{camera.height} pixels, but the image is'
            f' {width}x{height}: give the camera_info that belongs to the image, or'
            f' {remedies.CALIBRATION}'
        )
    return CameraModel(camera.scaled_to(width, height), warnings=warnings)


def _intrinsics(info: Any, matrix: str) -> tuple[float, float, float, float]:
    """Return fx, fy, cx, cy of the matrix K (3, 3) or P (3, 4)."""
    values, columns = (info.k, 3) if matrix == 'K' else (info.p, 4)
    fx, fy, cx, cy = (float(values[i]) for i in (0, columns + 1, 2, columns + 2))
    return fx, fy, cx, cy


def _crop(camera: Camera, info: Any, size: tuple[int, int]) -> Camera:
    """Return the camera of the region of interest; ImageError unless it has ``size``."""
    region, by_x, by_y = info.roi, info.binning_x or 1, info.binning_y or 1
    binned = (region.width // by_x, region.height // by_y)
    if binned != size:
        raise ImageError(
            f'camera_info has a region of interest that gives {binned[0]}x{binned[1]} pixels,'
            f' but the image is {size[0]}x{size[1]}: give the camera_info that belongs to the'
            f' image, or {remedies.CALIBRATION}'
        )
    cx = (camera.cx - region.x_offset + 0.5) / by_x - 0.5
    cy = (camera.cy - region.y_offset + 0.5) / by_y - 0.5
    return Camera(*size, camera.fx / by_x, camera.fy / by_y, cx, cy)


def _check_rectified(info: Any, model: CameraModel, topic: str) -> None:
    """Reject a CameraInfo whose K or distortion is that of raw images for rectified ones."""
    projection = _intrinsics(info, 'P')
    is_set = bool(projection[0])
    is_same = not is_set or np.allclose(_intrinsics(info, 'K'), projection, _SAME_INTRINSICS)
    if is_same and not model.has_distortion:
        return
    kind = 'distortion' if model.has_distortion else 'another K than P'
    remedy = f'{remedies.RECTIFIED}, or' if is_set else 'P is not set,'
    raise ImageError(
        f'the topic {topic} is one of rectified images, but camera_info is that of the raw ones,'
        f' with {kind}: {remedy} {remedies.RECTIFIED_CALIBRATION}'
    )


@lru_cache(maxsize=8)
def _undistortion_maps(model: CameraModel) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    camera, size = model.camera.matrix, (model.camera.width, model.camera.height)
    coefficients = np.array(model.distortion or (0.0,) * 4)
    if model.is_fisheye:
        maps = cv2.fisheye.initUndistortRectifyMap(
            camera, coefficients[:4], np.eye(3), camera, size, cv2.CV_32FC1
        )
    else:
        maps = cv2.initUndistortRectifyMap(
            camera, coefficients, np.eye(3), camera, size, cv2.CV_32FC1
        )
    return np.asarray(maps[0]), np.asarray(maps[1])
