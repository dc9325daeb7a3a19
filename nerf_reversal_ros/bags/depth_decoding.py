"""
Decode depth images of ROS messages to float32 meters.

The functions accept any object with the fields of sensor_msgs/Image or CompressedImage.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.image_decoding import decode_image, image_channels
from nerf_reversal_ros.core.errors import ImageError

_DEPTH_DTYPES = {'32FC1': np.float32, '16UC1': np.uint16, 'mono16': np.uint16}


def depth_from_message(message: Any) -> NDArray[np.float32]:
    """
    Decode a depth image from an Image or a CompressedImage in compressedDepth format.

    Returns
    -------
    (H, W) array
        Meters along the optical z axis; 0 where unknown.

    Raises
    ------
    ImageError
        If the encoding is unknown or the data are damaged.
    """
    if hasattr(message, 'encoding'):
        if message.encoding not in _DEPTH_DTYPES:
            raise ImageError(
                f'depth encoding {message.encoding!r} is unknown: use 32FC1 [m] or 16UC1 [mm]'
            )
        return depth_to_metres(image_channels(message, _DEPTH_DTYPES[message.encoding], 1)[..., 0])
    return _decode_compressed_depth(bytes(message.data), message.format)


def depth_to_metres(depth: NDArray[Any]) -> NDArray[np.float32]:
    """Convert depth in integers [mm] or floats [m] to float32 meters; invalid pixels become 0."""
    if depth.dtype.kind == 'u':
        return depth.astype(np.float32) * np.float32(0.001)
    depth_m = depth.astype(np.float32)
    depth_m[~(np.isfinite(depth_m) & (depth_m > 0.0))] = 0.0
    return depth_m


def _decode_compressed_depth(data: bytes, format: str) -> NDArray[np.float32]:
    # compressed_depth_image_transport writes 12 bytes before the PNG: an int32 and two float32 a,
    # b. Pixels of 32FC1 are stored as integers a / depth + b (quantized inverse depth).
    start = data.find(b'\x89PNG', 0, 16)
    if start < 0:
        raise ImageError(
            f'depth of format {format!r} holds no PNG: publish it as compressedDepth with format'
            ' png, or as Image 32FC1 or 16UC1'
        )
    stored = decode_image(data[start:], cv2.IMREAD_UNCHANGED)
    if stored.ndim != 2 or stored.dtype != np.uint16:
        raise ImageError(
            f'depth of format {format!r} is not a 16 bit PNG of one channel: publish one'
        )
    if start < 12 or not format.startswith('32FC1'):
        return depth_to_metres(stored)
    a, b = np.frombuffer(data, '<f4', 2, 4)
    with np.errstate(divide='ignore'):
        depth_m = np.where(stored > 0, a / (stored.astype(np.float32) - b), 0.0)
    return depth_to_metres(depth_m)
