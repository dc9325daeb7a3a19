"""What ``localize`` and ``evaluate`` share: the map, the settings and the localizer."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nerf_reversal_ros.core.config import DEVICES

if TYPE_CHECKING:
    from nerf_reversal_ros.core.config import QueryConfig
    from nerf_reversal_ros.maps.map_folder import Map


def add_query_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that both commands have."""
    parser.add_argument('map', metavar='MAP', type=Path, help='the folder written by build')
    parser.add_argument('bag', metavar='BAG', type=Path, help='the bag with the pictures')
    parser.add_argument('--device', choices=DEVICES, help='default: auto')
    parser.add_argument(
        '--config',
        metavar='FILE',
        type=Path,
        help='settings, as YAML, in sections capture and localizer; topics default to those that'
        ' the map was built from',
    )


def query_config(map_: 'Map', arguments: argparse.Namespace) -> 'QueryConfig':
    """Return the settings: of the file, else of the map (for reading bags), else defaults."""
    from nerf_reversal_ros.core.validated_config import read_yaml

    given = read_yaml(arguments.config) if arguments.config else {}
    over = {'localizer': {'device': arguments.device}} if arguments.device else {}
    return map_.query_config(given, over)
