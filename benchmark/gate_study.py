"""
What the gate's probability rests on: one command, the coefficients and how they carry over.

    python benchmark/gate_study.py MAP=BUILD_BAG [MAP=BUILD_BAG ...] [--variants N]

The frames of each build bag that the build held out are made hard in many ways and localized with
all limits of the gate open. From what the gate looked at, a logistic regression tells whether a
pose is within 10 cm and 5 degrees. Fitted to all rooms but one it is judged on that one; the
coefficients printed are those of all, and go into `localization.gate`. No picture that a map
is judged on elsewhere is used.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
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


def main() -> None:
    """Print how the gate carries over, and the coefficients."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('rooms', nargs='+', metavar='MAP=BUILD_BAG')
    parser.add_argument('--variants', type=int, default=40)
    args = parser.parse_args()
    rooms = [collected(*map(Path, room.split('=')), args.variants) for room in args.rooms]
    for number, (name, room) in enumerate(zip(args.rooms, rooms, strict=True)):
        print(f'{name}: {len(room.correct)} poses, {int((~room.correct).sum())} of them wrong')
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
    pairs = zip(scaler.mean_, scaler.scale_, strict=True)
    print(f'TYPICAL = ({", ".join(f"({mean:.2f}, {std:.2f})" for mean, std in pairs)})')


def collected(map_dir: Path, bag: Path, variants: int) -> CalibrationSamples:
    """Localize the held-out frames of a bag, made hard, and in a mirror."""
    map_ = open_map(map_dir)
    localizer = open_localizer(map_, PERMISSIVE_GATE, IDENTITY_CALIBRATION)
    built = config_from_dict(BuildConfig, map_.manifest['built']['config'])
    capture = open_capture(bag, built.capture, convention=map_.convention)
    share = built.field.validation_share
    shots: list[PosedImage] = []
    for index in np.flatnonzero(held_out_mask(len(capture), share)):
        frame = capture.frame(int(index))
        shot, rng = (
            PosedImage(frame.rgb, frame.camera, frame.map_from_camera),
            np.random.default_rng(index),
        )
        hard = [corrupt_randomly(shot, rng) for _ in range(variants)]
        shots += [
            shot,
            *hard,
            make_mirror_negative(shot),
            *(make_mirror_negative(one) for one in hard[: variants // 4]),
        ]
    return collect_samples(localizer, tqdm(shots, desc=map_dir.name, leave=False))


def fitted(rooms: list[CalibrationSamples]) -> Pipeline:
    """Fit the probability to rooms."""
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return model.fit(
        np.concatenate([room.features for room in rooms]),
        np.concatenate([room.correct for room in rooms]),
    )


def carried_over(room: CalibrationSamples, passed: NDArray[np.bool_], least: float) -> str:
    """Tell what passes in a room that was not fitted to."""
    off_m = np.linalg.norm(room.errors[:, :3], axis=1)
    wrong = passed & ~room.correct
    return (
        f'p >= {least}: {passed.mean():.0%} pass, of the right ones'
        f' {passed[room.correct].mean():.0%}; {int(wrong.sum())} wrong ones'
        f' ({int(np.isnan(off_m[wrong]).sum())} of them in a mirror), the worst'
        f' {np.nanmax(off_m, where=passed, initial=0.0) * 100:.0f} cm off'
    )


if __name__ == '__main__':
    main()
