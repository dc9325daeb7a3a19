"""
Convert a ``transforms.json`` of nerfstudio, instant-ngp or NeRFCapture to a bag.

The transform that ns-process-data recorded (``applied_transform``, ``applied_scale``) is inverted,
because it was not applied to depth. Without depth the pose convention of a capture is unchecked
and, after COLMAP, its scale is unknown.
"""

from collections.abc import Iterable, Mapping
import json
from pathlib import Path
import re
from typing import Any

import numpy as np

from nerf_reversal_ros.converters.file_finder import FileFinder
from nerf_reversal_ros.converters.frame_range import select_frame_range
from nerf_reversal_ros.converters.frame_writer import write_frames
from nerf_reversal_ros.converters.options import Conversion, ConvertOptions
from nerf_reversal_ros.converters.scene_frame import depth_unit_m, FRAME_KEYS, SceneFrame
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.fields.sim3 import field_from_data

RATE_HZ = 30
"""Rate of the synthetic stamps: the format has none, so frame i gets (i + 1) / 30 s."""

LEGACY_COLMAP_TRANSFORM = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
"""Transform that older versions of nerfstudio applied to poses of COLMAP without a record."""

SCENE_KEYS = ('frames', 'applied_transform', 'applied_scale')
"""Keys that are used and that a frame does not have."""


def convert(source: Path, bag: Path, options: ConvertOptions) -> Conversion:
    """
    Convert the frames of a ``transforms.json`` to a bag; see `converters.convert`.

    Raises
    ------
    CaptureError
        If the file is malformed or names files outside of its folder, or too many frames cannot
        be used.
    """
    path = source / 'transforms.json' if source.is_dir() else source
    scene = _read_scene(path)
    if scene.get('applied_transform') is None and (path.parent / 'colmap/sparse/0').exists():
        scene['applied_transform'] = LEGACY_COLMAP_TRANSFORM
    finder = FileFinder(path.parent, options.trust_paths)
    return convert_scene(scene, path, bag, finder, options)


def convert_scene(
    scene: dict[str, Any],
    source: Path,
    bag: Path,
    finder: FileFinder,
    options: ConvertOptions,
    *,
    stamps_ns: Mapping[str, int] | None = None,
    **writer_options: Any,
) -> Conversion:
    """
    Convert the content of a ``transforms.json`` to a bag.

    Frames are in the order of their stamps, else in the natural order of their file names.

    Parameters
    ----------
    scene : dict
        Content, with a list of at least one frame.
    source : Path
        The recording, for messages.
    finder : FileFinder
        Finds the files that frames name.
    stamps_ns : mapping, optional
        Stamp of each frame by its ``file_path`` [ns]; None: frame i gets (i + 1) / `RATE_HZ`.
    **writer_options
        Options of `bag_writer.BagWriter`.
    """
    ordered = _ordered(scene['frames'], stamps_ns)
    selected = select_frame_range(dict(enumerate(ordered)), options.frames, source)
    world_from_data = _world_from_data(scene, source)
    common = {key: value for key, value in scene.items() if key in FRAME_KEYS}
    frames = [
        SceneFrame(
            str(frame.get('file_path', f'at position {position}')),
            _stamp_ns(frame, position, stamps_ns),
            {**common, **frame},
            world_from_data,
            finder,
            options,
        )
        for position, frame in selected.items()
    ]
    first = {**common, **next(iter(selected.values()))}
    unit_m = options.depth_unit_m or depth_unit_m(first) or 0.0
    conversion = write_frames(source, bag, frames, options, depth_unit_m=unit_m, **writer_options)
    notes = unused_keys(scene, selected.values(), source)
    if finder.moved:
        notes.append(
            f'{len(finder.moved)} files are not where {source} says: found by the ends of their'
            f' paths, such as {min(finder.moved)}'
        )
    return conversion.with_notes(*notes)


def _ordered(
    frames: list[dict[str, Any]], stamps_ns: Mapping[str, int] | None
) -> list[dict[str, Any]]:
    if stamps_ns is not None:
        return sorted(frames, key=lambda frame: stamps_ns[frame['file_path']])
    return sorted(frames, key=lambda frame: _natural_key(str(frame.get('file_path'))))


def _stamp_ns(frame: dict[str, Any], position: int, stamps_ns: Mapping[str, int] | None) -> int:
    if stamps_ns is not None:
        return stamps_ns[frame['file_path']]
    return round((position + 1) * 1e9 / RATE_HZ)


def unused_keys(
    scene: dict[str, Any], frames: Iterable[dict[str, Any]], source: Path
) -> list[str]:
    """Return a note that names the keys that a conversion does not use, if there are some."""
    unused = {key for key in scene if key not in (*SCENE_KEYS, *FRAME_KEYS)}
    unused |= {key for frame in frames for key in frame if key not in FRAME_KEYS}
    names = sorted(map(str, unused))
    listed = ', '.join(names[:20]) + (f' and {len(names) - 20} more' if len(names) > 20 else '')
    return [f'keys of {source} that are not used: {listed}'] if names else []


def _read_scene(path: Path) -> dict[str, Any]:
    try:
        scene = json.loads(path.read_text(encoding='utf-8-sig'))
    except OSError as error:
        raise CaptureError(f'cannot read {path}: {error.strerror}') from error
    except (ValueError, RecursionError) as error:
        raise CaptureError(f'{path} is not JSON ({error}): export it again') from error
    frames = scene.get('frames') if isinstance(scene, dict) else None
    if not isinstance(frames, list):
        raise CaptureError(f'{path} has no list of frames: give the transforms.json of nerfstudio')
    if not frames:
        raise CaptureError(f'the list of frames in {path} is empty: export it again')
    return {
        **scene,
        'frames': [_renamed(item) if isinstance(item, dict) else {} for item in frames],
    }


def _renamed(frame: dict[str, Any]) -> dict[str, Any]:
    """Name the depth image as nerfstudio does, where instant-ngp's ``depth_path`` names it."""
    others = {key: value for key, value in frame.items() if key != 'depth_path'}
    depth = {'depth_file_path': frame['depth_path']} if 'depth_path' in frame else {}
    return {**depth, **others}


def _world_from_data(scene: dict[str, Any], path: Path) -> FloatArray:
    """Return the Sim(3) (4, 4) from the poses of the file to the world before processing."""
    transform = scene.get('applied_transform')
    try:
        applied = np.array(np.eye(4) if transform is None else transform, dtype=np.float64)
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
    return [
        (int(part), '') if part.isascii() and part.isdigit() else (-1, part)
        for part in re.split(r'([0-9]+)', name)
    ]
