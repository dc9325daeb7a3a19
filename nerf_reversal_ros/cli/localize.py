"""
Localize every picture of a bag.

The file of poses has one entry a picture: its stamp, and the pose with its covariance (x, y, z in
metres, rotations about the fixed axes of the map in radians), or the reason why there is none.
map_from_world turns the world of the bag that the map was built from z up; null without a bag.
"""

import argparse
from collections.abc import Iterable, Iterator
import json
from pathlib import Path
from typing import Any, TYPE_CHECKING

from nerf_reversal_ros.cli.common_arguments import add_query_arguments, query_config
from nerf_reversal_ros.cli.console import ProgressConsole

if TYPE_CHECKING:
    from nerf_reversal_ros.core.config import QueryConfig
    from nerf_reversal_ros.core.outcome import Outcome
    from nerf_reversal_ros.maps.map_folder import Map

HELP = 'localize every picture of a bag'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    add_query_arguments(parser)
    parser.add_argument(
        '--out', metavar='poses.json', type=Path, required=True, help='the file to write'
    )


def run(arguments: argparse.Namespace) -> None:
    """Localize and write the file."""
    from nerf_reversal_ros.core.files import check_writable
    from nerf_reversal_ros.core.outcome import PoseEstimate
    from nerf_reversal_ros.maps.map_folder import open_map

    check_writable(arguments.out)
    map_ = open_map(arguments.map)
    config = query_config(map_, arguments)
    with ProgressConsole() as console:
        answers = list(_localize_images(arguments.bag, map_, config, console))
    write_poses(arguments.out, map_, answers)
    published = sum(isinstance(outcome, PoseEstimate) for _, outcome in answers)
    print(f'{published} of {len(answers)} pictures localized, written to {arguments.out}')


def write_poses(file: Path, map_: 'Map', answers: Iterable[tuple[int, 'Outcome']]) -> None:
    """Write the file of poses for outcomes with the stamps [ns] of their pictures."""
    from nerf_reversal_ros.core.files import write_output_text

    convention = map_.convention
    document = {
        'map': str(map_.path),
        'frame_id': 'map',
        'map_from_world': convention.map_from_world.tolist() if convention.of_bag else None,
        'poses': [pose_entry(stamp_ns, outcome) for stamp_ns, outcome in answers],
    }
    write_output_text(file, json.dumps(document, indent=1, allow_nan=False) + '\n')


def _localize_images(
    path: Path, map_: 'Map', config: 'QueryConfig', console: ProgressConsole
) -> Iterator[tuple[int, 'Outcome']]:
    """Localize the pictures one by one; yield their stamps [ns] and outcomes."""
    from nerf_reversal_ros.bags.bag_reader import BagReader
    from nerf_reversal_ros.capture.open_capture import iter_images
    from nerf_reversal_ros.core.progress import Progress
    from nerf_reversal_ros.evaluation.evaluation import localize_or_reject
    from nerf_reversal_ros.localization.localizer import open_localizer

    with BagReader(path) as bag:
        total = bag.count(config.capture.with_topics_of(bag.count).image_topic)
    localizer = open_localizer(map_, config.localizer)
    for number, picture in enumerate(iter_images(path, config.capture)):
        yield picture.stamp_ns, localize_or_reject(localizer, picture.rgb, picture.camera)
        console(Progress('localize', number + 1, total))


def pose_entry(stamp_ns: int, outcome: 'Outcome') -> dict[str, Any]:
    """Return the entry of one picture in the file of poses."""
    from nerf_reversal_ros.core.geometry import quaternion_xyzw
    from nerf_reversal_ros.core.outcome import Rejection

    sec, nanosec = divmod(int(stamp_ns), 1_000_000_000)
    stamp = {'stamp_ns': int(stamp_ns), 'stamp': {'sec': sec, 'nanosec': nanosec}}
    if isinstance(outcome, Rejection):
        return {**stamp, 'rejected': outcome.reason, 'detail': outcome.detail}
    return {
        **stamp,
        'map_from_camera': {
            'position': outcome.map_from_camera[:3, 3].tolist(),
            'orientation_xyzw': quaternion_xyzw(outcome.map_from_camera).tolist(),
        },
        'covariance': outcome.covariance.tolist(),
    }
