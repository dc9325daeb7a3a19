"""
Evaluate maps that were built from a nerfstudio run alone, without a bag of the room.

    python benchmark/run_without_bag.py positions CONFIG.yml BUILD_BAG positions.csv
    nerf-reversal build --device cpu --field nerfstudio:CONFIG.yml --align positions.csv MAP
    python benchmark/run_without_bag.py evaluate MAP BUILD_BAG TEST_BAG [--out FILE.json]

CONFIG.yml is that of ``run_study.py`` on BUILD_BAG. The first command writes known positions of
some cameras of the run, with the noise of a tape measure. The last command localizes TEST_BAG and
compares the poses with its ground truth in the map frame of BUILD_BAG, without alignment and after
the Sim(3) that fits best. A map without known positions has its own frame and unit, so only the
second comparison is meaningful for it.
"""

import argparse
from pathlib import Path

import numpy as np
from results import add_out_argument, Cell, Column, ResultTable, write_results
import torch

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, pose_errors
from nerf_reversal_ros.core.outcome import PoseEstimate
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio
from nerf_reversal_ros.fields.sim3 import scale_of, transform_poses
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.localization.localizer_protocol import localize_or_reject
from nerf_reversal_ros.mapping.sim3_alignment import fit_sim3_to_poses
from nerf_reversal_ros.maps.map_folder import open_map

POSITIONS = 12
NOISE_M = 0.01
"""Standard deviation of each coordinate."""
COLUMNS = (
    'poses',
    Column('images'),
    Column('localized'),
    Column('median', 'cm', 2),
    Column('median', 'deg', 2),
    Column('worst', 'cm', 2),
    Column('worst', 'deg', 2),
    Column('within 5 cm 5 deg', '%', 1),
)


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    actions = parser.add_subparsers(dest='action', required=True)
    positions = actions.add_parser(
        'positions', help='write known positions of the cameras of the run'
    )
    for name in ('config_yml', 'build_bag', 'file'):
        positions.add_argument(name, type=Path)
    evaluation = actions.add_parser('evaluate', aliases=['judge'], help='localize and compare')
    for name in ('map', 'build_bag', 'test_bag'):
        evaluation.add_argument(name, type=Path)
    add_out_argument(evaluation)
    args = parser.parse_args()
    if args.action == 'positions':
        write_positions(args.config_yml, args.build_bag, args.file)
    else:
        evaluate(args.map, args.build_bag, args.test_bag, args.out)


def write_positions(config_yml: Path, build_bag: Path, file: Path) -> None:
    """Write lines ``image,x,y,z`` of some images of the run, in the map frame of the bag [m]."""
    require_nerfstudio()
    from nerf_reversal_ros.fields.nerfstudio.run import load_run

    run = load_run(config_yml, torch.device('cpu'))
    capture = open_capture(build_bag, CaptureConfig())
    noise = np.random.default_rng(0).normal(scale=NOISE_M, size=(POSITIONS, 3))
    lines = []
    indices = evenly_spaced_indices(len(run.names), POSITIONS)
    for index, noise_m in zip(indices, noise, strict=True):
        name = Path(run.names[index]).name
        frame = int(name.removeprefix('frame_').removesuffix('.png'))
        x, y, z = capture.map_from_camera[frame, :3, 3] + noise_m
        lines.append(f'{run.names[index]},{x:.4f},{y:.4f},{z:.4f}\n')
    file.write_text(''.join(lines))


def evaluate(map_dir: Path, build_bag: Path, test_bag: Path, out: Path | None) -> None:
    """Localize a bag and print the errors, without alignment and after the best Sim(3)."""
    convention = open_capture(build_bag, CaptureConfig()).convention
    capture = open_capture(test_bag, CaptureConfig(), convention=convention, select_frames=False)
    localizer = open_localizer(open_map(map_dir), LocalizerConfig())
    localized, ground_truth = [], []
    for frame in capture:
        outcome = localize_or_reject(localizer, frame.rgb, frame.camera)
        if isinstance(outcome, PoseEstimate):
            localized.append(outcome.map_from_camera)
            ground_truth.append(frame.map_from_camera)
    poses, poses_gt = np.reshape(localized, (-1, 4, 4)), np.reshape(ground_truth, (-1, 4, 4))
    table = ResultTable('Poses in a map of a nerfstudio run alone', COLUMNS)
    counts = len(capture), len(poses)
    if len(poses) < 3:  # too few for a Sim(3)
        table.add_row('not aligned', *counts, *[None] * 5)
        write_results(out, 'A nerfstudio run without a bag', table)
        return
    sim3 = fit_sim3_to_poses(poses_gt, poses).map_from_world
    table.add_row('not aligned', *counts, *error_cells(poses, poses_gt))
    aligned = transform_poses(sim3, poses)
    table.add_row('aligned by Sim(3)', *counts, *error_cells(aligned, poses_gt))
    scale = f'One meter of the map is {scale_of(sim3):.4f} m.'
    print(scale)
    write_results(out, 'A nerfstudio run without a bag', table, notes=[scale])


def error_cells(map_from_camera: FloatArray, map_from_camera_gt: FloatArray) -> list[Cell]:
    """Return median and worst errors [cm, deg] and the recall [%] of poses (N, 4, 4)."""
    errors = pose_errors(map_from_camera, map_from_camera_gt)
    error_cm, error_deg = 100 * errors.translation, np.degrees(errors.rotation)
    return [
        np.median(error_cm),
        np.median(error_deg),
        error_cm.max(),
        error_deg.max(),
        100 * np.mean((error_cm <= 5) & (error_deg <= 5)),
    ]


if __name__ == '__main__':
    main()
