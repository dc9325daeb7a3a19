"""
Whatever nerfstudio can parse, to a bag: its dataparsers, and its reader of Polycam exports.

A parser's cameras are taken back to the world of the data, and are then converted as a
``transforms.json`` of nerfstudio is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from nerf_reversal_ros.converters import nerfstudio
from nerf_reversal_ros.core.errors import CaptureError, NerfReversalError
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.fields.nerfstudio.dependency import (
    pickle_disabled,
    require_modules,
    require_nerfstudio,
)
from nerf_reversal_ros.fields.sim3 import (
    field_from_data,
    from_opengl,
    to_opengl,
    transform_poses,
)

IDENTITY_SETTINGS = {
    'downscale_factor': 1,
    'load_3D_points': False,
    'orientation_method': 'none',
    'center_method': 'none',
    'auto_scale_poses': False,
    'auto_orient': False,
    'eval_mode': 'all',
    'train_split_fraction': 1.0,
}
"""What a parser is told, where it has such a setting, to leave the data as they are."""

POLYCAM = 'polycam'
RESCALING_PARSERS = ('dycheck', 'nuscenes')
"""Parsers that move and scale the poses and do not tell how."""
UNSUPPORTED_PARSER = 'instant-ngp'
"""The parser of 1.1.5 takes the focal length fx for fy as well, mostly, and leaves out depth."""


def convert(
    source: Path,
    bag: Path,
    name: str,
    *,
    frames: slice | None = None,
    progress: ProgressCallback = no_progress,
) -> None:
    """
    Write a recording that a dataparser of nerfstudio reads as a bag; see `converters.convert`.

    Parameters
    ----------
    name : str
        ``polycam``, or a dataparser such as ``scannet`` or ``arkit-data``.

    Raises
    ------
    BuildError
        If nerfstudio is not installed.
    CaptureError
        If it has no such parser, or the parser cannot read the source.
    """
    require_nerfstudio()
    with TemporaryDirectory() as folder:
        scene = Path(folder) / 'transforms.json'
        try:
            if name == POLYCAM:
                _write_polycam_scene(source, scene)
            else:
                scene.write_text(json.dumps(_scene(_run_parser(name, source))), encoding='utf-8')
        except NerfReversalError:
            raise
        except Exception as error:  # the code of others, on files of others
            raise CaptureError(
                f"nerfstudio's parser {name} cannot read {source} ({error!s}): is it a recording"
                ' of that kind?'
            ) from error
        within = source if source.is_dir() else source.parent
        nerfstudio.convert(scene, bag, frames=frames, allowed_root=within, progress=progress)


def _run_parser(name: str, source: Path) -> list[Any]:
    """Let a dataparser read all that it finds, once for each of its splits."""
    (known,) = require_modules('nerfstudio.configs.dataparser_configs')
    parsers: dict[str, Any] = known.all_dataparsers
    short = {key.removesuffix('-data').removesuffix('-parser'): key for key in parsers}
    name = short.get(name, name)
    if name.removesuffix('-data') in RESCALING_PARSERS:
        raise CaptureError(
            f'the parser {name} moves and scales the poses without telling how, so that lengths'
            ' would not be metres: convert the recording to a transforms.json yourself'
        )
    if name.removesuffix('-data') == UNSUPPORTED_PARSER:
        raise CaptureError(
            f'the parser {name} takes the focal length fx for fy and leaves out depth: use'
            ' --format nerfstudio'
        )
    config = parsers.get(name)
    if config is None:
        raise CaptureError(
            f'nerfstudio has no parser {name}: use one of {", ".join(sorted([POLYCAM, *parsers]))}'
        )
    has = {field.name for field in fields(config)}
    settings = {key: value for key, value in IDENTITY_SETTINGS.items() if key in has}
    parser = type(config)(**{**vars(config), **settings, 'data': source}).setup()
    (rich,) = require_modules('nerfstudio.utils.rich_utils')
    with pickle_disabled(), _quiet_console(rich.CONSOLE):
        parsed = [parser.get_dataparser_outputs('train')]
        if not {'eval_mode', 'train_split_fraction'} & has:
            parsed.append(parser.get_dataparser_outputs('val'))
    return parsed


@contextmanager
def _quiet_console(console: Any) -> Iterator[None]:
    """Keep a console of rich from printing: what parsers tell is about training."""
    quiet, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = quiet


def _scene(parsed: list[Any]) -> dict[str, Any]:
    """Describe parsed frames as a transforms.json does."""
    frames: dict[str, dict[str, Any]] = {}
    scale = 0.001
    for split in parsed:
        world_from_field = np.asarray(
            np.linalg.inv(
                field_from_data(split.dataparser_transform.numpy(), split.dataparser_scale)
            )
        )
        poses = from_opengl(split.cameras.camera_to_worlds.double().numpy())
        world = to_opengl(np.eye(4), transform_poses(world_from_field, poses))
        depths = split.metadata.get('depth_filenames') or [None] * len(world)
        scale = float(split.metadata.get('depth_unit_scale_factor', scale))
        for row, (picture, depth) in enumerate(zip(split.image_filenames, depths, strict=True)):
            frame = {
                'file_path': str(Path(picture).absolute()),
                'transform_matrix': [*world[row].tolist(), [0.0, 0.0, 0.0, 1.0]],
                **_intrinsics(split.cameras[row]),
            }
            if depth is not None:
                frame['depth_file_path'] = str(Path(depth).absolute())
            frames[frame['file_path']] = frame
    return {'integer_depth_scale': scale, 'frames': list(frames.values())}


def _intrinsics(camera: Any) -> dict[str, Any]:
    """Read the intrinsics of one of nerfstudio's cameras under the names of a transforms.json."""
    number = int(camera.camera_type)
    models = {1: 'OPENCV', 2: 'OPENCV_FISHEYE'}
    if number not in models:
        raise CaptureError(
            f'the cameras are of a kind (number {number} of nerfstudio) that is no pinhole and no'
            ' fisheye: undistort the pictures first'
        )
    lens: dict[str, Any] = {'camera_model': models[number]}
    for key, value in (('fl_x', 'fx'), ('fl_y', 'fy'), ('cx', 'cx'), ('cy', 'cy')):
        lens[key] = float(getattr(camera, value))
    lens['w'], lens['h'] = int(camera.width), int(camera.height)
    if camera.distortion_params is not None:
        values = camera.distortion_params.tolist()
        lens |= dict(zip(('k1', 'k2', 'k3', 'k4', 'p1', 'p2'), values, strict=True))
    return lens


def _write_polycam_scene(source: Path, scene: Path) -> None:
    """Let nerfstudio read a Polycam export; its pictures are linked, not copied."""
    (polycam,) = require_modules('nerfstudio.process_data.polycam_utils')
    keyframes = source / 'keyframes' if (source / 'keyframes').is_dir() else source
    corrected = (keyframes / 'corrected_images').is_dir()
    pictures = keyframes / ('corrected_images' if corrected else 'images')
    cameras = keyframes / ('corrected_cameras' if corrected else 'cameras')
    names = sorted(p for p in pictures.iterdir() if p.suffix.lower() in ('.jpg', '.png'))
    depths = [keyframes / 'depth' / f'{picture.stem}.png' for picture in names]
    depths = depths if all(depth.is_file() for depth in depths) else []
    for folder, files in (('images', names), ('depth', depths)):
        scene.with_name(folder).mkdir()
        for number, file in enumerate(files, start=1):
            link = scene.with_name(folder) / f'frame_{number:05d}{file.suffix}'
            link.symlink_to(file.absolute())
    polycam.polycam_to_json(names, depths, None, cameras, scene.parent)
