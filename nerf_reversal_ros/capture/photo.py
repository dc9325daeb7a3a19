"""Image files as cameras and phones write them: pixels, and what EXIF says of them."""

from dataclasses import dataclass
from io import BytesIO
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nerf_reversal_ros.bags.image_decoding import IMAGE_FORMATS, MAX_PIXELS, to_8_bit
from nerf_reversal_ros.capture.photo_exif import read_exif
from nerf_reversal_ros.core.errors import ImageError

_FORMATS = ('JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP', 'MPO')
_GRAY_16_BIT = ('I;16', 'I;16L', 'I;16B')


@dataclass(frozen=True)
class Photo:
    """An image as it is stored, and what EXIF says of it."""

    rgb: NDArray[np.uint8]
    """(H, W, 3) pixels as they are stored, not turned upright."""
    orientation: int = 1
    """EXIF orientation, 1 to 8; 1 is upright."""
    focal_length_35mm: float | None = None
    """35 mm equivalent of the focal length [mm]; None: unknown, or the image was cropped."""
    camera_name: str = ''
    """Make, model and focal length of the lens of EXIF; empty if it has none."""


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
        return Photo(rgb, *read_exif(image))


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Decode to RGB (H, W, 3) with 8 bits."""
    if image.mode in (*_GRAY_16_BIT, 'I'):  # older versions of Pillow open PNG of 16 bits as I
        gray = to_8_bit(np.asarray(image).astype(np.uint16))
        return np.repeat(gray[..., None], 3, axis=2)
    return np.asarray(image.convert('RGB'), dtype=np.uint8)
