"""
Convert Record3D recordings (iPhone or iPad with LiDAR) to a bag.

A ``.r3d`` file, packed or unpacked, and an EXR + JPG export hold images named by frame number, and
metadata with a pose and a stamp for every recorded frame. Users delete frames but not metadata.
Therefore everything is joined by frame number, never by position in a list of files. Poses are
those of ARKit (OpenGL camera axes, y up) and are written unchanged, as by the live driver.
"""

from abc import ABC, abstractmethod
import json
from pathlib import Path
import re
from typing import Any
import zipfile

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.depth_decoding import depth_to_metres
from nerf_reversal_ros.bags.image_decoding import IMAGE_SUFFIXES
from nerf_reversal_ros.converters.frame_range import select_frame_range
from nerf_reversal_ros.converters.frame_writer import ConvertedFrame, write_frames
from nerf_reversal_ros.converters.image_files import (
    choose_orientation,
    load_image,
    read_header,
)
from nerf_reversal_ros.converters.image_shapes import check_depth_shape, drop_unconfident
from nerf_reversal_ros.converters.left_out import LeftOutReason, UnusableFrameError
from nerf_reversal_ros.converters.options import Conversion, ConvertOptions
from nerf_reversal_ros.converters.record3d_metadata import Record3dMetadata
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.files import require_within
from nerf_reversal_ros.core.resource_limits import memory_limit

MAX_ENTRY_BYTES = 64 * 1024 * 1024
"""Largest decompressed size of a file in a ``.r3d``: 64 MiB, far more than an image takes."""

METADATA_NAMES = ('metadata', 'metadata.json')
"""Names of the metadata in an archive and in an export."""


def convert(source: Path, bag: Path, options: ConvertOptions) -> Conversion:
    """
    Convert a Record3D recording to a bag; see `converters.convert`.

    Raises
    ------
    CaptureError
        If the recording lacks metadata or is of the FaceID camera, too many of its frames cannot
        be used, or a folder holds several recordings.
    """
    recording = _open_recording(source)
    images = select_frame_range(recording.images(), options.frames, source)
    metadata = Record3dMetadata(recording.metadata(), source)
    frames = [
        _Frame(recording, metadata, number, name, options) for number, name in images.items()
    ]
    conversion = write_frames(
        source,
        bag,
        frames,
        options,
        pose_convention='opengl',
        up_axis='y',
        depth_unit_m=options.depth_unit_m or 1.0,
    )
    return conversion.with_notes(*metadata.notes)


def find_recordings(source: Path) -> list[Path]:
    """Return the recordings that a path is, or that a folder holds up to two levels below it."""
    if source.is_file():
        return [source] if _is_archive(source) else []
    for folders in ([source], source.glob('*'), source.glob('*/*')):
        if found := sorted(folder for folder in folders if _is_recording(folder)):
            return found
    return []


def _is_archive(file: Path) -> bool:
    if file.suffix.lower() == '.r3d':
        return True
    try:
        with zipfile.ZipFile(file) as archive:
            return METADATA_NAMES[0] in archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def _is_recording(folder: Path) -> bool:
    has_metadata = any((folder / name).is_file() for name in METADATA_NAMES)
    return has_metadata and any((folder / images).is_dir() for images in ('rgb', 'rgbd'))


def _open_recording(source: Path) -> '_Recording':
    found = find_recordings(source) or [source]
    if len(found) > 1:
        raise CaptureError(f'{source} holds {len(found)} recordings: name one, such as {found[0]}')
    (source,) = found
    if source.is_file():
        return _R3dArchive(source)
    return _R3dFolder(source) if (source / 'rgbd').is_dir() else _ExrExport(source)


class _Frame:
    """A frame of a recording, a `RecordedFrame`."""

    def __init__(
        self,
        recording: '_Recording',
        metadata: Record3dMetadata,
        number: int,
        name: str,
        options: ConvertOptions,
    ) -> None:
        self.name = name
        self.stamp_ns = metadata.stamp_ns(number)
        self._recording, self._metadata, self._number = recording, metadata, number
        self._options = options
        self._orientation = 1

    def camera(self) -> Camera:
        """Check pose, stamp and intrinsics, and return the intrinsics."""
        self._metadata.world_from_camera(self._number)
        self._metadata.check_stamp(self._number)
        header = read_header(self._recording.read(self.name))
        fits = self._metadata.fits
        self._orientation = choose_orientation(header, fits, self._options.exif, self.name)
        size = header.size if self._orientation == 1 else header.turned_size
        return self._metadata.camera(self._number, size)

    def missing_depth(self) -> str | None:
        """Return None if there is depth, else ''."""
        return None if self._recording.has_depth(self._number) else ''

    def read(self, use_depth: bool) -> ConvertedFrame:
        """Read image and depth."""
        camera = self.camera()
        image = load_image(self._recording.read(self.name), self._orientation)
        depth = self._depth(camera) if use_depth else None
        pose = self._metadata.world_from_camera(self._number)
        return ConvertedFrame(image.content, depth, camera, pose, image.valid)

    def _depth(self, camera: Camera) -> NDArray[np.float32]:
        depth = self._recording.depth(self._number, self._metadata.depth_shape)
        check_depth_shape(depth, camera, 'export it again')
        return depth * np.float32(self._options.depth_unit_m or 1.0)


class _Recording(ABC):
    """Files of a recording, in an archive or a folder."""

    def __init__(self, source: Path) -> None:
        self.source = source

    @abstractmethod
    def names(self) -> list[str]:
        """Return all files, as paths inside the recording."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Read a file; UnusableFrameError if it is missing or damaged."""

    @abstractmethod
    def has_depth(self, number: int) -> bool:
        """Return whether a frame has depth."""

    @abstractmethod
    def depth(self, number: int, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Read the depth [m] of a frame that has some; UnusableFrameError if damaged."""

    def images(self) -> dict[int, str]:
        """Return the names of the color images by frame number."""
        matches = (re.fullmatch(r'(?:rgb|rgbd)/([0-9]+)(\.\w+)', name) for name in self.names())
        images = {
            int(match[1]): match[0]
            for match in matches
            if match and match[2].lower() in IMAGE_SUFFIXES
        }
        if not images:
            raise CaptureError(
                f'{self.source} holds no images rgb/N.jpg or rgbd/N.jpg: export it again'
            )
        return images

    def metadata(self) -> dict[str, Any]:
        """Read the metadata; CaptureError if they are missing or malformed."""
        name = next((name for name in self.names() if name in METADATA_NAMES), '')
        if not name:
            raise CaptureError(f'{self.source} holds no metadata: export it again from Record3D')
        try:
            values = json.loads(self.read(name))
        except ValueError as error:
            raise CaptureError(f'{name} of {self.source} is not JSON: export again') from error
        if not isinstance(values, dict):
            raise CaptureError(f'{name} of {self.source} is not a JSON object: export again')
        return values


class _R3dRecording(_Recording):
    """Files of a ``.r3d`` file, whose depth is compressed by LZFSE."""

    def __init__(self, source: Path) -> None:
        super().__init__(source)
        try:
            import lzfse
        except ImportError as error:
            raise CaptureError(
                f'reading .r3d needs the package lzfse: {remedies.INSTALL_LZFSE}'
            ) from error
        self._lzfse = lzfse

    @abstractmethod
    def read(self, name: str, limit: int = MAX_ENTRY_BYTES) -> bytes:
        """Read a file of at most ``limit`` bytes; UnusableFrameError if damaged."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return whether a file is there."""

    def has_depth(self, number: int) -> bool:
        return self.has(f'rgbd/{number}.depth')

    def depth(self, number: int, shape: tuple[int, int]) -> NDArray[np.float32]:
        depth_m = depth_to_metres(self._decompress(f'rgbd/{number}.depth', np.dtype('<f4'), shape))
        if self.has(f'rgbd/{number}.conf'):
            confidence = self._decompress(f'rgbd/{number}.conf', np.dtype('u1'), shape)
            drop_unconfident(depth_m, confidence)
        return depth_m

    def _decompress(self, name: str, dtype: np.dtype[Any], shape: tuple[int, int]) -> NDArray[Any]:
        size = shape[0] * shape[1] * dtype.itemsize
        compressed = self.read(name, limit=size + 4096)
        try:
            with memory_limit(8 * size + MAX_ENTRY_BYTES):  # lzfse has no limit of its own
                data = self._lzfse.decompress(compressed)
        except (self._lzfse.error, ValueError, MemoryError) as error:
            raise UnusableFrameError(
                LeftOutReason.BAD_DEPTH, f'{name} in {self.source} is damaged: {error!r}'
            ) from error
        if len(data) != size:
            raise UnusableFrameError(
                LeftOutReason.BAD_DEPTH,
                f'{name} in {self.source} holds {len(data)} bytes, but {shape[1]}x{shape[0]}'
                f' pixels (dw, dh of the metadata) need {size}: export it again',
            )
        return np.frombuffer(data, dtype).reshape(shape)

    def _check_size(self, name: str, size: int, limit: int) -> None:
        if size > limit:
            raise UnusableFrameError(
                _reason(name),
                f'{name} in {self.source} would unpack to {size} bytes, more than'
                f' {limit}: do not trust it, or export it again',
            )


class _R3dArchive(_R3dRecording):
    """A ``.r3d`` file: a ZIP archive that is read in memory, never extracted to disk."""

    def __init__(self, source: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(source)
        except OSError as error:
            raise CaptureError(f'cannot read {source}: {error.strerror}') from error
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise CaptureError(
                f'{source} is no .r3d file or was cut off ({error}): export it again'
            ) from error
        self._entries = {entry.filename: entry for entry in self._zip.infolist()}
        for name in self._entries:
            if name.startswith(('/', '\\')) or '..' in re.split(r'[/\\]', name):
                raise CaptureError(f'{source} holds {name!r}, outside of itself: do not use it')
        super().__init__(source)

    def names(self) -> list[str]:
        return list(self._entries)

    def has(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str, limit: int = MAX_ENTRY_BYTES) -> bytes:
        entry = self._entries[name]
        self._check_size(name, entry.file_size, limit)
        try:
            return self._zip.read(entry)
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise UnusableFrameError(
                _reason(name), f'{name} in {self.source} is damaged: {error}'
            ) from error


class _R3dFolder(_R3dRecording):
    """A ``.r3d`` file that was unpacked to a folder."""

    def names(self) -> list[str]:
        return _names_in_folder(self.source, 'rgbd')

    def has(self, name: str) -> bool:
        return (self.source / name).is_file()

    def read(self, name: str, limit: int = MAX_ENTRY_BYTES) -> bytes:
        path = require_within(self.source / name, self.source)
        try:
            self._check_size(name, path.stat().st_size, limit)
            return path.read_bytes()
        except OSError as error:
            raise UnusableFrameError(
                _reason(name), f'cannot read {path}: {error.strerror}'
            ) from error


class _ExrExport(_Recording):
    """The folder of an EXR + JPG export."""

    def __init__(self, source: Path) -> None:
        super().__init__(source)
        try:
            import OpenEXR
        except ImportError as error:
            raise CaptureError(
                f'reading an EXR export needs the package OpenEXR: {remedies.INSTALL_OPENEXR}'
            ) from error
        self._open = OpenEXR.File

    def names(self) -> list[str]:
        return _names_in_folder(self.source, 'rgb')

    def read(self, name: str) -> bytes:
        try:
            return require_within(self.source / name, self.source).read_bytes()
        except OSError as error:
            raise UnusableFrameError(
                _reason(name), f'cannot read {self.source / name}: {error.strerror}'
            ) from error

    def has_depth(self, number: int) -> bool:
        return self._depth_path(number).exists()

    def depth(self, number: int, shape: tuple[int, int]) -> NDArray[np.float32]:
        path = require_within(self._depth_path(number), self.source)
        try:
            with self._open(str(path)) as file:
                channels = file.channels()
                pixels = np.array((channels.get('R') or next(iter(channels.values()))).pixels)
        except Exception as error:  # OpenEXR raises many types on malformed input
            raise UnusableFrameError(
                LeftOutReason.BAD_DEPTH,
                f'{path} is no EXR file or damaged ({error}): export it again',
            ) from error
        return depth_to_metres(pixels if pixels.ndim == 2 else pixels[..., 0])

    def _depth_path(self, number: int) -> Path:
        return self.source / 'depth' / f'{number}.exr'


def _names_in_folder(folder: Path, images: str) -> list[str]:
    files = [*folder.glob('metadata*'), *folder.glob(f'{images}/*')]
    return [file.relative_to(folder).as_posix() for file in files]


def _reason(name: str) -> LeftOutReason:
    is_depth = name.endswith(('.depth', '.conf'))
    return LeftOutReason.BAD_DEPTH if is_depth else LeftOutReason.BAD_IMAGE
