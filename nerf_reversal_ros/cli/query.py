"""What ``localize`` and ``evaluate`` share: the map, the settings and the localizer."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nerf_reversal_ros.config import DEVICES
from nerf_reversal_ros.errors import ConfigError, MapError

if TYPE_CHECKING:
    from nerf_reversal_ros.config import QueryConfig
    from nerf_reversal_ros.map_store import Map


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
    from nerf_reversal_ros.config import from_mapping, QueryConfig, read_settings

    given = read_settings(arguments.config) if arguments.config else {}
    from_mapping(QueryConfig, given)  # what is wrong with the file is told before the map's
    built = map_.manifest.get('built', {}).get('config', {}).get('capture', {})
    try:
        from_mapping(QueryConfig, {'capture': built})
    except ConfigError as error:
        raise MapError(f'the map {map_.path} has settings unknown here: {error}') from error
    capture = {**built, **(given.get('capture') or {})}
    localizer = dict(given.get('localizer') or {})
    if arguments.device:
        localizer['device'] = arguments.device
    return from_mapping(QueryConfig, {'capture': capture, 'localizer': localizer})
