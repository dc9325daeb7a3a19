"""
Convert the raw data export of Polycam (iPhone or iPad with LiDAR) to a bag.

An export has a JSON file of pose and intrinsics for each image, below ``keyframes``. Images and
poses that Polycam corrected are used where there are some. Poses have OpenGL camera axes and y up.
Depth is in millimeters; pixels of no confidence are left out.
"""

import json
from pathlib import Path
from typing import Any

from nerf_reversal_ros.bags.image_decoding import IMAGE_SUFFIXES
from nerf_reversal_ros.converters.file_finder import FileFinder
from nerf_reversal_ros.converters.nerfstudio import convert_scene
from nerf_reversal_ros.converters.options import Conversion, ConvertOptions
from nerf_reversal_ros.core.errors import CaptureError

_INTRINSICS = {
    'fx': 'fl_x',
    'fy': 'fl_y',
    'cx': 'cx',
    'cy': 'cy',
    'width': 'w',
    'height': 'h',
}
"""Names of Polycam, and of a ``transforms.json``."""
_POSE = [[f't_{row}{column}' for column in range(4)] for row in range(3)]


def is_export(folder: Path) -> bool:
    """Whether a folder is a Polycam export, or the ``keyframes`` of one."""
    keyframes = _keyframes(folder)
    return (keyframes / 'cameras').is_dir() or (keyframes / 'corrected_cameras').is_dir()


def convert(source: Path, bag: Path, options: ConvertOptions) -> Conversion:
    """
    Convert a Polycam export to a bag; see `converters.convert`.

    Raises
    ------
    CaptureError
        If the export holds no images or no poses, or too many frames cannot be used.
    """
    keyframes = _keyframes(source)
    if not is_export(source):
        raise CaptureError(
            f'{source} holds no folder cameras with the poses of a Polycam export: record in'
            ' LiDAR mode, with developer mode switched on, and export "raw data"'
        )
    prefix = 'corrected_' if any((keyframes / 'corrected_cameras').glob('*.json')) else ''
    images = {
        path.stem: path
        for path in sorted((keyframes / f'{prefix}images').glob('*'))
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
    cameras = {path.stem: path for path in sorted((keyframes / f'{prefix}cameras').glob('*.json'))}
    names = sorted({*images, *cameras})
    if not images:
        raise CaptureError(f'{keyframes} holds no {prefix}images: export it again')
    has_depth = any((keyframes / 'depth').glob('*'))
    frames = []
    for name in names:
        image = images.get(name, keyframes / f'{prefix}images' / f'{name}.jpg')
        frame = {'file_path': image.relative_to(source).as_posix()}
        if has_depth:
            for key, kind in (('depth_file_path', 'depth'), ('confidence_path', 'confidence')):
                frame[key] = (keyframes / kind / f'{name}.png').relative_to(source).as_posix()
        frames.append({**frame, **_read_camera(cameras.get(name))})
    finder = FileFinder(source, options.trust_paths)
    scene = {'frames': frames}
    return convert_scene(scene, source, bag, finder, options, up_axis='y')


def _keyframes(folder: Path) -> Path:
    return folder / 'keyframes' if (folder / 'keyframes').is_dir() else folder


def _read_camera(path: Path | None) -> dict[str, Any]:
    """Read pose and intrinsics by the names of a ``transforms.json``; nothing if damaged."""
    try:
        values = json.loads(path.read_text(encoding='utf-8')) if path is not None else None
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    camera = {_INTRINSICS.get(str(key), str(key)): value for key, value in values.items()}
    rows = [[camera.pop(name, None) for name in row] for row in _POSE]
    return {**camera, 'transform_matrix': rows}
