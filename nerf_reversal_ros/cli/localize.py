"""
Localize every picture of a bag.

The file of poses has one entry a picture: its stamp, and the pose with its covariance (x, y, z in
metres, rotations about the fixed axes of the map in radians), or the reason why there is none.
"""

import argparse
from collections.abc import Iterator
import json
from pathlib import Path
from typing import Any, TYPE_CHECKING

from nerf_reversal_ros.cli.console import Console
from nerf_reversal_ros.cli.query import add_query_arguments, query_config

if TYPE_CHECKING:
    from nerf_reversal_ros.config import QueryConfig
    from nerf_reversal_ros.map_store import Map
    from nerf_reversal_ros.outcome import Outcome

HELP = 'localize every picture of a bag'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    add_query_arguments(parser)
    parser.add_argument(
        '--out', metavar='poses.json', type=Path, required=True, help='the file to write'
    )


def run(arguments: argparse.Namespace) -> None:
    """Localize and write the file."""
    from nerf_reversal_ros.files import refuse_unwritable, write_text
    from nerf_reversal_ros.map_store import open_map

    refuse_unwritable(arguments.out)
    map_ = open_map(arguments.map)
    config = query_config(map_, arguments)
    with Console() as console:
        entries = list(_entries(arguments.bag, map_, config, console))
    document = {
        'map': str(arguments.map),
        'frame_id': 'map',
        'map_from_world': map_.convention.map_from_world.tolist(),
        'poses': entries,
    }
    write_text(arguments.out, json.dumps(document, indent=1, allow_nan=False) + '\n')
    published = sum('map_from_camera' in entry for entry in entries)
    print(f'{published} of {len(entries)} pictures localized, written to {arguments.out}')


def _entries(
    path: Path, map_: 'Map', config: 'QueryConfig', console: Console
) -> Iterator[dict[str, Any]]:
    """Localize the pictures one by one."""
    from nerf_reversal_ros.bag import Bag
    from nerf_reversal_ros.capture import iter_images
    from nerf_reversal_ros.localization import open_localizer
    from nerf_reversal_ros.progress import Progress

    with Bag(path) as bag:
        total = bag.count(config.capture.image_topic)
    localizer = open_localizer(map_, config.localizer)
    for number, picture in enumerate(iter_images(path, config.capture)):
        yield pose_entry(picture.stamp_ns, localizer.localize(picture.rgb, picture.camera))
        console(Progress('localize', number + 1, total))


def pose_entry(stamp_ns: int, outcome: 'Outcome') -> dict[str, Any]:
    """Return the entry of one picture in the file of poses."""
    from nerf_reversal_ros.geometry import quaternion_xyzw
    from nerf_reversal_ros.outcome import Rejected

    sec, nanosec = divmod(int(stamp_ns), 1_000_000_000)
    stamp = {'stamp_ns': int(stamp_ns), 'stamp': {'sec': sec, 'nanosec': nanosec}}
    if isinstance(outcome, Rejected):
        return {**stamp, 'rejected': outcome.reason, 'detail': outcome.detail}
    return {
        **stamp,
        'map_from_camera': {
            'position': outcome.map_from_camera[:3, 3].tolist(),
            'orientation_xyzw': quaternion_xyzw(outcome.map_from_camera).tolist(),
        },
        'covariance': outcome.covariance.tolist(),
    }
