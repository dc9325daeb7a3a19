"""
Convert, build and evaluate one room: accuracy, latency and cost beside the baselines.

    python benchmark/room.py MAPPING QUERY WORK [--seeds N ...] [--config FILE] [--out FILE.json]
        [--mapping-frames A:B] [--query-frames A:B] [--poses FILE] [--baselines NAMES]
    python benchmark/room.py MAPPING QUERY --map MAP [--baselines NAMES] [--out FILE.json]

MAPPING and QUERY are bags with ground truth, or recordings that ``nerf-reversal convert`` reads,
such as a 7-Scenes folder, of which ``--mapping-frames`` and ``--query-frames`` select frames.
Each seed gives one map in WORK. With several seeds, a figure is the median of the builds, with
the lowest and the highest in brackets. A repeated command reuses the bags and maps in WORK.
``--map`` evaluates a map that exists.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
import statistics
from typing import Any

from results import add_out_argument, Cell, Column, ResultTable, write_results

from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.cli.convert import frame_range
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core.config import BuildConfig, load_build_config
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import compute_metrics, MethodResults
from nerf_reversal_ros.core.rigid_motion import fit_motion
from nerf_reversal_ros.evaluation.evaluation import Evaluation
from nerf_reversal_ros.evaluation.map_evaluation import evaluate_map
from nerf_reversal_ros.evaluation.summary import alignment_text
from nerf_reversal_ros.mapping.pipeline import build_map
from nerf_reversal_ros.maps.map_folder import Map, open_map

BAG_SUFFIXES = ('.mcap', '.db3')
"""Of bags that are one file; other files are recordings of other programs."""
THIS_PACKAGE, REGRESSOR = 'this package', 'regressor alone'
METHOD_NAMES = {
    'mean_pose': 'mean mapping pose',
    'nearest_reference': 'nearest mapping pose (oracle)',
    'pca_retrieval': 'PCA retrieval',
    'vlad_retrieval': 'VLAD retrieval, real images',
    'sift_pnp': 'SIFT + PnP, real images',
    'hloc_sift': 'hloc with SIFT, real images',
    'seed_cnn': 'CNN of the original project (position only)',
    'seed_mlp': 'MLP of the original project (position only)',
    'inerf_prior': 'iNeRF from the regressed pose',
    'inerf_random': 'iNeRF from a random pose',
}
COLUMNS = (
    'method',
    Column('images'),
    Column('localized'),
    Column('median', 'cm', 2),
    Column('median', 'deg', 2),
    Column('within 2 cm 2 deg', '%'),
    Column('within 5 cm 5 deg', '%'),
    Column('within 0.1 m', '%'),
    Column('worst', 'cm', 2),
    Column('worst', 'deg', 2),
    Column('p50', 'ms'),
    Column('map', 'MB'),
    Column('mapping', 's'),
)


def main() -> None:
    """Convert, build, evaluate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('mapping', type=Path, help='bag or recording that the map is built from')
    parser.add_argument('query', type=Path, help='bag or recording with ground truth to localize')
    parser.add_argument('work', type=Path, nargs='?', help='folder for bags and maps')
    parser.add_argument('--mapping-frames', type=frame_range, metavar='A:B')
    parser.add_argument('--query-frames', type=frame_range, metavar='A:B')
    parser.add_argument('--poses', type=Path, help='pose file of a 7-Scenes recording')
    parser.add_argument('--config', type=Path, help='build settings, as YAML')
    parser.add_argument('--seeds', type=int, nargs='*', default=[0], help='default: 0')
    parser.add_argument('--map', type=Path, help='evaluate this map and build none')
    parser.add_argument('--baselines', default='all', help='all, none or NAME,...; default: all')
    add_out_argument(parser)
    args = parser.parse_args()
    if (args.map is None) == (args.work is None):
        parser.error('give either WORK, to build maps in, or --map')
    room = Room(args.mapping, args.query, args.mapping_frames, args.query_frames, args.poses)
    with ProgressConsole() as console:
        if args.map:
            maps = [open_map(args.map)]
            metrics = evaluate_maps(maps, args.query, args.mapping, args.baselines, console)
        else:
            maps, metrics = evaluate_room(
                room, args.work, args.seeds, args.config, args.baselines, console
            )
    table = ResultTable('This package and the baselines on the same images', COLUMNS)
    blocks = [method_blocks(one) for one in metrics]
    for method in blocks[0]:
        table.add_row(method, *method_cells([one[method] for one in blocks if method in one]))
    notes = [*metrics_notes(metrics), *map_notes(maps)]
    for note in notes:
        print(note)
    write_results(args.out, 'Accuracy, latency and cost in one room', table, notes=notes)


@dataclass(frozen=True)
class Room:
    """The recordings of one room: bags, or what ``nerf-reversal convert`` reads."""

    mapping: Path
    """What maps are built from."""
    query: Path
    """Images with ground truth that are localized."""
    mapping_frames: slice | None = None
    query_frames: slice | None = None
    """Frames that are converted; None: all."""
    poses: Path | None = None
    """Pose file of a 7-Scenes recording."""
    align: bool = False
    """The walk drifts, so that its frame is another one than that of the queries: figures are
    those after one rigid motion, which is fitted for each method."""


def evaluate_room(
    room: Room,
    work: Path,
    seeds: Sequence[int],
    config: Path | None,
    baselines: str,
    console: ProgressConsole,
) -> tuple[list[Map], list[dict[str, Any]]]:
    """Convert a room and build its maps in ``work``, once, and evaluate each map."""
    work.mkdir(parents=True, exist_ok=True)
    mapping = converted_bag(room.mapping, work / 'mapping.bag', room, room.mapping_frames, console)
    query = converted_bag(room.query, work / 'query.bag', room, room.query_frames, console)
    maps = built_maps(mapping, work, seeds, config, console)
    return maps, evaluate_maps(maps, query, mapping, baselines, console, align=room.align)


def evaluate_maps(
    maps: Sequence[Map],
    query: Path,
    mapping: Path,
    baselines: str,
    console: ProgressConsole,
    *,
    align: bool = False,
) -> list[dict[str, Any]]:
    """Return the metrics of each map on the images of one bag."""
    evaluations = (
        evaluate_map(
            map_,
            query,
            reference=mapping,
            baselines=baselines,
            progress=console,
            on_skip=console.print_line,
        ).evaluation
        for map_ in maps
    )
    return [aligned_metrics(one) if align else one.metrics for one in evaluations]


def aligned_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Return the metrics after one rigid motion of the ground truth, fitted for each method."""
    baselines = {
        name: {
            **block,
            **metrics_after_motion(evaluation.baselines[name], evaluation.baseline_poses_gt(name)),
        }
        for name, block in evaluation.metrics['baselines'].items()
    }
    own = metrics_after_motion(evaluation.localizer_results, evaluation.map_from_camera_gt)
    return {**evaluation.metrics, **own, 'baselines': baselines, 'aligned': None}


def metrics_after_motion(results: MethodResults, poses_gt: FloatArray) -> dict[str, Any]:
    """Return the metrics of a method after the motion that makes most of its poses correct."""
    accepted = results.is_accepted
    if accepted.any():
        motion, _ = fit_motion(results.map_from_camera[accepted], poses_gt[accepted])
        poses_gt = motion @ poses_gt
    return compute_metrics(results, poses_gt)


def converted_bag(
    source: Path, bag: Path, room: Room, frames: slice | None, progress: ProgressConsole
) -> Path:
    """Return a bag as it is; convert any other recording to ``bag``, once."""
    if (source / 'metadata.yaml').exists() or source.suffix in BAG_SUFFIXES:
        return source
    if not bag.exists():
        convert(source, bag, poses=room.poses, frames=frames, progress=progress)
    return bag


def built_maps(
    bag: Path,
    work: Path,
    seeds: Sequence[int],
    config_file: Path | None,
    progress: ProgressConsole,
) -> list[Map]:
    """Build one map for each seed, or open those that exist."""
    config = load_build_config(config_file)
    return [
        built_map(bag, work / f'seed_{seed}.map', replace(config, seed=seed), progress)
        for seed in seeds
    ]


def built_map(bag: Path, folder: Path, config: BuildConfig, progress: ProgressConsole) -> Map:
    """Build a map, or open the one that exists."""
    if folder.exists():
        return open_map(folder)
    return build_map(bag, folder, config, progress=progress)


def method_blocks(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the metrics of each method by its name in the table."""
    named = {THIS_PACKAGE: metrics, REGRESSOR: metrics['stages']['regressor']}
    for name, block in metrics['baselines'].items():
        named[METHOD_NAMES.get(name, name.replace('_', ' '))] = block
    named.setdefault(METHOD_NAMES['nearest_reference'], metrics['oracle_nearest_reference'])
    return named


def method_cells(blocks: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """Return the figures of a method over the builds: one value, or median and range."""
    rows = [metrics_values(block) for block in blocks]
    return [combine(values) for values in zip(*rows, strict=True)]


def metrics_values(block: Mapping[str, Any]) -> list[float | None]:
    """Return the figures of a method in one build; no rotation of position-only methods."""
    has_rotation = not block.get('position_only', False)
    return [
        block['images'],
        block['published'],
        scaled(block['median_translation_m'], 100),
        block['median_rotation_deg'] if has_rotation else None,
        100 * block['recall']['2cm_2deg'] if has_rotation else None,
        100 * block['recall']['5cm_5deg'] if has_rotation else None,
        100 * block['accuracy_0.1m'],
        scaled(block['worst_published_translation_m'], 100),
        block['worst_published_rotation_deg'] if has_rotation else None,
        block['latency_ms']['p50'],
        block.get('map_mb'),
        block.get('mapping_s'),
    ]


def scaled(value: float | None, scale: float) -> float | None:
    """Return a figure in another unit; None stays unknown."""
    return None if value is None else scale * value


def combine(values: Sequence[float | None]) -> Cell:
    """Return a single value, or (median, lowest, highest); None if a value is missing."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    if len(set(known)) == 1:
        return known[0]
    return [statistics.median(known), min(known), max(known)]


def metrics_notes(metrics: Sequence[dict[str, Any]]) -> list[str]:
    """Return sentences on incorrect poses, consistency and rejections of each build."""
    incorrect = ', '.join(str(one['wrong_published']) for one in metrics)
    notes = [f'Accepted poses beyond 10 cm or 5 deg: {incorrect}.']
    anees = [one['anees'] for one in metrics]
    if None not in anees:
        notes.append(f'ANEES/6: {", ".join(f"{value / 6:.2f}" for value in anees)}.')
    notes += [alignment_text(one['aligned']) for one in metrics if one['aligned'] is not None]
    reasons = {reason: None for one in metrics for reason in one['rejected']}
    for reason in reasons:
        counts = ', '.join(str(one['rejected'].get(reason, 0)) for one in metrics)
        notes.append(f"Rejected as '{reason}': {counts}.")
    return notes


def map_notes(maps: Sequence[Map]) -> list[str]:
    """Return a sentence on the seeds of the builds."""
    configs = [map_.manifest.get('built', {}).get('config', {}) for map_ in maps]
    seeds = [str(config['seed']) for config in configs if 'seed' in config]
    return [f'Seed of the build: {", ".join(seeds)}.'] if seeds else []


if __name__ == '__main__':
    main()
