"""Write a bag with the topics of the Record3D ROS 2 driver, the defaults of `CaptureConfig`."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
import shutil
import sqlite3
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import FloatArray, quaternion_xyzw

_STORE = get_typestore(Stores.ROS2_HUMBLE)
_STORAGE = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
_WRITE_ERRORS = (OSError, sqlite3.Error)
JPEG_QUALITY = 95
"""JPEG quality of encoded color images, out of 100."""


class BagWriter:
    """
    Writes color, depth, intrinsics and pose, frame by frame, to a new bag.

    Use it in a ``with`` statement. The bag appears at ``path`` when the statement ends, or not at
    all after an error.

    Parameters
    ----------
    path : Path
        Folder of the bag, which must not exist.
    storage : str
        ``mcap`` or ``sqlite3``.
    pose_convention : str
        Convention of the poses (see `CaptureConfig`). The metadata of the bag record it, so that
        a capture without depth can be opened.
    up_axis : str
        Up axis of the world as in `CaptureConfig`; empty: unknown.
    world_frame, camera_frame : str
        Coordinate frames in the headers.
    depth_unit_m : float
        Length of one unit of the depth before it was converted [m], for the metadata; 0: unknown.
    raw_depth : bool
        Write depth as 32FC1 Image instead of compressed millimeters.
    camera_info_interval : int
        Write CameraInfo every so many frames, beginning with the first. The Record3D driver uses
        10.

    Raises
    ------
    CaptureError
        If ``path`` exists or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        storage: str = 'mcap',
        pose_convention: str = 'optical',
        up_axis: str = '',
        world_frame: str = 'world',
        camera_frame: str = 'camera_optical_frame',
        depth_unit_m: float = 0.0,
        raw_depth: bool = False,
        camera_info_interval: int = 1,
    ) -> None:
        self.path = Path(path)
        if self.path.exists():
            raise CaptureError(f'{self.path} exists already: choose another name or remove it')
        self._staging_dir = self.path.with_name(f'.{self.path.name}.partial')
        self._world_frame, self._camera_frame = world_frame, camera_frame
        self._raw_depth, self._camera_info_interval = raw_depth, camera_info_interval
        self._frame_count = 0
        metadata = {'pose_convention': pose_convention, 'up_axis': up_axis}
        if depth_unit_m:
            metadata['depth_unit_m'] = f'{depth_unit_m:g}'
        self._writer = self._open_writer(storage, metadata)
        topics = CaptureConfig()
        depth_type = 'sensor_msgs/msg/' + ('Image' if raw_depth else 'CompressedImage')
        self._image = self._connect(topics.image_topic, 'sensor_msgs/msg/CompressedImage')
        self._depth = self._connect(topics.depth_topic, depth_type)
        self._info = self._connect(topics.camera_info_topic, 'sensor_msgs/msg/CameraInfo')
        self._mask: Any = None  # the topic exists in bags with masks only
        self._pose = self._connect(topics.pose_topic, 'geometry_msgs/msg/PoseStamped')

    def __enter__(self) -> 'BagWriter':
        """Return the writer."""
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        """Close the bag and move it to its path, or remove it after an error."""
        try:
            if error_type is None:
                with self._as_capture_error():
                    self._writer.close()
                    (self._staging_dir / self.path.name).rename(self.path)
            else:
                with suppress(*_WRITE_ERRORS):
                    self._writer.abort()
        finally:
            shutil.rmtree(self._staging_dir, ignore_errors=True)

    def write(
        self,
        stamp_ns: int,
        image: bytes | NDArray[np.uint8],
        depth: NDArray[np.float32] | None,
        camera: Camera,
        world_from_camera: FloatArray,
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        """
        Append one frame.

        Parameters
        ----------
        stamp_ns : int
            Stamp of all messages of the frame.
        image : bytes or (H, W, 3) array
            Content of a JPEG or PNG file, which is copied unchanged, or RGB.
        depth : (h, w) array or None
            Meters along the optical z axis, 0 unknown, same view as the image.
        camera : Camera
            Intrinsics of the image.
        world_from_camera : (4, 4) array
            Pose in the convention given to the constructor.
        valid : (H, W) array or None
            Pixels of the image that are not masked; None: all, and no mask is written.
        """
        header = self._header(stamp_ns, self._camera_frame)
        self._write_message(self._image, stamp_ns, _image_message(header, image))
        if depth is not None:
            make_message = _raw_depth_message if self._raw_depth else _compressed_depth_message
            self._write_message(self._depth, stamp_ns, make_message(header, depth))
        if valid is not None:
            if self._mask is None:
                self._mask = self._connect(
                    CaptureConfig().mask_topic, 'sensor_msgs/msg/CompressedImage'
                )
            self._write_message(self._mask, stamp_ns, _mask_message(header, valid))
        if self._frame_count % self._camera_info_interval == 0:
            self._write_message(self._info, stamp_ns, _camera_info_message(header, camera))
        self._frame_count += 1
        pose = _pose_message(self._header(stamp_ns, self._world_frame), world_from_camera)
        self._write_message(self._pose, stamp_ns, pose)

    def _open_writer(self, storage: str, metadata: dict[str, str]) -> Writer:
        with self._as_capture_error():
            shutil.rmtree(self._staging_dir, ignore_errors=True)
            # rosbags names the files after their folder, which therefore has its final name.
            writer = Writer(
                self._staging_dir / self.path.name, version=8, storage_plugin=_STORAGE[storage]
            )
            for key, value in metadata.items():
                writer.set_custom_data(key, value)
            writer.open()
        return writer

    def _connect(self, topic: str, message_type: str) -> Any:
        return self._writer.add_connection(topic, message_type, typestore=_STORE)

    def _write_message(self, connection: Any, stamp_ns: int, message: Any) -> None:
        data = _STORE.serialize_cdr(message, connection.msgtype)
        with self._as_capture_error():
            self._writer.write(connection, stamp_ns, data)

    @contextmanager
    def _as_capture_error(self) -> Iterator[None]:
        try:
            yield
        except _WRITE_ERRORS as error:
            raise CaptureError(
                f'cannot write the bag {self.path}: {getattr(error, "strerror", None) or error}'
            ) from error

    def _header(self, stamp_ns: int, frame: str) -> Any:
        time = _STORE.types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 1_000_000_000))
        return _STORE.types['std_msgs/msg/Header'](time, frame)


def _image_message(header: Any, image: bytes | NDArray[np.uint8]) -> Any:
    if not isinstance(image, bytes):
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        image = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    format = 'png' if image.startswith(b'\x89PNG') else 'jpeg'
    data = np.frombuffer(image, np.uint8)
    return _STORE.types['sensor_msgs/msg/CompressedImage'](header, format, data)


def _mask_message(header: Any, valid: NDArray[np.bool_]) -> Any:
    data = cv2.imencode('.png', valid.astype(np.uint8) * 255)[1].ravel()
    return _STORE.types['sensor_msgs/msg/CompressedImage'](header, 'png', data)


def _compressed_depth_message(header: Any, depth: NDArray[np.float32]) -> Any:
    depth_mm = np.clip(np.rint(depth * 1000.0), 0, 65535).astype(np.uint16)
    png = cv2.imencode('.png', depth_mm, [cv2.IMWRITE_PNG_COMPRESSION, 6])[1]
    data = np.concatenate([np.zeros(12, np.uint8), png.ravel()])
    format = '16UC1; compressedDepth png'
    return _STORE.types['sensor_msgs/msg/CompressedImage'](header, format, data)


def _raw_depth_message(header: Any, depth: NDArray[np.float32]) -> Any:
    height, width = depth.shape
    data = np.ascontiguousarray(depth, '<f4').view(np.uint8).ravel()
    image = _STORE.types['sensor_msgs/msg/Image']
    return image(header, height, width, '32FC1', 0, 4 * width, data)


def _camera_info_message(header: Any, camera: Camera) -> Any:
    projection = np.zeros((3, 4))
    projection[:, :3] = camera.matrix
    return _STORE.types['sensor_msgs/msg/CameraInfo'](
        header,
        camera.height,
        camera.width,
        'plumb_bob',
        np.zeros(5),
        camera.matrix.ravel(),
        np.eye(3).ravel(),
        projection.ravel(),
        0,
        0,
        _STORE.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False),
    )


def _pose_message(header: Any, world_from_camera: FloatArray) -> Any:
    point = _STORE.types['geometry_msgs/msg/Point'](*map(float, world_from_camera[:3, 3]))
    values_xyzw = map(float, quaternion_xyzw(world_from_camera))
    quaternion = _STORE.types['geometry_msgs/msg/Quaternion'](*values_xyzw)
    pose = _STORE.types['geometry_msgs/msg/Pose'](point, quaternion)
    return _STORE.types['geometry_msgs/msg/PoseStamped'](header, pose)
