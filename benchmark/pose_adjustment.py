"""
Adjust the poses of a capture to its images, and compare them with ground truth.

    python benchmark/pose_adjustment.py BAG [--gt BAG|demo] [--errors NAMES] [--out FILE.json]

Without ``--gt`` the poses of BAG are taken as the truth, and errors are added to them: drift, a
random walk of 1.9 cm (rms); noise of 7 mm and 0.5 deg; lag, poses that are two frames late; none.
With ``--gt`` the poses of BAG are adjusted as they are; ``--gt demo`` is the exact trajectory of
``demo/bags/walk``. Errors are what remains after one rigid alignment of the whole walk.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from results import add_out_argument, Cell, Column, ResultTable, write_results
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.bags.trajectory import interpolate, Trajectory
from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.geometry import FloatArray, inverse, make_pose, pose_errors
from nerf_reversal_ros.mapping.pose_adjustment import adjust_poses, AdjustedPoses
from nerf_reversal_ros.mapping.trajectory_alignment import align_to_given, scale_of

DRIFT_RMS_M = 0.019
"""Root mean square of the drift after a rigid alignment."""
NOISE_M, NOISE_DEG = 0.007, 0.5
"""Root mean square of the noise of one pose."""
LAG_FRAMES = 2
"""Frames by which late poses are late."""
SPAN = 30
"""Frames between the two ends of a relative motion."""
COLUMNS = (
    'poses',
    Column('given, median', 'cm', 2),
    Column('adjusted, median', 'cm', 2),
    Column('given, max', 'cm', 2),
    Column('adjusted, max', 'cm', 2),
    Column('given, median', 'deg', 2),
    Column('adjusted, median', 'deg', 2),
    Column('given, 30 frames', 'mm', 1),
    Column('adjusted, 30 frames', 'mm', 1),
    Column('given, held-out', 'px', 2),
    Column('adjusted, held-out', 'px', 2),
    'kept',
    Column('focal scale', '', 4),
    Column('time offset', 'ms'),
    Column('time', 's'),
)


def main() -> None:
    """Adjust, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('bag', type=Path, help='mapping capture')
    parser.add_argument('--gt', help='bag of the same frames with true poses, or demo')
    parser.add_argument('--errors', default='none,drift,noise,lag', help='errors without --gt')
    add_out_argument(parser)
    args = parser.parse_args()
    capture = open_capture(args.bag, CaptureConfig())
    table = ResultTable('Poses before and after the adjustment', COLUMNS)
    notes = []
    names = ['as recorded'] if args.gt else args.errors.split(',')
    for name in names:
        if args.gt:
            given, truth = capture, true_poses(args.gt, capture)
        else:
            given = with_error(capture, ERRORS[name])
            truth = capture.map_from_camera
        start = perf_counter()
        adjusted = adjust_poses(given)
        seconds = perf_counter() - start
        table.add_row(name, *cells(given, adjusted, truth), seconds)
        notes += [f'{name}: {adjusted.report.reason}.', *adjusted.warnings]
    for note in notes:
        print(note)
    write_results(args.out, 'Adjustment of the poses of a capture', table, notes=notes)


def true_poses(gt: str, capture: Capture) -> FloatArray:
    """Return the true poses (N, 4, 4) of the frames of a capture, in any frame."""
    if gt == 'demo':
        from demo.trajectories import mapping_trajectory

        recorded = open_capture(capture.source, CaptureConfig(), select_frames=False)
        trajectory = mapping_trajectory(len(recorded))
        stamps_ns, poses = trajectory.stamps_ns, trajectory.room_from_camera
    else:
        reference = open_capture(Path(gt), CaptureConfig(), select_frames=False)
        stamps_ns, poses = reference.stamps_ns, reference.map_from_camera
    return interpolate(Trajectory(stamps_ns, poses), capture.stamps_ns)[0]


def with_error(capture: Capture, error: Callable[[FloatArray], FloatArray]) -> Capture:
    """Return a capture whose poses have errors."""
    frames = np.arange(len(capture))
    return capture.with_poses(frames, error(capture.map_from_camera))


def add_drift(poses: FloatArray) -> FloatArray:
    """Add up errors in proportion to the motion, scaled to `DRIFT_RMS_M`."""
    steps = inverse(poses[:-1]) @ poses[1:]
    length_m = np.linalg.norm(steps[:, :3, 3], axis=1)
    angle_rad = Rotation.from_matrix(steps[:, :3, :3]).magnitude()

    def drifted(size: float) -> FloatArray:
        rng = np.random.default_rng(0)
        moves = rng.normal(0, 0.03 * size, (len(steps), 3)) * length_m[:, None]
        turns = rng.normal(0, 0.0075 * size, (len(steps), 3)) * angle_rad[:, None]
        out = [poses[0]]
        for step, move, turn in zip(steps, moves, turns, strict=True):
            out.append(out[-1] @ make_pose(Rotation.from_rotvec(turn), move) @ step)
        return np.stack(out)

    low, high = 0.1, 100.0
    for _ in range(30):
        middle = np.sqrt(low * high)
        rms_m = np.sqrt(np.mean(errors(drifted(middle), poses)[0] ** 2))
        low, high = (middle, high) if rms_m < DRIFT_RMS_M else (low, middle)
    return drifted(low)


def add_noise(poses: FloatArray) -> FloatArray:
    """Add independent errors to positions and rotations."""
    rng = np.random.default_rng(1)
    out = poses.copy()
    out[:, :3, 3] += rng.normal(0, NOISE_M / np.sqrt(3), (len(poses), 3))
    turns = rng.normal(0, np.radians(NOISE_DEG) / np.sqrt(3), (len(poses), 3))
    out[:, :3, :3] = Rotation.from_rotvec(turns).as_matrix() @ out[:, :3, :3]
    return out


def add_lag(poses: FloatArray) -> FloatArray:
    """Give each frame the pose of an earlier frame."""
    return poses[np.maximum(np.arange(len(poses)) - LAG_FRAMES, 0)]


ERRORS: dict[str, Callable[[FloatArray], FloatArray]] = {
    'none': np.copy,
    'drift': add_drift,
    'noise': add_noise,
    'lag': add_lag,
}


def errors(poses: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the errors (N,) [m] and (N,) [deg] after a rigid alignment to the truth."""
    aligned = align_to_given(poses, truth, 1 / scale_of(truth, poses))
    found = pose_errors(aligned, truth)
    return found.translation, np.degrees(found.rotation)


def span_error_mm(poses: FloatArray, truth: FloatArray) -> float:
    """Return the median error of motions over `SPAN` frames [mm]."""
    motions = [inverse(p[:-SPAN]) @ p[SPAN:] for p in (poses, truth)]
    return 1000 * float(np.median(pose_errors(*motions).translation))


def cells(given: Capture, adjusted: AdjustedPoses, truth: FloatArray) -> list[Cell]:
    """Return the figures of one row, without its name and time."""
    truth = truth[adjusted.frames]
    both = given.map_from_camera[adjusted.frames], adjusted.map_from_camera
    found = [errors(poses, truth) for poses in both]
    report = adjusted.report
    return [
        *(100 * float(np.median(error_m)) for error_m, _ in found),
        *(100 * float(error_m.max()) for error_m, _ in found),
        *(float(np.median(error_deg)) for _, error_deg in found),
        *(span_error_mm(poses, truth) for poses in both),
        report.error_px,
        report.adjusted_error_px,
        'yes' if report.kept else 'no',
        report.focal_scale,
        1000 * report.time_offset_s,
    ]


if __name__ == '__main__':
    main()
