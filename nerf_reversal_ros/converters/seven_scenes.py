"""
Convert 7-Scenes sequences (Kinect v1) to a bag, with depth registered to the color camera.

Depth and poses of the data set are those of the depth camera. Both are transformed to the color
camera, because a radiance field needs color and depth of the same view.
"""

from pathlib import Path
import re
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.image_decoding import IMAGE_SUFFIXES
from nerf_reversal_ros.converters.frame_range import select_frame_range
from nerf_reversal_ros.converters.frame_writer import ConvertedFrame, write_frames
from nerf_reversal_ros.converters.image_files import (
    load_image,
    load_plane,
    read_frame_file,
    read_header,
)
from nerf_reversal_ros.converters.left_out import LeftOutReason, UnusableFrameError
from nerf_reversal_ros.converters.options import Conversion, ConvertOptions
from nerf_reversal_ros.converters.poses import rigid_pose
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.camera_validation import IntrinsicsSource, make_camera
from nerf_reversal_ros.core.errors import CaptureError, ImageError
from nerf_reversal_ros.core.files import require_within
from nerf_reversal_ros.core.geometry import (
    FloatArray,
    inverse,
    orthonormalize,
    pose_from_quaternion,
)
from nerf_reversal_ros.core.text_lines import read_lines

RATE_HZ = 30
"""Rate of the synthetic stamps: the data set has none, so frame N gets N / 30 s."""

DEPTH_CAMERA = Camera(640, 480, 585.0, 585.0, 320.0, 240.0)
COLOR_FOCAL_PX = 525.505
"""Focal length of the color camera, unless a pose file gives another one."""

COLOR_FROM_DEPTH: FloatArray = np.array(
    [
        [0.99996518, 0.00267651, -0.00790410, -0.02555894],
        [-0.00274093, 0.99996303, -0.00815045, 0.00010110],
        [0.00788199, 0.00817183, 0.99993555, 0.00203183],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
"""(4, 4) extrinsic calibration of the Kinect that recorded the data set."""

_INVALID_DEPTH = 65535
DEPTH_UNIT_M = 0.001
"""Length of one count of depth [m]."""
_POSE_LINE = 'name qw qx qy qz tx ty tz f'


class _CameraPose(NamedTuple):
    """Pose of the color camera, and its focal length [px]."""

    world_from_camera: FloatArray
    focal_px: float


def convert(source: Path, bag: Path, poses: Path | None, options: ConvertOptions) -> Conversion:
    """
    Convert frames of a 7-Scenes folder to a bag; see `converters.convert`.

    Raises
    ------
    CaptureError
        If the folder holds no such frames, too many of them cannot be used, or the pose file has
        no pose of the frames.
    """
    images = _image_paths(source, options.frames)
    unit_m = options.depth_unit_m or DEPTH_UNIT_M
    if poses is None:
        frames = [_Frame(number, image, options) for number, image in images.items()]
        return write_frames(source, bag, frames, options, depth_unit_m=unit_m)
    file_poses = _read_pose_file(poses, source.name)
    frames = [
        _Frame(number, image, options, file_poses[_stem(image.name)], poses)
        for number, image in images.items()
        if _stem(image.name) in file_poses
    ]
    if not frames:
        raise CaptureError(
            f'no frame of {source} has a pose in {poses}: give the pose file of this sequence'
        )
    conversion = write_frames(source, bag, frames, options, depth_unit_m=unit_m)
    missing = len(images) - len(frames)
    if missing:
        return conversion.with_notes(f'{missing} of {len(images)} frames are not in {poses}')
    return conversion


class _Frame:
    """A frame of a sequence, a `RecordedFrame`."""

    def __init__(
        self,
        number: int,
        image: Path,
        options: ConvertOptions,
        pose: '_CameraPose | None' = None,
        pose_file: Path | None = None,
    ) -> None:
        self.name = image.name
        self.stamp_ns = max(1, round(number * 1e9 / RATE_HZ))
        self._image, self._pose_file = image, pose_file
        self._depth_unit_m = options.depth_unit_m or DEPTH_UNIT_M
        self._pose = pose

    def camera(self) -> Camera:
        """Check pose and image size, and return the intrinsics."""
        if self._pose is None:
            self._pose = _read_frame_pose(self._image)
        size = read_header(read_frame_file(self._image)).size
        camera = _color_camera(self._pose.focal_px, self._pose_file)
        if size[0] * camera.height != size[1] * camera.width:
            raise UnusableFrameError(
                LeftOutReason.IMAGE_SIZE,
                f'it has {size[0]}x{size[1]} pixels, not {camera.width}x{camera.height}: download'
                ' it again',
            )
        return camera.scaled_to(*size)

    def missing_depth(self) -> str | None:
        """Return None if there is depth, else what is missing."""
        path = _depth_path(self._image)
        return None if path.exists() else f'the depth image {path} is missing: download it again'

    def read(self, use_depth: bool) -> ConvertedFrame:
        """Read image and registered depth."""
        camera = self.camera()
        assert self._pose is not None  # read by camera
        image = load_image(read_frame_file(self._image))
        depth = None
        if use_depth:
            depth_camera = _color_camera(self._pose.focal_px, self._pose_file)
            stored = _read_depth(_depth_path(self._image), self._depth_unit_m)
            depth = register_depth(stored, depth_camera)
        return ConvertedFrame(
            image.content, depth, camera, self._pose.world_from_camera, image.valid
        )


def register_depth(depth: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """
    Register a depth image of the depth camera to the view of the color camera.

    Each pixel is projected into the color camera with a z-buffer. Holes of one or two pixels are
    closed morphologically.

    Parameters
    ----------
    depth : (480, 640) array
        Meters along the z axis of the depth camera, 0 unknown.
    camera : Camera
        The color camera.

    Returns
    -------
    (camera.height, camera.width) array
        Meters along the z axis of the color camera, 0 unknown.
    """
    known = depth > 0
    rotation = COLOR_FROM_DEPTH[:3, :3].astype(np.float32)
    points = _DEPTH_RAYS[known] * depth[known][:, None] @ rotation.T
    points += COLOR_FROM_DEPTH[:3, 3].astype(np.float32)
    points = points[points[:, 2] > 0]
    u = np.rint(points[:, 0] / points[:, 2] * camera.fx + camera.cx).astype(np.int64)
    v = np.rint(points[:, 1] / points[:, 2] * camera.fy + camera.cy).astype(np.int64)
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    nearest = np.full(camera.height * camera.width, np.inf, np.float32)
    np.minimum.at(nearest, v[inside] * camera.width + u[inside], points[inside, 2])
    nearest[np.isinf(nearest)] = 0.0
    registered = nearest.reshape(camera.height, camera.width)
    closed = cv2.morphologyEx(registered, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return np.where(registered > 0, registered, closed)


_DEPTH_RAYS = DEPTH_CAMERA.rays().astype(np.float32)


def _color_camera(focal_px: float, poses: Path | None) -> Camera:
    intrinsics = (focal_px, focal_px, 320.0, 240.0)
    remedy = f'correct f in {poses}'
    try:
        return make_camera((640, 480), intrinsics, IntrinsicsSource('f', remedy, remedy))[0]
    except ImageError as error:
        raise UnusableFrameError(
            LeftOutReason.BAD_CAMERA, f'the pose file {poses}: {error}'
        ) from error


def _image_paths(source: Path, frames: slice | None) -> dict[int, Path]:
    """Return the color images by frame number, in ascending order."""
    images = {}
    for path in sorted(source.glob('frame-*.color.*')):
        match = re.fullmatch(r'frame-([0-9]{1,9})\.color(\.\w+)', path.name)
        if match and match[2].lower() in IMAGE_SUFFIXES:
            images[int(match[1])] = require_within(path, source)
    if not images:
        raise CaptureError(f'{source} holds no frame-NNNNNN.color.jpg or .png: give a sequence')
    return select_frame_range(images, frames, source)


def _stem(name: str) -> str:
    return Path(name).name.split('.')[0]


def _depth_path(image: Path) -> Path:
    return require_within(image.with_name(f'{_stem(image.name)}.depth.png'), image.parent)


def _read_depth(path: Path, unit_m: float) -> NDArray[np.float32]:
    stored = load_plane(read_frame_file(path), LeftOutReason.BAD_DEPTH)
    if stored.dtype != np.uint16 or stored.shape != (480, 640):
        raise UnusableFrameError(
            LeftOutReason.BAD_DEPTH,
            f'the depth image {path} is no 640x480 PNG of 16 bit: download it again',
        )
    counts = np.where(stored == _INVALID_DEPTH, 0, stored)
    return counts.astype(np.float32) * np.float32(unit_m)


def _read_frame_pose(image: Path) -> _CameraPose:
    """Read the pose file of an image, which is of the depth camera."""
    path = require_within(image.with_name(f'{_stem(image.name)}.pose.txt'), image.parent)
    if not path.exists():
        raise UnusableFrameError(LeftOutReason.NO_POSE, f'there is no {path}: download it again')
    try:
        rows = np.array(path.read_text(encoding='ascii').split(), dtype=np.float64).reshape(4, 4)
    except (OSError, ValueError) as error:
        raise UnusableFrameError(
            LeftOutReason.BAD_POSE, f'{path} is no matrix of 4x4 numbers: download it again'
        ) from error
    world_from_depth = rigid_pose(rows, str(path))
    return _CameraPose(world_from_depth @ inverse(_COLOR_FROM_DEPTH_RIGID), COLOR_FOCAL_PX)


_COLOR_FROM_DEPTH_RIGID = orthonormalize(COLOR_FROM_DEPTH)


def _read_pose_file(path: Path, sequence: str) -> dict[str, _CameraPose]:
    """Read poses by frame name; lines of other sequences (``seq-02/frame-...``) are skipped."""
    file_poses = {}
    for number, line in read_lines(path):
        if not line:
            continue
        name, *rest = line.split()
        try:
            qw, qx, qy, qz, tx, ty, tz, focal = (float(word) for word in rest)
            camera_from_world = pose_from_quaternion(
                np.array([tx, ty, tz]), np.array([qx, qy, qz, qw])
            )
        except ValueError as error:
            raise CaptureError(
                f'{path} line {number} is not "{_POSE_LINE}": correct it'
            ) from error
        parent = Path(name).parent.name
        if parent in ('', sequence) and np.all(np.isfinite(camera_from_world)) and focal > 0:
            file_poses[_stem(name)] = _CameraPose(inverse(camera_from_world), focal)
    return file_poses
