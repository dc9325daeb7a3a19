"""
One frame of a ``transforms.json``: intrinsics, pose, image, depth and mask.

Images are undistorted. Depth in images and ``.npy`` files is in millimeters, or in units of
``integer_depth_scale`` or ``depth_unit_scale_factor`` meters. The option for the unit of depth
replaces both. Masks are 0 where a pixel is left out.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.camera_model import CameraModel
from nerf_reversal_ros.bags.depth_decoding import depth_to_metres
from nerf_reversal_ros.bags.image_masks import kept_pixels
from nerf_reversal_ros.capture.orientation import turn
from nerf_reversal_ros.converters.file_finder import FileFinder
from nerf_reversal_ros.converters.frame_writer import ConvertedFrame
from nerf_reversal_ros.converters.image_files import (
    choose_orientation,
    ImageHeader,
    load_image,
    load_plane,
    read_frame_file,
    read_header,
)
from nerf_reversal_ros.converters.image_shapes import drop_unconfident, has_aspect_ratio
from nerf_reversal_ros.converters.left_out import LeftOutReason, UnusableFrameError
from nerf_reversal_ros.converters.options import ConvertOptions
from nerf_reversal_ros.converters.poses import rigid_pose
from nerf_reversal_ros.converters.scene_camera import CAMERA_KEYS, fits, scene_camera_model
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError
from nerf_reversal_ros.core.geometry import FloatArray, OPTICAL_FROM_OPENGL
from nerf_reversal_ros.fields.sim3 import transform_poses

DEPTH_SCALE_KEYS = ('integer_depth_scale', 'depth_unit_scale_factor')
DEFAULT_DEPTH_UNIT_M = 0.001
"""Length of one unit of depth without these keys [m]."""
FRAME_KEYS = (
    *CAMERA_KEYS,
    *DEPTH_SCALE_KEYS,
    'file_path',
    'depth_file_path',
    'confidence_path',
    'mask_path',
    'transform_matrix',
)
"""Keys of a frame, or of the whole scene, that are used."""


def depth_unit_m(values: dict[str, Any]) -> float | None:
    """Return meters per unit of depth by the values of a scene or frame; None if invalid."""
    key = next((key for key in DEPTH_SCALE_KEYS if key in values), None)
    try:
        unit_m = DEFAULT_DEPTH_UNIT_M if key is None else float(values[key])
    except (TypeError, ValueError, OverflowError):
        return None
    return unit_m if np.isfinite(unit_m) and unit_m > 0 else None


@dataclass
class SceneFrame:
    """A frame of a ``transforms.json``, a `RecordedFrame`."""

    name: str
    stamp_ns: int
    values: dict[str, Any]
    """Values of the frame, and those of the scene that it does not have."""
    world_from_data: FloatArray
    """Sim(3) (4, 4) from the poses of the file to the world."""
    finder: FileFinder
    options: ConvertOptions
    """Whether to turn the image by its EXIF orientation, and the unit of depth."""

    def camera(self) -> Camera:
        """Check all but the pixels, and return the intrinsics of the undistorted image."""
        _ = self._world_from_camera
        return self._model.camera

    def missing_depth(self) -> str | None:
        """Return None if there is depth, what is missing, or '' if the file names none."""
        name = self.values.get('depth_file_path')
        if not name:
            return ''
        return f'there is no depth image {name}' if self._find('depth_file_path') is None else None

    def read(self, use_depth: bool) -> ConvertedFrame:
        """Read image, depth and mask."""
        model = self._model
        image = load_image(read_frame_file(self._image_path), self._orientation)
        content, valid = image.content, image.valid
        if (mask := self._mask()) is not None:
            valid = mask if valid is None else mask & valid
        if valid is not None and model.has_distortion:
            valid = model.undistort_depth(valid.astype(np.float32)) > 0
        if valid is not None and not valid.any():
            raise UnusableFrameError(LeftOutReason.BAD_MASK, 'its mask leaves out the whole image')
        if model.has_distortion:
            content = model.undistort_rgb(image.rgb)
        depth = self._depth() if use_depth else None
        return ConvertedFrame(content, depth, model.camera, self._world_from_camera, valid)

    @cached_property
    def _image_path(self) -> Path:
        name = self.values.get('file_path')
        if not isinstance(name, str):
            raise UnusableFrameError(LeftOutReason.NO_IMAGE, 'it names no file_path')
        path = self._find('file_path')
        if path is None:
            raise UnusableFrameError(
                LeftOutReason.NO_IMAGE,
                f'there is no image {name}: copy it to {self.finder.expected_path(name)}',
            )
        return path

    @cached_property
    def _header(self) -> ImageHeader:
        return read_header(read_frame_file(self._image_path))

    @cached_property
    def _orientation(self) -> int:
        """EXIF orientation to turn the image by; 1 for none."""
        return choose_orientation(
            self._header, partial(fits, self.values), self.options.exif, self._image_path.name
        )

    @cached_property
    def _model(self) -> CameraModel:
        header = self._header
        size = header.turned_size if self._orientation != 1 else header.size
        return scene_camera_model(self.values, size)

    @cached_property
    def _world_from_camera(self) -> FloatArray:
        """Return the pose of the optical frame; the file has OpenGL axes."""
        if self.values.get('transform_matrix') is None:
            raise UnusableFrameError(
                LeftOutReason.NO_POSE,
                'it has no pose (transform_matrix): export it again with poses',
            )
        pose = rigid_pose(self.values['transform_matrix'], 'transform_matrix')
        return transform_poses(self.world_from_data, pose @ OPTICAL_FROM_OPENGL)

    @property
    def _depth_unit_m(self) -> float:
        """Return meters per unit of the stored depth."""
        unit_m = self.options.depth_unit_m or depth_unit_m(self.values)
        if unit_m is None:
            key = next(key for key in DEPTH_SCALE_KEYS if key in self.values)
            raise UnusableFrameError(
                LeftOutReason.BAD_DEPTH,
                f'{key} = {self.values[key]!r} is no length of a unit of depth: set it to'
                ' 0.001 for millimeters',
            )
        return unit_m

    def _mask(self) -> NDArray[np.bool_] | None:
        """Return the pixels (H, W) that the mask keeps; None without a mask."""
        name = self.values.get('mask_path')
        if not name:
            return None
        path = self._find('mask_path')
        if path is None:
            raise UnusableFrameError(
                LeftOutReason.BAD_MASK, f'there is no mask {name}: export it again'
            )
        mask = self._upright(load_plane(read_frame_file(path), LeftOutReason.BAD_MASK))
        camera = self._model.camera
        if not has_aspect_ratio(mask, camera):
            raise UnusableFrameError(
                LeftOutReason.BAD_MASK,
                f'the mask {name} of {mask.shape[1]}x{mask.shape[0]} pixels is not of the image of'
                f' {camera.width}x{camera.height}: export it again',
            )
        return kept_pixels(mask, camera.width, camera.height)

    def _depth(self) -> NDArray[np.float32]:
        path = self._find('depth_file_path')
        assert path is not None  # checked by missing_depth
        stored = _load_npy(path) if path.suffix == '.npy' else self._load_depth(path)
        stored = self._upright(stored)
        if stored.ndim != 2 or stored.dtype.kind not in 'uif' or not stored.size:
            raise UnusableFrameError(
                LeftOutReason.BAD_DEPTH,
                f'depth {path} has the shape {stored.shape}, not (rows, columns) of numbers:'
                ' export it again',
            )
        # nerfstudio applies the scale to arrays and images of any data type.
        depth = depth_to_metres(stored.astype(np.float32) * np.float32(self._depth_unit_m))
        if (confidence := self._find('confidence_path')) is not None:
            levels = self._upright(self._load_depth(confidence))
            drop_unconfident(depth, levels)
        try:
            return self._model.scaled_to(depth.shape[1], depth.shape[0]).undistort_depth(depth)
        except ImageError as error:
            raise UnusableFrameError(LeftOutReason.BAD_DEPTH, f'depth {path}: {error}') from error

    def _load_depth(self, path: Path) -> NDArray[Any]:
        return load_plane(read_frame_file(path), LeftOutReason.BAD_DEPTH)

    def _upright(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Turn a depth image or mask with its image, unless it is upright already."""
        camera = self._model.camera
        is_upright = (pixels.shape[1] > pixels.shape[0]) == (camera.width > camera.height)
        if self._header.is_sideways and self._orientation != 1 and is_upright:
            return pixels
        return turn(pixels, self._orientation)

    def _find(self, key: str) -> Path | None:
        name = self.values.get(key)
        if not (isinstance(name, str) and name):
            return None
        return self.finder.find(name, is_image=key == 'file_path')


def _load_npy(path: Path) -> NDArray[Any]:
    try:  # a memory map never allocates more than the file holds
        return np.array(np.load(path, mmap_mode='r', allow_pickle=False))
    except Exception as error:  # NumPy raises many types on malformed input
        raise UnusableFrameError(
            LeftOutReason.BAD_DEPTH, f'depth {path} is damaged ({error}): export it again'
        ) from error
