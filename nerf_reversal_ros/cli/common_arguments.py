"""Declare the arguments that commands share, and read what they state."""

import argparse
from pathlib import Path
from typing import Literal, TYPE_CHECKING

from nerf_reversal_ros.core.config import DEVICES

if TYPE_CHECKING:
    from nerf_reversal_ros.capture.image_sources import ImageSource
    from nerf_reversal_ros.capture.photo_camera import PhotoCamera
    from nerf_reversal_ros.core.capture_config import CaptureConfig
    from nerf_reversal_ros.core.config import QueryConfig
    from nerf_reversal_ros.maps.building_folder import Building
    from nerf_reversal_ros.maps.map_folder import Map


def add_query_arguments(
    parser: argparse.ArgumentParser, *, source_count: Literal['+', '*'] | None = None
) -> None:
    """Declare MAP, some BAGs or as many SOURCE as stated, ``--device`` and ``--config``."""
    parser.add_argument('map', metavar='MAP', type=Path, help='map folder, written by build')
    if source_count:
        parser.add_argument(
            'sources', metavar='SOURCE', nargs=source_count, help='where images are'
        )
    else:
        parser.add_argument(
            'bags', metavar='BAG', type=Path, nargs='+', help='bag with the images'
        )
    parser.add_argument('--device', choices=DEVICES, help='default: auto')
    parser.add_argument(
        '--config',
        metavar='FILE',
        type=Path,
        help='settings as YAML, sections capture and localizer; topics default to those of the'
        ' mapping bag',
    )


def add_camera_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--camera`` or ``--fov``."""
    cameras = parser.add_mutually_exclusive_group()
    cameras.add_argument(
        '--camera',
        metavar='FILE|"fx fy cx cy"',
        help='calibration of photos: YAML of camera_calibration, cameras.txt of COLMAP, or numbers'
        ' in pixels',
    )
    cameras.add_argument(
        '--fov',
        metavar='DEGREES',
        type=float,
        help='horizontal field of view of photos without a focal length in EXIF',
    )


def open_stated_sources(
    words: list[str], camera: 'PhotoCamera', config: 'CaptureConfig'
) -> 'list[ImageSource]':
    """Open sources; ConfigError if a camera is stated and all of them have ``camera_info``."""
    from nerf_reversal_ros.capture.image_sources import open_sources
    from nerf_reversal_ros.capture.photo_camera import PhotoCamera
    from nerf_reversal_ros.core import remedies
    from nerf_reversal_ros.core.errors import ConfigError

    sources = open_sources(words, camera, config)
    if sources and camera != PhotoCamera() and all(source.has_camera_info for source in sources):
        raise ConfigError(
            'a camera is stated for photos, but bags have camera_info: ' + remedies.CAMERA_OF_BAG
        )
    return sources


def query_config(map_: 'Map | Building', arguments: argparse.Namespace) -> 'QueryConfig':
    """Return the settings of ``--device`` and ``--config``, else of the map, else defaults."""
    from nerf_reversal_ros.core.validated_config import read_yaml

    user = read_yaml(arguments.config) if arguments.config else {}
    overrides = {'localizer': {'device': arguments.device}} if arguments.device else {}
    return map_.query_config(user, overrides)
