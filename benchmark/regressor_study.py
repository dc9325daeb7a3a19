"""
Ablation of the pose regressor: image code, components, synthetic views, augmentation.

    python benchmark/regressor_study.py BUILD_BAG TEST_BAG FIELD WORK_DIR [--views N] [--epochs N]
        [--seeds N,N,...] [--rows NAME,...] [--out FILE.json]

FIELD is the voxel field of a map built from BUILD_BAG. Each row changes one thing of the first row
and is trained with several seeds. A median error is given as the mean over seeds, with the lowest
and the highest in brackets, because seeds alone move it by centimeters.

Two segments of the mapping capture are validation frames: they are excluded from training and from
pose sampling, and they select the weights of each row. The field was trained on them. TEST_BAG is
another capture, which neither the field nor the regressor was trained on.

All rows train on about the same number of images: fewer images are repeated more often. Times are
CPU times, so other work on the machine matters less.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
import time
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from results import add_out_argument, Cell, Column, ResultTable, write_results

from nerf_reversal_ros.capture.capture import Frame
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import RegressorConfig, SynthesisConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import pose_errors
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.regressor.regressor import PoseRegressor
from nerf_reversal_ros.regressor.training import train_regressor, views_from_frames
from nerf_reversal_ros.synthesis.augmentation import augment_appearance
from nerf_reversal_ros.synthesis.view_synthesis import synthesize_views, Views

VALIDATION_SEGMENTS = ((0.3, 0.425), (0.85, 1.0))
"""Begin and end as fractions of the mapping capture."""
MARGIN = 0.025
"""Fraction of the capture beside each segment that is left out altogether."""
WITHIN_M = 0.25
SCORE_COLUMNS = (
    Column('median', 'cm', 1),
    Column('median', 'deg', 1),
    Column(f'within {WITHIN_M * 100:.0f} cm', '%'),
)
COLUMNS = (
    'regressor',
    Column('training', 's'),
    Column('parameters', 'M', 2),
    *(column._replace(name=f'validation: {column.name}') for column in SCORE_COLUMNS),
    *(column._replace(name=f'test: {column.name}') for column in SCORE_COLUMNS),
    Column('one image', 'ms', 1),
)


class Row(NamedTuple):
    """A row of the table: a regressor to train."""

    name: str
    config: RegressorConfig
    views: int
    uses_real_images: bool = True
    is_augmented: bool = True


class Score(NamedTuple):
    """Accuracy and time of a regressor."""

    median_cm: float
    median_deg: float
    fraction_within: float
    latency_ms: float


class TrainingImages(NamedTuple):
    """Images that regressors are trained, validated and tested on."""

    views: Views
    real: Views
    validation: Views
    camera: Camera
    validation_frames: list[Frame]
    test_frames: list[Frame]


def main() -> None:
    """Train all rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    for name in ('build_bag', 'test_bag', 'field', 'work_dir'):
        parser.add_argument(name, type=Path)
    parser.add_argument('--views', type=int, default=SynthesisConfig().views)
    parser.add_argument('--epochs', type=int, default=RegressorConfig().epochs)
    parser.add_argument('--seeds', default='0,1,2', help='of the training, separated by commas')
    parser.add_argument('--rows', default='', help='only rows that begin with one of these a,b,c')
    add_out_argument(parser)
    args = parser.parse_args()

    images = load_and_render(args)
    counts = (
        f'{len(images.views)} synthetic, {len(images.real)} real,'
        f' {len(images.validation)} validation and {len(images.test_frames)} test images.'
    )
    print(f'\n{counts} Rejected views: {images.views.rejection_counts}')
    seeds = [int(seed) for seed in args.seeds.split(',')]
    table = ResultTable('Ablation of the regressor', COLUMNS)
    for row in ablation_rows(args.views, replace(RegressorConfig(), epochs=args.epochs)):
        if row.name.startswith(tuple(args.rows.split(','))):
            table.add_row(row.name, *row_cells(row, images, seeds))
    write_results(args.out, 'The pose regressor', table, notes=[counts])


def ablation_rows(views: int, config: RegressorConfig) -> Iterator[Row]:
    """Yield the base row and rows that differ from it in one thing."""
    name = (
        f'base: {config.compression} {config.network_sees}, {config.components} components,'
        f' {views} views and real images'
    )
    base = Row(name, config, views)
    yield base
    for compression, sees in (
        ('pca', 'reconstruction'),
        ('pca', 'components'),
        ('vae', 'reconstruction'),
        ('vae', 'components'),
    ):
        changed = replace(config, compression=compression, network_sees=sees)
        yield base._replace(name=f'{compression}, {sees}', config=changed)
    for components in (50, 100, 300):
        changed = replace(config, components=components)
        yield base._replace(name=f'{components} components', config=changed)
    yield base._replace(name='only real images', views=0)
    yield base._replace(name='only synthetic views', uses_real_images=False)
    for fewer in (views // 10, views // 3):
        yield base._replace(name=f'{fewer} views', views=fewer)
    yield base._replace(name='appearance not augmented', is_augmented=False)


def load_and_render(args: argparse.Namespace) -> TrainingImages:
    """Load both captures; render the views, or load those of an earlier run."""
    capture = open_capture(args.build_bag, CaptureConfig())
    test = open_capture(
        args.test_bag, CaptureConfig(), convention=capture.convention, select_frames=False
    )
    part = np.linspace(0.0, 1.0, len(capture))
    is_validation = np.any([(part >= a) & (part <= b) for a, b in VALIDATION_SEGMENTS], axis=0)
    is_near = np.any(
        [(part > a - MARGIN) & (part < b + MARGIN) for a, b in VALIDATION_SEGMENTS], axis=0
    )
    camera = capture.camera.downscaled_to(SynthesisConfig().width)
    frames = list(capture)
    field = VoxelField.load(args.field)
    real_views = views_from_frames(frames, camera, field)
    real = real_views.subset(~is_near)
    views = synthesize_views(
        field,
        real.map_from_camera,
        camera,
        SynthesisConfig(views=args.views),
        seed=0,
        work_dir=args.work_dir,
        progress=lambda p: print(f'\r{p.done}/{p.total} views', end='', flush=True),
    )
    return TrainingImages(
        views,
        real,
        real_views.subset(is_validation),
        camera,
        [frames[i] for i in np.flatnonzero(is_validation)],
        list(test),
    )


def row_cells(row: Row, images: TrainingImages, seeds: list[int]) -> list[Cell]:
    """Train the regressors of a row and return its cells; none where training fails."""
    views = images.views.subset(slice(row.views))
    real = images.real.subset(slice(None if row.uses_real_images else 0))
    count = len(images.views) + len(images.real)
    epochs = round(row.config.epochs * count / (len(views) + len(real)))
    config = replace(row.config, epochs=epochs, patience=epochs)
    augment = augment_appearance if row.is_augmented else lambda rgb, rng: rgb
    seconds, validation, test = [], [], []
    for seed in seeds:
        start = time.process_time()
        try:
            with patch(f'{train_regressor.__module__}.augment_appearance', augment):
                regressor = train_regressor(
                    views, real, images.validation, images.camera, config, seed=seed
                )
        except BuildError as error:
            print(f'{row.name}: {error}')
            return [None] * (len(COLUMNS) - 1)
        seconds.append(time.process_time() - start)
        validation.append(score_regressor(regressor, images.validation_frames))
        test.append(score_regressor(regressor, images.test_frames))
    return [
        np.mean(seconds),
        regressor.report['parameters'] / 1e6,
        *score_cells(validation),
        *score_cells(test),
        np.mean([score.latency_ms for score in test]),
    ]


def score_regressor(regressor: PoseRegressor, frames: list[Frame]) -> Score:
    """Return median errors, recall and median time on frames."""
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


def score_cells(scores: list[Score]) -> list[Cell]:
    """Return the cells of several seeds: median errors and recall."""
    cm, deg, fraction, _ = zip(*scores, strict=True)
    return [[np.mean(cm), min(cm), max(cm)], np.mean(deg), 100 * np.mean(fraction)]


if __name__ == '__main__':
    main()
