"""
Measure what uncertainty (Bayes' Rays) is worth when a nerfacto is baked into a voxel field.

    python benchmark/baking_study.py BUILD_BAG WORK [OTHER_BAG ...] [--field nerfacto]
        [--config FILE] [--every N] [--out FILE.json]

Pixels: how well uncertainty ranks pixels with incorrect depth, and which fractions of the
incorrect and of the correct pixels exceed a limit, at the held-out poses and those of other bags.
Baking: quality of the voxel field without the depth beyond each limit. WORK keeps training and
renderings, so a repeated command resumes.
"""

import argparse
from dataclasses import replace
from pathlib import Path
import shutil

import numpy as np
from results import add_out_argument, Column, ResultTable, write_results
from sklearn.metrics import roc_auc_score
import torch
from tqdm import tqdm
from uncertainty_study import compare_with_field, INCORRECT_M, MeasuredField, PixelComparison

from nerf_reversal_ros.capture.depth_calibration import estimate_depth_correction
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.config import BuildConfig, load_build_config
from nerf_reversal_ros.core.progress import no_progress
from nerf_reversal_ros.fields.baking import bake, baking_budget
from nerf_reversal_ros.fields.base import RadianceField, Rendering
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio
from nerf_reversal_ros.fields.training_data import load_training_data, TrainingData
from nerf_reversal_ros.fields.uncertainty import UncertaintyGrid

PIXEL_LIMITS_M = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
BAKING_LIMITS_M = (0.2, 0.3, 0.5)
CPU = torch.device('cpu')


def main() -> None:
    """Train, compare pixels, bake, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('build_bag', type=Path)
    parser.add_argument('work', type=Path)
    parser.add_argument('other_bags', type=Path, nargs='*')
    parser.add_argument('--field', default='depth-nerfacto')
    parser.add_argument('--config', type=Path, help='settings of a build, as YAML')
    parser.add_argument('--every', type=int, default=1, help='compare every N-th image')
    add_out_argument(parser)
    args = parser.parse_args()
    require_nerfstudio()
    from nerf_reversal_ros.fields.nerfstudio.training import train_nerfacto
    from nerf_reversal_ros.fields.nerfstudio.uncertainty import nerfacto_uncertainty

    config = load_build_config(args.config)
    args.work.mkdir(exist_ok=True)
    capture = open_capture(args.build_bag, config.capture)
    held_out = held_out_mask(len(capture), config.field.validation_share)
    correction = estimate_depth_correction(capture, np.flatnonzero(~held_out), no_progress)
    capture = capture.with_depth_correction(correction)
    data = load_training_data(capture, held_out, args.work, no_progress)
    field, _ = train_nerfacto(
        data, args.field, config.nerfstudio, device=CPU, seed=config.seed, work_dir=args.work
    )
    grid = nerfacto_uncertainty(field, data)
    no_counts = np.zeros(grid.information.shape[:3], np.float32)
    measured = MeasuredField(field, grid, no_counts)
    comparisons = {
        'held-out': [
            compare_with_field(measured, capture.frame(int(i))) for i in np.flatnonzero(held_out)
        ]
    }
    for bag in args.other_bags:
        other = open_capture(
            bag, config.capture, convention=capture.convention, select_frames=False
        )
        frames = tqdm(range(0, len(other), args.every), desc=bag.stem, leave=False)
        comparisons[bag.stem] = [
            compare_with_field(measured, other.with_depth_correction(correction).frame(i))
            for i in frames
        ]
    tables = pixel_table(comparisons), baking_table(field, data, config, grid, args.work)
    write_results(args.out, 'Uncertainty of a nerfacto', *tables)


def pixel_table(comparisons: dict[str, list[PixelComparison]]) -> ResultTable:
    """Print how well uncertainty finds pixels with incorrect depth."""
    table = ResultTable(
        'Pixels with incorrect depth',
        [
            'poses',
            Column('renderings'),
            Column('incorrect', '%', 1),
            Column('AUROC uncertainty', '', 2),
            Column('AUROC opacity', '', 2),
            *(
                Column(f'{kind} beyond {limit} m', '%')
                for limit in PIXEL_LIMITS_M
                for kind in ('incorrect', 'correct')
            ),
        ],
    )
    for name, compared in comparisons.items():
        error_m = np.concatenate([c.depth_error_m[c.rendering.depth > 0] for c in compared])
        known = np.isfinite(error_m)
        incorrect = error_m[known] > INCORRECT_M
        ranks = {
            measure: np.concatenate(
                [c.measures[measure][c.rendering.depth > 0] for c in compared]
            )[known]
            for measure in ('uncertainty', 'opacity')
        }
        std_m = ranks['uncertainty']
        table.add_row(
            name,
            len(compared),
            100 * incorrect.mean(),
            *(roc_auc_score(incorrect, rank) for rank in ranks.values()),
            *(
                100 * (std_m[which] > limit).mean()
                for limit in PIXEL_LIMITS_M
                for which in (incorrect, ~incorrect)
            ),
        )
    return table


def baking_table(
    field: RadianceField, data: TrainingData, config: BuildConfig, grid: UncertaintyGrid,
    work: Path,
) -> ResultTable:  # fmt: skip
    """Bake with each limit and print the quality of the voxel field."""
    table = ResultTable(
        'Voxel field without uncertain depth',
        [
            Column('limit', 'm', 1),
            Column('PSNR', 'dB', 2),
            Column('depth error', 'cm', 2),
            Column('covered', '%', 1),
            Column('nerfacto: PSNR', 'dB', 2),
            Column('nerfacto: depth error', 'cm', 2),
            Column('baking loses', 'dB', 2),
        ],
    )
    for limit_m in (0.0, *BAKING_LIMITS_M):
        if limit_m:
            copy_certain_depth(
                work / 'baked0.0', work / f'baked{limit_m}', grid, limit_m, data, config
            )
        limited = replace(config, nerfstudio=replace(config.nerfstudio, max_std_m=limit_m))
        _, report = bake(
            field, data, limited, device=CPU, work_dir=work / f'baked{limit_m}', uncertainty=grid
        )
        table.add_row(
            limit_m,
            report['psnr_db'],
            100 * report['depth_error_m'],
            100 * report['coverage'],
            report['original_psnr_db'],
            100 * report['original_depth_error_m'],
            report['baking_loss_db'],
        )
    return table


def copy_certain_depth(
    source: Path, target: Path, grid: UncertaintyGrid, limit_m: float, data: TrainingData,
    config: BuildConfig,
) -> None:  # fmt: skip
    """Copy renderings without the depth whose standard deviation exceeds the limit."""
    if target.exists():
        return
    target.mkdir()
    for name in ('rgb.npy', 'poses.npy', 'rendered.txt'):
        shutil.copy(source / name, target / name)
    camera = data.camera(0).downscaled_to(baking_budget(config.nerfstudio, CPU)[1])
    depth, kept = np.load(source / 'depth.npy').astype(np.float32), []
    for image, pose in zip(depth, np.load(source / 'poses.npy'), strict=True):
        rendering = Rendering(np.empty(0, np.uint8), image, np.ones_like(image))
        kept.append(np.where(grid.std_of_view_m(rendering, pose, camera) > limit_m, 0, image))
    np.save(target / 'depth.npy', np.array(kept, np.float16))


if __name__ == '__main__':
    main()
