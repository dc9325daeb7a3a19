"""
Judge maps that were built of somebody's NeRF alone, without a bag of the room.

    python benchmark/run_without_bag.py positions CONFIG.yml BUILD_BAG positions.csv
    nerf-reversal build --device cpu --field nerfstudio:CONFIG.yml --align positions.csv MAP
    python benchmark/run_without_bag.py judge MAP BUILD_BAG TEST_BAG

CONFIG.yml is that of benchmark/run_study.py on BUILD_BAG. The first command writes where some of
the run's cameras were, as somebody with a tape measure would. The last one localizes TEST_BAG and
compares the answers with its poses in the map of BUILD_BAG: as they are, which is right where
positions were given, and moved by the similarity that fits them best, which is all that can be
said of a map without any.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.config import CaptureConfig, LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, pose_errors
from nerf_reversal_ros.core.outcome import PoseEstimate
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.evaluation.evaluation import localize_or_reject
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio
from nerf_reversal_ros.fields.sim3 import scale_of, transform_poses
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.mapping.sim3_alignment import fit_sim3_to_poses
from nerf_reversal_ros.maps.map_folder import open_map

POSITIONS = 12
NOISE_M = 0.01
"""Of each coordinate, as one sigma."""


def main() -> None:
    """Do one of the two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    actions = parser.add_subparsers(dest='action', required=True)
    positions = actions.add_parser('positions', help='write where cameras of the run were')
    for name in ('config_yml', 'build_bag', 'file'):
        positions.add_argument(name, type=Path)
    judge = actions.add_parser('judge', help='localize and compare')
    for name in ('map', 'build_bag', 'test_bag'):
        judge.add_argument(name, type=Path)
    args = parser.parse_args()
    if args.action == 'positions':
        write_positions(args.config_yml, args.build_bag, args.file)
    else:
        print(json.dumps(judged(args.map, args.build_bag, args.test_bag), indent=1))


def write_positions(config_yml: Path, build_bag: Path, file: Path) -> None:
    """Write lines ``picture,x,y,z`` of some pictures of the run, in the map of the bag [m]."""
    require_nerfstudio()
    from nerf_reversal_ros.fields.nerfstudio.run import load_run

    run = load_run(config_yml, torch.device('cpu'))
    capture = open_capture(build_bag, CaptureConfig())
    noise = np.random.default_rng(0).normal(scale=NOISE_M, size=(POSITIONS, 3))
    lines = []
    for place, off_m in zip(evenly_spaced_indices(len(run.names), POSITIONS), noise, strict=True):
        name = Path(run.names[place]).name
        frame = int(name.removeprefix('frame_').removesuffix('.png'))
        x, y, z = capture.map_from_camera[frame, :3, 3] + off_m
        lines.append(f'{run.names[place]},{x:.4f},{y:.4f},{z:.4f}\n')
    file.write_text(''.join(lines))


def judged(map_dir: Path, build_bag: Path, test_bag: Path) -> dict[str, Any]:
    """Localize a bag; return how far the answers are off, as they are and fitted."""
    convention = open_capture(build_bag, CaptureConfig()).convention
    capture = open_capture(test_bag, CaptureConfig(), convention=convention, select_frames=False)
    localizer = open_localizer(open_map(map_dir), LocalizerConfig())
    answers, truth = [], []
    for frame in capture:
        outcome = localize_or_reject(localizer, frame.rgb, frame.camera)
        if isinstance(outcome, PoseEstimate):
            answers.append(outcome.map_from_camera)
            truth.append(frame.map_from_camera)
    found, true = np.reshape(answers, (-1, 4, 4)), np.reshape(truth, (-1, 4, 4))
    told: dict[str, Any] = {'pictures': len(capture), 'answered': len(found)}
    if len(found) < 3:
        return told
    fit = fit_sim3_to_poses(true, found).map_from_world
    return {
        **told,
        'as_they_are': _errors(found, true),
        'fitted': _errors(transform_poses(fit, found), true),
        'metres_by_metre_of_the_map': round(scale_of(fit), 4),
    }


def _errors(found: FloatArray, true: FloatArray) -> dict[str, float]:
    errors = pose_errors(found, true)
    off_cm, off_deg = 100 * errors.translation, np.degrees(errors.rotation)
    return {
        'median_cm': round(float(np.median(off_cm)), 2),
        'median_deg': round(float(np.median(off_deg)), 2),
        'worst_cm': round(float(off_cm.max()), 2),
        'worst_deg': round(float(off_deg.max()), 2),
        'within_5cm_5deg': round(float(np.mean((off_cm <= 5) & (off_deg <= 5))), 3),
    }


if __name__ == '__main__':
    main()
