"""
Time and accuracy of the regressor of this version, beside those of an older checkout.

    python benchmark/regressor_speed.py MAP BUILD_BAG TEST_BAG WORK_DIR [--peer CHECKOUT]
        [--views N] [--epochs N] [--out FILE.json]

MAP was built from BUILD_BAG, with the same capture settings for both bags. Views are rendered from
its field, around the mapping poses outside the held-out segment. TEST_BAG is another walk. Each
version uses its own default settings, unless views or epochs are given, and runs in a process of
its own. Files of an earlier run in WORK_DIR are used again.
"""

import argparse
from dataclasses import fields, replace
import json
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
TIMED_IMAGES = 50


def main() -> None:
    """Train with each version and print the table."""
    from results import add_out_argument, Column, ResultTable, write_results

    parser = argument_parser()
    parser.add_argument('--peer', type=Path, help='folder of an older checkout')
    add_out_argument(parser)
    args = parser.parse_args()
    table = ResultTable(
        'Training of the regressor',
        (
            'version',
            Column('views'),
            Column('epochs'),
            Column('training', 's'),
            Column('CPU', 's'),
            Column('file', 'MB', 1),
            Column('median', 'cm', 1),
            Column('median', 'deg', 1),
            Column('one image', 'ms', 1),
        ),
    )
    versions = {'this version': REPOSITORY} | ({'peer': args.peer} if args.peer else {})
    for name, checkout in versions.items():
        row = run_version(args, checkout, args.work_dir / name.replace(' ', '_'))
        table.add_row(name, *row)
    notes = []
    if args.peer:
        (*_, ours, our_cpu, _, _, _, _), (*_, theirs, their_cpu, _, _, _, _) = table.rows
        notes = [f'Training time: {ours / theirs:.2f} of the peer, CPU {our_cpu / their_cpu:.2f}.']
        print(f'\n{notes[0]}')
    write_results(args.out, 'Speed of the regressor', table, notes=notes)


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments that both processes have."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[1])
    for name in ('map', 'build_bag', 'test_bag', 'work_dir'):
        parser.add_argument(name, type=Path)
    parser.add_argument('--views', type=int, help='default: that of the version')
    parser.add_argument('--epochs', type=int, help='default: that of the version')
    return parser


def run_version(args: argparse.Namespace, checkout: Path, work_dir: Path) -> list[float]:
    """Train with the package of a checkout in another process; return the cells of its row."""
    work_dir.mkdir(parents=True, exist_ok=True)
    options = [f'--{name}={getattr(args, name)}' for name in ('views', 'epochs')]
    command = [sys.executable, __file__, '--child', args.map, args.build_bag, args.test_bag]
    command += [work_dir, *(option for option in options if not option.endswith('None'))]
    environment = {**os.environ, 'PYTHONPATH': str(checkout.resolve())}
    subprocess.run([str(part) for part in command], env=environment, check=True)
    return list(json.loads((work_dir / 'row.json').read_text()))


def train_and_measure() -> None:
    """Train a regressor with the package on the path, and write its row to WORK_DIR/row.json."""
    from nerf_reversal_ros.capture.held_out import held_out_mask
    from nerf_reversal_ros.capture.open_capture import open_capture
    from nerf_reversal_ros.core.capture_config import CaptureConfig
    from nerf_reversal_ros.core.config import RegressorConfig, SynthesisConfig
    from nerf_reversal_ros.core.geometry import pose_errors
    from nerf_reversal_ros.fields.voxel import VoxelField
    from nerf_reversal_ros.regressor.regressor import PoseRegressor
    from nerf_reversal_ros.regressor.training import train_regressor, views_from_frames
    from nerf_reversal_ros.synthesis.view_synthesis import synthesize_views

    args = argument_parser().parse_args()
    built = json.loads((args.map / 'manifest.json').read_text())['built']['config']
    capture_config = known_settings(CaptureConfig, built['capture'])
    capture = open_capture(args.build_bag, capture_config)
    test = open_capture(
        args.test_bag, capture_config, convention=capture.convention, select_frames=False
    )
    synthesis, config = SynthesisConfig(), RegressorConfig()
    lengths = ('translation_m', 'clearance_m', 'near_m')
    synthesis = replace(synthesis, **{name: built['synthesis'][name] for name in lengths})
    if args.views is not None:
        synthesis = replace(synthesis, views=args.views)
    if args.epochs is not None:
        config = replace(config, epochs=args.epochs)
    camera = capture.camera.downscaled_to(synthesis.width)
    field = VoxelField.load(args.map / 'field.safetensors')
    real = views_from_frames(capture, camera, field)
    held_out = held_out_mask(len(real), built['field']['validation_share'])
    training, validation = real.subset(~held_out), real.subset(held_out)
    views = synthesize_views(
        field,
        training.map_from_camera,
        camera,
        synthesis,
        seed=0,
        work_dir=args.work_dir / 'views',
    )
    start, cpu = time.perf_counter(), time.process_time()
    regressor = train_regressor(views, training, validation, camera, config)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    path = args.work_dir / 'regressor.safetensors'
    regressor.save(path)
    regressor = PoseRegressor.load(path)
    frames = list(test)
    poses = [regressor.regress(frame.rgb, frame.camera).map_from_camera for frame in frames]
    errors = pose_errors(np.stack(poses), np.stack([frame.map_from_camera for frame in frames]))
    times = []
    for frame in frames[:TIMED_IMAGES]:
        begin = time.perf_counter()
        regressor.regress(frame.rgb, frame.camera)
        times.append(time.perf_counter() - begin)
    row = [
        synthesis.views,
        config.epochs,
        seconds,
        cpu_seconds,
        path.stat().st_size / 1e6,
        float(np.median(errors.translation)) * 100,
        float(np.degrees(np.median(errors.rotation))),
        float(np.median(times)) * 1e3,
    ]
    (args.work_dir / 'row.json').write_text(json.dumps(row))


def known_settings(kind: type, values: dict[str, Any]) -> Any:
    """Make settings from those values that this version knows."""
    names = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in names})


if __name__ == '__main__':
    if '--child' in sys.argv:
        sys.argv.remove('--child')
        train_and_measure()
    else:
        main()
