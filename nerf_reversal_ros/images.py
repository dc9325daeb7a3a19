"""
From image messages to arrays, and how sharp a picture is.

The functions take any object with the fields of ``sensor_msgs`` messages, whether it came
from a bag or from a live topic.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.errors import ImageError

_COLOUR: dict[str, tuple[str, int, int | None]] = {
    'rgb8': ('u1', 3, None),
    'bgr8': ('u1', 3, cv2.COLOR_BGR2RGB),
    'rgba8': ('u1', 4, cv2.COLOR_RGBA2RGB),
    'bgra8': ('u1', 4, cv2.COLOR_BGRA2RGB),
    '8UC3': ('u1', 3, cv2.COLOR_BGR2RGB),
    'mono8': ('u1', 1, cv2.COLOR_GRAY2RGB),
    '8UC1': ('u1', 1, cv2.COLOR_GRAY2RGB),
    'mono16': ('u2', 1, cv2.COLOR_GRAY2RGB),
}
_DEPTH = {'32FC1': 'f4', '16UC1': 'u2', 'mono16': 'u2'}


def rgb_from_message(message: Any) -> NDArray[np.uint8]:
    """
    Decode a colour picture from an Image or CompressedImage.

    Returns
    -------
    (H, W, 3) array
        RGB.

    Raises
    ------
    ImageError
        If the encoding is not known or the data are damaged.
    """
    if not hasattr(message, 'encoding'):
        return rgb_from_bytes(bytes(message.data))
    if message.encoding not in _COLOUR:
        raise ImageError(
            f'colour encoding {message.encoding!r} is not known: use one of {", ".join(_COLOUR)},'
            ' or CompressedImage'
        )
    kind, channels, conversion = _COLOUR[message.encoding]
    pixels = _pixels(message, kind, channels)
    if kind == 'u2':
        pixels = (pixels >> 8).astype(np.uint8)
    if conversion is not None:
        return np.asarray(cv2.cvtColor(pixels, conversion), dtype=np.uint8)
    return pixels.copy()


def rgb_from_bytes(data: bytes) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG to (H, W, 3) RGB; ImageError if it is damaged."""
    return np.asarray(cv2.cvtColor(_decoded(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def depth_from_message(message: Any) -> NDArray[np.float32]:
    """
    Decode a depth picture from an Image or a CompressedImage in compressedDepth format.

    Returns
    -------
    (H, W) array
        Metres along the optical z axis; 0 where unknown.

    Raises
    ------
    ImageError
        If the encoding is not known or the data are damaged.
    """
    if hasattr(message, 'encoding'):
        if message.encoding not in _DEPTH:
            raise ImageError(
                f'depth encoding {message.encoding!r} is not known: use 32FC1 [m] or 16UC1 [mm]'
            )
        return clean_depth(_pixels(message, _DEPTH[message.encoding], 1))
    return _compressed_depth(bytes(message.data), message.format)


def clean_depth(depth: NDArray[Any]) -> NDArray[np.float32]:
    """Turn integers [mm] or floats [m] to float32 metres with 0 for whatever is no distance."""
    if depth.dtype.kind == 'u':
        return depth.astype(np.float32) * np.float32(0.001)
    metres = depth.astype(np.float32)
    metres[~(np.isfinite(metres) & (metres > 0.0))] = 0.0
    return metres


def _compressed_depth(data: bytes, form: str) -> NDArray[np.float32]:
    # image_transport's compressed_depth_image_transport puts 12 bytes in front of a PNG: an
    # int32 and two float32 a, b; 32FC1 pixels are stored as the integers a / depth + b.
    start = data.find(b'\x89PNG', 0, 16)
    if start < 0:
        raise ImageError(
            f'depth of format {form!r} holds no PNG: publish it as compressedDepth with format'
            ' png, or as Image 32FC1 or 16UC1'
        )
    stored = _decoded(data[start:], cv2.IMREAD_UNCHANGED)
    if stored.ndim != 2 or stored.dtype != np.uint16:
        raise ImageError(f'depth of format {form!r} is not a 16 bit PNG of one channel')
    if start < 12 or not form.startswith('32FC1'):
        return clean_depth(stored)
    a, b = np.frombuffer(data, '<f4', 2, 4)
    with np.errstate(divide='ignore'):
        metres = np.where(stored > 0, a / (stored.astype(np.float32) - b), 0.0)
    return clean_depth(metres)


def image_size(message: Any) -> tuple[int, int]:
    """Return (width, height) of a colour message; ImageError if it is damaged."""
    if hasattr(message, 'encoding'):
        return int(message.width), int(message.height)
    height, width = _decoded(bytes(message.data), cv2.IMREAD_GRAYSCALE).shape
    return width, height


def thumbnail(message: Any) -> NDArray[np.uint8]:
    """Decode a colour message to grey (h, w) at half its size, quickly; ImageError if damaged."""
    if hasattr(message, 'encoding'):
        small = np.ascontiguousarray(rgb_from_message(message)[::2, ::2])
        return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    grey = _decoded(bytes(message.data), cv2.IMREAD_REDUCED_GRAYSCALE_2)
    return np.asarray(grey, dtype=np.uint8)


def sharpness(grey: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian: large for sharp pictures, compared in one scene."""
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def _pixels(message: Any, kind: str, channels: int) -> NDArray[Any]:
    """View the data as (H, W) or (H, W, channels), honouring step and byte order."""
    item = np.dtype(('>' if message.is_bigendian else '<') + kind)
    height, width, step = int(message.height), int(message.width), int(message.step)
    row = width * channels * item.itemsize
    data = np.frombuffer(message.data, np.uint8)
    if height < 1 or width < 1 or step < row or len(data) < step * (height - 1) + row:
        raise ImageError(
            f'an image of {width}x{height} {message.encoding} with step {step} needs more than'
            f' its {len(data)} bytes: the message is damaged'
        )
    rows = np.lib.stride_tricks.as_strided(data, (height, row), (step, 1))
    pixels = np.ascontiguousarray(rows).view(item).reshape(height, width, channels)
    native = pixels.astype(item.newbyteorder('='), copy=False)
    return native[..., 0] if channels == 1 else native


def _decoded(data: bytes, flag: int) -> NDArray[Any]:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flag) if data else None
    if picture is None:
        raise ImageError(f'a compressed picture of {len(data)} bytes is damaged')
    return np.asarray(picture)
