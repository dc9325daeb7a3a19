"""
Convert a ``transforms.json`` of nerfstudio (also from Polycam, ScanNet, COLMAP) to a bag.

Images are undistorted. The transform that ns-process-data recorded (``applied_transform``,
``applied_scale``) is inverted, because it was not applied to depth. Depth in images and ``.npy``
files is in millimeters, or in units of ``integer_depth_scale`` meters. Without depth the pose
convention of a capture is unchecked and, after COLMAP, its scale is unknown.
"""

import json
from pathlib import Path
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.camera_model import CameraModel
from nerf_reversal_ros.bags.depth_decoding import depth_to_metres
from nerf_reversal_ros.bags.image_decoding import decode_image, encoded_image_size, rgb_from_bytes
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.converters.frame_range import select_frame_range
from nerf_reversal_ros.core.camera_validation import IntrinsicsSource, make_camera
from nerf_reversal_ros.core.errors import CaptureError, ImageError
from nerf_reversal_ros.core.files import require_within
from nerf_reversal_ros.core.geometry import FloatArray, OPTICAL_FROM_OPENGL, orthonormalize
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.fields.sim3 import field_from_data, transform_poses

RATE_HZ = 30
"""Rate of the synthetic stamps: the format has none, so frame i gets (i + 1) / 30 s."""

NO_DEPTH_WARNING = (
    'no depth: the pose convention cannot be checked, lengths are in meters only if the poses'
    ' are, and only the field nerfacto can be built'
)

LEGACY_COLMAP_TRANSFORM = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
"""Transform that older versions of nerfstudio applied to poses of COLMAP without a record."""

_INTRINSICS = IntrinsicsSource(
    'fl_x, fl_y, cx, cy',
    'correct them, or export it again',
    'set w and h to {width} and {height}, or export it again',
)
"""Words for messages about the intrinsics of a file."""
_PINHOLE_MODELS = ('OPENCV', 'PINHOLE', 'SIMPLE_PINHOLE', 'SIMPLE_RADIAL', 'RADIAL')


def convert(
    source: Path,
    bag: Path,
    *,
    frames: slice | None = None,
    allowed_root: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> None:
    """
    Convert the frames of a ``transforms.json`` to a bag; see `converters.convert`.

    Frames are in the natural order of their file names. Files must lie in ``allowed_root``, by
    default the folder of the ``transforms.json``.

    Raises
    ------
    CaptureError
        If the file is malformed, names missing, damaged or outside files, or has an unknown
        camera model.
    """
    path = source / 'transforms.json' if source.is_dir() else source
    scene, allowed_root = _read_scene(path), allowed_root or path.parent
    ordered = sorted(scene['frames'], key=lambda frame: _natural_key(str(frame.get('file_path'))))
    selected = select_frame_range(dict(enumerate(ordered)), frames, path)
    world_from_data = _world_from_data(scene, path)
    has_depth = any(frame.get('depth_file_path') for frame in selected.values())
    with BagWriter(bag) as writer:
        for done, (position, frame) in enumerate(selected.items(), start=1):
            values = {**scene, **frame}
            try:
                encoded = _image_path(path, frame, allowed_root).read_bytes()
                model = _camera_model(values, encoded_image_size(encoded, 'the image'))
                depth = _read_depth(path, frame, values, model, allowed_root)
                undistorted: bytes | NDArray[np.uint8] = encoded
                if model.has_distortion:
                    undistorted = model.undistort_rgb(rgb_from_bytes(encoded))
                pose = transform_poses(world_from_data, _data_from_camera(frame))
            except (CaptureError, ImageError, OSError, KeyError, TypeError, ValueError) as error:
                name = frame.get('file_path', f'at position {position}')
                raise CaptureError(f'frame {name} of {path} cannot be used: {error!s}') from error
            stamp_ns = round((position + 1) * 1e9 / RATE_HZ)
            writer.write(stamp_ns, undistorted, depth, model.camera, pose)
            note = NO_DEPTH_WARNING if done == 1 and not has_depth else ''
            progress(Progress('convert', done, len(selected), note))


def _read_scene(path: Path) -> dict[str, Any]:
    try:
        scene = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise CaptureError(f'cannot read {path}: {error.strerror}') from error
    except ValueError as error:
        raise CaptureError(f'{path} is not JSON ({error}): export it again') from error
    frames = scene.get('frames') if isinstance(scene, dict) else None
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise CaptureError(f'{path} has no list of frames: give the transforms.json of nerfstudio')
    if not frames:
        raise CaptureError(f'the list of frames in {path} is empty: export it again')
    return dict(scene)


def _world_from_data(scene: dict[str, Any], path: Path) -> FloatArray:
    """Return the Sim(3) (4, 4) from the poses of the file to the world before processing."""
    transform = scene.get('applied_transform')
    if transform is None:
        is_legacy = (path.parent / 'colmap/sparse/0').exists()
        transform = LEGACY_COLMAP_TRANSFORM if is_legacy else np.eye(4)
    try:
        applied = np.array(transform, dtype=np.float64)
        scale = float(scene.get('applied_scale', 1.0))
    except (TypeError, ValueError, OverflowError) as error:
        raise CaptureError(
            f'applied_transform or applied_scale of {path} is malformed ({error}): export it again'
        ) from error
    if not _is_rigid(applied):
        raise CaptureError(
            f'applied_transform = {transform} of {path} is no rigid transform, a (3, 4) matrix:'
            ' export it again'
        )
    if not (np.isfinite(scale) and scale > 0):
        raise CaptureError(f'applied_scale = {scale:g} of {path} must be > 0: export it again')
    return np.asarray(np.linalg.inv(field_from_data(applied, scale)))


def _is_rigid(matrix: FloatArray) -> bool:
    if matrix.shape not in ((3, 4), (4, 4)) or not np.isfinite(matrix).all():
        return False
    rotation = matrix[:3, :3]
    is_orthogonal = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
    return is_orthogonal and bool(np.linalg.det(rotation) > 0)


def _natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key that orders frame_9 before frame_10."""
    return [(int(part), '') if part.isdigit() else (-1, part) for part in re.split(r'(\d+)', name)]


def _image_path(scene: Path, frame: dict[str, Any], allowed_root: Path) -> Path:
    path = require_within(scene.parent / str(frame['file_path']), allowed_root)
    for candidate in (
        path,
        path.with_name(path.name + '.png'),
        path.with_name(path.name + '.jpg'),
    ):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f'there is no image {path}: export it again')


def _camera_model(values: dict[str, Any], size: tuple[int, int]) -> CameraModel:
    """Read the intrinsics of a frame, at the size (width, height) of its image."""
    width, height = int(values.get('w', size[0])), int(values.get('h', size[1]))
    if abs(width * size[1] - height * size[0]) > max(size):
        raise ImageError(
            f'w and h are {width}x{height}, but the image has {size[0]}x{size[1]} pixels, another'
            ' aspect ratio: correct w, h and the intrinsics, or export it again'
        )
    if 'fl_x' in values:
        fx = float(values['fl_x'])
    elif 'camera_angle_x' in values:
        fx = width / (2.0 * float(np.tan(float(values['camera_angle_x']) / 2.0)))
    else:
        raise ImageError('it has neither fl_x nor camera_angle_x: export it again')
    fy = float(values.get('fl_y', fx))
    # The origin of nerfstudio and COLMAP is the corner of the first pixel, of Camera its center.
    cx = float(values.get('cx', width / 2.0)) - 0.5
    cy = float(values.get('cy', height / 2.0)) - 0.5
    distortion, is_fisheye = _distortion(values)
    camera, _ = make_camera((width, height), (fx, fy, cx, cy), _INTRINSICS)
    return CameraModel(camera, distortion, is_fisheye).scaled_to(*size)


def _distortion(values: dict[str, Any]) -> tuple[tuple[float, ...], bool]:
    """Read the distortion coefficients, and whether they are of a fisheye."""
    name = str(values.get('camera_model', 'OPENCV'))
    k1, k2, k3, k4 = (float(values.get(name, 0.0)) for name in ('k1', 'k2', 'k3', 'k4'))
    if values.get('is_fisheye') or name == 'OPENCV_FISHEYE':
        return (k1, k2, k3, k4), True
    if name not in _PINHOLE_MODELS:
        raise ImageError(
            f'camera_model {name} is unknown: undistort to one of'
            f' {", ".join((*_PINHOLE_MODELS, "OPENCV_FISHEYE"))}'
        )
    if k4:
        raise ImageError(f'k4 = {k4} is not part of the camera model {name}: undistort first')
    return (k1, k2, float(values.get('p1', 0.0)), float(values.get('p2', 0.0)), k3), False


def _read_depth(
    scene: Path,
    frame: dict[str, Any],
    values: dict[str, Any],
    model: CameraModel,
    allowed_root: Path,
) -> NDArray[np.float32] | None:
    name = frame.get('depth_file_path')
    if not name:
        return None
    path = require_within(scene.parent / str(name), allowed_root)
    if not path.is_file():
        raise ImageError(f'there is no depth image {path}')
    if path.suffix == '.npy':
        stored = _load_npy(path)
    else:
        stored = decode_image(path.read_bytes(), cv2.IMREAD_UNCHANGED)
    if stored.ndim != 2:
        raise ImageError(
            f'depth {path} has the shape {stored.shape}, not (rows, columns): export it again'
        )
    # nerfstudio applies the scale to arrays and images of any data type.
    scale = np.float32(float(values.get('integer_depth_scale', 0.001)))
    depth = depth_to_metres(stored.astype(np.float32) * scale)
    return model.scaled_to(depth.shape[1], depth.shape[0]).undistort_depth(depth)


def _load_npy(path: Path) -> NDArray[Any]:
    try:  # a memory map never allocates more than the file holds
        return np.array(np.load(path, mmap_mode='r', allow_pickle=False))
    except Exception as error:  # NumPy raises many types on malformed input
        raise ImageError(f'depth {path} is damaged ({error}): export it again') from error


def _data_from_camera(frame: dict[str, Any]) -> FloatArray:
    """Read data_from_camera (4, 4) of the optical frame; the file has OpenGL axes."""
    pose = np.eye(4)
    rows = np.array(frame['transform_matrix'], dtype=np.float64)
    if rows.shape not in ((3, 4), (4, 4)) or not np.all(np.isfinite(rows)):
        raise ImageError(
            f'transform_matrix of shape {rows.shape} is no finite 4x4 matrix: export it again'
        )
    pose[:3] = rows[:3]
    if np.linalg.det(pose[:3, :3]) <= 0:
        raise ImageError('transform_matrix mirrors or is singular: export it again with poses')
    return orthonormalize(pose) @ OPTICAL_FROM_OPENGL
