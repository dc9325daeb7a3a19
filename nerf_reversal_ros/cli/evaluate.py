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

from nerf_reversal_ros.cli.common_arguments import add_query_arguments, query_config
from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.cli.localize import write_poses
from nerf_reversal_ros.core.errors import ConfigError

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
    """Check the arguments, evaluate, print, and write the files asked for."""
    from nerf_reversal_ros.baselines.baselines import parse_baselines
    from nerf_reversal_ros.core.files import check_writable, write_output_text
    from nerf_reversal_ros.evaluation.map_evaluation import evaluate_map
    from nerf_reversal_ros.maps.map_folder import open_map

    parse_baselines(arguments.baselines, has_reference=arguments.reference is not None)
    outputs = (arguments.json, arguments.report, arguments.out_poses)
    for path in outputs:
        check_writable(path)
    map_ = open_map(arguments.map)
    with ProgressConsole() as console:
        result = evaluate_map(
            map_,
            arguments.bag,
            reference=arguments.reference,
            baselines=arguments.baselines,
            config=query_config(map_, arguments),
            progress=console,
            on_skip=console.print_line,
        )
        print(result.summary())
        if arguments.json:
            text = json.dumps(result.metrics, indent=1, allow_nan=False) + '\n'
            write_output_text(arguments.json, text)
        if arguments.report:
            command = shlex.join(['nerf-reversal', *sys.argv[1:]])
            write_output_text(arguments.report, result.report_html(command))
        if arguments.out_poses:
            found = result.evaluation
            poses = zip(found.stamps_ns, found.outcomes, strict=True)
            write_poses(arguments.out_poses, map_, poses)
        for path in filter(None, outputs):
            print(f'wrote {path}')
