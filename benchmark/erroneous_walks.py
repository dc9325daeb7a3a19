"""
Build maps of a walk whose poses have errors, and evaluate them after one rigid alignment.

    python benchmark/erroneous_walks.py MAPPING QUERY WORK [--errors NAMES] [--config FILE]
        [--adjust auto,off] [--seed N] [--out FILE.json]

The poses of the bag MAPPING are taken as the truth, and errors are added to them, those of
``benchmark/pose_adjustment.py``. Each walk is written to a bag in WORK and gives a map there, with
and without the adjustment of poses; a repeated command uses them again. An error moves the frame
of a map, so the poses of the images of QUERY are evaluated after one rigid alignment of all.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
from pose_adjustment import ERRORS, with_error
from results import add_out_argument, Cell, Column, ResultTable, write_results
from room import built_map, metrics_after_motion, scaled

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import load_build_config
from nerf_reversal_ros.evaluation.map_evaluation import evaluate_map
from nerf_reversal_ros.evaluation.summary import DEGREES_OF_FREEDOM
from nerf_reversal_ros.maps.map_folder import Map

COLUMNS = (
    'poses',
    'adjustment',
    Column('published'),
    Column('median', 'cm', 2),
    Column('median', 'deg', 2),
    Column('within 5 cm 5 deg', '%', 1),
    Column('worst', 'cm', 1),
    Column(f'ANEES/{DEGREES_OF_FREEDOM}', '', 2),
    Column('PSNR', 'dB', 1),
    Column('time of the adjustment', 's'),
)


def main() -> None:
    """Build, evaluate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('mapping', type=Path, help='bag that the maps are built from')
    parser.add_argument('query', type=Path, help='bag with true poses to localize')
    parser.add_argument('work', type=Path, help='folder for bags and maps')
    parser.add_argument('--errors', default='none,drift,noise', help=f'of {", ".join(ERRORS)}')
    parser.add_argument('--adjust', default='auto,off', help='default: auto,off')
    parser.add_argument('--config', type=Path, help='build settings, as YAML')
    parser.add_argument('--seed', type=int, default=0)
    add_out_argument(parser)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    config = replace(load_build_config(args.config), seed=args.seed)
    table = ResultTable('Maps of walks whose poses have errors', COLUMNS)
    with ProgressConsole() as console:
        for name in args.errors.split(','):
            bag = args.work / f'{name}.bag'
            if not bag.exists():
                write_erroneous_walk(args.mapping, bag, name)
            for adjust in args.adjust.split(','):
                capture = replace(config.capture, adjust_poses=adjust)
                folder = args.work / f'{name}_{adjust}.map'
                map_ = built_map(bag, folder, replace(config, capture=capture), console)
                table.add_row(name, adjust, *cells(map_, args.query, console))
    write_results(args.out, 'Maps of walks whose poses have errors', table)


def write_erroneous_walk(source: Path, bag: Path, error: str) -> None:
    """Write a bag with the frames of another one and poses that have an error."""
    capture = open_capture(source, CaptureConfig(), select_frames=False)
    erroneous = with_error(capture, ERRORS[error])
    with BagWriter(bag) as writer:
        for index in range(len(capture)):
            frame = capture.frame(index)
            png = cv2.imencode('.png', cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))[1]
            writer.write(
                int(capture.stamps_ns[index]),
                png.tobytes(),
                frame.depth,
                frame.camera,
                erroneous.map_from_camera[index],
            )


def cells(map_: Map, query: Path, console: ProgressConsole) -> list[Cell]:
    """Return the figures of one map, without its name."""
    evaluation = evaluate_map(map_, query, progress=console).evaluation
    metrics = metrics_after_motion(evaluation.localizer_results, evaluation.map_from_camera_gt)
    built = map_.manifest['built']
    return [
        metrics['published'],
        100 * metrics['median_translation_m'],
        metrics['median_rotation_deg'],
        100 * metrics['recall']['5cm_5deg'],
        100 * metrics['worst_published_translation_m'],
        scaled(metrics['anees'], 1 / DEGREES_OF_FREEDOM),
        map_.manifest['metrics']['psnr_db'],
        built['seconds'].get('adjustment'),
    ]


if __name__ == '__main__':
    main()
