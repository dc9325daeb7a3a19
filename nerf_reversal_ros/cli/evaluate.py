"""
Judge a map on a bag with true poses.

Prints how near the answers come to the poses of the bag, beside the baselines mean_pose (always
the mean walked pose), nearest_reference (an oracle: the walked pose nearest to the truth),
pca_retrieval (the nearest synthetic view), inerf_prior and inerf_random (gradient descent on the
field from the regressor's or a random pose, on 30 of the pictures, for it is slow) and, with
--reference, on the real pictures of the build: vlad_retrieval (the nearest one), sift_pnp (SIFT
and PnP), seed_cnn and seed_mlp (networks trained for minutes; they tell a position only),
hloc_sift (SIFT matched with points triangulated by COLMAP; it needs pycolmap).
"""

import argparse
import json
from pathlib import Path
import shlex
import sys
from typing import TYPE_CHECKING

from nerf_reversal_ros.cli.common_arguments import add_query_arguments, query_config
from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.cli.localize import write_poses
from nerf_reversal_ros.core.errors import CaptureError, ConfigError

if TYPE_CHECKING:
    from nerf_reversal_ros.capture.capture import Capture
    from nerf_reversal_ros.core.config import QueryConfig
    from nerf_reversal_ros.maps.map_folder import Map

HELP = 'judge a map on a bag with true poses'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    add_query_arguments(parser)
    parser.add_argument('--json', metavar='metrics.json', type=Path, help='write the figures')
    parser.add_argument('--report', metavar='report.html', type=Path, help='write a report')
    parser.add_argument(
        *('--out-poses', '--poses'),  # the second name is an old one
        metavar='poses.json',
        type=Path,
        help='write poses and rejections, as localize does',
    )
    parser.add_argument(
        '--baselines',
        metavar='all|none|NAME,...',
        type=baseline_names,
        default='all',
        help='default: all that can be had',
    )
    parser.add_argument(
        '--reference', metavar='BUILD_BAG', type=Path, help='the bag that MAP was built from'
    )


def baseline_names(text: str) -> str:
    """Refuse baselines that nobody knows."""
    from nerf_reversal_ros.baselines.baselines import parse_baselines

    try:
        parse_baselines(text, has_reference=True)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def run(arguments: argparse.Namespace) -> None:
    """Check what was asked for, then judge."""
    from nerf_reversal_ros.bags.bag_reader import BagReader
    from nerf_reversal_ros.baselines.baselines import parse_baselines
    from nerf_reversal_ros.core.files import check_writable
    from nerf_reversal_ros.maps.map_folder import open_map

    names = parse_baselines(arguments.baselines, has_reference=arguments.reference is not None)
    for path in (arguments.json, arguments.report, arguments.out_poses):
        check_writable(path)
    map_ = open_map(arguments.map)
    config = query_config(map_, arguments)
    for bag in filter(None, (arguments.bag, arguments.reference)):
        with BagReader(bag):
            pass  # what is no bag is refused before anything is loaded
    with ProgressConsole() as console:
        _evaluate_map(arguments, map_, config, names, console)


def _evaluate_map(
    arguments: argparse.Namespace,
    map_: 'Map',
    config: 'QueryConfig',
    names: tuple[str, ...],
    console: ProgressConsole,
) -> None:
    """Judge, print, and write what was asked for."""
    from nerf_reversal_ros.baselines.baselines import (
        BaselineInputs,
        check_reference,
        create_baseline,
        skipped_baselines,
    )
    from nerf_reversal_ros.capture.capture import DepthCorrection, open_capture
    from nerf_reversal_ros.core.devices import resolve_device
    from nerf_reversal_ros.core.files import write_output_text
    from nerf_reversal_ros.evaluation.evaluation import evaluate
    from nerf_reversal_ros.evaluation.summary import summary_text
    from nerf_reversal_ros.fields.voxel import VoxelField
    from nerf_reversal_ros.localization.localizer import open_localizer

    def opened(bag: Path) -> 'Capture':
        return open_capture(
            bag, config.capture, convention=map_.convention, select_frames=False, progress=console
        )

    if arguments.baselines == 'all':
        for sentence in skipped_baselines(has_reference=arguments.reference is not None):
            console.print_line(sentence)
    walked = map_.mapping_poses
    reference = arguments.reference and opened(arguments.reference)
    if reference is not None:
        counts = map_.manifest.get('capture', {}).get('counts', {})
        check_reference(reference, walked[: counts.get('kept')])  # then cameras of a run
        correction = DepthCorrection(**map_.manifest.get('depth_correction', {}))
        reference = reference.with_depth_correction(
            correction
        )  # the peers get what the map was built from
    capture = opened(arguments.bag)
    localizer = open_localizer(map_, config.localizer)
    device = resolve_device(config.localizer.device)
    field = VoxelField.load(map_.file('field.safetensors'), device)
    material = BaselineInputs(walked, localizer.regressor, reference, console, field)
    costs = _map_costs(map_)
    made = {}
    for name in names if len(capture) else ():
        try:
            made[name] = create_baseline(name, material, costs)
        except CaptureError as error:
            if arguments.baselines != 'all':
                raise
            console.print_line(f'{name} left out: {error}')
    result = evaluate(
        capture,
        localizer,
        walked,
        field=field,
        baselines=made,
        map_costs=costs,
        progress=console,
    )
    print(summary_text(result.metrics))
    if arguments.json:
        write_output_text(
            arguments.json, json.dumps(result.metrics, indent=1, allow_nan=False) + '\n'
        )
    if arguments.report:
        from nerf_reversal_ros.evaluation.report import report_html

        command = shlex.join(['nerf-reversal', *sys.argv[1:]])
        page = report_html(result, map_, capture, field, walked, command=command)
        write_output_text(arguments.report, page)
    if arguments.out_poses:
        write_poses(arguments.out_poses, map_, zip(result.stamps_ns, result.outcomes, strict=True))
    for path in filter(None, (arguments.json, arguments.report, arguments.out_poses)):
        print(f'wrote {path}')


def _map_costs(map_: 'Map') -> dict[str, float]:
    """Return how long the map took to build, and its size."""
    manifest = map_.manifest
    return {
        'mapping_s': sum(manifest.get('built', {}).get('seconds', {}).values()),
        'map_mb': sum(entry['bytes'] for entry in manifest['files'].values()) / 1e6,
    }
