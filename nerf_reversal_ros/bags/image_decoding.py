"""
Decode color images of ROS messages to RGB arrays.

The functions accept any object with the fields of sensor_msgs/Image or CompressedImage, from
rclpy or rosbags. The size in a header is checked before memory is allocated.
"""

from io import BytesIO
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from nerf_reversal_ros.core.errors import ImageError

MAX_PIXELS = 64_000_000
"""Largest size of an image, as a bound on memory; larger ones are rejected by their header."""

_CHANNEL_ORDERS = {'rgb': (0, 1, 2), 'bgr': (2, 1, 0), 'rgba': (0, 1, 2), 'bgra': (2, 1, 0)}
_CV_TYPES = {'c1': 'mono', 'c3': 'bgr', 'c4': 'bgra'}
"""Channels by the end of an OpenCV type such as 8UC3, in the order of OpenCV."""
_ENCODINGS: dict[str, tuple[DTypeLike, int, tuple[int, int, int]]] = {
    f'{name}{bits}': (f'u{bits // 8}', len(order_of), order)
    for bits in (8, 16)
    for name, order_of, order in (
        *((name, name, order) for name, order in _CHANNEL_ORDERS.items()),
        ('mono', 'm', (0, 0, 0)),
    )
}
"""Channel type, number of channels, and indices of red, green and blue, by encoding."""
_ENCODINGS |= {
    f'{bits}u{end}': _ENCODINGS[f'{name}{bits}']
    for bits in (8, 16)
    for end, name in _CV_TYPES.items()
}
_BAYER = {  # OpenCV names a pattern by its second row and column
    'bayer_rggb': cv2.COLOR_BayerBG2RGB,
    'bayer_bggr': cv2.COLOR_BayerRG2RGB,
    'bayer_gbrg': cv2.COLOR_BayerGR2RGB,
    'bayer_grbg': cv2.COLOR_BayerGB2RGB,
}
_YUV422 = {
    'yuv422': cv2.COLOR_YUV2RGB_UYVY,
    'uyvy': cv2.COLOR_YUV2RGB_UYVY,
    'yuv422_yuy2': cv2.COLOR_YUV2RGB_YUYV,
    'yuyv': cv2.COLOR_YUV2RGB_YUYV,
}
_YUV420 = {
    'nv12': cv2.COLOR_YUV2RGB_NV12,
    'nv21': cv2.COLOR_YUV2RGB_NV21,
    'i420': cv2.COLOR_YUV2RGB_I420,
    'yv12': cv2.COLOR_YUV2RGB_YV12,
}
ENCODINGS = (
    *_ENCODINGS,
    *(f'{pattern}{bits}' for pattern in _BAYER for bits in (8, 16)),
    *_YUV422,
    *_YUV420,
    'nv24',
)
"""Encodings of color images, in lower case; case does not matter."""
IMAGE_FORMATS = 'JPEG, PNG, WebP, TIFF or BMP'
"""Formats of compressed images."""
IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.tif', '.tiff', '.bmp')
"""Endings of image files, in lower case; capital letters are accepted as well."""


def rgb_from_message(message: Any) -> NDArray[np.uint8]:
    """
    Decode an Image or CompressedImage to uint8 RGB (H, W, 3).

    The array may be a read-only view of the data of the message.

    Raises
    ------
    ImageError
        If the image is damaged, or has an invalid size or an unknown encoding.
    """
    if hasattr(message, 'format'):
        return rgb_from_bytes(bytes(message.data), message.format)
    return _rgb_from_raw(message)


def thumbnail(message: Any) -> NDArray[np.uint8]:
    """Decode an image message to gray (h, w) at half its size; ImageError if damaged."""
    if hasattr(message, 'encoding'):
        half = np.ascontiguousarray(rgb_from_message(message)[::2, ::2])
        return np.asarray(cv2.cvtColor(half, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    flags = cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(decode_image(bytes(message.data), flags), dtype=np.uint8)


def image_channels(message: Any, dtype: DTypeLike, channels: int) -> NDArray[Any]:
    """
    View the data of an Image as (H, W, channels) of ``dtype``, with its step and byte order.

    Raises
    ------
    ImageError
        If the fields of the message contradict each other, or its data are too short.
    """
    ordered = np.dtype(dtype).newbyteorder('>' if message.is_bigendian else '<')
    return _view(message, message.height, message.width, channels, ordered)


def _rgb_from_raw(message: Any) -> NDArray[np.uint8]:
    encoding, height, width = message.encoding.lower(), message.height, message.width
    if encoding[:10] in _BAYER:
        return _rgb_from_bayer(message, encoding)
    if encoding in _YUV422:
        packed = _view(message, height, width, 2, np.dtype(np.uint8))
        if width % 2:
            raise ImageError(f'an image in {encoding} must have an even width, got {width}')
        return _convert_color(packed, _YUV422[encoding])
    if encoding in _YUV420:
        if width % 2 or height % 2:
            raise ImageError(f'an image in {encoding} must have even sides, got {width}x{height}')
        planes = _view(message, height * 3 // 2, width, 1, np.dtype(np.uint8))
        return _convert_color(planes, _YUV420[encoding])
    if encoding == 'nv24':
        planes = _view(message, height * 3, width, 1, np.dtype(np.uint8))[..., 0]
        # As NV12 of double size, whose chroma has half of the size of its luma.
        luma = planes[:height].repeat(2, axis=0).repeat(2, axis=1)
        chroma = planes[height:].reshape(height, 2 * width)
        return _convert_color(np.vstack([luma, chroma]), _YUV420['nv12'])[::2, ::2]
    if encoding not in _ENCODINGS:
        raise ImageError(
            f'an image of {width}x{height} has the encoding {message.encoding!r}, which is not one'
            f' of {", ".join(ENCODINGS)}: convert it, for example with image_proc'
        )
    dtype, channels, order = _ENCODINGS[encoding]
    pixels = to_8_bit(image_channels(message, dtype, channels))
    if order == (0, 1, 2):
        return pixels[..., :3]
    return np.ascontiguousarray(pixels[..., order])


def _rgb_from_bayer(message: Any, encoding: str) -> NDArray[np.uint8]:
    """Interpolate the colors of a Bayer pattern of 8 or 16 bits."""
    bits = encoding[10:]
    if bits not in ('8', '16') or min(message.height, message.width) < 2:
        raise ImageError(
            f'an image of {message.width}x{message.height} in {encoding} is no Bayer pattern of'
            ' 8 or 16 bits: correct the driver'
        )
    pixels = image_channels(message, f'u{int(bits) // 8}', 1)
    native = pixels.astype(pixels.dtype.newbyteorder('='), copy=False)
    return to_8_bit(_convert_color(native, _BAYER[encoding[:10]]))


def to_8_bit(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale pixels of 16 bits to 8 and round them; those of 8 bits are returned unchanged."""
    if pixels.dtype.itemsize == 2:
        return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return pixels


def _view(
    message: Any, rows: int, width: int, channels: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """View the first ``rows`` rows of a message's data as (rows, width, channels)."""
    description = f'an image of {width}x{message.height} in {message.encoding}'
    _check_size(width, message.height, description)
    pixel_bytes = channels * dtype.itemsize
    if message.step < width * pixel_bytes:
        raise ImageError(
            f'{description} needs rows of {width * pixel_bytes} bytes, but step is'
            f' {message.step}: correct the driver'
        )
    data = np.frombuffer(message.data, np.uint8)
    needed = message.step * (rows - 1) + width * pixel_bytes
    if len(data) < needed:
        raise ImageError(f'{description} needs {needed} bytes, got {len(data)}: it was cut off')
    strides = (message.step, pixel_bytes, dtype.itemsize)
    return np.ndarray((rows, width, channels), dtype, data, 0, strides)


def _convert_color(pixels: NDArray[Any], code: int) -> NDArray[Any]:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), code))


def rgb_from_bytes(data: bytes, format: str = '') -> NDArray[np.uint8]:
    """
    Decode a file in one of `IMAGE_FORMATS` to uint8 RGB (H, W, 3).

    ``format`` is the format of the message, for the error message, and for a Bayer pattern.

    Raises
    ------
    ImageError
        If the data are in none of them, damaged, or of an invalid size.
    """
    description = f'a compressed image ({format or "no format"}, {len(data)} bytes)'
    pattern = _BAYER.get(format.partition(';')[0].strip().lower()[:10])
    if pattern is not None:
        stored = decode_image(data, cv2.IMREAD_UNCHANGED, description)
        is_pattern = stored.ndim == 2 and stored.dtype in (np.uint8, np.uint16)
        if is_pattern and min(stored.shape) >= 2:
            return to_8_bit(_convert_color(stored, pattern))
    bgr = decode_image(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, description)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def decode_image(data: bytes, flag: int, description: str = '') -> NDArray[Any]:
    """
    Decode a file in one of `IMAGE_FORMATS` with a flag of ``cv2.imdecode``.

    Raises
    ------
    ImageError
        If it is damaged or too large. The message begins with ``description``.
    """
    description = description or f'a compressed image of {len(data)} bytes'
    encoded_image_size(data, description)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # for example on empty data
        image = None
    if image is None:
        raise ImageError(f'{description} is damaged and cannot be decoded: send it again')
    return np.asarray(image)


def _check_size(width: int, height: int, description: str) -> None:
    if width < 1 or height < 1:
        raise ImageError(f'{description} is empty: {width}x{height} pixels')
    if width * height > MAX_PIXELS:
        raise ImageError(
            f'{description} claims {width}x{height} pixels, more than {MAX_PIXELS}: reduce it'
        )


def encoded_image_size(data: bytes, description: str) -> tuple[int, int]:
    """
    Read (width, height) from the header of a file in one of `IMAGE_FORMATS`.

    Raises
    ------
    ImageError
        If the data are in none, cut off, empty, or claim more than `MAX_PIXELS`. The message
        begins with ``description``.
    """
    width, height = _size_from_header(data, description)
    _check_size(width, height, description)
    return width, height


def _size_from_header(data: bytes, description: str) -> tuple[int, int]:
    if data.startswith(b'\x89PNG\r\n\x1a\n') and len(data) >= 24:
        width, height = struct.unpack('>II', data[16:24])
        return width, height
    if not data.startswith(b'\xff\xd8'):
        return _size_by_pillow(data, description)
    offset = 2
    while offset + 9 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        length = int.from_bytes(data[offset + 2 : offset + 4], 'big')
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack('>HH', data[offset + 5 : offset + 9])
            return width, height
        if marker == 0xFF:  # a fill byte
            offset += 1
        else:
            offset += 2 + length
    raise ImageError(f'{description} ends before its size: it was cut off')


def _size_by_pillow(data: bytes, description: str) -> tuple[int, int]:
    """Read (width, height) of WebP, TIFF or BMP, without decoding it."""
    try:
        with Image.open(BytesIO(data), formats=('WEBP', 'TIFF', 'BMP')) as image:
            return image.size
    except Exception as error:  # Pillow raises many types on damaged files
        raise ImageError(
            f'{description} is not {IMAGE_FORMATS}, or its header is damaged: publish one of these'
        ) from error
