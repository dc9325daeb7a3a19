"""
Convert a model of COLMAP, text or binary, and its images to a bag.

The source is the folder of the model or the workspace around it, such as one with ``images`` and
``sparse/0``. A model has no depth, and its lengths are in an unknown unit.
"""

from collections.abc import Iterator
from pathlib import Path
import struct
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from nerf_reversal_ros.bags.colmap_camera import (
    ColmapCamera,
    name_parameters,
    read_colmap_cameras,
)
from nerf_reversal_ros.converters.file_finder import FileFinder
from nerf_reversal_ros.converters.nerfstudio import convert_scene
from nerf_reversal_ros.converters.options import Conversion, ConvertOptions
from nerf_reversal_ros.converters.poses import is_pose
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import inverse, OPTICAL_FROM_OPENGL, pose_from_quaternion
from nerf_reversal_ros.core.text_lines import read_lines

MODEL_FOLDERS = ('', '0', 'sparse/0', 'sparse', 'colmap/sparse/0')
"""Where a model is looked for below a folder."""
_SUFFIXES = ('.bin', '.txt')
"""COLMAP, too, prefers the binary files where there are both."""

BINARY_MODELS = (
    *(('SIMPLE_PINHOLE', 3), ('PINHOLE', 4), ('SIMPLE_RADIAL', 4), ('RADIAL', 5), ('OPENCV', 8)),
    *(('OPENCV_FISHEYE', 8), ('FULL_OPENCV', 12), ('FOV', 5), ('SIMPLE_RADIAL_FISHEYE', 4)),
    *(('RADIAL_FISHEYE', 5), ('THIN_PRISM_FISHEYE', 12), ('RAD_TAN_THIN_PRISM_FISHEYE', 16)),
    *(('SIMPLE_DIVISION', 4), ('DIVISION', 5), ('SIMPLE_FISHEYE', 3), ('FISHEYE', 4)),
    *(('EUCM', 6), ('EQUIRECTANGULAR', 2)),
)
"""Name and number of parameters of a model by its number in binary files."""
_MAX_NAME_BYTES = 4096


class _Image(NamedTuple):
    """An image of a model."""

    name: str
    camera_id: int
    quaternion_wxyz: tuple[float, ...]
    translation: tuple[float, ...]
    """Both of camera_from_world."""


def find_model(source: Path) -> Path | None:
    """Return the folder of the model that a folder is or holds; None if it holds none."""
    for folder in (source / name for name in MODEL_FOLDERS):
        try:
            if _suffix(folder) is not None and _read_cameras(folder):
                return folder
        except CaptureError:
            continue
    return None


def convert(source: Path, bag: Path, options: ConvertOptions) -> Conversion:
    """
    Convert a model of COLMAP to a bag; see `converters.convert`.

    Raises
    ------
    CaptureError
        If there is no model or it is damaged, there is no folder of images, or too many frames
        cannot be used.
    """
    folders = [source / name for name in MODEL_FOLDERS if _suffix(source / name) is not None]
    if not folders:
        raise CaptureError(
            f'{source} holds no model of COLMAP, cameras and images as .bin or .txt: give the'
            ' folder of one, or the one that holds images and sparse/0'
        )
    model = folders[0]
    cameras, images = _read_cameras(model), list(_read_images(model))
    if not images:
        raise CaptureError(f'the model {model} has no images: reconstruct it again')
    folder = _image_folder(source, model)
    frames = [
        {
            'file_path': image.name,
            'transform_matrix': _camera_to_world(image),
            **cameras.get(image.camera_id, {}),
        }
        for image in images
    ]
    finder = FileFinder(folder, options.trust_paths)
    conversion = convert_scene({'frames': frames}, model, bag, finder, options)
    others = sum(folder.is_dir() for folder in model.parent.glob('[0-9]*')) - 1
    if model.name != '0' or others < 1:
        return conversion
    note = f'{others} other models beside {model} were not used: they are parts of their own'
    return conversion.with_notes(note)


def _suffix(folder: Path) -> str | None:
    """Return the suffix of the files of a model; None if the folder is no model."""
    for suffix in _SUFFIXES:
        if all((folder / f'{name}{suffix}').is_file() for name in ('cameras', 'images')):
            return suffix
    return None


def _image_folder(source: Path, model: Path) -> Path:
    """Return the folder that the names of images start from."""
    candidates = [folder / 'images' for folder in (source, *model.absolute().parents[:2])]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise CaptureError(
        f'there is no folder images in {source} or above the model {model}: put the images of'
        f' the reconstruction into {candidates[0]}'
    )


def _camera_to_world(image: _Image) -> list[list[float]]:
    """Return the pose with OpenGL axes, as in a ``transforms.json``; NaN if it is invalid."""
    w, x, y, z = image.quaternion_wxyz
    translation, quaternion_xyzw = np.array(image.translation), np.array([x, y, z, w])
    if not is_pose(translation, quaternion_xyzw):
        return [[float('nan')] * 4] * 3
    camera_from_world = pose_from_quaternion(translation, quaternion_xyzw)
    pose: list[list[float]] = (inverse(camera_from_world) @ OPTICAL_FROM_OPENGL).tolist()
    return pose


def _values(camera: ColmapCamera) -> dict[str, Any]:
    """Return a camera by the names of a ``transforms.json``."""
    size = {'w': camera.width, 'h': camera.height}
    return {'camera_model': camera.model, **size, **camera.values}


def _read_cameras(folder: Path) -> dict[int, dict[str, Any]]:
    """Read the cameras of a model by their numbers."""
    if _suffix(folder) == '.bin':
        with _open_binary(folder / 'cameras.bin') as file:
            cameras = [file.camera() for _ in range(file.count())]
    else:
        cameras = read_colmap_cameras(folder / 'cameras.txt', 'export the model again')
    return {camera.number: _values(camera) for camera in cameras}


def _read_images(folder: Path) -> Iterator[_Image]:
    """Read the images of a model."""
    if _suffix(folder) == '.bin':
        with _open_binary(folder / 'images.bin') as file:
            for _ in range(file.count()):
                yield file.image()
        return
    path = folder / 'images.txt'
    lines = iter(read_lines(path))
    for number, line in lines:
        if not line:
            continue
        try:
            _, *values, camera_id, name = line.split(maxsplit=9)
            w, x, y, z, *translation = map(float, values)
            if len(translation) != 3:
                raise ValueError(f'{len(values)} numbers of a pose')
            yield _Image(name, int(camera_id), (w, x, y, z), tuple(translation))
        except ValueError as error:
            raise CaptureError(
                f'{path} line {number} is no "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"'
                f' ({error}): export the model again'
            ) from error
        next(lines, None)  # the line of its keypoints, which may be empty


class _BinaryFile:
    """Reads the entries of ``cameras.bin`` or ``images.bin``, which are little-endian."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path

    def __enter__(self) -> '_BinaryFile':
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def count(self) -> int:
        """Read the number of entries."""
        return int(self._unpack('Q')[0])

    def camera(self) -> ColmapCamera:
        """Read a camera."""
        camera_id, model_id, width, height = self._unpack('iiQQ')
        if not 0 <= model_id < len(BINARY_MODELS):
            raise self._damaged(f'the number {model_id} is of no camera model')
        model, count = BINARY_MODELS[model_id]
        parameters = self._unpack(f'{count}d')
        return name_parameters(camera_id, model, (width, height), parameters)

    def image(self) -> _Image:
        """Read an image, and skip its keypoints."""
        _, *pose, camera_id = self._unpack('i7di')
        name = bytearray()
        while (letter := self._read(1)) != b'\0':
            name += letter
            if len(name) > _MAX_NAME_BYTES:
                raise self._damaged('a name has no end')
        self._file.seek(24 * self._keypoint_count(), 1)
        text = name.decode('utf-8', errors='surrogateescape')
        return _Image(text, camera_id, tuple(pose[:4]), tuple(pose[4:]))

    def _keypoint_count(self) -> int:
        count = self.count()
        if 24 * count > self._path.stat().st_size:
            raise self._damaged(f'an image has {count} keypoints')
        return count

    def _unpack(self, format: str) -> tuple[Any, ...]:
        return struct.unpack(f'<{format}', self._read(struct.calcsize(f'<{format}')))

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise self._damaged('it was cut off')
        return data

    def _damaged(self, cause: str) -> CaptureError:
        return CaptureError(
            f'{self._path} is no binary file of COLMAP ({cause}): export the model again'
        )


def _open_binary(path: Path) -> _BinaryFile:
    try:
        return _BinaryFile(path.open('rb'), path)
    except OSError as error:
        raise CaptureError(f'cannot read {path}: {error.strerror}') from error
