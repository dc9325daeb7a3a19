"""
Depth of ROS messages as arrays, and how sharp a picture is.

Like `decoding`, for whatever has the fields of sensor_msgs/Image or CompressedImage.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.image_decoding import (
    encoded_image_size,
    image_channels,
    rgb_from_message,
)
from nerf_reversal_ros.core.errors import ImageError

_IGNORE_ORIENTATION = cv2.IMREAD_IGNORE_ORIENTATION
_DEPTH_DTYPES = {'32FC1': np.float32, '16UC1': np.uint16, 'mono16': np.uint16}


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
        if message.encoding not in _DEPTH_DTYPES:
            raise ImageError(
                f'depth encoding {message.encoding!r} is not known: use 32FC1 [m] or 16UC1 [mm]'
            )
        return depth_to_metres(image_channels(message, _DEPTH_DTYPES[message.encoding], 1)[..., 0])
    return _decode_compressed_depth(bytes(message.data), message.format)


def depth_to_metres(depth: NDArray[Any]) -> NDArray[np.float32]:
    """Turn integers [mm] or floats [m] to float32 metres with 0 for whatever is no distance."""
    if depth.dtype.kind == 'u':
        return depth.astype(np.float32) * np.float32(0.001)
    metres = depth.astype(np.float32)
    metres[~(np.isfinite(metres) & (metres > 0.0))] = 0.0
    return metres


def _decode_compressed_depth(data: bytes, form: str) -> NDArray[np.float32]:
    # image_transport's compressed_depth_image_transport puts 12 bytes in front of a PNG: an
    # int32 and two float32 a, b; 32FC1 pixels are stored as the integers a / depth + b.
    start = data.find(b'\x89PNG', 0, 16)
    if start < 0:
        raise ImageError(
            f'depth of format {form!r} holds no PNG: publish it as compressedDepth with format'
            ' png, or as Image 32FC1 or 16UC1'
        )
    stored = decode_image(data[start:], cv2.IMREAD_UNCHANGED)
    if stored.ndim != 2 or stored.dtype != np.uint16:
        raise ImageError(f'depth of format {form!r} is not a 16 bit PNG of one channel')
    if start < 12 or not form.startswith('32FC1'):
        return depth_to_metres(stored)
    a, b = np.frombuffer(data, '<f4', 2, 4)
    with np.errstate(divide='ignore'):
        metres = np.where(stored > 0, a / (stored.astype(np.float32) - b), 0.0)
    return depth_to_metres(metres)


def thumbnail(message: Any) -> NDArray[np.uint8]:
    """Decode a colour message to grey (h, w) at half its size, quickly; ImageError if damaged."""
    if hasattr(message, 'encoding'):
        small = np.ascontiguousarray(rgb_from_message(message)[::2, ::2])
        return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    grey = decode_image(bytes(message.data), cv2.IMREAD_REDUCED_GRAYSCALE_2 | _IGNORE_ORIENTATION)
    return np.asarray(grey, dtype=np.uint8)


def sharpness(gray: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian: large for sharp pictures, compared in one scene."""
    return float(cv2.Laplacian(gray, cv2.CV_32F).var())


def decode_image(data: bytes, flag: int) -> NDArray[Any]:
    """Decode a JPEG or PNG as OpenCV's ``flag`` says; ImageError if damaged or far too large."""
    encoded_image_size(data, f'a compressed picture of {len(data)} bytes')
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # such as when there are no data
        picture = None
    if picture is None:
        raise ImageError(f'a compressed picture of {len(data)} bytes is damaged')
    return np.asarray(picture)
