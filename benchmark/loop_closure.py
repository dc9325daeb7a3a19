"""
Correct a drifting odometry with the loop closer, and measure the trajectory error.

    python benchmark/loop_closure.py MAP TEST_BAG [--poses FILE] [--laps N] [--every N ...]
        [--drift FRACTION ...] [--false FRACTION ...] [--seeds N] [--plot FILE] [--out FILE.json]

The odometry is simulated from the ground truth of TEST_BAG: each step has an error that is a
fraction of its length and of its rotation, in a direction that wanders, and white noise. The
trajectory is driven forth and back as often as ``--laps`` says. Poses come from the localizer, or
from FILE as ``nerf-reversal localize`` writes it. False poses are elsewhere in the room, with
random rotation.

ATE is the root mean square position error by evo. The odometry is aligned at its first pose, and
also to the whole ground truth. The live pose at each image and the final corrected path are not
aligned. The table has means over seeds, and the smallest ratio of all seeds.
"""

import argparse
from collections.abc import Sequence
import json
from pathlib import Path
from typing import NamedTuple

from evo.core.metrics import APE, PoseRelation
from evo.core.trajectory import PosePath3D
from hard_sets import open_query_capture
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from odometry_study import simulate_odometry
from results import add_out_argument, Cell, Column, ResultTable, write_results
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, inverse, make_pose, pose_from_quaternion
from nerf_reversal_ros.core.outcome import PoseEstimate
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.maps.map_folder import Map, open_map
from nerf_reversal_ros.odometry.config import LoopClosureConfig
from nerf_reversal_ros.odometry.loop_closure import LoopCloser

NOISE_M, NOISE_DEG = 0.001, 0.05
"""Standard deviation of the white noise of each step."""
STEP_NS = 100_000_000
"""Time between two images."""
COLUMNS = (
    Column('drift', '%'),
    'poses used',
    Column('false poses', '%'),
    Column('ATE odometry, aligned at its start', 'cm', 1),
    Column('aligned to the path', 'cm', 1),
    Column('ATE live', 'cm', 2),
    Column('ATE path', 'cm', 2),
    Column('smallest ratio'),
    Column('false given'),
    Column('false accepted'),
)

PosesByFrame = dict[int, tuple[FloatArray, FloatArray]]
"""Poses (4, 4) and covariances (6, 6) by frame index."""


class Drive(NamedTuple):
    """Result of one drive of N images."""

    map_from_camera_gt: FloatArray
    """(N, 4, 4) ground truth."""
    odometry: FloatArray
    """(N, 4, 4) in the map frame, aligned at the first pose."""
    live: FloatArray
    """(L, 4, 4) corrected pose at each of the last L images, from the first accepted pose on."""
    path: FloatArray
    """(M, 4, 4) corrected path at the end."""
    path_indices: NDArray[np.int64]
    """(M,) images of the corrected path."""
    false_poses: FloatArray
    """(F, 4, 4) false poses that were given to the loop closer."""
    false_accepted: int
    """Number of false poses that were accepted."""

    @property
    def live_indices(self) -> NDArray[np.int64]:
        """(L,) images of the live poses."""
        count = len(self.map_from_camera_gt)
        return np.arange(count - len(self.live), count)


def main() -> None:
    """Drive all combinations, print the table and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('map', type=Path)
    parser.add_argument('test_bag', type=Path)
    parser.add_argument('--poses', type=Path, help='file that nerf-reversal localize wrote')
    parser.add_argument('--laps', type=int, default=1)
    parser.add_argument('--every', type=int, nargs='*', default=[1, 10])
    parser.add_argument('--drift', type=float, nargs='*', default=[0.01, 0.03])
    parser.add_argument('--false', type=float, nargs='*', default=[0.0, 0.05])
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument(
        *('--plot', '--picture'),  # the second name is an old one
        dest='plot',
        type=Path,
        help='draw the last drive of the table',
    )
    add_out_argument(parser)
    args = parser.parse_args()
    map_ = open_map(args.map)
    capture = open_query_capture(args.test_bag, map_)
    if args.poses:
        poses = read_poses(args.poses, capture.stamps_ns)
    else:
        poses = localize_images(map_, capture)
    localized = f'{len(poses)} of {len(capture.stamps_ns)} images were localized.'
    print(localized)
    table = ResultTable('Trajectory error with and without loop closing', COLUMNS)
    for drift in args.drift:
        for every in args.every:
            for false in args.false:
                drives = [
                    drive(capture.map_from_camera, poses, args.laps, every, drift, false, seed)
                    for seed in range(args.seeds)
                ]
                table.add_row(*drive_cells(drives, drift, every, false))
    if args.plot:
        plot_drive(drives[0], args.plot)
    write_results(args.out, 'Loop closing', table, notes=[localized])


def localize_images(map_: Map, capture: Capture) -> PosesByFrame:
    """Localize all images of a capture."""
    localizer, poses = open_localizer(map_, LocalizerConfig()), {}
    for frame in tqdm(capture, total=len(capture.stamps_ns), leave=False):
        outcome = localizer.localize(frame.rgb, frame.camera)
        if isinstance(outcome, PoseEstimate):
            poses[frame.index] = outcome.map_from_camera, outcome.covariance
    return poses


def read_poses(file: Path, stamps_ns: NDArray[np.int64]) -> PosesByFrame:
    """Read the poses that ``nerf-reversal localize`` wrote."""
    indices = {int(stamp_ns): index for index, stamp_ns in enumerate(stamps_ns)}
    return {
        indices[entry['stamp_ns']]: (
            pose_from_quaternion(*entry['map_from_camera'].values()),
            np.array(entry['covariance']),
        )
        for entry in json.loads(file.read_text(encoding='utf-8'))['poses']
        if entry.get('map_from_camera') and entry['stamp_ns'] in indices
    }


def drive(
    map_from_camera_gt: FloatArray,
    poses: PosesByFrame,
    laps: int,
    every: int,
    drift: float,
    false: float,
    seed: int,
) -> Drive:
    """
    Drive a trajectory (N, 4, 4) forth and back with the loop closer.

    Every ``every``-th image gives its pose. ``drift`` is a fraction of path and rotation, and
    ``false`` the fraction of poses that are replaced.
    """
    rng = np.random.default_rng(seed)
    forth = list(range(len(map_from_camera_gt)))
    indices = [k for lap in range(laps) for k in (forth if lap % 2 == 0 else forth[::-1])]
    poses_gt = map_from_camera_gt[indices]
    odometry = simulate_odometry(poses_gt, drift, seed, NOISE_M, NOISE_DEG)
    closer = LoopCloser(LoopClosureConfig())
    live, false_poses, false_accepted = [], [], 0
    for step, index in enumerate(indices):
        stamp_ns = step * STEP_NS
        closer.add_odometry(stamp_ns, odometry[step])
        if step % every == 0 and index in poses:
            map_from_camera, covariance = poses[index]
            is_false = rng.random() < false
            if is_false:
                map_from_camera = sample_false_pose(map_from_camera_gt, poses_gt[step], rng)
                false_poses.append(map_from_camera)
            (closure,) = closer.add_pose(stamp_ns, map_from_camera, covariance)
            false_accepted += closure.accepted and is_false
        if (current := closer.current_pose()) is not None:
            live.append(current.map_from_base)
    stamps_ns, path = zip(*closer.graph.path, strict=True)
    return Drive(
        poses_gt,
        poses_gt[0] @ inverse(odometry[0]) @ odometry,
        np.stack(live),
        np.stack(path),
        np.array(stamps_ns) // STEP_NS,
        np.array(false_poses).reshape(-1, 4, 4),
        false_accepted,
    )


def sample_false_pose(
    trajectory: FloatArray, current: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Sample a pose near a trajectory with random rotation, at least 30 cm from the current."""
    positions = trajectory[:, :3, 3]
    low, high = positions.min(axis=0) - 0.5, positions.max(axis=0) + 0.5
    while True:
        position = rng.uniform(low, high)
        if np.linalg.norm(position - current[:3, 3]) > 0.3:
            return make_pose(Rotation.random(random_state=rng), position)


def ate_m(estimated: FloatArray, poses_gt: FloatArray, align: bool = False) -> float:
    """Return the absolute trajectory error [m] of poses (N, 4, 4), by evo."""
    path, reference = PosePath3D(poses_se3=list(estimated)), PosePath3D(poses_se3=list(poses_gt))
    if align:
        path.align(reference)
    error = APE(PoseRelation.translation_part)
    error.process_data((reference, path))
    return float(error.get_all_statistics()['rmse'])


def drive_cells(drives: Sequence[Drive], drift: float, every: int, false: float) -> list[Cell]:
    """Return a row of the table."""
    figures = np.array(
        [
            (
                ate_m(one.odometry, one.map_from_camera_gt),
                ate_m(one.odometry, one.map_from_camera_gt, align=True),
                ate_m(one.live, one.map_from_camera_gt[one.live_indices]),
                ate_m(one.path, one.map_from_camera_gt[one.path_indices]),
            )
            for one in drives
        ]
    )
    return [
        100 * drift,
        'all' if every == 1 else f'1 in {every}',
        100 * false,
        *(100 * figures.mean(axis=0)),
        (figures[:, 0] / figures[:, 3]).min(),
        sum(len(one.false_poses) for one in drives),
        sum(one.false_accepted for one in drives),
    ]


def plot_drive(drive: Drive, file: Path) -> None:
    """Draw the paths of a drive from above, and their errors."""
    mpl.use('Agg')
    poses_gt = drive.map_from_camera_gt
    figure, (above, errors) = plt.subplots(1, 2, figsize=(11, 5), layout='constrained')
    for poses, style, name in (
        (poses_gt, {'color': 'black', 'lw': 3, 'alpha': 0.3}, 'ground truth'),
        (drive.odometry, {'color': 'tab:red', 'lw': 1}, 'odometry'),
        (drive.path, {'color': 'tab:blue', 'lw': 1.2}, 'corrected path'),
    ):
        above.plot(*poses[:, :2, 3].T, **style, label=name)
    if len(drive.false_poses):
        above.plot(*drive.false_poses[:, :2, 3].T, 'x', color='tab:orange', label='false poses')
    above.set(xlabel='x of the map [m]', ylabel='y of the map [m]', aspect='equal')
    above.legend()
    for poses, indices, color, name in (
        (drive.odometry, np.arange(len(poses_gt)), 'tab:red', 'odometry'),
        (drive.live, drive.live_indices, 'tab:green', 'corrected, live'),
        (drive.path, drive.path_indices, 'tab:blue', 'corrected path'),
    ):
        error_cm = 100 * np.linalg.norm(poses[:, :3, 3] - poses_gt[indices, :3, 3], axis=1)
        name += f': ATE {100 * ate_m(poses, poses_gt[indices]):.1f} cm'
        errors.semilogy(indices, np.maximum(error_cm, 0.1), color=color, lw=1, label=name)
    errors.set(xlabel='image', ylabel='position error [cm]')
    errors.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


if __name__ == '__main__':
    main()
