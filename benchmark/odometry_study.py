"""
Measure what drifting odometry adds on corrupted images.

    python benchmark/odometry_study.py MAP TEST_BAG [--sets NAME ...] [--out FILE.json]

Images of TEST_BAG, whose poses are known, are corrupted as in ``hard_sets.py`` and evaluated in
three ways: each alone; each alone with the lower probability limit that odometry confirms; and
with odometry. The odometry is simulated from the ground truth and drifts by a fraction of path and
rotation. Of five random odometries the worst figures count. An incorrect pose is beyond 10 cm or
5 degrees.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from hard_sets import corrupt_images, CORRUPTIONS, open_query_capture
import numpy as np
from results import add_out_argument, Column, ResultTable, write_results
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, inverse, make_pose
from nerf_reversal_ros.core.metrics import result_errors, results_from_outcomes
from nerf_reversal_ros.core.outcome import CORRECT_WITHIN_DEG, CORRECT_WITHIN_M, Outcome
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.localization.localizer_protocol import localize_or_reject
from nerf_reversal_ros.maps.map_folder import open_map
from nerf_reversal_ros.odometry.config import OdometryConfig
from nerf_reversal_ros.odometry.odometry_check import OdometryCheck

DRIFTS = (0.01, 0.03)
ODOMETRIES = 5


def main() -> None:
    """Evaluate the sets and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('map', type=Path)
    parser.add_argument('test_bag', type=Path)
    parser.add_argument('--sets', nargs='*', default=list(CORRUPTIONS), choices=list(CORRUPTIONS))
    add_out_argument(parser)
    args = parser.parse_args()
    map_ = open_map(args.map)
    capture = open_query_capture(args.test_bag, map_)
    strict = LocalizerConfig()
    permissive = replace(strict, min_probability=OdometryConfig().min_confirmed_probability)
    poses_gt, stamps_ns = capture.map_from_camera, capture.stamps_ns
    table = ResultTable(
        'Corrupted images with and without odometry',
        [
            'set',
            'evaluated',
            Column('images'),
            Column('accepted'),
            Column('incorrect'),
            Column('worst', 'cm', 1),
        ],
    )
    localizer = open_localizer(map_, strict)
    for name in args.sets:
        for label, config in (
            ('alone', strict),
            (f'alone, probability {permissive.min_probability:g}', permissive),
        ):
            localizer.config = config
            alone = [
                localize_or_reject(localizer, image.rgb, image.camera)
                for image in tqdm(
                    corrupt_images(capture, CORRUPTIONS[name], 1), desc=name, leave=False
                )
            ]
            table.add_row(name, label, len(poses_gt), *worst_cells([alone], poses_gt))
            if config is strict:
                outcomes = alone
        for drift in DRIFTS:
            checked = [
                check_by_odometry(outcomes, stamps_ns, simulate_odometry(poses_gt, drift, seed))
                for seed in range(ODOMETRIES)
            ]
            label = f'odometry, {drift:.0%} drift'
            table.add_row(name, label, len(poses_gt), *worst_cells(checked, poses_gt))
    write_results(args.out, 'Odometry on corrupted images', table)


def simulate_odometry(
    map_from_camera: FloatArray,
    drift: float,
    seed: int,
    noise_m: float = 0.0,
    noise_deg: float = 0.0,
) -> FloatArray:
    """
    Simulate camera odometry (N, 4, 4) along poses (N, 4, 4), in its own coordinate frame.

    Each step has an error of about ``drift`` times its length, and of that fraction of its
    rotation angle. The direction of the error wanders: it keeps 95 % from step to step. White
    noise is added.
    """
    rng, noise = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    poses = [make_pose(Rotation.random(random_state=seed), rng.normal(0, 3, 3))]
    bias = rng.normal(0, drift, (2, 3))
    for before, after in pairwise(map_from_camera):
        step = inverse(before) @ after
        bias = 0.95 * bias + rng.normal(0, 0.3 * drift, (2, 3))
        angle_rad = Rotation.from_matrix(step[:3, :3]).magnitude()
        path_m = float(np.linalg.norm(step[:3, 3]))
        translation = bias[0] * path_m + noise.normal(0, noise_m, 3)
        rotation = bias[1] * angle_rad + noise.normal(0, np.radians(noise_deg), 3)
        error = make_pose(Rotation.from_rotvec(rotation), translation)
        poses.append(poses[-1] @ step @ error)
    return np.stack(poses)


def check_by_odometry(
    outcomes: Sequence[Outcome], stamps_ns: FloatArray, odom_from_camera: FloatArray
) -> list[Outcome]:
    """Apply the odometry check to outcomes in their order."""
    check, checked = OdometryCheck(), []
    for outcome, stamp_ns, pose in zip(outcomes, stamps_ns, odom_from_camera, strict=True):
        check.add_odometry(int(stamp_ns), pose)
        checked.append(check.check(outcome, int(stamp_ns), np.eye(4), OdometryConfig()))
    return checked


def worst_cells(
    runs: Sequence[Sequence[Outcome]], map_from_camera_gt: FloatArray
) -> tuple[int, int, float]:
    """Return the fewest accepted, the most incorrect and the worst error [cm] of some runs."""
    figures = []
    for outcomes in runs:
        results = results_from_outcomes(outcomes, [np.nan] * len(outcomes))
        errors, accepted = result_errors(results, map_from_camera_gt), results.is_accepted
        metres, degrees = errors.translation[accepted], np.degrees(errors.rotation[accepted])
        incorrect = int(np.sum((metres > CORRECT_WITHIN_M) | (degrees > CORRECT_WITHIN_DEG)))
        figures.append((len(metres), incorrect, 100 * metres.max(initial=0.0)))
    accepted_counts, incorrect_counts, worst_cm = zip(*figures, strict=True)
    return min(accepted_counts), max(incorrect_counts), max(worst_cm)


if __name__ == '__main__':
    main()
