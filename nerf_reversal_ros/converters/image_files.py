"""
Image files of recordings: JPEG, PNG, WebP, TIFF, BMP, with their EXIF orientation.

A JPEG or PNG of 8 bits goes to the bag unchanged. Everything else is decoded: 16 bits are reduced
to 8, gray becomes RGB, and transparent pixels are masked.
"""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
import warnings

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nerf_reversal_ros.bags.image_decoding import MAX_PIXELS, to_8_bit
from nerf_reversal_ros.capture.orientation import turn
from nerf_reversal_ros.converters.left_out import LeftOutReason, UnusableFrameError
from nerf_reversal_ros.core import remedies

_FORMATS = ('JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP', 'MPO')
_ORIENTATION_TAG = 0x0112
_UNCHANGED_MODES = ('L', 'RGB', 'P')


class ImageHeader(NamedTuple):
    """What the first bytes of an image file say."""

    size: tuple[int, int]
    """(width, height) of the pixels as they are stored."""
    orientation: int
    """EXIF orientation, 1 to 8; 1 is upright."""

    @property
    def is_sideways(self) -> bool:
        """Whether turning it upright swaps width and height."""
        return self.orientation >= 5

    @property
    def turned_size(self) -> tuple[int, int]:
        """(width, height) after turning."""
        return self.size[::-1] if self.is_sideways else self.size


def choose_orientation(
    header: ImageHeader, fits: Callable[[tuple[int, int]], bool], exif: str, name: str
) -> int:
    """
    Return the EXIF orientation to turn an image by; 1 to leave it as it is stored.

    Parameters
    ----------
    header : ImageHeader
        Header of the image.
    fits : callable
        Whether the intrinsics are of images of a size (width, height).
    exif : str
        ``turn``, ``ignore``, or ``auto``: turn it where the intrinsics are of the turned image.
    name : str
        Name of the image in messages.

    Raises
    ------
    UnusableFrameError
        If the intrinsics do not tell.
    """
    if header.orientation == 1 or exif == 'ignore':
        return 1
    if exif == 'turn':
        return header.orientation
    fits_stored, fits_turned = fits(header.size), fits(header.turned_size)
    if fits_stored != fits_turned:
        return header.orientation if fits_turned else 1
    raise UnusableFrameError(
        LeftOutReason.EXIF,
        f'the EXIF orientation of {name} is {header.orientation}, and its intrinsics do not tell'
        f' whether they and the pose are of the turned image: {remedies.EXIF}',
    )


class LoadedImage(NamedTuple):
    """A decoded image file."""

    content: bytes | NDArray[np.uint8]
    """The file where a bag can hold it unchanged, else RGB (H, W, 3)."""
    valid: NDArray[np.bool_] | None
    """(H, W) pixels that are not transparent; None: all."""

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """RGB (H, W, 3)."""
        if not isinstance(self.content, bytes):
            return self.content
        return _rgb(_decode(self.content))


def read_header(data: bytes) -> ImageHeader:
    """Read size and EXIF orientation; UnusableFrameError if it is no image or too large."""
    with _open(data) as image:
        try:
            orientation = int(image.getexif().get(_ORIENTATION_TAG, 1))
        except Exception:  # Pillow raises many types on malformed EXIF, which is then none
            orientation = 1
        return ImageHeader(image.size, orientation if 1 <= orientation <= 8 else 1)


def load_image(data: bytes, orientation: int = 1) -> LoadedImage:
    """
    Check and decode an image file; UnusableFrameError if it is damaged or cut off.

    Parameters
    ----------
    data : bytes
        Content of the file.
    orientation : int
        EXIF orientation to turn it by; 1: leave the pixels as they are stored.
    """
    header = read_header(data)
    with _open(data) as image:
        is_kept = image.format in ('JPEG', 'PNG') and image.mode in _UNCHANGED_MODES
        is_kept &= header.orientation == 1 and 'transparency' not in image.info
        if image.format in ('JPEG', 'MPO', 'PNG'):  # OpenCV fills what was cut off with gray
            try:
                image.load()
            except Exception as error:  # Pillow raises many types on malformed input
                raise _damaged(data, error) from error
    pixels = _decode(data)
    if is_kept and pixels.dtype == np.uint8:
        return LoadedImage(data, None)
    pixels = turn(pixels, orientation)
    valid = pixels[..., 3] > 0 if pixels.ndim == 3 and pixels.shape[2] == 4 else None
    if valid is not None and valid.all():
        valid = None
    return LoadedImage(_rgb(pixels), valid)


def load_plane(data: bytes, reason: LeftOutReason) -> NDArray[Any]:
    """Decode an image file of depth or a mask as it is stored; UnusableFrameError if damaged."""
    try:
        with _open(data) as image:
            if image.format == 'PNG':
                image.load()
        return _decode(data)
    except UnusableFrameError as error:
        raise UnusableFrameError(reason, str(error)) from error
    except Exception as error:  # Pillow raises many types on malformed input
        raise UnusableFrameError(reason, str(_damaged(data, error))) from error


def _open(data: bytes) -> Image.Image:
    """Open an image file and check its size."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            image = Image.open(BytesIO(data), formats=_FORMATS)
    except Exception as error:  # Pillow raises many types on malformed input
        if isinstance(error, Image.DecompressionBombError):
            raise _damaged(data, error) from error
        raise UnusableFrameError(
            LeftOutReason.BAD_IMAGE,
            f'a file of {len(data)} bytes is no JPEG, PNG, WebP, TIFF or BMP: convert it to JPEG',
        ) from error
    if image.width * image.height > MAX_PIXELS:
        raise UnusableFrameError(
            LeftOutReason.BAD_IMAGE,
            f'the image claims {image.width}x{image.height} pixels, more than {MAX_PIXELS}:'
            ' reduce it',
        )
    return image


def _decode(data: bytes) -> NDArray[Any]:
    """Decode to the stored channels, BGR or BGRA, without turning."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _damaged(data, error) from error
    if pixels is None:
        raise _damaged(data, 'it cannot be decoded')
    return np.asarray(pixels)


def _rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Reduce to 8 bits and three channels."""
    if pixels.dtype == np.uint16:
        pixels = to_8_bit(pixels)
    if pixels.dtype != np.uint8:
        raise UnusableFrameError(
            LeftOutReason.BAD_IMAGE,
            f'an image of {pixels.dtype} is no color image of 8 or 16 bits: export it again',
        )
    codes = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 2:  # gray with alpha
        pixels, channels = np.ascontiguousarray(pixels[..., 0]), 1
    return np.asarray(cv2.cvtColor(pixels, codes[channels]), dtype=np.uint8)


def _damaged(data: bytes, error: object) -> UnusableFrameError:
    return UnusableFrameError(
        LeftOutReason.BAD_IMAGE,
        f'an image file of {len(data)} bytes is damaged or cut off ({error}): export it again',
    )


def read_frame_file(path: Path) -> bytes:
    """Read a file of one frame; UnusableFrameError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableFrameError(
            LeftOutReason.NO_IMAGE, f'cannot read {path}: {error.strerror}'
        ) from error
