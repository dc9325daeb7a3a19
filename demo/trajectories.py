"""
Generate two trajectories of a hand-held phone through the demo room: mapping and query.

A trajectory interpolates key views on an ellipse around the center of the room, with the sway of a
hand. Its frames are separated by equal amounts of motion, on average. Poses are
``room_from_camera`` (4, 4): optical camera axes, frame of the room as in `demo.scene`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation, Slerp

from nerf_reversal_ros.core.geometry import look_at

Array = NDArray[np.float64]

CENTER_M = np.array([2.15, 1.85])
RADII_M = np.array([1.25, 0.85])

BLUR_POSES = 16
"""Poses that are averaged for an image with motion blur."""

# Each row: fraction of the radii, angle on the ellipse [deg], viewing direction relative to
# outward [deg], pitch [deg], height [m].
MAPPING_KEYS = (
    (0.45, -90, 0, -8, 1.45),
    (0.50, 90, 5, -12, 1.50),
    (0.45, 270, 0, -8, 1.42),
    (1.00, 325, 180, -16, 1.38),
    (1.05, 510, 185, -12, 1.55),
    (1.00, 690, 175, -18, 1.45),
    (0.85, 750, 85, -24, 1.40),
    (0.75, 860, 50, -28, 1.30),
    (0.70, 960, 70, 6, 1.50),
    (0.85, 1090, 30, -22, 1.42),
)

QUERY_KEYS = (
    (0.65, 75, 12, -6, 1.58),
    (0.60, -40, -8, -16, 1.36),
    (0.62, -150, 12, -10, 1.56),
    (0.85, -290, 120, -20, 1.36),
    (0.88, -390, 185, -10, 1.50),
    (0.88, -480, 188, -16, 1.40),
    (0.88, -570, 180, -12, 1.56),
    (0.80, -620, 172, -18, 1.45),
)


class Trajectory(NamedTuple):
    """Camera poses of N frames, and the motion during each exposure."""

    room_from_camera: Array
    """(N, 4, 4) poses in the middle of each exposure: optical axes, meters."""

    exposures: Array
    """(N, 16, 4, 4) evenly spaced poses of each exposure; all equal for a sharp image."""

    stamps_ns: NDArray[np.int64]
    """(N,) increasing stamps."""


def _dense_poses(keys: tuple[tuple[float, ...], ...], count: int, seed: int) -> Array:
    """Interpolate ``count`` poses through the key views; their spacing is uneven."""
    rng = np.random.default_rng(seed)
    table = np.array(keys)
    knots = np.arange(len(table))
    at = np.linspace(0, len(table) - 1, count)
    radius, angle, heading, pitch, height = PchipInterpolator(knots, table)(at).T

    def sway(size: float) -> Array:
        """Return the sum of a few slow waves of amplitude ``size``, about."""
        frequency, phase = rng.uniform(0.4, 2.2, (4, 1)), rng.uniform(0, 2 * np.pi, (4, 1))
        wave: Array = np.sin(2 * np.pi * frequency * at + phase).mean(axis=0)
        return 1.4 * size * wave

    azimuth = np.radians(angle)
    positions = CENTER_M + radius[:, None] * RADII_M * np.stack(
        [np.cos(azimuth), np.sin(azimuth)], 1
    )
    eyes = np.concatenate([positions, height[:, None]], axis=1)
    eyes += np.stack([sway(0.06), sway(0.06), sway(0.05)], axis=1)
    yaw = np.radians(angle + heading + sway(5))
    tilt = np.radians(pitch + sway(6))
    forward = np.stack([np.cos(yaw) * np.cos(tilt), np.sin(yaw) * np.cos(tilt), np.sin(tilt)], 1)
    poses = np.stack([look_at(eye, eye + axis) for eye, axis in zip(eyes, forward, strict=True)])
    roll = Rotation.from_rotvec(np.radians(sway(3))[:, None] * (0, 0, 1)).as_matrix()
    poses[:, :3, :3] = poses[:, :3, :3] @ roll
    return poses


def _motion(poses: Array) -> Array:
    """Return the cumulated motion (N,) along poses [m]; 60 degrees count as one meter."""
    step = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    rotation = Rotation.from_matrix(poses[:, :3, :3])
    angle = (rotation[:-1].inv() * rotation[1:]).magnitude()
    return np.concatenate([[0.0], np.cumsum(np.hypot(step, angle / np.radians(60)))])


def _poses_at(poses: Array, motion: Array, query: Array) -> Array:
    """Interpolate poses at given amounts of motion (M,)."""
    out = np.tile(np.eye(4), (len(query), 1, 1))
    for axis in range(3):
        out[:, axis, 3] = np.interp(query, motion, poses[:, axis, 3])
    inside = np.clip(query, motion[0], motion[-1])
    rotations = Slerp(motion, Rotation.from_matrix(poses[:, :3, :3]))(inside)
    out[:, :3, :3] = rotations.as_matrix()
    return out


def sample_trajectory(
    keys: tuple[tuple[float, ...], ...], count: int, blurred_fraction: float, seed: int
) -> Trajectory:
    """Sample a trajectory of ``count`` frames, a fraction of them with motion blur."""
    rng = np.random.default_rng(seed)
    dense = _dense_poses(keys, 6000, seed)
    motion = _motion(dense)
    steps = rng.uniform(0.75, 1.25, count - 1)
    frame_motion = np.concatenate([[0], np.cumsum(steps)]) / steps.sum() * motion[-1] * 0.995
    frame_motion += 0.002 * motion[-1]
    # The shutter is open for up to an eighth of the motion to the next frame.
    length = np.where(
        rng.random(count) < blurred_fraction,
        rng.uniform(0.05, 0.13, count) * motion[-1] / count,
        0.0,
    )
    shutter = np.linspace(-0.5, 0.5, BLUR_POSES)
    open_at = frame_motion[:, None] + length[:, None] * shutter
    exposures = _poses_at(dense, motion, open_at.ravel()).reshape(count, BLUR_POSES, 4, 4)
    seconds = np.concatenate([[0], np.cumsum(steps * 0.4 + rng.uniform(0, 0.02, count - 1))])
    stamps = 1_760_000_000_000_000_000 + seed * 10**12 + (seconds * 1e9).astype(np.int64)
    return Trajectory(_poses_at(dense, motion, frame_motion), exposures, stamps)


def mapping_trajectory(count: int) -> Trajectory:
    """Return the trajectory to build a map from: three rounds, outward, inward and along."""
    return sample_trajectory(MAPPING_KEYS, count, 0.03, seed=1)


def query_trajectory(count: int) -> Trajectory:
    """Return the trajectory to localize: other positions, heights and directions."""
    return sample_trajectory(QUERY_KEYS, count, 0.25, seed=2)


def sample_off_trajectory(
    trajectory: Trajectory, room_m: tuple[float, ...], distance_m: float, count: int, seed: int
) -> Array:
    """
    Sample ``count`` poses (N, 4, 4) at a distance from all positions of a trajectory, within 5 cm.

    The orientation is that of a pose of the trajectory with noise of 10 degrees about each axis.
    Positions are 25 cm or more from walls, floor and ceiling of a room of size ``room_m``;
    furniture may occlude the view.
    """
    rng, poses = np.random.default_rng(seed), trajectory.room_from_camera
    out: list[Array] = []
    while len(out) < count:
        start = poses[rng.integers(len(poses))]
        offset = rng.standard_normal(3) * (1, 1, 0.5)
        position = start[:3, 3] + distance_m * offset / np.linalg.norm(offset)
        nearest_m = np.linalg.norm(poses[:, :3, 3] - position, axis=1).min()
        inside = (position > 0.25).all() and (position < np.array(room_m) - 0.25).all()
        if inside and abs(nearest_m - distance_m) < 0.05:
            rotation = Rotation.from_rotvec(np.radians(rng.normal(0, 10, 3))).as_matrix()
            pose = start.copy()
            pose[:3, :3], pose[:3, 3] = rotation @ start[:3, :3], position
            out.append(pose)
    return np.stack(out)
