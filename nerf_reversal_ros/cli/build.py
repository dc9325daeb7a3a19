"""
Build a map, a NeRF of a room and a localizer for it, from one walk through the room.

Fields: voxel (the default, for CPUs), nerfacto and depth-nerfacto (trained by nerfstudio, for
GPUs; small and slow on a CPU), or nerfstudio:CONFIG.yml, a run that somebody else trained. Such a
run needs no BAG; with a BAG of the same room, or --align, its map is in metres, and the pictures
of a BAG adjust and calibrate it. Nerfstudio's own tools run whatever a config.yml names; here it
is read as data, and of its checkpoint only weights.

A build that was stopped, for whatever reason, goes on when the same command is given again.
"""

import argparse
from pathlib import Path

from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.cli.info import depth_lines
from nerf_reversal_ros.core.config import DEVICES
from nerf_reversal_ros.core.progress import format_duration
from nerf_reversal_ros.fields import FIELD_KINDS, NERFSTUDIO_RUN_PREFIX

HELP = 'build a map from a bag'
AFTER_INTERRUPT = '; the same command goes on where it stopped'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument(
        'bag', metavar='BAG', type=Path, nargs='?', help='colour, depth and poses of a walk'
    )
    parser.add_argument('map', metavar='MAP', type=Path, help='the map folder to write')
    parser.set_defaults(misuse=parser.error, take_more=assign_positionals)
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
        help='with a run and no BAG: lines picture,x,y,z, where its cameras were [m], z up',
    )
    parser.add_argument('--device', choices=DEVICES, default='auto', help='default: auto')
    parser.add_argument('--config', metavar='FILE', type=Path, help='settings, as YAML')
    parser.add_argument('--overwrite', action='store_true', help='replace MAP if it exists')


def assign_positionals(arguments: argparse.Namespace, more: list[str]) -> None:
    """Take what argparse has no place for: BAG is optional, and after an option MAP is left."""
    given = [path for path in (arguments.bag, arguments.map) if path] + [Path(p) for p in more]
    if len(given) > 2:
        names = ', '.join(map(str, given))
        arguments.misuse(f'BAG and MAP, or MAP alone, are wanted, and {len(given)} given: {names}')
    arguments.bag, arguments.map = given


def run(arguments: argparse.Namespace) -> None:
    """Build and tell what came of it."""
    if arguments.bag is None and not arguments.field.startswith(NERFSTUDIO_RUN_PREFIX):
        arguments.misuse('the following arguments are required: BAG')
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
    seconds: dict[str, float] = built.manifest['built']['seconds']
    size = sum(entry['bytes'] for entry in built.manifest['files'].values())
    print(
        f'wrote {arguments.map}: {size / 1e6:.1f} MB, in {format_duration(sum(seconds.values()))}'
    )
    print('  ' + ', '.join(f'{stage} {format_duration(took)}' for stage, took in seconds.items()))
    for name, value in built.manifest['metrics'].items():
        if isinstance(value, (int, float)):
            print(f'  {name} {value:.4g}')
    for line in (*depth_lines(built.manifest), *built.manifest['warnings']):
        print(line)


def field_name(text: str) -> str:
    """Read the name of a field."""
    if text in FIELD_KINDS or text.startswith(NERFSTUDIO_RUN_PREFIX):
        return text
    known = ', '.join([*FIELD_KINDS, f'{NERFSTUDIO_RUN_PREFIX}CONFIG.yml'])
    raise argparse.ArgumentTypeError(f'{text!r} is no field (choose from {known})')
