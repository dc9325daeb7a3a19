"""
What odometry gives on pictures made hard: one command, one table.

    python benchmark/odometry_study.py MAP TEST_BAG [--sets NAME ...]

The pictures of TEST_BAG, a walk whose poses are known, are made hard as in hard_sets.py and
answered three times: one by one; one by one, but with the lower probability that odometry has to
confirm; and with an odometry that is made of the true poses and drifts by a share of the path and
of the turn, anew in each of five tries, of which the worst figures are shown. Wrong is beyond
10 cm or 5 degrees.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from hard_sets import changed, opened, SETS
import numpy as np
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from nerf_reversal_ros.core.config import LocalizerConfig, OdometryConfig
from nerf_reversal_ros.core.geometry import FloatArray, inverse, make_pose
from nerf_reversal_ros.core.metrics import result_errors, results_from_outcomes
from nerf_reversal_ros.core.outcome import CORRECT_WITHIN_DEG, CORRECT_WITHIN_M, Outcome
from nerf_reversal_ros.evaluation.evaluation import localize_or_reject
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.maps.map_folder import open_map
from nerf_reversal_ros.odometry.odometry_check import OdometryCheck

DRIFTS = (0.01, 0.03)
TRIES = 5


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('map', type=Path)
    parser.add_argument('test_bag', type=Path)
    parser.add_argument('--sets', nargs='*', default=list(SETS), choices=list(SETS))
    args = parser.parse_args()
    map_ = open_map(args.map)
    capture = opened(args.test_bag, map_)
    strict = LocalizerConfig()
    lax = replace(strict, min_probability=OdometryConfig().min_confirmed_probability)
    truth, stamps_ns = capture.map_from_camera, capture.stamps_ns
    ways = [f'odometry, {drift:.0%} drift' for drift in DRIFTS]
    for name in ('alone', f'alone, {lax.min_probability:g}', *ways):
        print(f'| {name}', end=' ')
    print('|')
    localizers = [open_localizer(map_, config) for config in (strict, lax)]
    for name in args.sets:
        cells = []
        for localizer in localizers:
            alone = [
                localize_or_reject(localizer, picture.rgb, picture.camera)
                for picture in tqdm(changed(capture, SETS[name], 1), desc=name, leave=False)
            ]
            cells.append(told([alone], truth))
            if localizer is localizers[0]:
                outcomes = alone
        for drift in DRIFTS:
            tries = [
                checked(outcomes, stamps_ns, drifting(truth, drift, seed)) for seed in range(TRIES)
            ]
            cells.append(told(tries, truth))
        print(f'| {name} | ' + ' | '.join(cells) + ' |', flush=True)


def drifting(
    map_from_camera: FloatArray,
    drift: float,
    seed: int,
    noise_m: float = 0.0,
    noise_deg: float = 0.0,
) -> FloatArray:
    """
    Return odometry (N, 4, 4) of the camera on a walk (N, 4, 4), in a frame of its own.

    Each step is off by about ``drift`` times its length, and its turn by that share of its angle,
    in a direction that wanders: it keeps 95 % from step to step. To it comes noise.
    """
    rng, noise = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    out = [make_pose(Rotation.random(random_state=seed), rng.normal(0, 3, 3))]
    bias = rng.normal(0, drift, (2, 3))
    for before, after in pairwise(map_from_camera):
        step = inverse(before) @ after
        bias = 0.95 * bias + rng.normal(0, 0.3 * drift, (2, 3))
        turn_rad = Rotation.from_matrix(step[:3, :3]).magnitude()
        path_m = float(np.linalg.norm(step[:3, 3]))
        shift = bias[0] * path_m + noise.normal(0, noise_m, 3)
        turn = bias[1] * turn_rad + noise.normal(0, np.radians(noise_deg), 3)
        error = make_pose(Rotation.from_rotvec(turn), shift)
        out.append(out[-1] @ step @ error)
    return np.stack(out)


def checked(
    outcomes: Sequence[Outcome], stamps_ns: FloatArray, odom_from_camera: FloatArray
) -> list:
    """Let an odometry confirm and contradict outcomes, in their order."""
    check, out = OdometryCheck(), []
    for outcome, stamp_ns, at in zip(outcomes, stamps_ns, odom_from_camera, strict=True):
        check.add_odometry(int(stamp_ns), at)
        out.append(check.check(outcome, int(stamp_ns), np.eye(4), OdometryConfig()))
    return out


def told(tries: Sequence[Sequence[Outcome]], truth: FloatArray) -> str:
    """Return the fewest answered, the most wrong and the worst of some tries."""
    found = []
    for outcomes in tries:
        answers = results_from_outcomes(outcomes, [np.nan] * len(outcomes))
        errors, published = result_errors(answers, truth), answers.is_accepted
        metres, degrees = errors.translation[published], np.degrees(errors.rotation[published])
        wrong = int(np.sum((metres > CORRECT_WITHIN_M) | (degrees > CORRECT_WITHIN_DEG)))
        found.append((len(metres), wrong, 100 * metres.max(initial=0.0)))
    answered, wrong, worst = zip(*found, strict=True)
    return f'{min(answered)} of {len(truth)}, {max(wrong)} wrong, worst {max(worst):.1f} cm'


if __name__ == '__main__':
    main()
