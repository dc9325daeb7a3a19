"""
Build a map of a room from a mapping bag: radiance field, landmarks and pose regressor.

Fields: voxel is the default, for CPUs. nerfacto and depth-nerfacto are trained by nerfstudio, for
GPUs; they are small and slow on a CPU. nerfstudio:CONFIG.yml is a run that ns-train wrote. A run
needs no BAG. With a BAG of the same room, or with --align, its map is in meters; the images of
BAG also refine and calibrate it. Of a run, config.yml is read as data and of the checkpoint only
the weights are loaded: no code of it is executed.

A build that was interrupted or killed resumes when the same command is given again.
"""

import argparse
from pathlib import Path
from typing import Any

from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.cli.info import depth_lines
from nerf_reversal_ros.core.config import DEVICES
from nerf_reversal_ros.core.progress import format_duration
from nerf_reversal_ros.fields import FIELD_KINDS, NERFSTUDIO_RUN_PREFIX

HELP = 'build a map from a bag'
AFTER_INTERRUPT = '; the same command resumes the build'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument(
        'bag', metavar='BAG', type=Path, nargs='?', help='mapping bag: color, depth and poses'
    )
    parser.add_argument('map', metavar='MAP', type=Path, help='the map folder to write')
    parser.set_defaults(fail=parser.error, assign_positionals=assign_positionals)
    parser.add_argument(
        '--field',
        type=field_name,
        default='voxel',
        help=f'{", ".join(FIELD_KINDS)} or {NERFSTUDIO_RUN_PREFIX}CONFIG.yml; default: voxel',
    )
    parser.add_argument(
        '--align',
        metavar='FILE',
        type=Path,
        help='for a run without BAG: known camera positions, lines image,x,y,z [m], z up',
    )
    parser.add_argument('--device', choices=DEVICES, default='auto', help='default: auto')
    parser.add_argument('--config', metavar='FILE', type=Path, help='settings, as YAML')
    parser.add_argument('--overwrite', action='store_true', help='replace MAP if it exists')


def assign_positionals(arguments: argparse.Namespace, more: list[str]) -> None:
    """
    Assign positional arguments that argparse leaves over to BAG and MAP.

    BAG is optional: argparse takes one path before an option as MAP, and does not expect another.
    """
    paths = [path for path in (arguments.bag, arguments.map) if path] + [Path(p) for p in more]
    if len(paths) > 2:
        names = ', '.join(map(str, paths))
        arguments.fail(f'{len(paths)} paths given, {names}: give BAG and MAP, or MAP alone')
    arguments.bag, arguments.map = paths


def run(arguments: argparse.Namespace) -> None:
    """Build the map, and print its size, times, metrics and warnings."""
    if arguments.bag is None and not arguments.field.startswith(NERFSTUDIO_RUN_PREFIX):
        arguments.fail('the following arguments are required: BAG')
    from nerf_reversal_ros.core.config import load_build_config

    config = load_build_config(arguments.config)

    from nerf_reversal_ros.mapping.pipeline import build_map

    with ProgressConsole() as console:
        built = build_map(
            arguments.bag,
            arguments.map,
            config,
            device=arguments.device,
            field=arguments.field,
            positions=arguments.align,
            overwrite=arguments.overwrite,
            progress=console,
        )
    print('\n'.join(summary_lines(built.manifest, arguments.map)))


def summary_lines(manifest: dict[str, Any], path: Path) -> list[str]:
    """Describe a map that was just built."""
    seconds: dict[str, float] = manifest['built']['seconds']
    size_mb = sum(entry['bytes'] for entry in manifest['files'].values()) / 1e6
    stages = ', '.join(f'{stage} {format_duration(s)}' for stage, s in seconds.items())
    return [
        f'wrote {path}: {size_mb:.1f} MB, in {format_duration(sum(seconds.values()))}',
        f'  {stages}',
        *(
            f'  {name} {value:.4g}'
            for name, value in manifest['metrics'].items()
            if isinstance(value, (int, float))
        ),
        *depth_lines(manifest),
        *manifest['warnings'],
    ]


def field_name(text: str) -> str:
    """Parse the kind of a field, for argparse."""
    if text in FIELD_KINDS or text.startswith(NERFSTUDIO_RUN_PREFIX):
        return text
    known = ', '.join([*FIELD_KINDS, f'{NERFSTUDIO_RUN_PREFIX}CONFIG.yml'])
    raise argparse.ArgumentTypeError(f'{text!r} is not a field: choose from {known}')
