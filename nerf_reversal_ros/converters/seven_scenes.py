"""
7-Scenes (Kinect v1) to a bag: depth registered to the colour picture.

The data set's depth is that of the depth camera, and so are its poses; both are taken to the
colour camera here, for a radiance field needs colour and depth of one view.
"""

from pathlib import Path
import re
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.depth_decoding import decode_image
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.converters.frame_range import select_frame_range
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError, ImageError
from nerf_reversal_ros.core.files import is_within
from nerf_reversal_ros.core.geometry import (
    FloatArray,
    inverse,
    orthonormalize,
    pose_from_quaternion,
)
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback

RATE_HZ = 30
"""The data set has no time stamps; frame N is given the stamp N / 30 s."""

DEPTH_CAMERA = Camera(640, 480, 585.0, 585.0, 320.0, 240.0)
COLOR_FOCAL_PX = 525.505
"""Focal length of the colour camera where no pose file says otherwise."""

COLOR_FROM_DEPTH: FloatArray = np.array(
    [
        [0.99996518, 0.00267651, -0.00790410, -0.02555894],
        [-0.00274093, 0.99996303, -0.00815045, 0.00010110],
        [0.00788199, 0.00817183, 0.99993555, 0.00203183],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
"""(4, 4) calibration of the Kinect that recorded the data set."""

_INVALID_DEPTH = 65535
_POSE_LINE = 'name qw qx qy qz tx ty tz f'


class _CameraPose(NamedTuple):
    """Where the colour camera was, and its focal length in pixels."""

    world_from_camera: FloatArray
    focal_px: float


def convert(
    source: Path,
    bag: Path,
    *,
    poses: Path | None = None,
    frames: slice | None = None,
    progress: ProgressCallback = no_progress,
) -> None:
    """
    Write frames of a 7-Scenes folder as a bag; see `converters.convert`.

    Raises
    ------
    CaptureError
        If the folder holds no such frames, a file is damaged, or the pose file names none of
        the frames.
    """
    pictures = _image_paths(source, frames)
    from_file = None if poses is None else _read_pose_file(poses, source.name)
    written = 0
    with BagWriter(bag) as writer:
        for done, (number, picture) in enumerate(pictures.items(), start=1):
            view = (
                _read_frame_pose(picture)
                if from_file is None
                else from_file.get(_stem(picture.name))
            )
            if view is not None:
                camera = Camera(640, 480, view.focal_px, view.focal_px, 320.0, 240.0)
                depth = register_depth(_read_depth(picture), camera)
                stamp_ns = max(1, round(number * 1e9 / RATE_HZ))
                writer.write(stamp_ns, picture.read_bytes(), depth, camera, view.world_from_camera)
                written += 1
            note = f'{done - written} without a pose' if done > written else ''
            progress(Progress('convert', done, len(pictures), note))
        if not written:
            raise CaptureError(
                f'no frame of {source} has a pose in {poses or "its .pose.txt"}: give the pose'
                ' file of this very sequence'
            )


def register_depth(depth: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """
    Take a depth picture of the depth camera to the view of the colour camera.

    Every pixel is moved to where the colour camera sees it; the nearest one wins, and cracks
    of a pixel or two between them are closed.

    Parameters
    ----------
    depth : (480, 640) array
        Metres along the depth camera's z axis, 0 unknown.
    camera : Camera
        The colour camera.

    Returns
    -------
    (camera.height, camera.width) array
        Metres along the colour camera's z axis, 0 unknown.
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


def _image_paths(source: Path, frames: slice | None) -> dict[int, Path]:
    """Colour files by frame number, in order."""
    found = {}
    for path in sorted(source.glob('frame-*.color.*')):
        match = re.fullmatch(r'frame-(\d+)\.color\.(jpg|jpeg|png)', path.name)
        if match:
            found[int(match[1])] = _require_within(path)
    if not found:
        raise CaptureError(f'{source} holds no frame-NNNNNN.color.jpg or .png: give a sequence')
    return select_frame_range(found, frames, source)


def _require_within(path: Path) -> Path:
    if not is_within(path, path.parent):
        raise CaptureError(
            f'{path} leads outside of {path.parent}: do not trust it, or copy the file'
        )
    return path


def _stem(name: str) -> str:
    return Path(name).name.split('.')[0]


def _read_depth(picture: Path) -> NDArray[np.float32]:
    path = _require_within(picture.with_name(f'{_stem(picture.name)}.depth.png'))
    try:
        stored = decode_image(path.read_bytes(), cv2.IMREAD_UNCHANGED) if path.exists() else None
    except ImageError as error:
        raise CaptureError(f'the depth picture {path}: {error}') from error
    if stored is None or stored.dtype != np.uint16 or stored.shape != (480, 640):
        raise CaptureError(f'the depth picture {path} is missing or no 640x480 PNG of 16 bit')
    millimetres = np.where(stored == _INVALID_DEPTH, 0, stored)
    return millimetres.astype(np.float32) * np.float32(0.001)


def _read_frame_pose(picture: Path) -> _CameraPose | None:
    """Read the pose beside a picture: camera-to-world of the depth camera."""
    path = _require_within(picture.with_name(f'{_stem(picture.name)}.pose.txt'))
    try:
        world_from_depth = np.array(path.read_text(encoding='ascii').split(), dtype=np.float64)
    except (OSError, ValueError):
        return None
    if world_from_depth.size != 16 or not np.all(np.isfinite(world_from_depth)):
        return None
    world_from_depth = orthonormalize(world_from_depth.reshape(4, 4))
    return _CameraPose(world_from_depth @ inverse(_COLOR_FROM_DEPTH_RIGID), COLOR_FOCAL_PX)


_COLOR_FROM_DEPTH_RIGID = orthonormalize(COLOR_FROM_DEPTH)


def _read_pose_file(path: Path, sequence: str) -> dict[str, _CameraPose]:
    """Read views by frame name; lines of other sequences (``seq-02/frame-...``) are left out."""
    try:
        lines = path.read_text(encoding='ascii').splitlines()
    except OSError as error:
        raise CaptureError(f'cannot read the pose file {path}: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise CaptureError(f'{path} is not a file of lines "{_POSE_LINE}"') from error
    views = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith('#'):
            continue
        name, *rest = line.split()
        try:
            qw, qx, qy, qz, tx, ty, tz, focal = (float(word) for word in rest)
            camera_from_world = pose_from_quaternion(
                np.array([tx, ty, tz]), np.array([qx, qy, qz, qw])
            )
        except ValueError as error:
            raise CaptureError(f'{path} line {number} is not "{_POSE_LINE}"') from error
        parent = Path(name).parent.name
        if parent in ('', sequence) and np.all(np.isfinite(camera_from_world)) and focal > 0:
            views[_stem(name)] = _CameraPose(inverse(camera_from_world), focal)
    return views
