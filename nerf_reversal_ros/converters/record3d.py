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
from nerf_reversal_ros.bags.image_decoding import encoded_image_size, MAX_PIXELS
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.converters.frame_range import select_frame_range
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.camera_validation import IntrinsicsSource, make_camera
from nerf_reversal_ros.core.errors import CaptureError, ImageError
from nerf_reversal_ros.core.files import require_within
from nerf_reversal_ros.core.geometry import FloatArray, pose_from_quaternion
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.core.resource_limits import memory_limit

MAX_ENTRY_BYTES = 64 * 1024 * 1024
"""Largest decompressed size of a file in a ``.r3d``: 64 MiB, far more than an image takes."""

METADATA_NAMES = ('metadata', 'metadata.json')
"""Names of the metadata in an archive and in an export."""

_INTRINSICS = IntrinsicsSource(
    'K of the metadata',
    'export it again',
    'set w and h of the metadata to {width} and {height}, or export it again',
)
"""Words for messages about the intrinsics of a recording."""


def convert(
    source: Path,
    bag: Path,
    *,
    frames: slice | None = None,
    progress: ProgressCallback = no_progress,
) -> None:
    """
    Convert a Record3D recording to a bag; see `converters.convert`.

    Raises
    ------
    CaptureError
        If the recording is damaged, lacks metadata, is of the FaceID camera, or if a folder holds
        several.
    """
    recording = _open_recording(source)
    images = select_frame_range(recording.images(), frames, source)
    metadata = _Metadata(recording.metadata(), source)
    written, without_pose = 0, 0
    with BagWriter(bag, pose_convention='opengl', up_axis='y') as writer:
        for done, (number, name) in enumerate(images.items(), start=1):
            pose = metadata.world_from_camera(number)
            if pose is None:
                without_pose += 1
            else:
                image = recording.read(name)
                camera = metadata.camera(number, _image_size(image, source, name))
                depth = recording.depth(number, metadata.depth_shape)
                writer.write(metadata.stamp_ns(number), image, depth, camera, pose)
                written += 1
            note = f'{without_pose} without a pose' if without_pose else ''
            progress(Progress('convert', done, len(images), note))
        if not written:
            raise CaptureError(f'no image of {source} has a pose in its metadata: export again')


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


class _Metadata:
    """Pose, intrinsics and stamp of a frame by its number, from the metadata."""

    def __init__(self, values: dict[str, Any], source: Path) -> None:
        self._source = source
        try:
            self._width, self._height = int(values['w']), int(values['h'])
            self._k = [float(value) for value in np.ravel(values['K'])]
            self._poses = np.array(values['poses'], dtype=np.float64).reshape(-1, 7)
            self._rate_hz = float(values.get('fps') or 30.0)
            self._times_s = [float(time) for time in values.get('frameTimestamps') or ()]
            self._coefficients = values.get('perFrameIntrinsicCoeffs') or []
            self.depth_shape = (int(values.get('dh', 256)), int(values.get('dw', 192)))
            """(rows, columns) of the depth images."""
        except (KeyError, TypeError, ValueError) as error:
            raise CaptureError(
                f'the metadata of {source} are not of Record3D ({error!r}): export again'
            ) from error
        if not 0 < self.depth_shape[0] * self.depth_shape[1] <= MAX_PIXELS:
            raise CaptureError(
                f'the metadata of {source} claim a depth of {self.depth_shape}: export again'
            )
        if len(self._k) != 9:
            raise CaptureError(
                f'K in the metadata of {source} has {len(self._k)} numbers, not 9: export again'
            )
        if len(self._poses) > 1 and np.ptp(self._poses, axis=0).max() < 1e-6:
            raise CaptureError(
                f'all poses of {source} are the same, as of the FaceID camera: record with the'
                ' LiDAR camera'
            )

    def world_from_camera(self, number: int) -> FloatArray | None:
        """Return the pose (4, 4), OpenGL camera axes, y-up world; None if unknown."""
        if number >= len(self._poses):
            return None
        rotation_xyzw, position = self._poses[number, :4], self._poses[number, 4:]
        if not np.all(np.isfinite(self._poses[number])) or np.linalg.norm(rotation_xyzw) < 0.5:
            return None
        return pose_from_quaternion(position, rotation_xyzw)

    def camera(self, number: int, size: tuple[int, int]) -> Camera:
        """Return the intrinsics of a frame whose image has the given (width, height)."""
        # K is column-major and of the first frame; per-frame coefficients are [fx, fy, cx, cy].
        values = [self._k[0], self._k[4], self._k[6], self._k[7]]
        if number < len(self._coefficients):
            values = [float(value) for value in self._coefficients[number]]
        width, height = size
        if abs(width * self._height - height * self._width) > max(size):
            raise CaptureError(
                f'image {number} of {self._source} is {width}x{height}, but its metadata say'
                f' {self._width}x{self._height}: export again without rotating the images'
            )
        try:
            fx, fy, cx, cy = values
            camera, _ = make_camera((self._width, self._height), (fx, fy, cx, cy), _INTRINSICS)
        except (ImageError, ValueError) as error:
            raise CaptureError(
                f'intrinsics of frame {number} of {self._source}: {error}'
            ) from error
        return camera.scaled_to(width, height)

    def stamp_ns(self, number: int) -> int:
        """Return the stamp of a frame [ns], at least 1, because 0 means an unset stamp in ROS."""
        is_known = number < len(self._times_s)
        stamp_s = self._times_s[number] if is_known else number / self._rate_hz
        return max(1, round(stamp_s * 1e9))


class _Recording(ABC):
    """Files of a recording, in an archive or a folder."""

    def __init__(self, source: Path) -> None:
        self.source = source

    @abstractmethod
    def names(self) -> list[str]:
        """Return all files, as paths inside the recording."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Read a file; CaptureError if it is missing or damaged."""

    @abstractmethod
    def depth(self, number: int, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        """Read the depth of a frame [m], 0 unknown; None if it has none."""

    def images(self) -> dict[int, str]:
        """Return the names of the color images by frame number."""
        matches = (re.fullmatch(r'(?:rgb|rgbd)/(\d+)\.jpe?g', name) for name in self.names())
        images = {int(match[1]): match[0] for match in matches if match}
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
                'reading .r3d needs the package lzfse: pip install lzfse'
            ) from error
        self._lzfse = lzfse

    @abstractmethod
    def read(self, name: str, limit: int = MAX_ENTRY_BYTES) -> bytes:
        """Read a file of at most ``limit`` bytes; CaptureError if it is missing or damaged."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return whether a file is there."""

    def depth(self, number: int, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        values = self._decompress(f'rgbd/{number}.depth', np.dtype('<f4'), shape)
        if values is None:
            return None
        depth_m = depth_to_metres(values)
        confidence = self._decompress(f'rgbd/{number}.conf', np.dtype('u1'), shape)
        if confidence is not None:
            depth_m[confidence == 0] = 0.0
        return depth_m

    def _decompress(
        self, name: str, dtype: np.dtype[Any], shape: tuple[int, int]
    ) -> NDArray[Any] | None:
        if not self.has(name):
            return None
        size = shape[0] * shape[1] * dtype.itemsize
        compressed = self.read(name, limit=size + 4096)
        try:
            with memory_limit(8 * size + MAX_ENTRY_BYTES):  # lzfse has no limit of its own
                data = self._lzfse.decompress(compressed)
        except (self._lzfse.error, ValueError, MemoryError) as error:
            raise CaptureError(f'{name} in {self.source} is damaged: {error!r}') from error
        if len(data) != size:
            raise CaptureError(
                f'{name} in {self.source} holds {len(data)} bytes, but {shape[1]}x{shape[0]}'
                f' pixels (dw, dh of the metadata) need {size}: export it again'
            )
        return np.frombuffer(data, dtype).reshape(shape)

    def _check_size(self, name: str, size: int, limit: int) -> None:
        if size > limit:
            raise CaptureError(
                f'{name} in {self.source} would unpack to {size} bytes, more than'
                f' {limit}: do not trust it, or export it again'
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
            raise CaptureError(f'{name} in {self.source} is damaged: {error}') from error


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
            raise CaptureError(f'cannot read {path}: {error.strerror}') from error


class _ExrExport(_Recording):
    """The folder of an EXR + JPG export."""

    def __init__(self, source: Path) -> None:
        super().__init__(source)
        try:
            import OpenEXR
        except ImportError as error:
            raise CaptureError(
                'reading an EXR export needs the package OpenEXR: pip install OpenEXR'
            ) from error
        self._open = OpenEXR.File

    def names(self) -> list[str]:
        return _names_in_folder(self.source, 'rgb')

    def read(self, name: str) -> bytes:
        try:
            return require_within(self.source / name, self.source).read_bytes()
        except OSError as error:
            raise CaptureError(f'cannot read {self.source / name}: {error.strerror}') from error

    def depth(self, number: int, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        path = self.source / 'depth' / f'{number}.exr'
        if not path.exists():
            return None
        require_within(path, self.source)
        try:
            with self._open(str(path)) as file:
                channels = file.channels()
                pixels = np.array((channels.get('R') or next(iter(channels.values()))).pixels)
        except Exception as error:  # OpenEXR raises many types on malformed input
            raise CaptureError(
                f'{path} is no EXR file or damaged ({error}): export it again'
            ) from error
        return depth_to_metres(pixels if pixels.ndim == 2 else pixels[..., 0])


def _names_in_folder(folder: Path, images: str) -> list[str]:
    files = [*folder.glob('metadata*'), *folder.glob(f'{images}/*')]
    return [file.relative_to(folder).as_posix() for file in files]


def _image_size(encoded: bytes, source: Path, name: str) -> tuple[int, int]:
    try:
        return encoded_image_size(encoded, name)
    except ImageError as error:
        raise CaptureError(f'{name} of {source}: {error}') from error
