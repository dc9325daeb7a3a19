"""
Convert a database of RTAB-Map (``.db``), also of its apps, to a bag.

A node of the database has a color image, depth of the same view, calibration, and a pose of the
robot. Poses are those of the optimized graph, else of the odometry. RTAB-Map rectifies images
before it stores them. Depth of 16 bits is in millimeters, depth in floats in meters.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
import sqlite3
import struct
from types import SimpleNamespace
from typing import Any, NamedTuple
import zlib

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nerf_reversal_ros.bags.bag_safety import sqlite_address
from nerf_reversal_ros.bags.depth_decoding import depth_from_message, depth_to_metres
from nerf_reversal_ros.converters.frame_range import select_frame_range
from nerf_reversal_ros.converters.frame_writer import ConvertedFrame, write_frames
from nerf_reversal_ros.converters.image_files import load_image, load_plane, read_header
from nerf_reversal_ros.converters.image_shapes import is_same_shape
from nerf_reversal_ros.converters.left_out import LeftOutReason, UnusableFrameError
from nerf_reversal_ros.converters.options import Conversion, ConvertOptions
from nerf_reversal_ros.converters.poses import rigid_pose
from nerf_reversal_ros.converters.stamps import check_stamp, stamp_from_seconds
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.camera_validation import IntrinsicsSource, make_camera
from nerf_reversal_ros.core.errors import CaptureError, ImageError
from nerf_reversal_ros.core.geometry import FloatArray

OLDEST_VERSION = (0, 18)
"""First version that stores calibrations as they are read here."""
MAX_BLOB_BYTES = 64 * 1024 * 1024
"""Largest image, and largest unpacked array: 64 MiB, far more than either takes."""
_TABLES = ('Admin', 'Data', 'Node')
_MAGIC = b'SQLite format 3\0'
_RVL_MAGIC = b'DEPTHRVL'
_MONO, _STEREO = 0, 1
_INTRINSICS = IntrinsicsSource(
    'the calibration of the database',
    'calibrate the camera and record again',
    'record again with the camera_info of images of {width}x{height} pixels',
)


def is_database(file: Path) -> bool:
    """Whether a file is an SQLite database with the tables of RTAB-Map."""
    try:
        with file.open('rb') as opened:
            if opened.read(len(_MAGIC)) != _MAGIC:
                return False
        with _open(file) as database:
            return _is_of_rtabmap(database)
    except (OSError, CaptureError):
        return False


def convert(source: Path, bag: Path, options: ConvertOptions) -> Conversion:
    """
    Convert a database to a bag; see `converters.convert`.

    Raises
    ------
    CaptureError
        If it is no database of RTAB-Map, is of an older version or damaged, or too many of its
        frames cannot be used.
    """
    with _open(source) as database:
        if not _is_of_rtabmap(database):
            raise CaptureError(f'{source} is no database of RTAB-Map: give its .db file')
        _check_version(database, source)
        nodes = _nodes(database)
        if not nodes:
            raise CaptureError(
                f'{source} holds no images: record with Mem/BinDataKept true, the default'
            )
        optimized = _optimized_poses(database, source)
        selected = select_frame_range(nodes, options.frames, source)
        if not optimized:
            _check_sessions(selected, source)
        frames = [
            _Frame(database, number, node.stamp_s, _pose_rows(number, node, optimized), options)
            for number, node in selected.items()
        ]
        unit_m = options.depth_unit_m or _stored_unit_m(frames)
        conversion = write_frames(source, bag, frames, options, depth_unit_m=unit_m)
    if optimized:
        return conversion
    note = 'the database has no optimized poses: those of the odometry, which drift, were used'
    return conversion.with_notes(note)


class _Node(NamedTuple):
    """A node as it is stored."""

    stamp_s: Any
    pose: Any
    """By the odometry, whose origin is that of the session."""
    session: Any


@dataclass
class _Frame:
    """A node of a database, a `RecordedFrame`."""

    database: sqlite3.Connection
    number: int
    stamp_s: Any
    """As stored; a number of seconds if it is valid."""
    pose: NDArray[np.float32] | None
    """(3, 4) world_from_robot; None: unknown."""
    options: ConvertOptions

    def __post_init__(self) -> None:
        self.name = f'node {self.number}'
        self.stamp_ns = stamp_from_seconds(self.stamp_s) or 0

    def camera(self) -> Camera:
        """Check pose, stamp and intrinsics, and return the intrinsics."""
        check_stamp(self.stamp_ns, f'its stamp {self.stamp_s!r}', 'reprocess the database')
        _, camera = self._pose_and_camera()
        return camera

    def missing_depth(self) -> str | None:
        """Return None if there is depth, else ''."""
        query = 'SELECT length(depth) > 0 FROM Data WHERE id = ?'
        return None if self.database.execute(query, (self.number,)).fetchone()[0] else ''

    def read(self, use_depth: bool) -> ConvertedFrame:
        """Read image and depth."""
        pose, camera = self._pose_and_camera()
        image = load_image(self._blob('image', LeftOutReason.BAD_IMAGE))
        depth = self._depth() if use_depth else None
        return ConvertedFrame(image.content, depth, camera, pose, image.valid)

    def _pose_and_camera(self) -> tuple[FloatArray, Camera]:
        """Return world_from_camera and the intrinsics of the image."""
        if self.pose is None:
            raise UnusableFrameError(
                LeftOutReason.NO_POSE, 'it is not in the graph: it was lost and not found again'
            )
        calibration = _read_calibration(self._blob('calibration', LeftOutReason.BAD_CAMERA))
        size = read_header(self._blob('image', LeftOutReason.BAD_IMAGE)).size
        world_from_robot = rigid_pose(self.pose, 'its pose')
        robot_from_camera = rigid_pose(calibration.robot_from_camera, 'its local transform')
        return world_from_robot @ robot_from_camera, calibration.camera(size)

    def stored_unit_m(self) -> float:
        """Return the unit of the stored depth [m]; UnusableFrameError if it cannot be read."""
        stored = self._stored_depth()
        return 1.0 if isinstance(stored, np.ndarray) and stored.dtype.kind == 'f' else 0.001

    def _depth(self) -> NDArray[np.float32]:
        stored, unit_m = self._stored_depth(), self.options.depth_unit_m or 0.0
        if isinstance(stored, np.ndarray):
            return depth_to_metres(stored, unit_m)
        message = SimpleNamespace(data=stored, format='16UC1; compressedDepth rvl')
        try:
            return depth_from_message(message, unit_m)
        except ImageError as error:
            raise _bad_depth(str(error)) from error

    def _stored_depth(self) -> NDArray[Any] | bytes:
        """Return depth as it is stored, (h, w), or as a message of compressedDepth with RVL."""
        data = self._blob('depth', LeftOutReason.BAD_DEPTH)
        if data.startswith(_RVL_MAGIC):
            return bytes(12) + data[len(_RVL_MAGIC) :]
        stored = load_plane(data, LeftOutReason.BAD_DEPTH)
        if stored.dtype == np.uint8 and stored.shape[2:] == (4,):
            stored = stored.view('<f4')[..., 0]  # the bytes of a float are its channels
        if stored.ndim != 2 or stored.dtype == np.uint8:
            raise _bad_depth('it has 8 bits, as the right image of a stereo camera')
        return stored

    def _blob(self, column: str, reason: LeftOutReason) -> bytes:
        query = f'SELECT length({column}), {column} FROM Data WHERE id = ?'
        try:
            size, data = self.database.execute(query, (self.number,)).fetchone()
        except sqlite3.Error as error:
            raise UnusableFrameError(reason, f'its {column} cannot be read ({error})') from error
        if not (isinstance(data, bytes) and 0 < size <= MAX_BLOB_BYTES):
            raise UnusableFrameError(reason, f'its {column} is missing or larger than an image')
        return data


@dataclass(frozen=True)
class _Calibration:
    """Calibration of a node."""

    size: tuple[int, int]
    """Width and height [px]; 0: those of the image."""
    intrinsics: tuple[float, float, float, float]
    """fx, fy, cx, cy of the rectified image [px], pixel centers at integers."""
    robot_from_camera: NDArray[np.float32]
    """(3, 4) pose of the optical frame."""

    def camera(self, size: tuple[int, int]) -> Camera:
        """Return the intrinsics of an image of a size (width, height)."""
        own = self.size if all(self.size) else size
        if not is_same_shape(own, size):
            raise UnusableFrameError(
                LeftOutReason.IMAGE_SIZE,
                f'its image has {size[0]}x{size[1]} pixels, its calibration is of'
                f' {own[0]}x{own[1]}, another aspect ratio: record it again',
            )
        try:
            return make_camera(own, self.intrinsics, _INTRINSICS)[0].scaled_to(*size)
        except ImageError as error:
            raise UnusableFrameError(LeftOutReason.BAD_CAMERA, str(error)) from error


def _read_calibration(data: bytes) -> _Calibration:
    """
    Read the calibration of one camera.

    It begins with eleven integers: version (3), kind, width, height, and the lengths of K, D, R, P
    and of the local transform. Those follow, as doubles and at last floats.
    """
    try:
        _, _, _, kind, width, height, *lengths = struct.unpack_from('<11i', data)
        if kind == _STEREO:
            raise _bad_camera('it is of a stereo camera, whose depth is not stored')
        k, d, r, p, local = lengths
        end = 44 + 8 * (k + d + r + p) + 4 * local
        if kind != _MONO or min(lengths) < 0 or k not in (0, 9) or p not in (0, 12):
            raise _bad_camera('its calibration is of an unknown kind')
        if local != 12 or not (k or p):
            raise _bad_camera('its camera was not calibrated')
        if len(data) > end:
            raise _bad_camera('it has the images of several cameras side by side')
        matrix = np.frombuffer(data, '<f8', p or k, 44 + 8 * (k + d + r if p else 0))
        transform = np.frombuffer(data, '<f4', 12, end - 48).reshape(3, 4)
    except (struct.error, ValueError) as error:
        raise _bad_camera(f'its calibration was cut off ({error})') from error
    (fx, _, cx), (_, fy, cy) = matrix.reshape(3, -1)[:2, :3].tolist()
    return _Calibration((width, height), (fx, fy, cx, cy), transform)


def _bad_camera(cause: str) -> UnusableFrameError:
    return UnusableFrameError(
        LeftOutReason.BAD_CAMERA, f'{cause}: record with one calibrated RGB-D camera'
    )


def _bad_depth(cause: str) -> UnusableFrameError:
    return UnusableFrameError(LeftOutReason.BAD_DEPTH, f'its depth: {cause}')


def _stored_unit_m(frames: list[_Frame]) -> float:
    """Return the unit of the stored depth [m] by the first frame that has some; 0: none has."""
    for frame in frames:
        with suppress(UnusableFrameError):
            return frame.stored_unit_m()
    return 0.0


@contextmanager
def _open(file: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for reading; CaptureError if it is damaged."""
    try:
        with closing(sqlite3.connect(sqlite_address(file), uri=True)) as database:
            database.execute('PRAGMA trusted_schema=OFF')
            yield database
    except sqlite3.Error as error:
        raise CaptureError(
            f'{file} is no database of RTAB-Map or damaged ({error}): copy it again'
        ) from error


def _is_of_rtabmap(database: sqlite3.Connection) -> bool:
    """Whether there are the tables of RTAB-Map, and none of them is computed."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0"
    tables = {name for (name,) in database.execute(query)}
    columns = [
        row for table in _TABLES for row in database.execute(f'PRAGMA table_xinfo({table})')
    ]
    return tables.issuperset(_TABLES) and not any(hidden for *_, hidden in columns)


def _check_version(database: sqlite3.Connection, source: Path) -> None:
    row = database.execute('SELECT version FROM Admin').fetchone()
    version = str(row[0]) if row else ''
    numbers = version.split('.')[:2]
    if not all(map(str.isdigit, numbers)) or tuple(map(int, numbers)) < OLDEST_VERSION:
        raise CaptureError(
            f'{source} is of version {version or "none"} of RTAB-Map, older than'
            f' {".".join(map(str, OLDEST_VERSION))}: reprocess it with a newer RTAB-Map'
        )


def _nodes(database: sqlite3.Connection) -> dict[int, _Node]:
    """Return the nodes with an image by their numbers."""
    query = (
        'SELECT Node.id, Node.stamp, Node.pose, Node.map_id FROM Node JOIN Data'
        ' ON Data.id = Node.id WHERE length(Data.image) > 0 AND Node.id > 0 ORDER BY Node.id'
    )
    return {number: _Node(*values) for number, *values in database.execute(query)}


def _check_sessions(nodes: dict[int, _Node], source: Path) -> None:
    """Raise CaptureError if the nodes are of several sessions."""
    first: dict[Any, int] = {}
    for number, node in nodes.items():
        first.setdefault(node.session, number)
    if len(first) > 1:
        raise CaptureError(
            f'{source} has no optimized poses, and {len(first)} sessions, from the nodes'
            f' {", ".join(map(str, first.values()))} on, each in a frame of its own:'
            f' {remedies.ONE_SESSION}'
        )


def _optimized_poses(database: sqlite3.Connection, source: Path) -> dict[int, NDArray[np.float32]]:
    """Return world_from_robot (3, 4) of the nodes of the optimized graph; empty: none stored."""
    columns = {name for _, name, *_ in database.execute('PRAGMA table_info(Admin)')}
    if not {'opt_ids', 'opt_poses'} <= columns:
        return {}
    ids, poses = database.execute('SELECT opt_ids, opt_poses FROM Admin').fetchone()
    if not ids or not poses:
        return {}
    try:
        numbers = _unpack(ids, '<i4')
        rows = _unpack(poses, '<f4').reshape(len(numbers), 3, 4)
    except (ValueError, TypeError, struct.error, zlib.error) as error:
        raise CaptureError(
            f'the optimized poses of {source} are damaged ({error}): reprocess the database'
        ) from error
    return dict(zip(numbers.tolist(), rows, strict=True))


def _unpack(blob: bytes, dtype: DTypeLike) -> NDArray[Any]:
    """Decompress an array: zlib, then rows, columns and type as integers."""
    rows, columns, _ = struct.unpack_from('<3i', blob, len(blob) - 12)
    size = 4 * rows * columns
    if not 0 < size <= MAX_BLOB_BYTES:
        raise ValueError(f'{rows}x{columns} values')
    data = zlib.decompressobj().decompress(blob[:-12], size + 1)
    if len(data) != size:
        raise ValueError(f'{len(data)} bytes instead of {size}')
    return np.frombuffer(data, dtype)


def _pose_rows(
    number: int, node: _Node, optimized: dict[int, NDArray[np.float32]]
) -> NDArray[np.float32] | None:
    """Return the pose of a node; None if the graph, or the node without one, has none."""
    if optimized:
        return optimized.get(number)
    if not (isinstance(node.pose, bytes) and len(node.pose) == 48):
        return None
    return np.frombuffer(node.pose, '<f4').reshape(3, 4)
