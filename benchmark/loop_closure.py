"""
What the loop closer makes of an odometry that drifts: one command, one table, one picture.

    python benchmark/loop_closure.py MAP TEST_BAG [--poses FILE] [--laps N] [--every N ...]
        [--drift SHARE ...] [--false SHARE ...] [--seeds N] [--picture FILE]

The odometry is made of the true poses of TEST_BAG: each step is off by a share of its length and
of its turn, in a direction that wanders, and by noise besides. The walk is walked forth and back
as often as asked. The poses are those that the localizer finds in the pictures (or FILE, as
``nerf-reversal localize`` writes it); the share of false ones are elsewhere in the room and turned
at random. ATE is the root mean square of the position error by evo: of the odometry, laid to the
true start and laid to the true path as well as can be; of the pose that was known at each picture;
and of the corrected path in the end. The last two are not aligned. Of several seeds, the means,
and the least ratio of all.
"""

import argparse
from collections.abc import Sequence
import json
from pathlib import Path
from typing import NamedTuple

from evo.core.metrics import APE, PoseRelation
from evo.core.trajectory import PosePath3D
from hard_sets import opened
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from odometry_study import drifting
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from nerf_reversal_ros.core.config import LocalizerConfig, LoopClosureConfig
from nerf_reversal_ros.core.geometry import FloatArray, inverse, make_pose, pose_from_quaternion
from nerf_reversal_ros.core.outcome import PoseEstimate
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.maps.map_folder import open_map
from nerf_reversal_ros.odometry.loop_closure import LoopCloser

NOISE_M, NOISE_DEG = 0.001, 0.05
"""Standard deviation of each step, beside the drift."""
STEP_NS = 100_000_000
"""Time from one picture to the next."""

Answers = dict[int, tuple[FloatArray, FloatArray]]
"""Poses (4, 4) and covariances (6, 6) by the number of the picture."""


class Drive(NamedTuple):
    """What came out of one drive of N pictures."""

    truth: FloatArray
    """(N, 4, 4) map_from_camera."""
    odometry: FloatArray
    """(N, 4, 4), in the map, as if its first pose were right."""
    live: FloatArray
    """(L, 4, 4) what was known at each picture since the first accepted pose: at the last L."""
    path: FloatArray
    """(M, 4, 4) the corrected path."""
    path_at: NDArray[np.int64]
    """(M,) at which pictures."""
    false_poses: FloatArray
    """(F, 4, 4) false poses that were given."""
    false_accepted: int
    """How many of them corrected the path."""

    @property
    def live_at(self) -> NDArray[np.int64]:
        """(L,) at which pictures."""
        return np.arange(len(self.truth) - len(self.live), len(self.truth))


def main() -> None:
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('map', type=Path)
    parser.add_argument('test_bag', type=Path)
    parser.add_argument('--poses', type=Path, help='what nerf-reversal localize wrote')
    parser.add_argument('--laps', type=int, default=1)
    parser.add_argument('--every', type=int, nargs='*', default=[1, 10])
    parser.add_argument('--drift', type=float, nargs='*', default=[0.01, 0.03])
    parser.add_argument('--false', type=float, nargs='*', default=[0.0, 0.05])
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--picture', type=Path, help='draws the last drive of the table')
    args = parser.parse_args()
    map_ = open_map(args.map)
    capture = opened(args.test_bag, map_)
    answers = read(args.poses, capture.stamps_ns) if args.poses else localized(map_, capture)
    print(f'{len(answers)} of {len(capture.stamps_ns)} pictures were localized')
    print('| drift | answers | false | ATE odometry, start / path laid to the truth'
          ' | ATE live | ATE path | least ratio | false taken |\n|' + '---|' * 8)  # fmt: skip
    for drift in args.drift:
        for every in args.every:
            for false in args.false:
                drives = [
                    driven(capture.map_from_camera, answers, args.laps, every, drift, false, seed)
                    for seed in range(args.seeds)
                ]
                print(told(drives, drift, every, false), flush=True)
    if args.picture:
        draw(drives[0], args.picture)


def localized(map_, capture) -> Answers:
    """Localize all pictures."""
    localizer, out = open_localizer(map_, LocalizerConfig()), {}
    for frame in tqdm(capture, total=len(capture.stamps_ns), leave=False):
        outcome = localizer.localize(frame.rgb, frame.camera)
        if isinstance(outcome, PoseEstimate):
            out[frame.index] = outcome.map_from_camera, outcome.covariance
    return out


def read(file: Path, stamps_ns: NDArray[np.int64]) -> Answers:
    """Read the poses that nerf-reversal wrote."""
    numbers = {int(stamp_ns): number for number, stamp_ns in enumerate(stamps_ns)}
    return {
        numbers[entry['stamp_ns']]: (
            pose_from_quaternion(*entry['map_from_camera'].values()),
            np.array(entry['covariance']),
        )
        for entry in json.loads(file.read_text(encoding='utf-8'))['poses']
        if entry.get('map_from_camera') and entry['stamp_ns'] in numbers
    }


def driven(
    truth: FloatArray,
    answers: Answers,
    laps: int,
    every: int,
    drift: float,
    false: float,
    seed: int,
) -> Drive:
    """
    Drive along a walk (N, 4, 4), forth and back, with the loop closer.

    Of the pictures, every so manyth is answered, as it was answered once. ``drift`` is a share of
    path and turn, ``false`` the share of answers that are replaced.
    """
    rng = np.random.default_rng(seed)
    there = list(range(len(truth)))
    numbers = [k for lap in range(laps) for k in (there if lap % 2 == 0 else there[::-1])]
    poses = truth[numbers]
    odometry = drifting(poses, drift, seed, NOISE_M, NOISE_DEG)
    closer = LoopCloser(LoopClosureConfig())
    live, false_poses, false_accepted = [], [], 0
    for at, number in enumerate(numbers):
        stamp_ns = at * STEP_NS
        closer.add_odometry(stamp_ns, odometry[at])
        if at % every == 0 and number in answers:
            map_from_camera, covariance = answers[number]
            is_false = rng.random() < false
            if is_false:
                map_from_camera = elsewhere(truth, poses[at], rng)
                false_poses.append(map_from_camera)
            (closure,) = closer.add_pose(stamp_ns, map_from_camera, covariance)
            false_accepted += closure.accepted and is_false
        if (now := closer.current_pose()) is not None:
            live.append(now.map_from_base)
    stamps_ns, path = zip(*closer.graph.path, strict=True)
    return Drive(
        poses,
        poses[0] @ inverse(odometry[0]) @ odometry,
        np.stack(live),
        np.stack(path),
        np.array(stamps_ns) // STEP_NS,
        np.array(false_poses).reshape(-1, 4, 4),
        false_accepted,
    )


def elsewhere(truth: FloatArray, here: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return a pose somewhere about a walk, at least 30 cm from here, looking anywhere."""
    low, high = truth[:, :3, 3].min(axis=0) - 0.5, truth[:, :3, 3].max(axis=0) + 0.5
    while True:
        place = rng.uniform(low, high)
        if np.linalg.norm(place - here[:3, 3]) > 0.3:
            return make_pose(Rotation.random(random_state=rng), place)


def ate_m(estimated: FloatArray, true: FloatArray, align: bool = False) -> float:
    """Return the absolute trajectory error [m] of poses (N, 4, 4), by evo."""
    found, reference = PosePath3D(poses_se3=list(estimated)), PosePath3D(poses_se3=list(true))
    if align:
        found.align(reference)
    error = APE(PoseRelation.translation_part)
    error.process_data((reference, found))
    return float(error.get_all_statistics()['rmse'])


def told(drives: Sequence[Drive], drift: float, every: int, false: float) -> str:
    """Return a line of the table."""
    figures = np.array(
        [
            (
                ate_m(drive.odometry, drive.truth),
                ate_m(drive.odometry, drive.truth, align=True),
                ate_m(drive.live, drive.truth[drive.live_at]),
                ate_m(drive.path, drive.truth[drive.path_at]),
            )
            for drive in drives
        ]
    )
    start, best, live, path = 100 * figures.mean(axis=0)
    ratio = (figures[:, 0] / figures[:, 3]).min()
    given = sum(len(drive.false_poses) for drive in drives)
    taken = sum(drive.false_accepted for drive in drives)
    which = 'all' if every == 1 else f'1 in {every}'
    return (
        f'| {drift:.0%} | {which} | {false:.0%} | {start:.1f} / {best:.1f} cm | {live:.2f} cm'
        f' | {path:.2f} cm | {ratio:.0f} | {taken} of {given} |'
    )


def draw(drive: Drive, file: Path) -> None:
    """Draw a drive from above, and its errors."""
    mpl.use('Agg')
    figure, (above, errors) = plt.subplots(1, 2, figsize=(11, 5), layout='constrained')
    for poses, style, name in (
        (drive.truth, {'color': 'black', 'lw': 3, 'alpha': 0.3}, 'truth'),
        (drive.odometry, {'color': 'tab:red', 'lw': 1}, 'odometry'),
        (drive.path, {'color': 'tab:blue', 'lw': 1.2}, 'corrected path'),
    ):
        above.plot(*poses[:, :2, 3].T, **style, label=name)
    if len(drive.false_poses):
        above.plot(*drive.false_poses[:, :2, 3].T, 'x', color='tab:orange', label='false poses')
    above.set(xlabel='x of the map [m]', ylabel='y of the map [m]', aspect='equal')
    above.legend()
    for poses, at, colour, name in (
        (drive.odometry, np.arange(len(drive.truth)), 'tab:red', 'odometry'),
        (drive.live, drive.live_at, 'tab:green', 'corrected, live'),
        (drive.path, drive.path_at, 'tab:blue', 'corrected path'),
    ):
        off_cm = 100 * np.linalg.norm(poses[:, :3, 3] - drive.truth[at, :3, 3], axis=1)
        name += f': ATE {100 * ate_m(poses, drive.truth[at]):.1f} cm'
        errors.semilogy(at, np.maximum(off_cm, 0.1), color=colour, lw=1, label=name)
    errors.set(xlabel='picture', ylabel='position error [cm]')
    errors.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


if __name__ == '__main__':
    main()
