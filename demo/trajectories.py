"""
Generate trajectories of a camera through a room.

A trajectory interpolates key views, on an ellipse or anywhere, with the sway of a hand. Its frames
are separated by equal amounts of motion, on average. Poses are ``room_from_camera`` (4, 4):
optical camera axes, frame of the room as in `demo.room`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation, Slerp

from nerf_reversal_ros.core.geometry import look_at

Array = NDArray[np.float64]

Views = tuple[Array, Array, Array]
"""Positions (N, 3) [m], headings (N,) and pitches (N,) [deg] of a camera."""

BLUR_POSES = 16
"""Poses that are averaged for an image with motion blur."""

BLUR_STEP = 0.2
"""Largest motion between frames that an exposure is a part of, as of `_motion` [m]: frames that
are far apart were not filmed with a faster hand."""


class Trajectory(NamedTuple):
    """Camera poses of N frames, and the motion during each exposure."""

    room_from_camera: Array
    """(N, 4, 4) poses in the middle of each exposure: optical axes, meters."""

    exposures: Array
    """(N, 16, 4, 4) evenly spaced poses of each exposure; all equal for a sharp image."""

    stamps_ns: NDArray[np.int64]
    """(N,) increasing stamps."""


class EllipsePath(NamedTuple):
    """Key views on an ellipse around the center of a room."""

    keys: tuple[tuple[float, ...], ...]
    """(K, 5) fraction of the radii, angle on the ellipse [deg], viewing direction relative to
    outward [deg], pitch [deg], height [m]."""
    center_m: Array
    """(2,) center of the ellipse."""
    radii_m: Array
    """(2,) radii along x and y."""
    sway: float = 1.0
    """Sway of the hand: 1 moves the camera by some 6 cm and 6 degrees."""

    def views(self, at: Array) -> Views:
        """Interpolate the views at positions (N,) along the keys, 0 to K - 1."""
        radius, angle, heading, pitch, height = _interpolate(self.keys, at)
        azimuth = np.radians(angle)
        positions = self.center_m + radius[:, None] * self.radii_m * np.stack(
            [np.cos(azimuth), np.sin(azimuth)], 1
        )
        return np.concatenate([positions, height[:, None]], axis=1), angle + heading, pitch


class KeyPath(NamedTuple):
    """Key views anywhere in a room."""

    keys: tuple[tuple[float, ...], ...]
    """(K, 5) x, y, z [m], heading from x toward y [deg], pitch [deg]."""
    sway: float = 1.0
    """As of `EllipsePath`."""

    def views(self, at: Array) -> Views:
        """Interpolate the views at positions (N,) along the keys, 0 to K - 1."""
        *positions, heading, pitch = _interpolate(self.keys, at)
        return np.stack(positions, axis=1), heading, pitch


def _interpolate(keys: tuple[tuple[float, ...], ...], at: Array) -> Array:
    """Return the columns of a table of keys, interpolated without overshoot: (5, N)."""
    columns: Array = PchipInterpolator(np.arange(len(keys)), np.array(keys))(at).T
    return columns


def _dense_poses(path: EllipsePath | KeyPath, count: int, seed: int) -> Array:
    """Interpolate ``count`` poses through the key views; their spacing is uneven."""
    rng = np.random.default_rng(seed)
    at = np.linspace(0, len(path.keys) - 1, count)
    eyes, yaw_deg, pitch_deg = path.views(at)

    def sway(size: float) -> Array:
        """Return the sum of a few slow waves of amplitude ``size``, about."""
        frequency, phase = rng.uniform(0.4, 2.2, (4, 1)), rng.uniform(0, 2 * np.pi, (4, 1))
        wave: Array = np.sin(2 * np.pi * frequency * at + phase).mean(axis=0)
        return 1.4 * (path.sway * size) * wave

    eyes += np.stack([sway(0.06), sway(0.06), sway(0.05)], axis=1)
    yaw = np.radians(yaw_deg + sway(5))
    tilt = np.radians(pitch_deg + sway(6))
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
    path: EllipsePath | KeyPath, count: int, blurred_fraction: float, seed: int
) -> Trajectory:
    """Sample a trajectory of ``count`` frames, a fraction of them with motion blur."""
    rng = np.random.default_rng(seed)
    dense = _dense_poses(path, 6000, seed)
    motion = _motion(dense)
    steps = rng.uniform(0.75, 1.25, count - 1)
    frame_motion = np.concatenate([[0], np.cumsum(steps)]) / steps.sum() * motion[-1] * 0.995
    frame_motion += 0.002 * motion[-1]
    # The shutter is open for up to an eighth of the motion to the next frame.
    hand = min(1.0, BLUR_STEP * count / motion[-1])
    length = np.where(
        rng.random(count) < blurred_fraction,
        rng.uniform(0.05, 0.13, count) * motion[-1] / count * hand,
        0.0,
    )
    shutter = np.linspace(-0.5, 0.5, BLUR_POSES)
    open_at = frame_motion[:, None] + length[:, None] * shutter
    exposures = _poses_at(dense, motion, open_at.ravel()).reshape(count, BLUR_POSES, 4, 4)
    seconds = np.concatenate([[0], np.cumsum(steps * 0.4 + rng.uniform(0, 0.02, count - 1))])
    stamps = 1_760_000_000_000_000_000 + seed * 10**12 + (seconds * 1e9).astype(np.int64)
    return Trajectory(_poses_at(dense, motion, frame_motion), exposures, stamps)


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
