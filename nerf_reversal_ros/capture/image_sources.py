"""
Images to localize, from wherever they come: files, videos, webcams, standard input, bags.

A source as a whole is checked when it is opened. An image of it that cannot be used is passed on
with the problem, and the others follow.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
import glob
from itertools import chain, groupby
import os
from pathlib import Path
import re
import sys
import time
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.image_decoding import IMAGE_SUFFIXES
from nerf_reversal_ros.capture.camera_origin import CameraOrigin
from nerf_reversal_ros.capture.orientation import turn
from nerf_reversal_ros.capture.photo import Photo, read_photo
from nerf_reversal_ros.capture.photo_camera import PhotoCamera, UnknownFocalLengthError
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ImageError
from nerf_reversal_ros.core.sampling import middle_indices

# FFmpeg prints what an error of ours says; OpenCV reads this once, with the first video.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')

STANDARD_INPUT = '-'
_VIDEO_SUFFIXES = ('.mp4', '.mov', '.m4v', '.avi', '.mkv', '.webm', '.mpg', '.mpeg')
MAX_UNNAMED_BYTES = 100_000_000
"""Size of a file without a known suffix up to which it may be an image, not a video."""
_PHOTO_SUFFIXES = (*IMAGE_SUFFIXES, '.heic', '.heif')
"""Endings of images; those of HEIF are not read, and said to be converted first."""
SHARPEST_OF = 4
"""Neighboring frames of a video of which a sample is the sharpest."""
_WEBCAM = re.compile(r'webcam:(\d{1,3})')


@dataclass(frozen=True)
class SourceImage:
    """An image to localize, or the reason why it is none."""

    name: str
    """The file, or the source with the number of the frame; empty in a bag, which has stamps."""
    rgb: NDArray[np.uint8] | None = None
    """(H, W, 3) image, upright and without distortion; None if there is a problem."""
    camera: Camera | None = None
    """Intrinsics of ``rgb``; None if there is a problem, or nothing tells its focal length."""
    stamp_ns: int | None = None
    """Time [ns]: of the message, from the start of a video, or of the clock; None for a file."""
    problem: str = ''
    """Why the image cannot be used, as one sentence."""
    focal_std: float | None = None
    """Relative standard deviation of a focal length that was found from images."""
    camera_name: str = ''
    """What EXIF says of the camera; empty if nothing."""
    origin: CameraOrigin = CameraOrigin.CAMERA_INFO
    """Where the intrinsics come from."""

    @property
    def is_camera_unknown(self) -> bool:
        """Whether the image can be used once its camera is found."""
        return self.rgb is not None and self.camera is None


class ImageSource(Protocol):
    """A source that can be opened."""

    @property
    def has_camera_info(self) -> bool:
        """Whether the source brings its own intrinsics."""

    @property
    def is_endless(self) -> bool:
        """Whether the images go on until the user interrupts them."""

    def images(self) -> Iterator[SourceImage]:
        """Yield the images in order."""

    def samples(self, count: int) -> Iterator[SourceImage]:
        """Yield up to a number of images, evenly spaced; none if they come only once."""


def open_sources(
    words: Iterable[str], camera: PhotoCamera, config: CaptureConfig
) -> list[ImageSource]:
    """
    Find what the words of a command line name.

    Parameters
    ----------
    words : iterable of str
        Paths or glob patterns of images, folders, videos or bags, ``webcam:N``, or ``-`` for one
        image on standard input.
    camera : PhotoCamera
        Intrinsics of all but bags.
    config : CaptureConfig
        Topics of bags.

    Raises
    ------
    CaptureError
        If there is nothing of a name, a folder is empty, or a bag, video or webcam cannot be
        opened, or the camera that is stated cannot be that of a video.
    """
    sources: list[ImageSource] = []
    words = list(words)
    if words.count(STANDARD_INPUT) > 1:
        raise CaptureError('standard input, -, is named twice: it holds one image')
    for word in words:
        if word == STANDARD_INPUT:
            sources.append(EncodedImage('standard input', _read_standard_input, camera))
        elif webcam := _WEBCAM.fullmatch(word):
            sources.append(_Video(word, int(webcam[1]), camera))
        else:
            sources += [_open_path(path, camera, config) for path in _matches(word)]
    return [joined for _, group in groupby(sources, type) for joined in _join(list(group))]


def _join(sources: list[ImageSource]) -> list[ImageSource]:
    """Make one source of neighboring image files: they may be of one camera."""
    photos = [source for source in sources if isinstance(source, _Photos)]
    if not photos:
        return sources
    return [_Photos(tuple(chain(*(source.files for source in photos))), photos[0].camera)]


def _matches(word: str) -> list[Path]:
    """Return the path that a word names, or those that match it as a pattern."""
    try:
        if word and Path(word).exists():
            return [Path(word)]
        paths = sorted(map(Path, glob.glob(word, recursive=True)))
    except OSError as error:  # a name that is too long
        raise CaptureError(f'cannot read {word[:80]} ({error.strerror}): name a file') from error
    if known := [path for path in paths if _is_usual_source(path)]:
        return known  # what else the pattern matches holds no image
    if paths:
        return paths
    problem = 'nothing matches' if glob.has_magic(word) else 'there is nothing at'
    word = word or 'an empty name'
    raise CaptureError(
        f'{problem} {word}: name an image, a folder of images, a video, a bag, webcam:0, or - for'
        ' standard input'
    )


def _open_path(path: Path, camera: PhotoCamera, config: CaptureConfig) -> ImageSource:
    if _is_bag(path):
        return _Bag(path, config)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if _is_photo(file))
        if not files:
            raise CaptureError(
                f'the folder {path} holds neither images ({", ".join(IMAGE_SUFFIXES)}) nor a bag:'
                ' name the folder in which they lie'
            )
        return _Photos(tuple(files), camera)
    if _is_photo(path) or _is_image(path):
        return _Photos((path,), camera)
    return _Video(str(path), str(path), camera)


def _is_usual_source(path: Path) -> bool:
    """Whether a path is a folder, a bag, or an image or video by its suffix."""
    is_video = path.suffix.lower() in _VIDEO_SUFFIXES
    return _is_photo(path) or path.is_dir() or is_video or _is_bag(path)


def _is_bag(path: Path) -> bool:
    if _is_photo(path):
        return False
    # What reads bags takes half a second to load, which photos need not wait for.
    from nerf_reversal_ros.bags.storage_files import is_bag

    return is_bag(path)


def _is_image(path: Path) -> bool:
    """Whether a file of any name is an image."""
    try:
        read_photo(path.read_bytes() if path.stat().st_size < MAX_UNNAMED_BYTES else b'')
    except (ImageError, OSError):
        return False
    return True


def _is_photo(path: Path) -> bool:
    is_hidden = path.name.startswith('.')  # such as the ._ files of macOS
    return path.suffix.lower() in _PHOTO_SUFFIXES and not is_hidden and path.is_file()


@dataclass(frozen=True)
class _Photos:
    """Image files."""

    files: tuple[Path, ...]
    camera: PhotoCamera
    has_camera_info: bool = False
    is_endless: bool = False

    def images(self) -> Iterator[SourceImage]:
        for file in self.files:
            try:
                data = file.read_bytes()
            except OSError as error:
                problem = f'cannot read {file} ({error.strerror}): check its permissions'
                yield SourceImage(str(file), problem=problem)
                continue
            yield _source_image(str(file), data, self.camera)

    def samples(self, count: int) -> Iterator[SourceImage]:
        chosen = middle_indices(len(self.files), count)
        return replace(self, files=tuple(self.files[index] for index in chosen)).images()


@dataclass(frozen=True)
class ArraySource:
    """Upright images (H, W, 3) in memory, RGB, uint8."""

    arrays: tuple[NDArray[np.uint8], ...]
    camera: PhotoCamera
    has_camera_info: bool = False
    is_endless: bool = False

    def images(self) -> Iterator[SourceImage]:
        """Yield the images, named by their numbers."""
        return map(self._image, range(len(self.arrays)))

    def samples(self, count: int) -> Iterator[SourceImage]:
        """Yield up to a number of images, evenly spaced."""
        return map(self._image, middle_indices(len(self.arrays), count).tolist())

    def _image(self, number: int) -> SourceImage:
        rgb, name = self.arrays[number], f'image {number}'
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
            problem = f'{name} is {rgb.shape} {rgb.dtype}: give an RGB array (H, W, 3) of uint8'
            return SourceImage(name, problem=problem)
        return _undistorted(name, Photo(rgb), self.camera)


@dataclass(frozen=True)
class EncodedImage:
    """The content of one image file, from wherever it comes."""

    name: str
    read: Callable[[], bytes]
    camera: PhotoCamera
    has_camera_info: bool = False
    is_endless: bool = False

    def images(self) -> Iterator[SourceImage]:
        """Yield the image."""
        yield _source_image(self.name, self.read(), self.camera)

    def samples(self, count: int) -> Iterator[SourceImage]:
        """Yield nothing: it may come only once."""
        return iter(())


def _read_standard_input() -> bytes:
    data = sys.stdin.buffer.read()
    if not data:
        raise CaptureError('standard input holds no image: pipe a file into the command')
    return data


@dataclass(frozen=True)
class _Bag:
    """The images of a bag, with its camera_info."""

    path: Path
    config: CaptureConfig
    has_camera_info: bool = True
    is_endless: bool = False

    def images(self) -> Iterator[SourceImage]:
        from nerf_reversal_ros.capture.open_capture import iter_images

        for image in iter_images(self.path, self.config):
            yield SourceImage('', image.rgb, image.camera, image.stamp_ns)

    def samples(self, count: int) -> Iterator[SourceImage]:
        return iter(())  # camera_info is known


class _Video:
    """The frames of a video or a webcam."""

    def __init__(self, name: str, device: str | int, camera: PhotoCamera) -> None:
        self.has_camera_info = False
        self.is_endless = isinstance(device, int)
        self._name, self._device, self._camera = name, device, camera
        for photo, _ in self._stamped_frames():
            try:
                camera.undistort(photo)
            except UnknownFocalLengthError:
                return
            except ImageError as error:
                raise CaptureError(f'{name}: {error}') from error
            return
        raise self._not_opened()

    def images(self) -> Iterator[SourceImage]:
        for number, (photo, stamp_ns) in enumerate(self._stamped_frames()):
            image = _undistorted(f'{self._name}#{number}', photo, self._camera)
            yield replace(image, stamp_ns=stamp_ns)

    def samples(self, count: int) -> Iterator[SourceImage]:
        if self.is_endless:  # its device cannot be opened twice
            return
        with self._opened() as video:
            frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
            for number in middle_indices(max(frames, count), count):
                video.set(cv2.CAP_PROP_POS_FRAMES, number)
                near = [
                    _photo(bgr) for _ in range(SHARPEST_OF) for ok, bgr in [video.read()] if ok
                ]
                if near:
                    sharpest = max(near, key=_sharpness)
                    yield _undistorted(f'{self._name}#{number}', sharpest, self._camera)

    @contextmanager
    def _opened(self) -> Iterator[cv2.VideoCapture]:
        with _quiet_opencv():
            video = cv2.VideoCapture(self._device)
        try:
            yield video
        finally:
            video.release()

    def _stamped_frames(self) -> Iterator[tuple[Photo, int]]:
        with self._opened() as video:
            while video.isOpened():
                has_frame, bgr = video.read()
                if not has_frame:
                    return
                clock_ns = time.time_ns() if self.is_endless else None
                yield _photo(bgr), clock_ns or round(1e6 * video.get(cv2.CAP_PROP_POS_MSEC))

    def _not_opened(self) -> CaptureError:
        if self.is_endless:
            return CaptureError(
                f'{self._name} gives no image: connect a camera, or name another, such as webcam:1'
            )
        return CaptureError(
            f'{self._name} is no image, no bag, and no video that OpenCV can read: convert it to'
            ' JPEG, or to MP4 with H.264'
        )


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from printing what an error of ours says."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _source_image(name: str, data: bytes, camera: PhotoCamera) -> SourceImage:
    try:
        photo = read_photo(data)
    except ImageError as error:
        return SourceImage(name, problem=str(error))
    return _undistorted(name, photo, camera)


def _undistorted(name: str, photo: Photo, camera: PhotoCamera) -> SourceImage:
    origin, model = camera.origin(photo), photo.camera_name
    try:
        return SourceImage(name, *camera.undistort(photo), camera_name=model, origin=origin)
    except UnknownFocalLengthError:
        upright = turn(photo.rgb, photo.orientation)
        return SourceImage(name, upright, camera_name=model, origin=origin)
    except ImageError as error:
        return SourceImage(name, problem=str(error))


def _photo(bgr: NDArray[Any]) -> Photo:
    return Photo(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))


def _sharpness(photo: Photo) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(photo.rgb, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
