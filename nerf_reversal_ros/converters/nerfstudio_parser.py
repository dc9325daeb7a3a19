"""
Convert recordings that a dataparser of nerfstudio reads to a bag.

The cameras of a dataparser are transformed back to the world of the data. Then they are converted
like a ``transforms.json``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from nerf_reversal_ros.converters.file_finder import FileFinder
from nerf_reversal_ros.converters.nerfstudio import convert_scene
from nerf_reversal_ros.converters.options import Conversion, ConvertOptions
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError, NerfReversalError
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
"""Settings, where a parser has them, that keep all frames and do not transform the poses."""

RESCALING_PARSERS = ('dycheck', 'nuscenes')
"""Parsers that transform and scale the poses without returning the transform."""
UNSUPPORTED_PARSER = 'instant-ngp'
"""Parser of nerfstudio 1.1.5 that uses the focal length fx for fy mostly, and ignores depth."""


def convert(source: Path, bag: Path, name: str, options: ConvertOptions) -> Conversion:
    """
    Convert a recording by a dataparser of nerfstudio; see `converters.convert`.

    Parameters
    ----------
    name : str
        A dataparser such as ``scannet`` or ``arkit-data``.

    Raises
    ------
    BuildError
        If nerfstudio is not installed.
    CaptureError
        If nerfstudio has no such parser, or the parser cannot read the source.
    """
    require_nerfstudio()
    try:
        scene = _scene(_run_parser(name, source))
    except NerfReversalError:
        raise
    except Exception as error:  # third-party code on untrusted files raises any type
        raise CaptureError(
            f'the nerfstudio parser {name} cannot read {source} ({error!s}): give a'
            ' recording of that kind'
        ) from error
    folder = source if source.is_dir() else source.parent
    finder = FileFinder(folder, options.trust_paths)
    return convert_scene(scene, source, bag, finder, options)


def _run_parser(name: str, source: Path) -> list[Any]:
    """Run a dataparser on all frames, once for each of its splits."""
    (configs,) = require_modules('nerfstudio.configs.dataparser_configs')
    parsers: dict[str, Any] = configs.all_dataparsers
    short_names = {key.removesuffix('-data').removesuffix('-parser'): key for key in parsers}
    name = short_names.get(name, name)
    if name.removesuffix('-data') in RESCALING_PARSERS:
        raise CaptureError(
            f'the parser {name} scales the poses by an unknown factor, so that lengths would not'
            ' be in meters: convert the recording to a transforms.json yourself'
        )
    if name.removesuffix('-data') == UNSUPPORTED_PARSER:
        raise CaptureError(
            f'the parser {name} uses the focal length fx for fy and ignores depth:'
            f' {remedies.FORMAT_NERFSTUDIO}'
        )
    config = parsers.get(name)
    if config is None:
        raise CaptureError(
            f'nerfstudio has no parser {name}: use one of {", ".join(sorted(parsers))}'
        )
    available = {field.name for field in fields(config)}
    settings = {key: value for key, value in IDENTITY_SETTINGS.items() if key in available}
    parser = type(config)(**{**vars(config), **settings, 'data': source}).setup()
    (rich,) = require_modules('nerfstudio.utils.rich_utils')
    with pickle_disabled(), _quiet_console(rich.CONSOLE):
        parsed = [parser.get_dataparser_outputs('train')]
        if not {'eval_mode', 'train_split_fraction'} & available:
            parsed.append(parser.get_dataparser_outputs('val'))
    return parsed


@contextmanager
def _quiet_console(console: Any) -> Iterator[None]:
    """Silence a console of rich: the output of parsers is about training."""
    was_quiet, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = was_quiet


def _scene(parsed: list[Any]) -> dict[str, Any]:
    """Convert parsed frames to the content of a transforms.json."""
    frames: dict[str, dict[str, Any]] = {}
    depth_scale = 0.001
    for split in parsed:
        world_from_field = np.asarray(
            np.linalg.inv(
                field_from_data(split.dataparser_transform.numpy(), split.dataparser_scale)
            )
        )
        poses = from_opengl(split.cameras.camera_to_worlds.double().numpy())
        world_from_camera = to_opengl(np.eye(4), transform_poses(world_from_field, poses))
        nothing = [None] * len(world_from_camera)
        depths = split.metadata.get('depth_filenames') or nothing
        masks = split.mask_filenames or nothing
        depth_scale = float(split.metadata.get('depth_unit_scale_factor', depth_scale))
        files = zip(split.image_filenames, depths, masks, strict=True)
        for row, (image, depth, mask) in enumerate(files):
            frame = {
                'file_path': str(Path(image).absolute()),
                'transform_matrix': [*world_from_camera[row].tolist(), [0.0, 0.0, 0.0, 1.0]],
                **_intrinsics(split.cameras[row]),
            }
            if depth is not None:
                frame['depth_file_path'] = str(Path(depth).absolute())
            if mask is not None:
                frame['mask_path'] = str(Path(mask).absolute())
            frames[frame['file_path']] = frame
    return {'integer_depth_scale': depth_scale, 'frames': list(frames.values())}


def _intrinsics(camera: Any) -> dict[str, Any]:
    """Convert the intrinsics of a nerfstudio camera to the names of a transforms.json."""
    camera_type = int(camera.camera_type)
    models = {1: 'OPENCV', 2: 'OPENCV_FISHEYE'}
    if camera_type not in models:
        raise CaptureError(
            f'camera type {camera_type} of nerfstudio is neither pinhole nor fisheye: undistort'
            ' the images first'
        )
    intrinsics: dict[str, Any] = {
        'camera_model': models[camera_type],
        'fl_x': float(camera.fx),
        'fl_y': float(camera.fy),
        'cx': float(camera.cx),
        'cy': float(camera.cy),
        'w': int(camera.width),
        'h': int(camera.height),
    }
    if camera.distortion_params is not None:
        coefficients = camera.distortion_params.tolist()
        intrinsics |= dict(zip(('k1', 'k2', 'k3', 'k4', 'p1', 'p2'), coefficients, strict=True))
    return intrinsics
