"""
Judge a map on a bag with true poses.

Prints how near the answers come to the poses of the bag, beside the baselines mean_pose (always
the mean walked pose), nearest_reference (an oracle: the walked pose nearest to the truth),
pca_retrieval (the nearest synthetic view) and sift_pnp (SIFT on the real pictures of the build,
which need --reference).
"""

import argparse
import json
from pathlib import Path
import shlex
import sys

HELP = 'judge a map on a bag with true poses'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    from nerf_reversal_ros.cli.query import add_query_arguments

    add_query_arguments(parser)
    parser.add_argument('--json', metavar='metrics.json', type=Path, help='write the figures')
    parser.add_argument('--report', metavar='report.html', type=Path, help='write a report')
    parser.add_argument(
        '--baselines',
        metavar='all|none|NAME,...',
        default='all',
        help='default: all that can be had',
    )
    parser.add_argument(
        '--reference', metavar='BUILD_BAG', type=Path, help='the bag that MAP was built from'
    )


def run(arguments: argparse.Namespace) -> None:
    """Judge, print, and write what was asked for."""
    from nerf_reversal_ros.baselines import BASELINES, chosen_baselines, Material
    from nerf_reversal_ros.capture import open_capture
    from nerf_reversal_ros.cli.console import Console
    from nerf_reversal_ros.cli.query import query_config
    from nerf_reversal_ros.evaluation import evaluate
    from nerf_reversal_ros.files import write_text
    from nerf_reversal_ros.localization import Localizer
    from nerf_reversal_ros.map_store import open_map
    from nerf_reversal_ros.summary import summary_text

    names = chosen_baselines(arguments.baselines, has_reference=arguments.reference is not None)
    map_ = open_map(arguments.map)
    config = query_config(map_, arguments)
    walked = map_.map_from_camera_walked
    with Console() as console:
        left_out = [name for name in BASELINES if name not in names]
        if arguments.baselines == 'all' and left_out:
            console.say(f'without --reference there is no baseline {", ".join(left_out)}')
        capture = open_capture(
            arguments.bag, config.capture, convention=map_.convention, prune=False,
            progress=console,
        )  # fmt: skip
        reference = arguments.reference and open_capture(
            arguments.reference, config.capture, convention=map_.convention, prune=False,
            progress=console,
        )  # fmt: skip
        localizer = Localizer(map_, config.localizer)
        material = Material(walked, localizer.regressor, reference, console)
        result = evaluate(
            capture,
            localizer,
            walked,
            field=localizer.field,
            baselines={name: BASELINES[name](material) for name in names},
            progress=console,
        )
    print(summary_text(result.metrics))
    if arguments.json:
        write_text(arguments.json, json.dumps(result.metrics, indent=1, allow_nan=False) + '\n')
        print(f'wrote {arguments.json}')
    if arguments.report:
        from nerf_reversal_ros.report import report_html

        command = shlex.join(['nerf-reversal', *sys.argv[1:]])
        page = report_html(result, map_, capture, localizer.field, walked, command=command)
        write_text(arguments.report, page)
        print(f'wrote {arguments.report}')
