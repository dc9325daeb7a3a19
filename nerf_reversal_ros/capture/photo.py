"""Image files as cameras and phones write them: pixels, orientation and focal length of EXIF."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nerf_reversal_ros.bags.image_decoding import IMAGE_FORMATS, MAX_PIXELS, to_8_bit
from nerf_reversal_ros.core.errors import ImageError

_FORMATS = ('JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP', 'MPO')
_GRAY_16_BIT = ('I;16', 'I;16L', 'I;16B')
_ORIENTATION, _EXIF_IFD = 0x0112, 0x8769
_FOCAL_LENGTH_35MM, _WIDTH, _HEIGHT = 0xA405, 0xA002, 0xA003
_MAX_ASPECT_DIFFERENCE = 0.02
"""Relative difference of aspect ratios beyond which an image was cropped after it was taken."""


@dataclass(frozen=True)
class Photo:
    """An image as it is stored, and what EXIF says of it."""

    rgb: NDArray[np.uint8]
    """(H, W, 3) pixels as they are stored, not turned upright."""
    orientation: int = 1
    """EXIF orientation, 1 to 8; 1 is upright."""
    focal_length_35mm: float | None = None
    """35 mm equivalent of the focal length [mm]; None: unknown, or the image was cropped."""


def read_photo(data: bytes) -> Photo:
    """
    Decode the content of an image file.

    Raises
    ------
    ImageError
        If it is in none of `IMAGE_FORMATS`, damaged, cut off or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            image = Image.open(BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(f'the image has more than {MAX_PIXELS} pixels: reduce it') from error
    except Exception as error:  # Pillow raises many types on malformed input
        raise ImageError(
            f'a file of {len(data)} bytes is no {IMAGE_FORMATS}: convert it to JPEG'
        ) from error
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(
                f'the image has {image.width}x{image.height} pixels, more than {MAX_PIXELS}:'
                ' reduce it'
            )
        if image.mode == 'F' or (image.mode == 'I' and image.format != 'PNG'):
            raise ImageError(
                f'the image has values of mode {image.mode}: convert it to 8 bits a color'
            )
        try:
            rgb = _rgb(image)
        except Exception as error:  # Pillow raises many types on malformed input
            raise ImageError(
                f'an image of {len(data)} bytes is damaged or cut off ({error}): copy it again'
            ) from error
        return Photo(rgb, *_read_exif(image))


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Decode to RGB (H, W, 3) with 8 bits."""
    if image.mode in (*_GRAY_16_BIT, 'I'):  # older versions of Pillow open PNG of 16 bits as I
        gray = to_8_bit(np.asarray(image).astype(np.uint16))
        return np.repeat(gray[..., None], 3, axis=2)
    return np.asarray(image.convert('RGB'), dtype=np.uint8)


def _read_exif(image: Image.Image) -> tuple[int, float | None]:
    """Return orientation and 35 mm equivalent [mm]; malformed EXIF counts as none."""
    try:
        exif = image.getexif()
        orientation = int(exif.get(_ORIENTATION, 1))
        details: dict[int, Any] = exif.get_ifd(_EXIF_IFD)
    except Exception:  # Pillow raises many types on malformed EXIF
        return 1, None
    orientation = orientation if 1 <= orientation <= 8 else 1
    try:
        focal_length = float(details.get(_FOCAL_LENGTH_35MM, 0))
        taken = [float(details[tag]) for tag in (_WIDTH, _HEIGHT) if details.get(tag)]
    except (TypeError, ValueError, ZeroDivisionError):
        return orientation, None
    is_known = np.isfinite(focal_length) and focal_length > 0
    return orientation, focal_length if is_known and not _is_cropped(image.size, taken) else None


def _is_cropped(size: tuple[int, int], taken: list[float]) -> bool:
    """Whether the size that EXIF states, if it does, has another aspect ratio."""
    if len(taken) < 2:
        return False
    aspect, aspect_taken = max(size) / min(size), max(taken) / min(taken)
    return abs(aspect / aspect_taken - 1) > _MAX_ASPECT_DIFFERENCE
