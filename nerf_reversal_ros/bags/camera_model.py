"""From CameraInfo to a pinhole camera: distortion is undone here, once, for colour and depth."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.image_decoding import camera_from_info
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError

_COEFFICIENT_COUNTS = (4, 5, 8, 12, 14)
"""How many numbers of distortion OpenCV takes for a lens that is no fisheye."""
_DISTORTION_MODELS = ('', 'plumb_bob', 'rational_polynomial', 'equidistant')


@dataclass(frozen=True)
class CameraModel:
    """Intrinsics as calibrated: a pinhole camera and the distortion on top of it."""

    camera: Camera
    """The pinhole camera that undistorted pictures have."""
    distortion: tuple[float, ...] = ()
    """OpenCV's coefficients (k1, k2, p1, p2, k3, ... or k1 to k4 of a fisheye); all 0: none."""
    is_fisheye: bool = False
    """Whether the coefficients are those of the equidistant model."""

    def undistort_rgb(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture (H, W, 3) that ``camera`` would have taken; black where unseen."""
        if not any(self.distortion):
            return rgb
        return np.asarray(
            cv2.remap(rgb, *_undistortion_maps(self), cv2.INTER_LINEAR), dtype=np.uint8
        )

    def undistort_depth(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the depth (h, w) that ``camera`` would have measured; 0 where unseen."""
        if not any(self.distortion):
            return depth
        return np.asarray(
            cv2.remap(depth, *_undistortion_maps(self), cv2.INTER_NEAREST), dtype=np.float32
        )

    def scaled_to(self, width: int, height: int) -> 'CameraModel':
        """
        Return the same view at another size.

        Raises
        ------
        ImageError
            If the aspect ratio differs by more than 2 %: then it is not the same view.
        """
        own = self.camera
        if (width, height) == (own.width, own.height):
            return self
        if abs(width * own.height / (height * own.width) - 1.0) > 0.02:
            raise ImageError(
                f'{width}x{height} pixels are not the same view as {own.width}x{own.height}, their'
                ' shapes differ: record depth that is aligned with the colour picture'
            )
        return CameraModel(own.scaled_to(width, height), self.distortion, self.is_fisheye)


def camera_model_from_info(
    message: Any, width: int, height: int, *, rectified: bool = False
) -> CameraModel:
    """
    Read a CameraInfo, from a bag or live, for pictures of ``width`` x ``height`` pixels.

    Rectified pictures have the intrinsics P instead of K, and no distortion.

    Raises
    ------
    ImageError
        If it is not filled in, belongs to a picture of another shape, or its distortion model
        is not known.
    """
    if rectified:
        return CameraModel(camera_from_info(message, width, height, rectified=True))
    model = message.distortion_model
    distortion = tuple(float(value) for value in getattr(message, 'd', ()))
    if any(distortion) and model not in _DISTORTION_MODELS:
        raise ImageError(
            f'distortion model {model!r} of camera_info is not known: rectify the pictures first'
            f' (image_proc), or use one of {", ".join(_DISTORTION_MODELS[1:])}'
        )
    if not np.all(np.isfinite(distortion)):
        raise ImageError(f'distortion {distortion} of camera_info is not finite: calibrate again')
    fisheye = model == 'equidistant'
    count = len(distortion)
    if any(distortion) and (count < 4 if fisheye else count not in _COEFFICIENT_COUNTS):
        raise ImageError(
            f'camera_info has {count} numbers of distortion for the model {model!r}: OpenCV knows'
            f' {"4" if fisheye else ", ".join(map(str, _COEFFICIENT_COUNTS))}, calibrate again'
        )
    return CameraModel(camera_from_info(message, width, height), distortion, fisheye)


@lru_cache(maxsize=8)
def _undistortion_maps(lens: CameraModel) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    camera, size = lens.camera.matrix, (lens.camera.width, lens.camera.height)
    coefficients = np.array(lens.distortion)
    if lens.is_fisheye:
        maps = cv2.fisheye.initUndistortRectifyMap(
            camera, coefficients[:4], np.eye(3), camera, size, cv2.CV_32FC1
        )
    else:
        maps = cv2.initUndistortRectifyMap(
            camera, coefficients, np.eye(3), camera, size, cv2.CV_32FC1
        )
    return np.asarray(maps[0]), np.asarray(maps[1])
