"""Declare the arguments that ``localize`` and ``evaluate`` share, and read their settings."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nerf_reversal_ros.core.config import DEVICES

if TYPE_CHECKING:
    from nerf_reversal_ros.core.config import QueryConfig
    from nerf_reversal_ros.maps.map_folder import Map


def add_query_arguments(parser: argparse.ArgumentParser, *, takes_sources: bool = False) -> None:
    """Declare MAP, BAG or several SOURCE, ``--device`` and ``--config``."""
    parser.add_argument('map', metavar='MAP', type=Path, help='map folder, written by build')
    if takes_sources:
        parser.add_argument('sources', metavar='SOURCE', nargs='+', help='where images are')
    else:
        parser.add_argument('bag', metavar='BAG', type=Path, help='bag with the images')
    parser.add_argument('--device', choices=DEVICES, help='default: auto')
    parser.add_argument(
        '--config',
        metavar='FILE',
        type=Path,
        help='settings as YAML, sections capture and localizer; topics default to those of the'
        ' mapping bag',
    )


def query_config(map_: 'Map', arguments: argparse.Namespace) -> 'QueryConfig':
    """Return the settings of ``--device`` and ``--config``, else of the map, else defaults."""
    from nerf_reversal_ros.core.validated_config import read_yaml

    user = read_yaml(arguments.config) if arguments.config else {}
    overrides = {'localizer': {'device': arguments.device}} if arguments.device else {}
    return map_.query_config(user, overrides)
