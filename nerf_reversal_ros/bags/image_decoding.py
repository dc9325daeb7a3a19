"""
Pictures of ROS messages as arrays.

Works on whatever has the fields of sensor_msgs/Image, CompressedImage or CameraInfo: messages of
rclpy and of rosbags alike. Claimed sizes are checked before anything is allocated.
"""

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError

MAX_PIXELS = 64_000_000
"""Pictures that claim more pixels than this are refused unread."""

_CHANNEL_ORDERS = {'rgb': (0, 1, 2), 'bgr': (2, 1, 0), 'rgba': (0, 1, 2), 'bgra': (2, 1, 0)}
_ENCODINGS: dict[str, tuple[DTypeLike, int, tuple[int, int, int]]] = {
    **{f'{name}8': (np.uint8, len(name), order) for name, order in _CHANNEL_ORDERS.items()},
    **{f'{name}16': (np.uint16, len(name), order) for name, order in _CHANNEL_ORDERS.items()},
    **{name: (np.uint8, 1, (0, 0, 0)) for name in ('mono8', '8UC1')},
    **{name: (np.uint16, 1, (0, 0, 0)) for name in ('mono16', '16UC1')},
}
"""By encoding: type of a channel, channels, and which of them are red, green and blue."""

_YUV422 = {
    'yuv422': cv2.COLOR_YUV2RGB_UYVY,
    'uyvy': cv2.COLOR_YUV2RGB_UYVY,
    'yuv422_yuy2': cv2.COLOR_YUV2RGB_YUYV,
    'yuyv': cv2.COLOR_YUV2RGB_YUYV,
}
_YUV420 = {'nv12': cv2.COLOR_YUV2RGB_NV12, 'nv21': cv2.COLOR_YUV2RGB_NV21}


def rgb_from_message(message: Any) -> NDArray[np.uint8]:
    """
    Return the picture of an Image or CompressedImage as uint8 RGB (H, W, 3).

    The array may be a read-only view of the message's data.

    Raises
    ------
    ImageError
        When the picture is damaged, has an impossible size or an unknown encoding.
    """
    if hasattr(message, 'format'):
        return rgb_from_bytes(bytes(message.data), message.format)
    return _rgb_from_raw(message)


def image_channels(message: Any, dtype: DTypeLike, channels: int) -> NDArray[Any]:
    """
    View the data of an Image as (H, W, channels) of ``dtype``, honouring step and byte order.

    Raises
    ------
    ImageError
        When the fields of the message contradict each other or its data are too short.
    """
    kind = np.dtype(dtype).newbyteorder('>' if message.is_bigendian else '<')
    return _view(message, message.height, message.width, channels, kind)


def camera_from_info(info: Any, width: int, height: int, *, rectified: bool = False) -> Camera:
    """
    Return the camera of a CameraInfo for pictures of ``width`` x ``height`` pixels.

    Its intrinsics are K, or P for rectified pictures. A picture that was resized after
    calibration is allowed as long as its shape is the same; a CameraInfo without a size is taken
    to be of the picture's. With a region of interest the picture is that region, binned.

    Raises
    ------
    ImageError
        When the intrinsics are not filled in or belong to a picture of another shape.
    """
    k = [float(value) for value in info.k]
    fx, fy, cx, cy = k[0], k[4], k[2], k[5]
    if rectified:
        p = [float(value) for value in info.p]
        fx, fy, cx, cy = p[0], p[5], p[2], p[6]
    region = info.roi
    whole = (0, 0, info.width, info.height)
    part = (region.x_offset, region.y_offset, region.width, region.height)
    if part != whole and region.width and region.height:
        by_x, by_y = info.binning_x or 1, info.binning_y or 1
        binned = (region.width // by_x, region.height // by_y)
        if binned != (width, height):
            raise ImageError(
                f'camera_info has a region of interest that gives {binned[0]}x{binned[1]} pixels,'
                f' but the picture is {width}x{height}: give the camera_info that belongs to the'
                ' picture'
            )
        cx = (cx - region.x_offset + 0.5) / by_x - 0.5
        cy = (cy - region.y_offset + 0.5) / by_y - 0.5
        return Camera(width, height, fx / by_x, fy / by_y, cx, cy)
    calibrated = Camera(info.width or width, info.height or height, fx, fy, cx, cy)
    if abs(calibrated.width * height - calibrated.height * width) > max(width, height):
        raise ImageError(
            f'camera_info is of {calibrated.width}x{calibrated.height} pixels, but the picture is'
            f' {width}x{height}: give the camera_info that belongs to the picture'
        )
    return calibrated.scaled_to(width, height)


def _rgb_from_raw(message: Any) -> NDArray[np.uint8]:
    encoding, height, width = message.encoding, message.height, message.width
    if encoding in _YUV422:
        packed = _view(message, height, width, 2, np.dtype(np.uint8))
        if width % 2:
            raise ImageError(f'a picture in {encoding} has an even width, got {width}')
        return _convert_color(packed, _YUV422[encoding])
    if encoding in _YUV420:
        if width % 2 or height % 2:
            raise ImageError(f'a picture in {encoding} has even sides, got {width}x{height}')
        planes = _view(message, height * 3 // 2, width, 1, np.dtype(np.uint8))
        return _convert_color(planes, _YUV420[encoding])
    if encoding not in _ENCODINGS:
        known = ', '.join([*_ENCODINGS, *_YUV422, *_YUV420])
        raise ImageError(
            f'a picture of {width}x{height} has the encoding {encoding!r}, which is not one of'
            f' {known}: convert it, with image_proc for instance'
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
    what = f'a picture of {width}x{message.height} in {message.encoding}'
    _check_size(width, message.height, what)
    pixel_bytes = channels * dtype.itemsize
    if message.step < width * pixel_bytes:
        raise ImageError(
            f'{what} needs rows of {width * pixel_bytes} bytes, but step is {message.step}: the'
            ' driver filled the message in wrongly'
        )
    data = np.frombuffer(message.data, np.uint8)
    needed = message.step * (rows - 1) + width * pixel_bytes
    if len(data) < needed:
        raise ImageError(f'{what} needs {needed} bytes, got {len(data)}: it was cut off')
    strides = (message.step, pixel_bytes, dtype.itemsize)
    return np.ndarray((rows, width, channels), dtype, data, 0, strides)


def _convert_color(pixels: NDArray[np.uint8], code: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), code), dtype=np.uint8)


def rgb_from_bytes(data: bytes, form: str = '') -> NDArray[np.uint8]:
    """
    Return the picture of a JPEG or PNG file as uint8 RGB (H, W, 3).

    Raises
    ------
    ImageError
        When it is neither, damaged, or of an impossible size.
    """
    what = f'a compressed picture ({form or "no format"}, {len(data)} bytes)'
    encoded_image_size(data, what)
    pixels = np.frombuffer(data, np.uint8)
    try:
        bgr = cv2.imdecode(pixels, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise ImageError(f'{what} is damaged and cannot be decoded: send it again')
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _check_size(width: int, height: int, what: str) -> None:
    if width < 1 or height < 1:
        raise ImageError(f'{what} is empty: {width}x{height} pixels')
    if width * height > MAX_PIXELS:
        raise ImageError(
            f'{what} claims {width}x{height} pixels, more than {MAX_PIXELS}: send it smaller'
        )


def encoded_image_size(data: bytes, description: str) -> tuple[int, int]:
    """
    Return (width, height) that a PNG or JPEG claims, from its header alone.

    ``description`` names the picture in the ImageError that is raised if it is neither, cut off, empty,
    or claims more than `MAX_PIXELS`.
    """
    width, height = _size_from_header(data, description)
    _check_size(width, height, description)
    return width, height


def _size_from_header(data: bytes, what: str) -> tuple[int, int]:
    if data.startswith(b'\x89PNG\r\n\x1a\n') and len(data) >= 24:
        width, height = struct.unpack('>II', data[16:24])
        return width, height
    if not data.startswith(b'\xff\xd8'):
        raise ImageError(f'{what} is neither JPEG nor PNG: publish one of these')
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], 'big')
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack('>HH', data[at + 5 : at + 9])
            return width, height
        if marker == 0xFF:  # a fill byte
            at += 1
        else:
            at += 2 + length
    raise ImageError(f'{what} ends before its size: it was cut off')
