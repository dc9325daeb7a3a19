"""
Convert a recording of Stray Scanner (iPhone or iPad with LiDAR) to a bag.

A folder holds a video ``rgb.mp4``, ``camera_matrix.csv``, ``odometry.csv`` with a pose for each
image, and ``depth`` and ``confidence`` of a smaller size. Poses have optical camera axes in a
world with y up. Depth is in millimeters; pixels of no confidence are left out.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.depth_decoding import depth_to_metres
from nerf_reversal_ros.bags.image_decoding import MAX_PIXELS
from nerf_reversal_ros.converters.frame_range import select_frame_range
from nerf_reversal_ros.converters.frame_writer import ConvertedFrame, write_frames
from nerf_reversal_ros.converters.image_files import load_plane, read_frame_file
from nerf_reversal_ros.converters.image_shapes import check_depth_shape, drop_unconfident
from nerf_reversal_ros.converters.left_out import LeftOutReason, UnusableFrameError
from nerf_reversal_ros.converters.options import Conversion, ConvertOptions
from nerf_reversal_ros.converters.poses import is_pose
from nerf_reversal_ros.converters.stamps import check_stamp, stamp_from_seconds
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.camera_validation import IntrinsicsSource, make_camera
from nerf_reversal_ros.core.errors import CaptureError, ImageError
from nerf_reversal_ros.core.files import require_within
from nerf_reversal_ros.core.geometry import FloatArray, pose_from_quaternion

DEPTH_UNIT_M = 0.001
"""Length of one count of depth [m]."""
VIDEO, POSES, INTRINSICS = 'rgb.mp4', 'odometry.csv', 'camera_matrix.csv'
_COLUMNS = ('timestamp', 'frame', 'x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
_REMEDY = 'export the recording again'


def is_recording(folder: Path) -> bool:
    """Whether a folder holds a video and poses by the names of columns of Stray Scanner."""
    try:
        return (folder / VIDEO).is_file() and bool(_read_rows(folder / POSES))
    except CaptureError:
        return False


def convert(source: Path, bag: Path, options: ConvertOptions) -> Conversion:
    """
    Convert a recording to a bag; see `converters.convert`.

    Raises
    ------
    CaptureError
        If the video, the poses or the intrinsics are missing or malformed, or too many frames
        cannot be used.
    """
    rows = select_frame_range(_read_rows(source / POSES), options.frames, source)
    video = _Video(require_within(source / VIDEO, source))
    camera = _read_camera(source / INTRINSICS, video.size)
    frames = [_Frame(source, number, row, camera, video, options) for number, row in rows.items()]
    unit_m = options.depth_unit_m or DEPTH_UNIT_M
    return write_frames(source, bag, frames, options, up_axis='y', depth_unit_m=unit_m)


@dataclass
class _Frame:
    """A frame of a recording, a `RecordedFrame`."""

    source: Path
    number: int
    """Number of the image in the video, and of its depth."""
    row: dict[str, str]
    intrinsics: Camera
    video: '_Video'
    options: ConvertOptions

    def __post_init__(self) -> None:
        self.name = f'{self.number:06d}'
        self.stamp_ns = stamp_from_seconds(self._numbers('timestamp')[0]) or 0

    def camera(self) -> Camera:
        """Check pose and stamp, and return the intrinsics."""
        self._pose()
        check_stamp(self.stamp_ns, f'its stamp {self.row["timestamp"]}', _REMEDY)
        return self.intrinsics

    def missing_depth(self) -> str | None:
        """Return None if there is depth, what is missing, or '' if none was recorded."""
        if self._file('depth').exists():
            return None
        has_depth = (self.source / 'depth').is_dir()
        return f'there is no {self._file("depth")}: {_REMEDY}' if has_depth else ''

    def read(self, use_depth: bool) -> ConvertedFrame:
        """Read image and depth."""
        rgb = self.video.read(self.number)
        depth = self._depth() if use_depth else None
        return ConvertedFrame(rgb, depth, self.intrinsics, self._pose())

    def _pose(self) -> FloatArray:
        values = self._numbers('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
        if not is_pose(values[:3], values[3:]):
            raise UnusableFrameError(
                LeftOutReason.BAD_POSE, f'its pose is no position and quaternion: {_REMEDY}'
            )
        return pose_from_quaternion(values[:3], values[3:])

    def _numbers(self, *columns: str) -> FloatArray:
        """Return values of its row; NaN where there is no number."""
        values = []
        for column in columns:
            try:
                values.append(float(self.row[column]))
            except (TypeError, ValueError):
                values.append(float('nan'))
        return np.array(values)

    def _depth(self) -> NDArray[np.float32]:
        stored = self._plane('depth')
        check_depth_shape(stored, self.intrinsics, _REMEDY)
        depth = depth_to_metres(stored, self.options.depth_unit_m or DEPTH_UNIT_M)
        if self._file('confidence').exists():
            drop_unconfident(depth, self._plane('confidence'))
        return depth

    def _plane(self, kind: str) -> NDArray[Any]:
        path = self._file(kind)
        stored = load_plane(read_frame_file(path), LeftOutReason.BAD_DEPTH)
        if stored.ndim != 2:
            raise UnusableFrameError(
                LeftOutReason.BAD_DEPTH, f'{path} is no image of one channel: {_REMEDY}'
            )
        return stored

    def _file(self, kind: str) -> Path:
        return require_within(self.source / kind / f'{self.number:06d}.png', self.source)


class _Video:
    """The images of a video, which are read in their order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = self._open()
        sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        width, height = (int(self._capture.get(side)) for side in sides)
        if min(width, height) < 1 or width * height > MAX_PIXELS:
            raise CaptureError(
                f'{path} is no video that OpenCV can read, or of an unusable size of'
                f' {width}x{height} pixels: {_REMEDY}'
            )
        self.size = width, height
        self._next = 0

    def read(self, number: int) -> NDArray[np.uint8]:
        """Read an image as RGB; UnusableFrameError if the video ends before it."""
        if number < self._next:
            self._capture, self._next = self._open(), 0
        while self._next < number and self._capture.grab():
            self._next += 1
        bgr = self._capture.read()[1] if self._next == number else None
        if bgr is None:
            raise UnusableFrameError(
                LeftOutReason.NO_IMAGE,
                f'the video {self._path} ends after {self._next} images: {_REMEDY}',
            )
        self._next += 1
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def _open(self) -> Any:
        capture = cv2.VideoCapture(str(self._path))
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # intrinsics and depth are not turned
        return capture


def _read_rows(path: Path) -> dict[int, dict[str, str]]:
    """Read the rows of the poses by their frame numbers."""
    try:
        with path.open(encoding='utf-8', newline='') as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            if not set(_COLUMNS) <= set(reader.fieldnames or ()):
                raise CaptureError(
                    f'{path} has no columns {", ".join(_COLUMNS)}: give a folder of Stray Scanner'
                )
            rows = {int(row['frame']): row for row in reader}
    except OSError as error:
        raise CaptureError(f'cannot read {path}: {error.strerror}') from error
    except (ValueError, TypeError, csv.Error) as error:
        raise CaptureError(f'{path} is no table ({error}): {_REMEDY}') from error
    if not rows:
        raise CaptureError(f'{path} has no rows: {_REMEDY}')
    return rows


def _read_camera(path: Path, size: tuple[int, int]) -> Camera:
    """Read the intrinsics of the images of the video."""
    try:
        matrix = np.loadtxt(path, delimiter=',', ndmin=2)
        if matrix.shape != (3, 3):
            raise ValueError(f'its shape is {matrix.shape}')
        intrinsics = (matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
        fx, fy, cx, cy = map(float, intrinsics)
        source = IntrinsicsSource(str(path), _REMEDY, _REMEDY)
        return make_camera(size, (fx, fy, cx, cy), source)[0]
    except OSError as error:
        raise CaptureError(f'cannot read {path}: {error.strerror}') from error
    except (ValueError, ImageError) as error:
        raise CaptureError(
            f'{path} is no matrix of 3x3 numbers of a camera ({error}): {_REMEDY}'
        ) from error
