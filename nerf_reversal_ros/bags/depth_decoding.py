"""
Decode depth images of ROS messages to float32 meters.

The functions accept any object with the fields of sensor_msgs/Image or CompressedImage.
"""

from array import array
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from nerf_reversal_ros.bags.image_decoding import decode_image, image_channels, MAX_PIXELS
from nerf_reversal_ros.core.errors import ImageError

_DEPTH_DTYPES: dict[str, DTypeLike] = {
    '32FC1': np.float32,
    '64FC1': np.float64,
    '16UC1': np.uint16,
    'MONO16': np.uint16,
    '16SC1': np.int16,
    '32SC1': np.int32,
}
"""Types of pixels by encoding, in upper case; case does not matter."""
_CONFIG_BYTES = 12
"""compressed_depth_image_transport begins with an int32 and two float32 a, b."""
_RVL_VALUE_NIBBLES = 11
"""Most nibbles of a value in RVL, which has 32 bits, of 3 bits each."""


def depth_from_message(message: Any, unit_m: float = 0.0) -> NDArray[np.float32]:
    """
    Decode a depth image from an Image or a CompressedImage.

    Parameters
    ----------
    message : Image or CompressedImage
        A raw image, compressedDepth (PNG or RVL), or PNG or TIFF of 16 bits or floats.
    unit_m : float
        Length of one unit [m]; 0: 1 m for floats, 0.001 m for integers.

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
        dtype = _DEPTH_DTYPES.get(message.encoding.upper())
        if dtype is None:
            raise ImageError(
                f'depth encoding {message.encoding!r} is unknown: use 32FC1 [m] or 16UC1 [mm]'
            )
        return depth_to_metres(image_channels(message, dtype, 1)[..., 0], unit_m)
    return _decode_compressed_depth(bytes(message.data), message.format, unit_m)


def depth_to_metres(depth: NDArray[Any], unit_m: float = 0.0) -> NDArray[np.float32]:
    """Convert depth to float32 meters as `depth_from_message` does; invalid pixels become 0."""
    unit_m = unit_m or (1.0 if depth.dtype.kind == 'f' else 0.001)
    with np.errstate(over='ignore'):
        depth_m = depth.astype(np.float32)
    if unit_m != 1.0:
        depth_m *= np.float32(unit_m)
    if depth.dtype.kind != 'u':
        depth_m[~(np.isfinite(depth_m) & (depth_m > 0.0))] = 0.0
    return depth_m


def _decode_compressed_depth(data: bytes, format: str, unit_m: float) -> NDArray[np.float32]:
    is_compressed_depth = 'compresseddepth' in format.lower()
    start = data.find(b'\x89PNG', 0, 16)
    if start >= 0:
        stored = _decode_image(data[start:], format)
    elif 'rvl' in format.lower():
        start = _CONFIG_BYTES
        stored = _decode_rvl(data[start:], format)
    elif is_compressed_depth:
        raise ImageError(
            f'depth of format {format!r} holds no PNG, nor RVL by its name: publish it as'
            ' compressedDepth with format png or rvl, or as Image 32FC1 or 16UC1'
        )
    else:
        stored = _decode_image(data, format)
    # Pixels of 32FC1 are stored as integers a / depth + b (quantized inverse depth).
    if start < _CONFIG_BYTES or not format.startswith('32FC1') or stored.dtype != np.uint16:
        return depth_to_metres(stored, unit_m)
    a, b = np.frombuffer(data, '<f4', 2, 4)
    with np.errstate(divide='ignore', over='ignore', invalid='ignore'):
        depth = np.where(stored > 0, a / (stored.astype(np.float32) - b), np.float32(0.0))
    return depth_to_metres(depth, unit_m)


def _decode_image(data: bytes, format: str) -> NDArray[Any]:
    """Decode an image file of one channel, of 16 bits or floats."""
    stored = decode_image(data, cv2.IMREAD_UNCHANGED, f'depth of format {format!r}')
    if stored.ndim != 2 or stored.dtype not in (np.uint16, np.float32, np.float64):
        channels = 1 if stored.ndim == 2 else stored.shape[2]
        raise ImageError(
            f'depth of format {format!r} has {channels} channels of {8 * stored.dtype.itemsize}'
            ' bits, which hold no distances: publish it as compressedDepth, or as Image 32FC1 or'
            ' 16UC1'
        )
    return stored


def _decode_rvl(data: bytes, format: str) -> NDArray[np.uint16]:
    """
    Decode depth in RVL to uint16 (H, W), which begins with width and height.

    Values are stored in nibbles of 3 bits and a flag that one more follows, eight to a word. A run
    of unknown pixels alternates with one of known ones, which are differences in zigzag order.

    References
    ----------
    A. D. Wilson, Fast Lossless Depth Image Compression, ISS 2017.
    """
    description = f'depth of format {format!r}'
    if len(data) < 8:
        raise ImageError(f'{description} ends before its size: it was cut off')
    width, height = struct.unpack_from('<II', data)
    if not 0 < width * height <= MAX_PIXELS:
        raise ImageError(
            f'{description} claims {width}x{height} pixels: send 1 to {MAX_PIXELS} of them'
        )
    size = width * height
    # Each pixel needs no more than its value and two runs: data behind them are not expanded.
    word_count = min((len(data) - 8) // 4, -(-size * 3 * _RVL_VALUE_NIBBLES // 8))
    values = _rvl_values(data[8 : 8 + 4 * word_count])
    runs = array('q')
    next_value, pixel = 0, 0
    while pixel < size:
        if next_value + 2 > len(values):
            raise ImageError(f'{description} ends after {pixel} pixels: it was cut off')
        unknown_count, known_count = values.item(next_value), values.item(next_value + 1)
        pixel += unknown_count + known_count
        next_value += 2 + known_count
        is_run = min(unknown_count, known_count) >= 0 < unknown_count + known_count
        if not is_run or pixel > size or next_value > len(values):
            raise ImageError(f'{description} is damaged: send it again')
        runs.extend((unknown_count, known_count))
    counts = np.array(runs).reshape(-1, 2)
    is_known = np.tile([False, True], len(counts))
    known = np.repeat(is_known, counts.ravel())
    counts[:, 0] = 2  # the runs before their values
    zigzag = values[:next_value][np.repeat(is_known, counts.ravel())]
    depth = np.zeros(size, np.uint16)
    depth[known] = np.cumsum((zigzag >> 1) ^ -(zigzag & 1)).astype(np.uint16)
    return depth.reshape(height, width)


def _rvl_values(words: bytes) -> NDArray[np.int64]:
    """Return the values in the nibbles of whole words; -1 for one of too many nibbles."""
    shifts = np.arange(28, -4, -4, dtype=np.uint32)
    nibbles = ((np.frombuffer(words, '<u4')[:, None] >> shifts) & 0xF).ravel()
    ends = np.flatnonzero(nibbles < 8)
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    lengths = ends - starts + 1
    values = np.zeros(len(ends), np.int64)
    for place in range(_RVL_VALUE_NIBBLES):
        longer = np.flatnonzero(lengths > place)
        values[longer] |= (nibbles[starts[longer] + place].astype(np.int64) & 7) << 3 * place
    values[lengths > _RVL_VALUE_NIBBLES] = -1
    return values
