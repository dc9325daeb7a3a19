"""
Fit the gate's correctness probability by logistic regression, and cross-validate it by room.

    python benchmark/gate_study.py MAP=BUILD_BAG=TEST_BAG [MAP=BUILD_BAG=TEST_BAG ...]
        [--variants N] [--others N] [--cache FOLDER] [--out FILE.json]

Images of each room are corrupted in many ways and localized with all limits of the gate open: the
held-out frames of its mapping capture, and images of its test capture. So are images of the other
rooms, for which no pose is correct. From the gate's features, logistic regression estimates
whether a pose is within 10 cm and 5 degrees. The table evaluates each room with the regression of
the other rooms, which have not seen it. The coefficients of all rooms together are printed, for
`localization.gate`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from results import add_out_argument, Cell, Column, ResultTable, write_results
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, Pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.core.validated_config import config_from_dict
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.mapping.calibration_fitting import (
    CalibrationSamples,
    collect_samples,
    IDENTITY_CALIBRATION,
    PERMISSIVE_GATE,
)
from nerf_reversal_ros.maps.map_folder import Map, open_map
from nerf_reversal_ros.synthesis.image_corruption import (
    corrupt_randomly,
    make_mirror_negative,
    PosedImage,
)

MIN_PROBABILITIES = (0.9, 0.95, 0.98, 0.99, 0.995)
MAX_FRAMES = 20
"""Largest number of frames of a capture that are corrupted."""
COLUMNS = (
    'evaluated in',
    Column('poses'),
    Column('incorrect'),
    Column('limit', '', 3),
    Column('accepted', '%'),
    Column('of the correct', '%'),
    Column('incorrect accepted'),
    Column('of them of no pose'),
    Column('worst accepted', 'cm'),
)


def main() -> None:
    """Print the cross-validation and the coefficients."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('rooms', nargs='+', metavar='MAP=BUILD_BAG=TEST_BAG')
    parser.add_argument('--variants', type=int, default=5, help='corruptions of each frame')
    parser.add_argument('--others', type=int, default=10, help='images of each other room')
    parser.add_argument('--cache', type=Path, help='folder that keeps the samples of each room')
    add_out_argument(parser)
    args = parser.parse_args()
    paths = [tuple(map(Path, room.split('='))) for room in args.rooms]
    names = [room[0].stem for room in paths]
    rooms = [collect_room(number, paths, args) for number in range(len(paths))]
    table = ResultTable('The regression of the other rooms', COLUMNS)
    for number, (name, room) in enumerate(zip(names, rooms, strict=True)):
        counts = len(room.correct), int((~room.correct).sum())
        others = rooms[:number] + rooms[number + 1 :]
        if not others:
            print(f'{name}: {counts[0]} poses, {counts[1]} of them incorrect')
            continue
        probability = fit_probability(others).predict_proba(room.features)[:, 1]
        for limit in MIN_PROBABILITIES:
            table.add_row(name, *counts, limit, *acceptance_cells(room, probability >= limit))
    model = fit_probability(rooms)
    scaler, logistic = model[0], model[1]
    weights = logistic.coef_[0] / scaler.scale_
    bias = logistic.intercept_[0] - weights @ scaler.mean_
    pairs = zip(scaler.mean_, scaler.scale_, strict=True)
    coefficients = [
        f'BIAS = {bias:.3f}',
        f'WEIGHTS = ({", ".join(f"{weight:.3f}" for weight in weights)})',
        f'FEATURE_STATS = ({", ".join(f"({mean:.2f}, {std:.2f})" for mean, std in pairs)})',
    ]
    print('\n'.join(coefficients))
    write_results(args.out, 'The gate in rooms it was not fitted on', table, notes=coefficients)


def collect_room(
    number: int, paths: list[tuple[Path, ...]], args: argparse.Namespace
) -> CalibrationSamples:
    """Localize images of a room, corrupted and mirrored, and images of all other rooms."""
    map_dir, build_bag, test_bag = paths[number]
    cached = args.cache and args.cache / f'{map_dir.stem}.npz'
    if cached and cached.exists():
        return CalibrationSamples(**np.load(cached))
    map_ = open_map(map_dir)
    built = config_from_dict(BuildConfig, map_.manifest['built']['config'])
    build = open_capture(build_bag, built.capture, convention=map_.convention)
    held_out = np.flatnonzero(held_out_mask(len(build), built.field.validation_share))
    images = [
        *frames_of(build_bag, map_, held_out, args.variants),
        *frames_of(test_bag, map_, None, args.variants),
    ]
    for other, (other_map, _, other_bag) in enumerate(paths):
        if other != number:
            images += other_room(other_bag, open_map(other_map), args.others)
    localizer = open_localizer(map_, PERMISSIVE_GATE, IDENTITY_CALIBRATION)
    samples = collect_samples(localizer, tqdm(images, desc=map_dir.stem, leave=False))
    if cached:
        cached.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(cached, **samples._asdict())
    return samples


def frames_of(
    bag: Path, map_: Map, indices: NDArray[np.intp] | None, variants: int
) -> Iterator[PosedImage]:
    """Yield frames of a capture: unchanged, corrupted, and mirrored."""
    built = config_from_dict(BuildConfig, map_.manifest['built']['config'])
    capture = open_capture(bag, built.capture, convention=map_.convention)
    indices = np.arange(len(capture)) if indices is None else indices
    for index in indices[evenly_spaced_indices(len(indices), MAX_FRAMES)]:
        frame = capture.frame(int(index))
        image = PosedImage(frame.rgb, frame.camera, frame.map_from_camera)
        rng = np.random.default_rng(index)
        corrupted = [corrupt_randomly(image, rng) for _ in range(variants)]
        yield from (image, *corrupted, make_mirror_negative(image))


def other_room(bag: Path, map_: Map, count: int) -> Iterator[PosedImage]:
    """Yield images of another room, for which no pose is correct."""
    built = config_from_dict(BuildConfig, map_.manifest['built']['config'])
    capture = open_capture(bag, built.capture, convention=map_.convention)
    for index in evenly_spaced_indices(len(capture), count):
        frame = capture.frame(int(index))
        yield PosedImage(frame.rgb, frame.camera, np.full((4, 4), np.nan))


def fit_probability(rooms: list[CalibrationSamples]) -> Pipeline:
    """Fit the correctness probability to the samples of rooms, each of equal weight."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    weights = [np.full(len(room.correct), 1 / len(room.correct)) for room in rooms]
    weight = np.concatenate(weights)
    return model.fit(
        np.concatenate([room.features for room in rooms]),
        np.concatenate([room.correct for room in rooms]),
        logisticregression__sample_weight=weight * len(weight) / weight.sum(),
    )


def acceptance_cells(room: CalibrationSamples, accepted: NDArray[np.bool_]) -> list[Cell]:
    """Return how many poses of a room are accepted, and how many incorrect ones."""
    error_m = np.linalg.norm(room.errors[:, :3], axis=1)
    incorrect = accepted & ~room.correct
    return [
        100 * accepted.mean(),
        100 * accepted[room.correct].mean(),
        int(incorrect.sum()),
        int(np.isnan(error_m[incorrect]).sum()),
        100 * np.nanmax(error_m, where=accepted, initial=0.0),
    ]


if __name__ == '__main__':
    main()
