"""
What uncertainty is worth when a Nerfacto is baked: one command, two tables.

    python benchmark/baking_study.py BUILD_BAG WORK [OTHER_BAG ...] [--field nerfacto]

Pixels: which share of those that a render has wrong, and of those that it has right, are less
sure than a limit, at the walk's held-out poses and those of other bags; and how well the wrong
ones are ranked. Baking: the voxel field when depth beyond the limit is left out. WORK keeps the
training and the renders: the same command goes on where it was stopped.
"""

import argparse
from dataclasses import replace
from pathlib import Path
import shutil

import numpy as np
from sklearn.metrics import roc_auc_score
import torch
from tqdm import tqdm
from uncertainty_study import Judged, judged, Room, WRONG_M

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

LIMITS_M = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
BAKED_M = (0.2, 0.3, 0.5)
CPU = torch.device('cpu')


def main() -> None:
    """Train, ask, judge, bake."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('build_bag', type=Path)
    parser.add_argument('work', type=Path)
    parser.add_argument('other_bags', type=Path, nargs='*')
    parser.add_argument('--field', default='depth-nerfacto')
    parser.add_argument('--config', type=Path, help='settings of a build, as YAML')
    parser.add_argument('--every', type=int, default=1, help='take every so manyth picture')
    args = parser.parse_args()
    require_nerfstudio()
    from nerf_reversal_ros.fields.nerfstudio.training import train_nerfacto
    from nerf_reversal_ros.fields.nerfstudio.uncertainty import nerfacto_uncertainty

    config = load_build_config(args.config)
    args.work.mkdir(exist_ok=True)
    walk = open_capture(args.build_bag, config.capture)
    held_out = held_out_mask(len(walk), config.field.validation_share)
    correction = estimate_depth_correction(walk, np.flatnonzero(~held_out), no_progress)
    walk = walk.with_depth_correction(correction)
    data = load_training_data(walk, held_out, args.work, no_progress)
    field, _ = train_nerfacto(
        data, args.field, config.nerfstudio, device=CPU, seed=config.seed, work_dir=args.work
    )
    grid = nerfacto_uncertainty(field, data)
    room = Room(field, grid, np.zeros(grid.information.shape[:3], np.float32))
    looks = {'held out': [judged(room, walk.frame(int(i))) for i in np.flatnonzero(held_out)]}
    for bag in args.other_bags:
        other = open_capture(bag, config.capture, convention=walk.convention, select_frames=False)
        frames = tqdm(range(0, len(other), args.every), desc=bag.stem, leave=False)
        looks[bag.stem] = [
            judged(room, other.with_depth_correction(correction).frame(i)) for i in frames
        ]
    print_pixels(looks)
    print_baked(field, data, config, grid, args.work)


def print_pixels(looks: dict[str, list[Judged]]) -> None:
    """Tell how well uncertainty finds pixels whose depth is wrong."""
    limits = ' | '.join(f'> {limit} m' for limit in LIMITS_M)
    print(f'\n| pixels | wrong | AUROC: uncertainty | opacity | {limits} |')
    print('| --- ' * (4 + len(LIMITS_M)) + '|')
    for name, looked in looks.items():
        off_m = np.concatenate([look.depth_error_m[look.view.depth > 0] for look in looked])
        known = np.isfinite(off_m)
        wrong = off_m[known] > WRONG_M
        ranks = {
            measure: np.concatenate([x.measures[measure][x.view.depth > 0] for x in looked])[known]
            for measure in ('uncertainty', 'opacity')
        }
        std_m = ranks['uncertainty']
        shares = [
            f'{(std_m[wrong] > limit).mean():.0%}, {(std_m[~wrong] > limit).mean():.0%}'
            for limit in LIMITS_M
        ]
        aurocs = ' | '.join(f'{roc_auc_score(wrong, rank):.2f}' for rank in ranks.values())
        print(
            f'| {name}: {len(looked)} views | {wrong.mean():.1%} | {aurocs}'
            f' | {" | ".join(shares)} |',
            flush=True,
        )


def print_baked(
    field: RadianceField, data: TrainingData, config: BuildConfig, grid: UncertaintyGrid,
    work: Path,
) -> None:  # fmt: skip
    """Tell how good the voxel field is with each limit."""
    print('\n| depth left out beyond | PSNR | depth error | covered | original | baking loses |')
    print('| --- ' * 6 + '|')
    for limit_m in (0.0, *BAKED_M):
        if limit_m:
            leave_out(work / 'baked0.0', work / f'baked{limit_m}', grid, limit_m, data, config)
        limited = replace(config, nerfstudio=replace(config.nerfstudio, max_std_m=limit_m))
        _, report = bake(
            field, data, limited, device=CPU, work_dir=work / f'baked{limit_m}', uncertainty=grid
        )
        print(
            f'| {limit_m} m | {report["psnr_db"]:.2f} dB | {100 * report["depth_error_m"]:.2f} cm'
            f' | {report["coverage"]:.1%} | {report["original_psnr_db"]:.2f} dB'
            f' {100 * report["original_depth_error_m"]:.2f} cm'
            f' | {report["baking_loss_db"]:.2f} dB |',
            flush=True,
        )


def leave_out(
    source: Path, target: Path, grid: UncertaintyGrid, limit_m: float, data: TrainingData,
    config: BuildConfig,
) -> None:  # fmt: skip
    """Copy renders, without the depth that is less sure than the limit."""
    if target.exists():
        return
    target.mkdir()
    for name in ('rgb.npy', 'poses.npy', 'rendered.txt'):
        shutil.copy(source / name, target / name)
    camera = data.camera(0).downscaled_to(baking_budget(config.nerfstudio, CPU)[1])
    depth, kept = np.load(source / 'depth.npy').astype(np.float32), []
    for seen, pose in zip(depth, np.load(source / 'poses.npy'), strict=True):
        view = Rendering(np.empty(0, np.uint8), seen, np.ones_like(seen))
        kept.append(np.where(grid.std_of_view_m(view, pose, camera) > limit_m, 0, seen))
    np.save(target / 'depth.npy', np.array(kept, np.float16))


if __name__ == '__main__':
    main()
