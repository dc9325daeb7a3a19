"""
Fit the gate's correctness probability by logistic regression, and cross-validate it by room.

    python benchmark/gate_study.py MAP=BUILD_BAG [MAP=BUILD_BAG ...] [--variants N]
        [--out FILE.json]

The held-out frames of each build bag are corrupted in many ways and localized with all limits of
the gate open. From the gate's features, logistic regression estimates whether a pose is within
10 cm and 5 degrees. The table evaluates each room with the regression of the other rooms. The
coefficients of all rooms together are printed, for `localization.gate`. No test image of another
benchmark is used.
"""

import argparse
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
from nerf_reversal_ros.core.validated_config import config_from_dict
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.mapping.calibration_fitting import (
    CalibrationSamples,
    collect_samples,
    IDENTITY_CALIBRATION,
    PERMISSIVE_GATE,
)
from nerf_reversal_ros.maps.map_folder import open_map
from nerf_reversal_ros.synthesis.image_corruption import (
    corrupt_randomly,
    make_mirror_negative,
    PosedImage,
)

MIN_PROBABILITIES = (0.9, 0.95, 0.98, 0.99, 0.995)
COLUMNS = (
    'evaluated in',
    Column('poses'),
    Column('incorrect'),
    Column('limit', '', 3),
    Column('accepted', '%'),
    Column('of the correct', '%'),
    Column('incorrect accepted'),
    Column('of them mirrored'),
    Column('worst accepted', 'cm'),
)


def main() -> None:
    """Print the cross-validation and the coefficients."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('rooms', nargs='+', metavar='MAP=BUILD_BAG')
    parser.add_argument('--variants', type=int, default=40, help='corruptions of each frame')
    add_out_argument(parser)
    args = parser.parse_args()
    rooms = [collect_room(*map(Path, room.split('=')), args.variants) for room in args.rooms]
    table = ResultTable('The regression of the other rooms', COLUMNS)
    for number, (name, room) in enumerate(zip(args.rooms, rooms, strict=True)):
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
        f'TYPICAL = ({", ".join(f"({mean:.2f}, {std:.2f})" for mean, std in pairs)})',
    ]
    print('\n'.join(coefficients))
    write_results(args.out, 'The gate in rooms it was not fitted on', table, notes=coefficients)


def collect_room(map_dir: Path, bag: Path, variants: int) -> CalibrationSamples:
    """Localize the held-out frames of a bag: unchanged, corrupted and mirrored."""
    map_ = open_map(map_dir)
    localizer = open_localizer(map_, PERMISSIVE_GATE, IDENTITY_CALIBRATION)
    built = config_from_dict(BuildConfig, map_.manifest['built']['config'])
    capture = open_capture(bag, built.capture, convention=map_.convention)
    share = built.field.validation_share
    images: list[PosedImage] = []
    for index in np.flatnonzero(held_out_mask(len(capture), share)):
        frame = capture.frame(int(index))
        image = PosedImage(frame.rgb, frame.camera, frame.map_from_camera)
        rng = np.random.default_rng(index)
        corrupted = [corrupt_randomly(image, rng) for _ in range(variants)]
        images += [
            image,
            *corrupted,
            make_mirror_negative(image),
            *(make_mirror_negative(one) for one in corrupted[: variants // 4]),
        ]
    return collect_samples(localizer, tqdm(images, desc=map_dir.name, leave=False))


def fit_probability(rooms: list[CalibrationSamples]) -> Pipeline:
    """Fit the correctness probability to the samples of rooms."""
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return model.fit(
        np.concatenate([room.features for room in rooms]),
        np.concatenate([room.correct for room in rooms]),
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
