"""
Copy a map for a robot, or write a part of it for other programs.

--to robot leaves out the radiance field, which the localizer does not read; the copy localizes
alike. What renders the field needs the whole map: evaluation, reports and views.
--to ply writes the surface as colored points, --to glb as a colored mesh, --to tum the mapping
trajectory, and --to colmap a text model of the mapping cameras with the points of the surface.
The mesh needs scikit-image and trimesh, two optional packages.
"""

import argparse
from pathlib import Path

from nerf_reversal_ros.localization.exchange_formats import FORMATS

HELP = 'copy a map for a robot, or write a part of it for other programs'
SUFFIXES = {'.map': 'robot', '.ply': 'ply', '.glb': 'glb', '.tum': 'tum'}
KINDS = ('robot', *FORMATS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument('map', metavar='MAP', type=Path, help='map folder')
    parser.add_argument(
        'out', metavar='OUT', type=Path, help='what to write; a folder for robot and colmap'
    )
    parser.add_argument(
        '--to',
        choices=KINDS,
        help=f'default: by the suffix of OUT, {", ".join(SUFFIXES)}',
    )
    parser.add_argument(
        '--for-robot', dest='to', action='store_const', const='robot', help='same as --to robot'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace OUT if it exists')


def run(arguments: argparse.Namespace) -> None:
    """Write the copy or the part, and print what it is."""
    from nerf_reversal_ros.core import remedies
    from nerf_reversal_ros.core.errors import ConfigError
    from nerf_reversal_ros.maps.opening import open_room_map

    out: Path = arguments.out
    kind = arguments.to or SUFFIXES.get(out.suffix.lower())
    if kind is None:
        remedy = remedies.EXPORT_KIND.format(suffixes=', '.join(SUFFIXES), kinds=', '.join(KINDS))
        raise ConfigError(f'what to write to {out} is not told by its name: {remedy}')
    map_ = open_room_map(arguments.map)
    if kind == 'robot':
        from nerf_reversal_ros.maps.map_export import export_for_robot, robot_files

        export_for_robot(map_, out, overwrite=arguments.overwrite)
        whole = sum(entry['bytes'] for entry in map_.manifest['files'].values())
        size = sum(robot_files(map_).values())
        print(f'wrote {out}: {size / 1e6:.1f} MB of the {whole / 1e6:.1f} MB of the map')
        return
    from nerf_reversal_ros.localization.exchange_files import write_exchange_file

    write_exchange_file(map_, out, kind, overwrite=arguments.overwrite)
    print(f'wrote {out}')
