"""
What each part of the regressor is worth: one command, one table.

    python benchmark/regressor_study.py BUILD_BAG TEST_BAG FIELD WORK_DIR [--views N] [--epochs N]

FIELD is the voxel field of a map built from BUILD_BAG. Each row changes one thing of the first and
is trained with several seeds: means are printed, and in brackets the best and the worst median,
for luck alone moves it by centimetres.

Two stretches of the build walk are held out of the regressor's pictures and of the poses that
views are rendered around: they choose each row's weights, and choices are to be made on them.
The field has seen them; nothing has seen TEST_BAG, another walk, which is printed as the judge.

All rows see about the same number of pictures: where there are fewer, they are seen more often.
Times are of the CPU, not of the clock, so that other work on the machine counts less.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
import time
from typing import NamedTuple
from unittest.mock import patch

import numpy as np

from nerf_reversal_ros.capture.capture import Frame
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import CaptureConfig, RegressorConfig, SynthesisConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import pose_errors
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.regressor.regressor import PoseRegressor
from nerf_reversal_ros.regressor.training import train_regressor, views_from_frames
from nerf_reversal_ros.synthesis.augmentation import augment_appearance
from nerf_reversal_ros.synthesis.view_synthesis import synthesize_views, Views

HELD_OUT = ((0.3, 0.425), (0.85, 1.0))
"""Stretches of the walk that choices are made on."""
MARGIN = 0.025
"""Share of the walk next to them that is left out altogether."""
WITHIN_M = 0.25
HEADER = (
    'regressor',
    'training',
    'parameters',
    'validation, median',
    f'within {WITHIN_M * 100:.0f} cm',
    'other walk, median',
    f'within {WITHIN_M * 100:.0f} cm',
    'one picture',
)


class Row(NamedTuple):
    """One line of the table: a regressor to train."""

    name: str
    config: RegressorConfig
    views: int
    real: bool = True
    augmented: bool = True


class Score(NamedTuple):
    """How good a regressor is."""

    cm: float
    deg: float
    share_within: float
    milliseconds: float


class Pictures(NamedTuple):
    """What regressors are made of and judged with."""

    views: Views
    real: Views
    validation: Views
    camera: Camera
    validation_frames: list[Frame]
    test_frames: list[Frame]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    for name in ('build_bag', 'test_bag', 'field', 'work_dir'):
        parser.add_argument(name, type=Path)
    parser.add_argument('--views', type=int, default=SynthesisConfig().views)
    parser.add_argument('--epochs', type=int, default=RegressorConfig().epochs)
    parser.add_argument('--seeds', default='0,1,2', help='each row is trained with each of these')
    parser.add_argument('--rows', default='', help='only rows that begin with one of these a,b,c')
    args = parser.parse_args()

    pictures = read_and_render(args)
    print(
        f'\n{len(pictures.views)} synthetic, {len(pictures.real)} real and'
        f' {len(pictures.validation)} validation views, {len(pictures.test_frames)} of the other'
        f' walk; rejected: {pictures.views.rejection_counts}\n'
    )
    print_cells(*HEADER)
    print_cells(*['---'] * len(HEADER))
    seeds = [int(seed) for seed in args.seeds.split(',')]
    for row in ablation(args.views, replace(RegressorConfig(), epochs=args.epochs)):
        if row.name.startswith(tuple(args.rows.split(','))):
            print_cells(row.name, *cells(row, pictures, seeds))


def ablation(views: int, config: RegressorConfig) -> Iterator[Row]:
    """Yield the base and what differs from it in one thing."""
    name = (
        f'base: {config.compression} {config.network_sees}, {config.components} components,'
        f' {views} views and real pictures'
    )
    base = Row(name, config, views)
    yield base
    for compression, sees in (
        ('none', 'reconstruction'),
        ('pca', 'components'),
        ('vae', 'reconstruction'),
        ('vae', 'components'),
    ):
        changed = replace(config, compression=compression, network_sees=sees)
        name = 'network sees: pictures' if compression == 'none' else f'{compression}, {sees}'
        yield base._replace(name=name, config=changed)
    for components in (50, 100, 300):
        changed = replace(config, components=components)
        yield base._replace(name=f'{components} components', config=changed)
    yield base._replace(name='only real pictures', views=0)
    yield base._replace(name='only synthetic views', real=False)
    for fewer in (views // 10, views // 3):
        yield base._replace(name=f'{fewer} views', views=fewer)
    yield base._replace(name='appearance not varied', augmented=False)


def read_and_render(args: argparse.Namespace) -> Pictures:
    """Read both walks; render the views, or read those of an earlier run."""
    capture = open_capture(args.build_bag, CaptureConfig())
    test = open_capture(
        args.test_bag, CaptureConfig(), convention=capture.convention, select_frames=False
    )
    share = np.linspace(0.0, 1.0, len(capture))
    held_out = np.any([(share >= a) & (share <= b) for a, b in HELD_OUT], axis=0)
    near = np.any([(share > a - MARGIN) & (share < b + MARGIN) for a, b in HELD_OUT], axis=0)
    camera = capture.camera.downscaled_to(SynthesisConfig().width)
    frames = list(capture)
    field = VoxelField.load(args.field)
    everything = views_from_frames(frames, camera, field)
    real = everything.subset(~near)
    views = synthesize_views(
        field,
        real.map_from_camera,
        camera,
        SynthesisConfig(views=args.views),
        seed=0,
        work_dir=args.work_dir,
        progress=lambda p: print(f'\r{p.done}/{p.total} views', end='', flush=True),
    )
    return Pictures(
        views,
        real,
        everything.subset(held_out),
        camera,
        [frames[i] for i in np.flatnonzero(held_out)],
        list(test),
    )


def cells(row: Row, pictures: Pictures, seeds: list[int]) -> tuple[str, ...]:
    """Train a row's regressors and tell how good they are."""
    views = pictures.views.subset(slice(row.views))
    real = pictures.real.subset(slice(None if row.real else 0))
    everything = len(pictures.views) + len(pictures.real)
    epochs = round(row.config.epochs * everything / (len(views) + len(real)))
    config = replace(row.config, epochs=epochs, patience=epochs)
    vary = augment_appearance if row.augmented else lambda rgb, rng: rgb
    seconds, validation, test = [], [], []
    for seed in seeds:
        start = time.process_time()
        try:
            with patch(f'{train_regressor.__module__}.varied_appearance', vary):
                regressor = train_regressor(
                    views, real, pictures.validation, pictures.camera, config, seed=seed
                )
        except BuildError as error:
            return (str(error).partition(':')[0],)
        seconds.append(time.process_time() - start)
        validation.append(judged(regressor, pictures.validation_frames))
        test.append(judged(regressor, pictures.test_frames))
    return (
        f'{np.mean(seconds):.0f} s',
        f'{regressor.report["parameters"] / 1e6:.2f} M',
        *in_words(validation),
        *in_words(test),
        f'{np.mean([score.milliseconds for score in test]):.1f} ms',
    )


def judged(regressor: PoseRegressor, frames: list[Frame]) -> Score:
    """Tell the medians of errors and time, and the share of good answers."""
    poses, seconds = [], []
    for frame in frames:
        start = time.process_time()
        poses.append(regressor.regress(frame.rgb, frame.camera).map_from_camera)
        seconds.append(time.process_time() - start)
    errors = pose_errors(np.stack(poses), np.stack([frame.map_from_camera for frame in frames]))
    return Score(
        float(np.median(errors.translation)) * 100,
        float(np.degrees(np.median(errors.rotation))),
        float(np.mean(errors.translation < WITHIN_M)),
        float(np.median(seconds)) * 1e3,
    )


def in_words(scores: list[Score]) -> tuple[str, str]:
    """Tell what regressors of several seeds reach: medians, share of good answers."""
    cm, deg, share, _ = zip(*scores, strict=True)
    return (
        f'{np.mean(cm):.1f} ({min(cm):.1f} to {max(cm):.1f}) cm {np.mean(deg):.1f} deg',
        f'{np.mean(share):.0%}',
    )


def print_cells(*texts: str) -> None:
    """Print a line of a Markdown table at once."""
    print(f'| {" | ".join(texts)} |', flush=True)


if __name__ == '__main__':
    main()
