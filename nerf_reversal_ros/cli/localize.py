"""
Localize every picture of a bag.

The file of poses has one entry a picture: its stamp, and the pose with its covariance (x, y, z in
metres, rotations about the fixed axes of the map in radians), or the reason why there is none.
"""

import argparse
import json
from pathlib import Path
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from nerf_reversal_ros.outcome import Outcome

HELP = 'localize every picture of a bag'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    from nerf_reversal_ros.cli.query import add_query_arguments

    add_query_arguments(parser)
    parser.add_argument(
        '--out', metavar='poses.json', type=Path, required=True, help='the file to write'
    )


def run(arguments: argparse.Namespace) -> None:
    """Localize and write the file."""
    from nerf_reversal_ros.capture import iter_images
    from nerf_reversal_ros.cli.console import Console
    from nerf_reversal_ros.cli.query import query_config
    from nerf_reversal_ros.errors import CaptureError
    from nerf_reversal_ros.files import write_text
    from nerf_reversal_ros.localization import Localizer
    from nerf_reversal_ros.map_store import open_map
    from nerf_reversal_ros.progress import Progress

    map_ = open_map(arguments.map)
    config = query_config(map_, arguments)
    localizer = Localizer(map_, config.localizer)
    entries = []
    with Console() as console:
        for picture in iter_images(arguments.bag, config.capture):
            outcome = localizer.localize(picture.rgb, picture.camera)
            entries.append(pose_entry(picture.stamp_ns, outcome))
            console(Progress('localize', len(entries), len(entries) + 1))
    if not entries:
        raise CaptureError(f'{arguments.bag} holds no picture on {config.capture.image_topic}')
    document = {
        'map': str(arguments.map),
        'frame_id': 'map',
        'map_from_world': map_.convention.as_dict()['map_from_world'],
        'poses': entries,
    }
    write_text(arguments.out, json.dumps(document, indent=1, allow_nan=False) + '\n')
    published = sum('map_from_camera' in entry for entry in entries)
    print(f'{published} of {len(entries)} pictures localized, written to {arguments.out}')


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
