"""
Camera models of CameraInfo messages: pinhole intrinsics, and undistortion of color and depth.

The functions accept any object with the fields of sensor_msgs/CameraInfo, from rclpy or rosbags.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError

_COEFFICIENT_COUNTS = (4, 5, 8, 12, 14)
"""Numbers of distortion coefficients that OpenCV accepts for models other than fisheye."""
_DISTORTION_MODELS = ('', 'plumb_bob', 'rational_polynomial', 'equidistant')


@dataclass(frozen=True)
class CameraModel:
    """Calibrated intrinsics: a pinhole camera with lens distortion."""

    camera: Camera
    """Pinhole camera of undistorted images."""
    distortion: tuple[float, ...] = ()
    """OpenCV coefficients (k1, k2, p1, p2, k3, ... or k1 to k4 of a fisheye); all 0: none."""
    is_fisheye: bool = False
    """Whether the coefficients belong to the equidistant model."""

    def undistort_rgb(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Undistort an image (H, W, 3) to the view of ``camera``; black where it has no data."""
        if not any(self.distortion):
            return rgb
        return np.asarray(
            cv2.remap(rgb, *_undistortion_maps(self), cv2.INTER_LINEAR), dtype=np.uint8
        )

    def undistort_depth(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undistort depth (h, w) to the view of ``camera``; 0 where it has no data."""
        if not any(self.distortion):
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
        return CameraModel(own.scaled_to(width, height), self.distortion, self.is_fisheye)


def camera_model_from_info(
    message: Any, width: int, height: int, *, rectified: bool = False
) -> CameraModel:
    """
    Convert a CameraInfo to the camera model of images of ``width`` x ``height`` pixels.

    Rectified images have the intrinsics P instead of K, and no distortion.

    Raises
    ------
    ImageError
        If the intrinsics are not set or belong to another aspect ratio, or the distortion model
        is unknown.
    """
    if rectified:
        return CameraModel(camera_from_info(message, width, height, rectified=True))
    name = message.distortion_model
    distortion = tuple(float(value) for value in getattr(message, 'd', ()))
    if any(distortion) and name not in _DISTORTION_MODELS:
        raise ImageError(
            f'distortion model {name!r} of camera_info is unknown: rectify the images first'
            f' (image_proc), or use one of {", ".join(_DISTORTION_MODELS[1:])}'
        )
    if not np.all(np.isfinite(distortion)):
        raise ImageError(f'distortion {distortion} of camera_info is not finite: calibrate again')
    is_fisheye = name == 'equidistant'
    count = len(distortion)
    if any(distortion) and (count < 4 if is_fisheye else count not in _COEFFICIENT_COUNTS):
        raise ImageError(
            f'camera_info has {count} distortion coefficients for the model {name!r}, OpenCV takes'
            f' {"4" if is_fisheye else ", ".join(map(str, _COEFFICIENT_COUNTS))}: calibrate again'
        )
    return CameraModel(camera_from_info(message, width, height), distortion, is_fisheye)


def camera_from_info(info: Any, width: int, height: int, *, rectified: bool = False) -> Camera:
    """
    Convert a CameraInfo to the pinhole camera of images of ``width`` x ``height`` pixels.

    The intrinsics are K, or P for rectified images. They are scaled to an image of the same
    aspect ratio; a CameraInfo without a size has the size of the image. With a region of interest
    the image is that region, binned.

    Raises
    ------
    ImageError
        If the intrinsics are not set or belong to another aspect ratio.
    """
    k = [float(value) for value in info.k]
    fx, fy, cx, cy = k[0], k[4], k[2], k[5]
    if rectified:
        p = [float(value) for value in info.p]
        fx, fy, cx, cy = p[0], p[5], p[2], p[6]
    region = info.roi
    full_image = (0, 0, info.width, info.height)
    cropped = (region.x_offset, region.y_offset, region.width, region.height) != full_image
    if cropped and region.width and region.height:
        by_x, by_y = info.binning_x or 1, info.binning_y or 1
        binned = (region.width // by_x, region.height // by_y)
        if binned != (width, height):
            raise ImageError(
                f'camera_info has a region of interest that gives {binned[0]}x{binned[1]} pixels,'
                f' but the image is {width}x{height}: give the camera_info that belongs to the'
                ' image'
            )
        cx = (cx - region.x_offset + 0.5) / by_x - 0.5
        cy = (cy - region.y_offset + 0.5) / by_y - 0.5
        return Camera(width, height, fx / by_x, fy / by_y, cx, cy)
    calibrated = Camera(info.width or width, info.height or height, fx, fy, cx, cy)
    if abs(calibrated.width * height - calibrated.height * width) > max(width, height):
        raise ImageError(
            f'camera_info is of {calibrated.width}x{calibrated.height} pixels, but the image is'
            f' {width}x{height}: give the camera_info that belongs to the image'
        )
    return calibrated.scaled_to(width, height)


@lru_cache(maxsize=8)
def _undistortion_maps(model: CameraModel) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    camera, size = model.camera.matrix, (model.camera.width, model.camera.height)
    coefficients = np.array(model.distortion)
    if model.is_fisheye:
        maps = cv2.fisheye.initUndistortRectifyMap(
            camera, coefficients[:4], np.eye(3), camera, size, cv2.CV_32FC1
        )
    else:
        maps = cv2.initUndistortRectifyMap(
            camera, coefficients, np.eye(3), camera, size, cv2.CV_32FC1
        )
    return np.asarray(maps[0]), np.asarray(maps[1])
