"""
Evaluate a map on a bag with ground-truth poses.

Prints errors and recall of the localizer and of baselines. Baselines without images: mean_pose
(the mean mapping pose), nearest_reference (oracle: the mapping pose nearest to the ground truth),
pca_retrieval (the most similar synthetic view), inerf_prior and inerf_random (gradient descent on
the field from the regressed or a random pose; slow, on 30 of the images). Baselines on the mapping
images, with --reference: vlad_retrieval (the most similar image), sift_pnp (SIFT and PnP),
seed_cnn and seed_mlp (position-only networks of the original project, trained for minutes),
hloc_sift (SIFT matched with points triangulated by COLMAP; needs pycolmap).

MAP may be a building. Each pose is judged in the room that it is in, and the rooms are listed.
There are no baselines then. --frame says in which frame the poses of BAG are. --truth also says
in which room each image was taken, so that wrong rooms are counted.

Several bags are evaluated one after the other, or with --ray on a Ray cluster. --json then holds
the metrics by bag. A bag that fails does not stop the others.

If one rigid motion explains the poses, the ground truth is in another frame than the map. Figures
are then given as they are and after this motion.
"""

import argparse
import json
from pathlib import Path
import shlex
import sys
from typing import TYPE_CHECKING

from nerf_reversal_ros.cli.common_arguments import add_query_arguments, query_config
from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.cli.job_table import JobTable
from nerf_reversal_ros.core.errors import ConfigError

if TYPE_CHECKING:
    from nerf_reversal_ros.evaluation.bag_jobs import BagJob
    from nerf_reversal_ros.evaluation.building_evaluation import BuildingEvaluation
    from nerf_reversal_ros.evaluation.map_evaluation import MapEvaluation
    from nerf_reversal_ros.maps.building_folder import Building
    from nerf_reversal_ros.maps.map_folder import Map

HELP = 'evaluate a map on a bag with ground-truth poses'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    add_query_arguments(parser)
    parser.add_argument(
        '--ray',
        metavar='local|auto|ADDRESS',
        help='evaluate each bag on Ray: started on this machine, running here, or by its address',
    )
    parser.add_argument('--json', metavar='metrics.json', type=Path, help='write the metrics')
    parser.add_argument('--report', metavar='report.html', type=Path, help='write an HTML report')
    parser.add_argument(
        '--rerun', metavar='FILE.rrd', type=Path, help='write a recording for the viewer of Rerun'
    )
    parser.add_argument(
        *('--out-poses', '--poses'),  # --poses is the name of earlier versions
        metavar='poses.json',
        type=Path,
        help='write poses and rejections, in the format of localize',
    )
    parser.add_argument(
        '--baselines',
        metavar='all|none|NAME,...',
        type=baseline_names,
        default='all',
        help='default: all that are available',
    )
    parser.add_argument('--reference', metavar='BUILD_BAG', type=Path, help='mapping bag of MAP')
    frames = parser.add_mutually_exclusive_group()
    frames.add_argument(
        '--frame',
        metavar='ROOM|map',
        help='of a building: the poses of BAG are in the world of the mapping bag of this room, or'
        ' in the frame of the building; default: the first room that has a place in it',
    )
    frames.add_argument(
        '--truth',
        metavar='truth.json',
        type=Path,
        help='of a building: rooms of the images, and where the rooms are, as demo.flat writes',
    )


def baseline_names(text: str) -> str:
    """Validate the names of baselines, for argparse."""
    from nerf_reversal_ros.baselines.baselines import parse_baselines

    try:
        parse_baselines(text, has_reference=True)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def run(arguments: argparse.Namespace) -> None:
    """Check the arguments, evaluate, print the summary, and write the requested files."""
    from nerf_reversal_ros.baselines.baselines import parse_baselines
    from nerf_reversal_ros.core.files import check_writable
    from nerf_reversal_ros.evaluation.rerun_recording import import_rerun
    from nerf_reversal_ros.localization.pose_files import check_frames, check_pose_file
    from nerf_reversal_ros.maps.opening import open_map

    parse_baselines(arguments.baselines, has_reference=arguments.reference is not None)
    for path in (arguments.json, arguments.report, arguments.rerun, arguments.out_poses):
        check_writable(path)
    check_pose_file(arguments.out_poses)
    if arguments.rerun:
        import_rerun()
    map_ = open_map(arguments.map)
    check_frames(arguments.out_poses, map_)
    jobs = _jobs(map_, arguments)
    if len(jobs) > 1 or arguments.ray is not None:
        _evaluate_many(jobs, arguments)
        return
    with ProgressConsole() as console:
        result = jobs[0].evaluate(console, console.print_line)
        print(result.summary())
        _write_files(arguments, result)


def _jobs(map_: 'Map | Building', arguments: argparse.Namespace) -> 'list[BagJob]':
    """Return the evaluation of each bag; refuse options that do not fit a map or a building."""
    from nerf_reversal_ros.core import remedies
    from nerf_reversal_ros.evaluation.bag_jobs import BagJob
    from nerf_reversal_ros.maps.map_folder import Map

    if isinstance(map_, Map):
        if arguments.frame or arguments.truth:
            option = '--frame' if arguments.frame else '--truth'
            raise ConfigError(f'{option} is for a building, {map_.path} is the map of one room')
    else:
        of_one_map = {
            '--baselines': arguments.baselines not in ('all', 'none'),
            '--reference': arguments.reference,
            '--rerun': arguments.rerun,
        }
        for option in filter(of_one_map.get, of_one_map):
            raise ConfigError(
                f'{option} is for the map of one room, {map_.path} is a building:'
                f' {remedies.MAP_OF_ROOM}'
            )
    bags = list(dict.fromkeys(arguments.bags))
    given = arguments.reference, arguments.truth
    reference, truth = (None if path is None else path.absolute() for path in given)
    return [
        BagJob(
            map_.path.absolute(),
            bag.absolute(),
            query_config(map_, arguments),
            reference,
            arguments.baselines,
            arguments.frame,
            truth,
        )
        for bag in bags
    ]


def _evaluate_many(jobs: 'list[BagJob]', arguments: argparse.Namespace) -> None:
    """Evaluate bags as jobs; print the summary of each, and write the metrics of all."""
    from nerf_reversal_ros.core import remedies
    from nerf_reversal_ros.core.errors import CaptureError
    from nerf_reversal_ros.core.files import write_output
    from nerf_reversal_ros.evaluation.bag_jobs import evaluate_bags
    from nerf_reversal_ros.jobs.job_states import JobStates

    of_one_bag = {
        '--report': arguments.report,
        '--rerun': arguments.rerun,
        '--out-poses': arguments.out_poses,
    }
    for option in filter(of_one_bag.get, of_one_bag):
        raise ConfigError(
            f'{option} is for one bag that is evaluated here: {remedies.ONE_BAG_HERE}'
        )
    metrics, failed = {}, {}
    with JobTable('bags') as table:
        states = JobStates([str(job.bag) for job in jobs], table)
        for ended in evaluate_bags(jobs, states, arguments.ray):
            if ended.reason:
                failed[ended.name] = ended.reason
            else:
                metrics[ended.name] = ended.value.metrics
                print(f'{ended.name}\n\n{ended.value.summary}\n', flush=True)
    if arguments.json:
        ordered = {str(job.bag): metrics.get(str(job.bag)) for job in jobs}
        write_output(arguments.json, json.dumps(ordered, indent=1, allow_nan=False) + '\n')
        print(f'wrote {arguments.json}')
    if failed:
        reasons = '; '.join(f'{name}: {reason}' for name, reason in failed.items())
        raise CaptureError(f'{len(failed)} of {len(jobs)} bags failed: {reasons}')


def _write_files(
    arguments: argparse.Namespace, result: 'MapEvaluation | BuildingEvaluation'
) -> None:
    """Write the requested files, and name each; those that may fail come last."""
    from nerf_reversal_ros.core.files import write_output
    from nerf_reversal_ros.evaluation.rerun_recording import write_rerun
    from nerf_reversal_ros.localization.pose_files import LocalizedImage, write_pose_file
    from nerf_reversal_ros.maps.map_folder import Map

    evaluation = result.evaluation
    if arguments.json:
        text = json.dumps(result.metrics, indent=1, allow_nan=False) + '\n'
        write_output(arguments.json, text)
        print(f'wrote {arguments.json}')
    if arguments.out_poses:
        outcomes = zip(evaluation.outcomes, evaluation.stamps_ns.tolist(), strict=True)
        write_pose_file(arguments.out_poses, result.map, [LocalizedImage(*o) for o in outcomes])
        print(f'wrote {arguments.out_poses}')
    if arguments.report:
        command = shlex.join(['nerf-reversal', *sys.argv[1:]])
        write_output(arguments.report, result.report_html(command))
        print(f'wrote {arguments.report}')
    if arguments.rerun and isinstance(result.map, Map):
        write_rerun(arguments.rerun, evaluation, result.map, result.capture)
        print(f'wrote {arguments.rerun}')
