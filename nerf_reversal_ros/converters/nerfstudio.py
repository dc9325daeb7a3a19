"""
nerfstudio's ``transforms.json`` (thereby Polycam, ScanNet, COLMAP, instant-ngp) to a bag.

Lens distortion is undone, and so is what ns-process-data noted that it did to the poses
(``applied_transform``, ``applied_scale``), for depth stays in the units of before. Depth is taken
where there is some, in millimetres or in units of as many metres as the file's
``integer_depth_scale`` says, in pictures and ``.npy`` alike; without it a capture has no checked
pose convention and, after COLMAP, no metres.
"""

import json
from pathlib import Path
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.camera_model import CameraModel
from nerf_reversal_ros.bags.depth_decoding import decode_image, depth_to_metres
from nerf_reversal_ros.bags.image_decoding import encoded_image_size, rgb_from_bytes
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.converters.frame_range import select_frame_range
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError, ImageError
from nerf_reversal_ros.core.files import is_within
from nerf_reversal_ros.core.geometry import FloatArray, OPTICAL_FROM_OPENGL, orthonormalize
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.fields.sim3 import field_from_data, transform_poses

RATE_HZ = 30
"""There are no time stamps: the frame at position i is given the stamp (i + 1) / 30 s."""

NO_DEPTH_WARNING = (
    'no depth: the pose convention cannot be checked, lengths are metres only if the poses are,'
    ' and of the fields only nerfacto can be built'
)

LEGACY_COLMAP_TRANSFORM = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
"""What older versions of nerfstudio did to COLMAP's poses and did not note."""

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
    Write the frames of a ``transforms.json`` as a bag; see `converters.convert`.

    Frames are in the natural order of their file names. Those files lie ``allowed_root`` a folder, by
    default that of the ``transforms.json``, or are refused.

    Raises
    ------
    CaptureError
        If the file is not such a JSON, names missing or damaged pictures, or has a camera
        model that is not known.
    """
    path = source / 'transforms.json' if source.is_dir() else source
    scene, allowed_root = _read_scene(path), allowed_root or path.parent
    ordered = sorted(scene['frames'], key=lambda frame: _natural_key(str(frame.get('file_path'))))
    chosen = select_frame_range(dict(enumerate(ordered)), frames, path)
    world_from_data = _world_from_data(scene, path)
    has_depth = any(frame.get('depth_file_path') for frame in chosen.values())
    with BagWriter(bag) as writer:
        for done, (position, frame) in enumerate(chosen.items(), start=1):
            values = {**scene, **frame}
            try:
                picture = _image_path(path, frame, allowed_root).read_bytes()
                lens = _camera_model(values, encoded_image_size(picture, 'the picture'))
                depth = _read_depth(path, frame, values, lens, allowed_root)
                undistorted: bytes | NDArray[np.uint8] = picture
                if any(lens.distortion):
                    undistorted = lens.undistort_rgb(rgb_from_bytes(picture))
                pose = transform_poses(world_from_data, _data_from_camera(frame))
            except (ImageError, OSError, KeyError, TypeError, ValueError) as error:
                name = frame.get('file_path', f'at position {position}')
                raise CaptureError(f'frame {name} of {path} cannot be used: {error!s}') from error
            stamp_ns = round((position + 1) * 1e9 / RATE_HZ)
            writer.write(stamp_ns, undistorted, depth, lens.camera, pose)
            note = NO_DEPTH_WARNING if done == 1 and not has_depth else ''
            progress(Progress('convert', done, len(chosen), note))


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
    """Return the similarity (4, 4) from the poses of the file to the world before processing."""
    given = scene.get('applied_transform')
    if given is None:
        given = (
            LEGACY_COLMAP_TRANSFORM if (path.parent / 'colmap/sparse/0').exists() else np.eye(4)
        )
    try:
        applied = np.array(given, dtype=np.float64)
        scale = float(scene.get('applied_scale', 1.0))
    except (TypeError, ValueError, OverflowError) as error:
        raise CaptureError(f'{path} has an applied transform that is none: {error}') from error
    if not _is_rigid(applied):
        raise CaptureError(
            f'applied_transform = {given} of {path} is no turn and shift, by a (3, 4) matrix:'
            ' export it again'
        )
    if not (np.isfinite(scale) and scale > 0):
        raise CaptureError(f'applied_scale = {scale:g} of {path} must be > 0: export it again')
    return np.asarray(np.linalg.inv(field_from_data(applied, scale)))


def _is_rigid(matrix: FloatArray) -> bool:
    if matrix.shape not in ((3, 4), (4, 4)) or not np.isfinite(matrix).all():
        return False
    turn = matrix[:3, :3]
    return np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) and bool(np.linalg.det(turn) > 0)


def _natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key under which frame_9 comes before frame_10."""
    return [(int(part), '') if part.isdigit() else (-1, part) for part in re.split(r'(\d+)', name)]


def _image_path(scene: Path, frame: dict[str, Any], within: Path) -> Path:
    path = _require_within(scene, frame['file_path'], within)
    for candidate in (
        path,
        path.with_name(path.name + '.png'),
        path.with_name(path.name + '.jpg'),
    ):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f'there is no picture {path}')


def _require_within(scene: Path, name: Any, within: Path) -> Path:
    path = scene.parent / str(name)
    if not is_within(path, within):
        raise ImageError(f'{str(name)!r} is outside of {within}: do not trust it, or copy it in')
    return path


def _camera_model(values: dict[str, Any], size: tuple[int, int]) -> CameraModel:
    """Read the intrinsics of a frame, at the size (width, height) of its picture."""
    width, height = int(values.get('w', size[0])), int(values.get('h', size[1]))
    if 'fl_x' in values:
        fx = float(values['fl_x'])
    elif 'camera_angle_x' in values:
        fx = width / (2.0 * float(np.tan(float(values['camera_angle_x']) / 2.0)))
    else:
        raise ImageError('it has neither fl_x nor camera_angle_x')
    fy = float(values.get('fl_y', fx))
    # nerfstudio and COLMAP count pixels from the corner of the first one, Camera from its centre.
    cx = float(values.get('cx', width / 2.0)) - 0.5
    cy = float(values.get('cy', height / 2.0)) - 0.5
    distortion, fisheye = _distortion(values)
    return CameraModel(Camera(width, height, fx, fy, cx, cy), distortion, fisheye).scaled_to(*size)


def _distortion(values: dict[str, Any]) -> tuple[tuple[float, ...], bool]:
    model = str(values.get('camera_model', 'OPENCV'))
    k1, k2, k3, k4 = (float(values.get(name, 0.0)) for name in ('k1', 'k2', 'k3', 'k4'))
    if values.get('is_fisheye') or model == 'OPENCV_FISHEYE':
        # Without coefficients a fisheye still needs undoing; a tiny one keeps it from `none`.
        return (k1 or 1e-12, k2, k3, k4), True
    if model not in _PINHOLE_MODELS:
        raise ImageError(
            f'camera_model {model} is not known: undistort to one of'
            f' {", ".join((*_PINHOLE_MODELS, "OPENCV_FISHEYE"))}'
        )
    if k4:
        raise ImageError(f'k4 = {k4} has no meaning in the camera model {model}: undistort first')
    return (k1, k2, float(values.get('p1', 0.0)), float(values.get('p2', 0.0)), k3), False


def _read_depth(
    scene: Path, frame: dict[str, Any], values: dict[str, Any], lens: CameraModel, within: Path
) -> NDArray[np.float32] | None:
    name = frame.get('depth_file_path')
    if not name:
        return None
    path = _require_within(scene, name, within)
    if not path.is_file():
        raise ImageError(f'there is no depth picture {path}')
    if path.suffix == '.npy':
        stored = _load_npy(path)
    else:
        stored = decode_image(path.read_bytes(), cv2.IMREAD_UNCHANGED)
    if stored.ndim != 2:
        raise ImageError(f'depth {path} has the shape {stored.shape}, not (rows, columns)')
    # Nerfstudio multiplies arrays as it does pictures, whatever their type.
    scale = np.float32(float(values.get('integer_depth_scale', 0.001)))
    depth = depth_to_metres(stored.astype(np.float32) * scale)
    return lens.scaled_to(depth.shape[1], depth.shape[0]).undistort_depth(depth)


def _load_npy(path: Path) -> NDArray[Any]:
    try:  # mapped, so that no more is allocated than there is
        return np.array(np.load(path, mmap_mode='r', allow_pickle=False))
    except Exception as error:  # NumPy raises nearly anything on damage
        raise ImageError(f'depth {path} is damaged ({error})') from error


def _data_from_camera(frame: dict[str, Any]) -> FloatArray:
    """Pose (4, 4) of the optical camera frame; the file has OpenGL axes, camera-to-world."""
    pose = np.eye(4)
    rows = np.array(frame['transform_matrix'], dtype=np.float64)
    if rows.shape not in ((3, 4), (4, 4)) or not np.all(np.isfinite(rows)):
        raise ImageError(f'transform_matrix of shape {rows.shape} is no finite 4x4 matrix')
    pose[:3] = rows[:3]
    if np.linalg.det(pose[:3, :3]) <= 0:
        raise ImageError('transform_matrix mirrors or is singular: it is no pose')
    return orthonormalize(pose) @ OPTICAL_FROM_OPENGL
