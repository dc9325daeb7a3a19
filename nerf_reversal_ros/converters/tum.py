"""
Convert a sequence in the layout of the TUM RGB-D benchmark to a bag.

``rgb.txt`` and ``depth.txt`` list stamps and files, ``groundtruth.txt`` stamped poses of the color
camera with optical axes. Depth belongs to the pixels of color and counts 1/5000 m.

References
----------
J. Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems, IROS 2012.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nerf_reversal_ros.bags.colmap_camera import COEFFICIENTS, FISHEYE_COEFFICIENTS
from nerf_reversal_ros.bags.trajectory import interpolate, make_trajectory, Trajectory
from nerf_reversal_ros.capture.photo_camera import parse_photo_camera
from nerf_reversal_ros.converters.file_finder import FileFinder
from nerf_reversal_ros.converters.nerfstudio import convert_scene
from nerf_reversal_ros.converters.options import Conversion, ConvertOptions
from nerf_reversal_ros.converters.stamps import stamp_from_seconds
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import OPTICAL_FROM_OPENGL
from nerf_reversal_ros.core.text_lines import read_lines

DEPTH_UNIT_M = 1 / 5000
"""Length of one count of depth [m], as published."""
MAX_STAMP_DIFFERENCE_S = 0.02
"""Largest difference of stamps that belong together; that of the benchmark's own tool."""
POSE_FILE = 'groundtruth.txt'
_PUBLISHED: dict[str, tuple[float, ...]] = {
    'freiburg1': (517.3, 516.5, 318.6, 255.3, 0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
    'freiburg2': (520.9, 521.0, 325.1, 249.7, 0.2312, -0.7849, -0.0033, -0.0001, 0.9172),
    'freiburg3': (535.4, 539.2, 320.1, 247.6),
}
"""fx, fy, cx, cy, k1, k2, p1, p2, k3 of the three cameras of the benchmark, of 640x480 pixels."""


class _Camera(NamedTuple):
    """Intrinsics by the names of a ``transforms.json``, and a note about their origin."""

    values: dict[str, Any]
    note: str = ''


def is_sequence(folder: Path) -> bool:
    """Whether a folder is a sequence: ``rgb.txt`` lists stamped files."""
    try:
        return bool(_read_list(folder / 'rgb.txt'))
    except CaptureError:
        return False


def convert(source: Path, bag: Path, poses: Path | None, options: ConvertOptions) -> Conversion:
    """
    Convert a sequence to a bag; see `converters.convert`.

    An image gets the depth of the nearest stamp, and the pose interpolated at its own.

    Parameters
    ----------
    poses : Path, optional
        Lines ``stamp tx ty tz qx qy qz qw`` to use instead of ``groundtruth.txt``.

    Raises
    ------
    CaptureError
        If a list or the poses are missing or malformed, the intrinsics are unknown, or too many
        frames cannot be used.
    ConfigError
        If the calibration cannot be read.
    """
    images = _read_list(source / 'rgb.txt')
    if not images:
        raise CaptureError(f'{source / "rgb.txt"} lists no images: give a whole sequence')
    depths = _read_list(source / 'depth.txt') if (source / 'depth.txt').exists() else {}
    camera = _camera(source, options)
    stamps_ns = np.array(sorted(images), dtype=np.int64)
    trajectory = _read_trajectory(poses or source / POSE_FILE)
    camera_poses, gaps_ns = interpolate(trajectory, stamps_ns)
    frames = []
    for stamp, pose, gap_ns in zip(stamps_ns.tolist(), camera_poses, gaps_ns, strict=True):
        frame: dict[str, Any] = {'file_path': images[stamp], **camera.values}
        if gap_ns <= MAX_STAMP_DIFFERENCE_S * 1e9:
            frame['transform_matrix'] = (pose @ OPTICAL_FROM_OPENGL).tolist()
        if (depth := _nearest(depths, stamp)) is not None:
            frame['depth_file_path'] = depth
        frames.append(frame)
    finder = FileFinder(source, options.trust_paths)
    options = replace(options, depth_unit_m=options.depth_unit_m or DEPTH_UNIT_M)
    stamps = {name: stamp for stamp, name in images.items()}
    conversion = convert_scene({'frames': frames}, source, bag, finder, options, stamps_ns=stamps)
    return conversion.with_notes(camera.note) if camera.note else conversion


def _camera(source: Path, options: ConvertOptions) -> _Camera:
    """Return the intrinsics that the user states, else those published for the sequence."""
    if options.camera is not None:
        return _Camera(_stated_camera(options.camera))
    name = next((name for name in _PUBLISHED if name in source.resolve().name), None)
    if name is None:
        raise CaptureError(
            f'the intrinsics of {source} are not in its files, and its name holds none of'
            f' {", ".join(_PUBLISHED)}: {remedies.CAMERA_OF_SEQUENCE}'
        )
    fx, fy, cx, cy, *distortion = _PUBLISHED[name]
    values = _values((fx, fy, cx, cy), distortion)
    return _Camera({**values, 'w': 640, 'h': 480}, f'the intrinsics are those of {name}')


def _stated_camera(text: str) -> dict[str, Any]:
    """Read what `parse_photo_camera` reads, with one camera alone."""
    stated = parse_photo_camera(text, remedy=remedies.CAMERA_OF_SEQUENCE)
    if stated.intrinsics is not None:
        return _values(stated.intrinsics, ())
    if len(stated.models) > 1:
        raise ConfigError(f'{text} holds {len(stated.models)} cameras: leave one of them in it')
    (model,) = stated.models
    camera = model.camera
    intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
    values = _values(intrinsics, model.distortion, is_fisheye=model.is_fisheye)
    return {**values, 'w': camera.width, 'h': camera.height}


def _values(
    intrinsics: tuple[float, float, float, float],
    distortion: Sequence[float],
    *,
    is_fisheye: bool = False,
) -> dict[str, Any]:
    """Name intrinsics and coefficients of OpenCV as a ``transforms.json`` does."""
    fx, fy, cx, cy = intrinsics
    names = FISHEYE_COEFFICIENTS if is_fisheye else COEFFICIENTS
    model = 'OPENCV_FISHEYE' if is_fisheye else 'FULL_OPENCV' if len(distortion) > 5 else 'OPENCV'
    # The origin of a transforms.json is the corner of the first pixel, here it is its center.
    focal_and_center = {'fl_x': fx, 'fl_y': fy, 'cx': cx + 0.5, 'cy': cy + 0.5}
    return {
        'camera_model': model,
        **focal_and_center,
        **dict(zip(names, distortion, strict=False)),
    }


def _nearest(depths: dict[int, str], stamp_ns: int) -> str | None:
    """Return the depth image of the nearest stamp, if it is near enough."""
    stamps_ns = np.fromiter(depths, dtype=np.int64)
    if not len(stamps_ns):
        return None
    nearest = int(stamps_ns[np.argmin(np.abs(stamps_ns - stamp_ns))])
    is_near = abs(nearest - stamp_ns) <= MAX_STAMP_DIFFERENCE_S * 1e9
    return depths[nearest] if is_near else None


def _read_list(path: Path) -> dict[int, str]:
    """Read the files of a list by stamp [ns]."""
    files = {}
    for number, line in read_lines(path):
        if not line:
            continue
        try:
            stamp, name = line.split(maxsplit=1)
            files[_parse_stamp(stamp)] = name
        except ValueError as error:
            raise CaptureError(
                f'{path} line {number} is no "stamp file": give the list of a sequence'
            ) from error
    return files


def _read_trajectory(path: Path) -> Trajectory:
    stamps, values = [], []
    for number, line in read_lines(path):
        if not line:
            continue
        try:
            stamp, *pose = line.replace(',', ' ').split()
            if len(pose) != 7:
                raise ValueError(f'{len(pose)} numbers')
            stamps.append(_parse_stamp(stamp))
            values.append([float(value) for value in pose])
        except ValueError as error:
            raise CaptureError(
                f'{path} line {number} is no "stamp tx ty tz qx qy qz qw": correct it'
            ) from error
    trajectory, _ = make_trajectory(stamps, values)
    if not len(trajectory.stamps_ns):
        raise CaptureError(f'{path} holds no valid pose: give the trajectory of the camera')
    return trajectory


def _parse_stamp(text: str) -> int:
    """Parse a stamp in seconds to nanoseconds; ValueError if it is none."""
    stamp_ns = stamp_from_seconds(float(text))
    if stamp_ns is None:
        raise ValueError(f'{text} is no time in seconds')
    return stamp_ns
