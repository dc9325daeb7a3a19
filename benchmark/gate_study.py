"""
What the gate's probability rests on: one command, the coefficients and how they carry over.

    python benchmark/gate_study.py MAP=TEST_BAG [MAP=TEST_BAG ...] [--every N]

The hard pictures of `hard_sets` are localized in each map with all limits of the gate open. From
what the gate looked at, a logistic regression tells whether a pose is within 10 cm and 5 degrees.
Fitted to all rooms but one it is judged on that one; the coefficients printed are those of all.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

from hard_sets import changed, SETS
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, Pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from nerf_reversal_ros.capture import open_capture
from nerf_reversal_ros.config import CaptureConfig, LocalizerConfig
from nerf_reversal_ros.evaluation import localize_or_reject
from nerf_reversal_ros.gate import features, GOOD_DEG, GOOD_M
from nerf_reversal_ros.geometry import Array, pose_errors
from nerf_reversal_ros.localization import open_localizer
from nerf_reversal_ros.map_store import open_map

OPEN = LocalizerConfig(
    min_inliers=12,
    min_inlier_ratio=0.0,
    min_spread=0.0,
    max_disagreement_m=10.0,
    max_disagreement_deg=180.0,
    min_similarity=-1.0,
    max_std_m=10.0,
    max_distance_m=1000.0,
    min_probability=0.0,
)


class Room(NamedTuple):
    """The evidence on all pictures of one room that any pose was found for."""

    features: Array
    good: Array
    error_m: Array
    easy: Array


def main() -> None:
    """Print how the gate carries over, and the coefficients."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('rooms', nargs='+', metavar='MAP=TEST_BAG')
    parser.add_argument('--every', type=int, default=1)
    args = parser.parse_args()
    rooms = [collected(*map(Path, room.split('=')), args.every) for room in args.rooms]
    for number, (name, room) in enumerate(zip(args.rooms, rooms, strict=True)):
        print(f'{name}: {len(room.good)} poses, {int((~room.good).sum())} of them wrong')
        others = rooms[:number] + rooms[number + 1 :]
        if others:
            probability = fitted(others).predict_proba(room.features)[:, 1]
            for least in (0.9, 0.95, 0.98, 0.99, 0.995):
                print(' ', carried_over(room, probability >= least, least))
    model = fitted(rooms)
    scaler, logistic = model[0], model[1]
    weights = logistic.coef_[0] / scaler.scale_
    bias = logistic.intercept_[0] - weights @ scaler.mean_
    print(f'BIAS = {bias:.3f}\nWEIGHTS = ({", ".join(f"{weight:.3f}" for weight in weights)})')


def collected(map_dir: Path, bag: Path, every: int) -> Room:
    """Localize the hard pictures of a bag."""
    map_ = open_map(map_dir)
    localizer = open_localizer(map_, OPEN)
    capture = open_capture(bag, CaptureConfig(), convention=map_.convention, prune=False)
    rows = []
    for name, change in SETS.items():
        for picture in tqdm(changed(capture, change, every), desc=name, leave=False):
            told = localize_or_reject(localizer, picture.rgb, picture.camera).diagnostics
            if told.refined is None or 'similarity' not in told.scores:
                continue
            error = pose_errors(told.refined[None], picture.map_from_camera[None])
            metres, degrees = float(error.translation[0]), float(np.degrees(error.rotation[0]))
            good = metres < GOOD_M and degrees < GOOD_DEG
            rows.append((features(told.scores), good, metres, name == 'as they are'))
    columns = zip(*rows, strict=True)
    return Room(*(np.array(column) for column in columns))


def fitted(rooms: list[Room]) -> Pipeline:
    """Fit the probability to rooms."""
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return model.fit(
        np.concatenate([room.features for room in rooms]),
        np.concatenate([room.good for room in rooms]),
    )


def carried_over(room: Room, passed: Array, least: float) -> str:
    """Tell what passes in a room that was not fitted to."""
    worst = room.error_m[passed].max(initial=0.0)
    return (
        f'p >= {least}: {passed.mean():.0%} pass, of the right ones'
        f' {passed[room.good].mean():.0%}, of the easy ones {passed[room.easy].mean():.0%};'
        f' {int((passed & ~room.good).sum())} wrong ones, the worst {worst * 100:.0f} cm off'
    )


if __name__ == '__main__':
    main()
