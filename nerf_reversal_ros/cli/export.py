"""
Copy a map for a robot, without the radiance field.

The localizer does not read the field, which is a large part of a map. The copy localizes alike.
What renders the field needs the whole map: evaluation, reports and views.
"""

import argparse
from pathlib import Path

HELP = 'copy a map without what a robot does not need'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument('map', metavar='MAP', type=Path, help='map folder')
    parser.add_argument('out', metavar='OUT', type=Path, help='the map folder to write')
    parser.add_argument(
        '--for-robot', action='store_true', required=True, help='leave out the radiance field'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace OUT if it exists')


def run(arguments: argparse.Namespace) -> None:
    """Write the copy, and print both sizes."""
    from nerf_reversal_ros.maps.map_export import export_for_robot, robot_files
    from nerf_reversal_ros.maps.map_folder import open_map

    map_ = open_map(arguments.map)
    export_for_robot(map_, arguments.out, overwrite=arguments.overwrite)
    whole = sum(entry['bytes'] for entry in map_.manifest['files'].values())
    size = sum(robot_files(map_).values())
    print(f'wrote {arguments.out}: {size / 1e6:.1f} MB of the {whole / 1e6:.1f} MB of the map')
