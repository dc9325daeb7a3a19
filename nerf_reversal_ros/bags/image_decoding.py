"""
Decode color images of ROS messages to RGB arrays.

The functions accept any object with the fields of sensor_msgs/Image or CompressedImage, from
rclpy or rosbags. The size in a header is checked before memory is allocated.
"""

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from nerf_reversal_ros.core.errors import ImageError

MAX_PIXELS = 64_000_000
"""Largest size of an image, as a bound on memory; larger ones are rejected by their header."""

_CHANNEL_ORDERS = {'rgb': (0, 1, 2), 'bgr': (2, 1, 0), 'rgba': (0, 1, 2), 'bgra': (2, 1, 0)}
_ENCODINGS: dict[str, tuple[DTypeLike, int, tuple[int, int, int]]] = {
    **{f'{name}8': (np.uint8, len(name), order) for name, order in _CHANNEL_ORDERS.items()},
    **{f'{name}16': (np.uint16, len(name), order) for name, order in _CHANNEL_ORDERS.items()},
    **{name: (np.uint8, 1, (0, 0, 0)) for name in ('mono8', '8UC1')},
    **{name: (np.uint16, 1, (0, 0, 0)) for name in ('mono16', '16UC1')},
}
"""Channel type, number of channels, and indices of red, green and blue, by encoding."""

_YUV422 = {
    'yuv422': cv2.COLOR_YUV2RGB_UYVY,
    'uyvy': cv2.COLOR_YUV2RGB_UYVY,
    'yuv422_yuy2': cv2.COLOR_YUV2RGB_YUYV,
    'yuyv': cv2.COLOR_YUV2RGB_YUYV,
}
_YUV420 = {'nv12': cv2.COLOR_YUV2RGB_NV12, 'nv21': cv2.COLOR_YUV2RGB_NV21}


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
    encoding, height, width = message.encoding, message.height, message.width
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
    if encoding not in _ENCODINGS:
        known = ', '.join([*_ENCODINGS, *_YUV422, *_YUV420])
        raise ImageError(
            f'an image of {width}x{height} has the encoding {encoding!r}, which is not one of'
            f' {known}: convert it, for example with image_proc'
        )
    dtype, channels, order = _ENCODINGS[encoding]
    pixels = image_channels(message, dtype, channels)
    if pixels.dtype.itemsize == 2:
        pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if order == (0, 1, 2):
        return pixels[..., :3]
    return np.ascontiguousarray(pixels[..., order])


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


def _convert_color(pixels: NDArray[np.uint8], code: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), code), dtype=np.uint8)


def rgb_from_bytes(data: bytes, format: str = '') -> NDArray[np.uint8]:
    """
    Decode a JPEG or PNG file to uint8 RGB (H, W, 3).

    ``format`` is the format of the message, for the error message.

    Raises
    ------
    ImageError
        If the data are neither, damaged, or of an invalid size.
    """
    description = f'a compressed image ({format or "no format"}, {len(data)} bytes)'
    encoded_image_size(data, description)
    pixels = np.frombuffer(data, np.uint8)
    try:
        bgr = cv2.imdecode(pixels, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise ImageError(f'{description} is damaged and cannot be decoded: send it again')
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def decode_image(data: bytes, flag: int) -> NDArray[Any]:
    """Decode a JPEG or PNG with a flag of ``cv2.imdecode``; ImageError if damaged or too large."""
    description = f'a compressed image of {len(data)} bytes'
    encoded_image_size(data, description)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # for example on empty data
        image = None
    if image is None:
        raise ImageError(f'{description} is damaged: send it again')
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
    Read (width, height) from the header of a PNG or JPEG.

    Raises
    ------
    ImageError
        If the data are neither, cut off, empty, or claim more than `MAX_PIXELS`. The message
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
        raise ImageError(f'{description} is neither JPEG nor PNG: publish one of these')
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
