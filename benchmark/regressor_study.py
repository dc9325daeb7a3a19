"""
What the regressor's choices rest on: one command, one table.

    python benchmark/regressor_study.py BUILD_BAG TEST_BAG FIELD WORK_DIR [--views N] [--epochs N]

FIELD is the voxel field of a map built from BUILD_BAG. Choices are made on two stretches of the
build walk that are held out of the regressor's real pictures and walked poses; TEST_BAG, another
walk, is only looked at with --judge, once everything is chosen.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import time

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
import torch
from torch import Tensor

from nerf_reversal_ros.camera import Camera
from nerf_reversal_ros.capture import Capture, open_capture
from nerf_reversal_ros.compression import as_tensors, standardized
from nerf_reversal_ros.config import CaptureConfig, RegressorConfig, SynthesisConfig
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.geometry import Array, pose_errors
from nerf_reversal_ros.regressor import PoseRegressor, Regression
from nerf_reversal_ros.regressor_training import real_views, train_regressor
from nerf_reversal_ros.synthesis import synthesize_views, Views

HELD_OUT = ((0.3, 0.425), (0.85, 1.0))
"""Stretches of the walk that choices are made on."""
MARGIN = 0.025
"""Share of the walk next to them that is left out altogether."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    for name in ('build_bag', 'test_bag', 'field', 'work_dir'):
        parser.add_argument(name, type=Path)
    parser.add_argument('--views', type=int, default=5000)
    parser.add_argument('--epochs', type=int, default=10)
    parser.add_argument('--compressions', default='none,reconstruction,components')
    parser.add_argument('--judge', action='store_true', help='also print the errors on TEST_BAG')
    args = parser.parse_args()

    capture = open_capture(args.build_bag, CaptureConfig())
    share = np.linspace(0.0, 1.0, len(capture))
    held_out = np.any([(share >= a) & (share <= b) for a, b in HELD_OUT], axis=0)
    near = np.any([(share > a - MARGIN) & (share < b + MARGIN) for a, b in HELD_OUT], axis=0)
    camera = capture.camera.shrunk_to(SynthesisConfig().width)
    everything = real_views(capture, camera)
    real, validation = subset(everything, ~near), subset(everything, held_out)
    views = synthesize_views(
        VoxelField.load(args.field),
        real.map_from_camera,
        camera,
        SynthesisConfig(views=args.views),
        seed=0,
        work_dir=args.work_dir,
        progress=lambda p: print(f'\r{p.done}/{p.total} views', end='', flush=True),
    )
    print(f'\n{len(views)} synthetic, {len(real)} real, {len(validation)} validation views')
    print('rejected:', views.rejected)
    print_retrieval(views, real, validation)
    print('\n| network sees | train s | parameters | validation | within 25 cm | novelty |')
    print('|---|---|---|---|---|---|')
    for compression in args.compressions.split(','):
        config = replace(RegressorConfig(), compression=compression, epochs=args.epochs)
        start = time.perf_counter()
        regressor = train_regressor(views, real, validation, camera, config, seed=0)
        seconds = time.perf_counter() - start
        print(f'| {compression} | {seconds:.0f} | {regressor.report["parameters"]}'
              f' | {judged(regressor, everything, held_out, camera)}', flush=True)  # fmt: skip
        regressor.save(args.work_dir / f'{compression}.safetensors')
        if args.judge:
            test = open_capture(
                args.test_bag, CaptureConfig(), convention=capture.convention, prune=False
            )
            print(f'| {compression}, other walk | | | {judged_capture(regressor, test)}')


def subset(views: Views, which: NDArray[np.bool_]) -> Views:
    """Pick views."""
    return Views(views.rgb[which], views.seen[which], views.map_from_camera[which], {})


def judged(
    regressor: PoseRegressor, views: Views, which: NDArray[np.bool_], camera: Camera
) -> str:
    """Tell how good a regressor is on views of the canonical camera."""
    chosen = subset(views, which)
    answers = [regressor.regress(rgb, camera) for rgb in chosen.rgb]
    return in_words(answers, chosen.map_from_camera)


def judged_capture(regressor: PoseRegressor, capture: Capture) -> str:
    """Tell how good a regressor is on full-size pictures, and how long it takes."""
    answers, seconds = [], []
    for frame in capture:
        start = time.perf_counter()
        answers.append(regressor.regress(frame.rgb, frame.camera))
        seconds.append(time.perf_counter() - start)
    return f'{in_words(answers, capture.map_from_camera)} {np.median(seconds) * 1e3:.1f} ms |'


def in_words(answers: list[Regression], truth: Array) -> str:
    """Tell the medians of errors and novelty."""
    errors = pose_errors(np.stack([answer.map_from_camera for answer in answers]), truth)
    retrieved = [
        pose_errors(answer.retrieved[:4], np.broadcast_to(pose, (4, 4, 4))).translation.min()
        for answer, pose in zip(answers, truth, strict=True)
    ]
    novelty = np.median([answer.novelty for answer in answers])
    return (
        f'{np.median(errors.translation) * 100:.1f} cm'
        f' {np.degrees(np.median(errors.rotation)):.1f} deg'
        f' (best of 4 retrieved {np.median(retrieved) * 100:.1f} cm)'
        f' | {np.mean(errors.translation < 0.25):.0%} | {novelty:.2f} |'
    )


def print_retrieval(views: Views, real: Views, validation: Views) -> None:
    """Compare ways to normalize pictures and to weigh code components, by the nearest view."""
    print('\n| normalized | retained | weights | nearest view, median | 90 % |')
    print('|---|---|---|---|---|')
    poses = np.concatenate([views.map_from_camera, real.map_from_camera])
    normalizations: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        'not at all': lambda rgb, seen: (rgb - 0.5) * seen,
        'by luminance': by_luminance,
        'by channel': standardized,
    }
    for name, normalize in normalizations.items():
        known, queries = (
            torch.cat([normalize(*as_tensors(v.rgb, v.seen, 'cpu')).flatten(1) for v in some])
            for some in ((views, real), (validation,))
        )
        mean = known.mean(0)
        known -= mean
        queries -= mean
        pca = PCA(150, svd_solver='randomized', iterated_power=2, random_state=0)
        pca.fit(known[:: max(1, len(known) // 6000)].numpy())
        components = torch.from_numpy(pca.components_).float()
        variance = torch.from_numpy(pca.explained_variance_).float()
        known_codes, codes = known @ components.T, queries @ components.T
        for power in (0.0, 0.15, 0.25, 0.5):
            weights = variance**-power
            nearest = torch.cdist(codes * weights, known_codes * weights).argmin(1)
            errors = pose_errors(poses[nearest], validation.map_from_camera)
            print(
                f'| {name} | {pca.explained_variance_ratio_.sum():.3f} | variance^-{power} |'
                f' {np.median(errors.translation) * 100:.1f} cm'
                f' {np.degrees(np.median(errors.rotation)):.1f} deg |'
                f' {np.percentile(errors.translation, 90) * 100:.0f} cm |',
                flush=True,
            )


def by_luminance(rgb: Tensor, seen: Tensor) -> Tensor:
    """Give each picture's luminance mean 0 and standard deviation 1; keep its tint."""
    luminance = (rgb * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    count = seen.sum((2, 3), keepdim=True).clamp(min=1.0)
    mean = (luminance * seen).sum((2, 3), keepdim=True) / count
    spread = ((luminance - mean) * seen).square().sum((2, 3), keepdim=True) / count
    return (rgb - mean) * seen / spread.sqrt().clamp(min=1 / 64)


if __name__ == '__main__':
    main()
