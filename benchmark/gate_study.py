"""
Cross-validate the gate by room: how much it accepts, and how much of that is wrong.

    python benchmark/gate_study.py MAP=BUILD_BAG=TEST_BAG [MAP=BUILD_BAG=TEST_BAG ...]
        [--variants N] [--others N] [--cache FOLDER] [--out FILE.json]

Images of each room are corrupted in many ways and localized with all limits of the gate open: the
held-out frames of its mapping capture, and images of its test capture. So are images of the other
rooms, for which no pose is correct. From the gate's features, logistic regression estimates
whether a pose is within 10 cm and 5 degrees.

Three regressions judge the test images of each room, after the other limits of the gate: one
fitted on the other rooms alone, the default weights, and those that the map fitted in its build.
The coefficients of all rooms together are printed, for `localization.gate`. The last table is
about the covariance: how likely the errors of the held-out frames are, by the exponents of
`calibration.match_weakness`, each room calibrated by itself.
"""

import argparse
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from results import add_out_argument, Cell, Column, ResultTable, write_results
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.config import BuildConfig, LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.core.validated_config import config_from_dict
from nerf_reversal_ros.localization.calibration import (
    Calibration,
    TYPICAL_EXPLAINED,
    TYPICAL_INLIER_RATIO,
)
from nerf_reversal_ros.localization.gate import BIAS, MIN_MATCHED, WEIGHTS
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.localization.pnp import largest_std_m
from nerf_reversal_ros.mapping.calibration_fitting import (
    CalibrationSamples,
    collect_samples,
    fit_covariance,
    IDENTITY_CALIBRATION,
    PERMISSIVE_GATE,
    STUDENT_DEGREES,
)
from nerf_reversal_ros.maps.map_folder import Map, open_map
from nerf_reversal_ros.synthesis.image_corruption import (
    corrupt_randomly,
    make_mirror_negative,
    PosedImage,
)

MIN_PROBABILITIES = (0.9, 0.95, 0.98, 0.99)
EXPONENTS = (0.0, 0.5, 1.0, 1.5)
MAX_FRAMES = 20
"""Largest number of frames of a capture that are corrupted."""
FIGURES = (
    Column('of the correct', '%'),
    Column('incorrect accepted'),
    Column('of them of no pose'),
    Column('worst accepted', 'cm'),
)
ROOM_COLUMNS = ('evaluated in', 'regression', Column('poses'), Column('incorrect'), *FIGURES)
SUM_COLUMNS = ('regression', Column('limit', '', 2), *FIGURES)


class RoomSamples(NamedTuple):
    """Samples of one room, and the calibration of its map."""

    held_out: CalibrationSamples
    """Of held-out frames of the mapping capture."""
    test: CalibrationSamples
    """Of the test capture, and of images of other rooms."""
    calibration: Calibration
    """What the map fitted in its build."""


def main() -> None:
    """Print the cross-validation and the coefficients."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('rooms', nargs='+', metavar='MAP=BUILD_BAG=TEST_BAG')
    parser.add_argument('--variants', type=int, default=5, help='corruptions of each frame')
    parser.add_argument('--others', type=int, default=10, help='images of each other room')
    parser.add_argument('--cache', type=Path, help='folder of samples, used as they are')
    add_out_argument(parser)
    args = parser.parse_args()
    paths = [tuple(map(Path, room.split('='))) for room in args.rooms]
    if len(paths) < 2:
        parser.error('one room cannot be cross-validated: name two or more')
    if len({room[0].stem for room in paths}) < len(paths):
        parser.error('two maps have the same name: rename one, or link to it')
    rooms = {room[0].stem: collect_room(number, paths, args) for number, room in enumerate(paths)}
    tables = [*cross_validation(rooms), exponent_table(list(rooms.values()))]
    coefficients = coefficient_lines(list(rooms.values()))
    print('\n'.join(coefficients))
    write_results(args.out, 'The gate, cross-validated by room', *tables, notes=coefficients)


def collect_room(
    number: int, paths: list[tuple[Path, ...]], args: argparse.Namespace
) -> RoomSamples:
    """Localize images of a room, corrupted and mirrored, and images of all other rooms."""
    map_dir, build_bag, test_bag = paths[number]
    map_ = open_map(map_dir)
    calibration = Calibration.from_dict(map_.manifest['calibration'])
    built = config_from_dict(BuildConfig, map_.manifest['built']['config'])
    build = open_capture(build_bag, built.capture, convention=map_.convention)
    held_out = np.flatnonzero(held_out_mask(len(build), built.field.validation_share))
    others = [
        other_room(other_bag, open_map(other_map), args.others)
        for other, (other_map, _, other_bag) in enumerate(paths)
        if other != number
    ]
    images: dict[str, Iterable[PosedImage]] = {
        'held_out': frames_of(build_bag, map_, held_out, args.variants),
        'test': chain(frames_of(test_bag, map_, None, args.variants), *others),
    }
    localizer = open_localizer(map_, PERMISSIVE_GATE, IDENTITY_CALIBRATION)
    samples = {}
    for part, of_part in images.items():
        name = f'{map_dir.stem}_{part}'
        file = args.cache and args.cache / f'{name}.npz'
        if file and file.exists():
            samples[part] = CalibrationSamples(**np.load(file))
            continue
        samples[part] = collect_samples(localizer, tqdm(of_part, desc=name, leave=False))
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(file, **samples[part]._asdict())
    return RoomSamples(**samples, calibration=calibration)


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


def cross_validation(rooms: dict[str, RoomSamples]) -> list[ResultTable]:
    """Return a table of the rooms at the default limit, and one of all rooms at several."""
    regressions = {
        'of the other rooms': {
            name: fit_probability([other for other in rooms.values() if other is not room])
            for name, room in rooms.items()
        },
        'default': dict.fromkeys(rooms, (BIAS, np.array(WEIGHTS))),
        'of the map': {
            name: (room.calibration.gate_bias, np.array(room.calibration.gate_weights))
            for name, room in rooms.items()
        },
    }
    by_room = ResultTable(f'At the limit {LocalizerConfig().min_probability}', ROOM_COLUMNS)
    for name, room in rooms.items():
        counts = len(room.test.correct), int((~room.test.correct).sum())
        for regression, of_room in regressions.items():
            accepted = accepted_mask(room, of_room[name], LocalizerConfig().min_probability)
            by_room.add_row(name, regression, *counts, *figures(room.test, accepted))
    all_rooms = ResultTable('All rooms: mean, and sums', SUM_COLUMNS)
    for regression, of_room in regressions.items():
        for limit in MIN_PROBABILITIES:
            each = np.array(
                [
                    figures(room.test, accepted_mask(room, of_room[name], limit))
                    for name, room in rooms.items()
                ],
                dtype=float,
            )
            yield_, incorrect, of_no_pose, worst = each.T
            cells: list[Cell] = [yield_.mean(), int(incorrect.sum()), int(of_no_pose.sum())]
            all_rooms.add_row(regression, limit, *cells, worst.max())
    return [by_room, all_rooms]


def fit_probability(rooms: list[RoomSamples]) -> tuple[float, FloatArray]:
    """Fit bias and weights to all samples of rooms, each room of equal weight."""
    parts = [part for room in rooms for part in (room.held_out, room.test)]
    sizes = [len(room.held_out.correct) + len(room.test.correct) for room in rooms]
    weight = np.concatenate([np.full(size, 1 / size) for size in sizes])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.correct for part in parts]),
        logisticregression__sample_weight=weight * len(weight) / weight.sum(),
    )
    scaler, logistic = model[0], model[1]
    weights = logistic.coef_[0] / scaler.scale_
    return float(logistic.intercept_[0] - weights @ scaler.mean_), weights


def coefficient_lines(rooms: list[RoomSamples]) -> list[str]:
    """Return the coefficients of all rooms together, as `localization.gate` writes them."""
    bias, weights = fit_probability(rooms)
    features = [part.features for room in rooms for part in (room.held_out, room.test)]
    mean, std = np.concatenate(features).mean(0), np.concatenate(features).std(0)
    pairs = ', '.join(f'({m:.2f}, {s:.2f})' for m, s in zip(mean, std, strict=True))
    return [
        f'BIAS = {bias:.3f}',
        f'WEIGHTS = ({", ".join(f"{weight:.3f}" for weight in weights)})',
        f'FEATURE_STATS = ({pairs})',
    ]


def exponent_table(rooms: list[RoomSamples]) -> ResultTable:
    """Return the log likelihood of the held-out errors by the exponents of the weakness."""
    columns = [Column(f'inlier ratio ^-{exponent:g}', '', 0) for exponent in EXPONENTS]
    table = ResultTable('Log likelihood by the exponents of weakness', ('explained', *columns))
    for of_explained in EXPONENTS:
        likelihoods: list[Cell] = [
            sum(log_likelihood(room.held_out, of_explained, of_ratio) for room in rooms)
            for of_ratio in EXPONENTS
        ]
        table.add_row(f'^-{of_explained:g}', *likelihoods)
    return table


def log_likelihood(samples: CalibrationSamples, of_explained: float, of_ratio: float) -> float:
    """Return the log likelihood of the correct poses of a room, up to a constant."""
    features = samples.features[samples.correct]
    log_explained = features[:, 7] - np.log(TYPICAL_EXPLAINED)
    log_ratio = np.log(features[:, 1] / TYPICAL_INLIER_RATIO)
    log_weakness = -of_explained * log_explained - of_ratio * log_ratio
    errors = samples.errors[samples.correct] / np.exp(log_weakness[:, None] / 2)
    covariances = samples.covariances[samples.correct]
    calibration = fit_covariance(errors, covariances)
    calibrated = np.array([calibration.covariance(covariance) for covariance in covariances])
    squared = np.einsum('ni,ni->n', errors, np.linalg.solve(calibrated, errors[..., None])[..., 0])
    log_volume = np.linalg.slogdet(calibrated)[1] + 6 * log_weakness
    tail = (STUDENT_DEGREES + 6) / 2 * np.log1p(squared / STUDENT_DEGREES)
    return float((-log_volume / 2 - tail).sum())


def accepted_mask(
    room: RoomSamples, regression: tuple[float, FloatArray], limit: float
) -> NDArray[np.bool_]:
    """Return which test poses pass the gate, all but the checks of camera and distance."""
    bias, weights = regression
    config = LocalizerConfig()
    samples = room.test
    log_matched, ratio, log_inliers, similarity, log_deg, log_m, spread = samples.features.T[:7]
    std_m = [
        largest_std_m(room.calibration.covariance(covariance, weakness=weakness))
        for covariance, weakness in zip(samples.covariances, samples.weakness, strict=True)
    ]
    passed: NDArray[np.bool_] = (
        (1 / (1 + np.exp(-(bias + samples.features @ weights))) >= limit)
        & (np.exp(log_matched).round() >= MIN_MATCHED)
        & (np.exp(log_inliers).round() >= config.min_inliers)
        & (ratio >= config.min_inlier_ratio)
        & (similarity >= config.min_similarity)
        & (spread >= config.min_spread)
        & (np.exp(log_deg) - 0.02 <= config.max_disagreement_deg)
        & (np.exp(log_m) - 0.001 <= config.max_disagreement_m)
        & (np.array(std_m) <= config.max_std_m)
    )
    return passed


def figures(room: CalibrationSamples, accepted: NDArray[np.bool_]) -> list[Cell]:
    """Return how many poses of a room are accepted, and how many incorrect ones."""
    error_m = np.linalg.norm(room.errors[:, :3], axis=1)
    incorrect = accepted & ~room.correct
    return [
        100 * accepted[room.correct].mean(),
        int(incorrect.sum()),
        int(np.isnan(error_m[incorrect]).sum()),
        100 * np.nanmax(error_m, where=accepted & np.isfinite(error_m), initial=0.0),
    ]


if __name__ == '__main__':
    main()
