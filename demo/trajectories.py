"""
Two walks of a hand-held phone through the demo room.

A walk is described by a few key views on an ellipse around the middle of the room and runs
smoothly through them, with the sway of a hand; its frames are an equal amount of motion apart.
Poses are ``room_from_camera`` (4, 4): optical camera axes, the room's frame of `demo.scene`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation, Slerp

from nerf_reversal_ros.core.geometry import look_at

Array = NDArray[np.float64]

MIDDLE_M = np.array([2.15, 1.85])
RADII_M = np.array([1.25, 0.85])

POSES_A_BLUR = 16

# Each row: share of the radii, angle on the ellipse [deg], viewing direction relative to outward
# [deg], pitch [deg], height [m].
WALK_KEYS = (
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

TEST_KEYS = (
    (0.65, 75, 12, -6, 1.58),
    (0.60, -40, -8, -16, 1.36),
    (0.62, -150, 12, -10, 1.56),
    (0.85, -290, 120, -20, 1.36),
    (0.88, -390, 185, -10, 1.50),
    (0.88, -480, 188, -16, 1.40),
    (0.88, -570, 180, -12, 1.56),
    (0.80, -620, 172, -18, 1.45),
)


class Walk(NamedTuple):
    """Where the camera was, and how it moved while the shutter was open."""

    room_from_camera: Array
    """(N, 4, 4) optical axes, metres, in the middle of each exposure."""

    exposures: Array
    """(N, 16, 4, 4) poses spread over the exposure: all alike where the picture is sharp."""

    stamps_ns: NDArray[np.int64]
    """(N,) increasing."""


def _views(keys: tuple[tuple[float, ...], ...], count: int, seed: int) -> Array:
    """Return ``count`` poses along the smooth path through the keys, unequally spaced."""
    rng = np.random.default_rng(seed)
    table = np.array(keys)
    knots = np.arange(len(table))
    at = np.linspace(0, len(table) - 1, count)
    ring, angle, look, pitch, height = PchipInterpolator(knots, table)(at).T

    def sway(size: float) -> Array:
        """Sum of a few slow waves, about ``size`` large."""
        frequency, phase = rng.uniform(0.4, 2.2, (4, 1)), rng.uniform(0, 2 * np.pi, (4, 1))
        wave: Array = np.sin(2 * np.pi * frequency * at + phase).mean(axis=0)
        return 1.4 * size * wave

    turn = np.radians(angle)
    where = MIDDLE_M + ring[:, None] * RADII_M * np.stack([np.cos(turn), np.sin(turn)], 1)
    eyes = np.concatenate([where, height[:, None]], axis=1)
    eyes += np.stack([sway(0.06), sway(0.06), sway(0.05)], axis=1)
    yaw = np.radians(angle + look + sway(5))
    tilt = np.radians(pitch + sway(6))
    ahead = np.stack([np.cos(yaw) * np.cos(tilt), np.sin(yaw) * np.cos(tilt), np.sin(tilt)], 1)
    poses = np.stack([look_at(eye, eye + way) for eye, way in zip(eyes, ahead, strict=True)])
    roll = Rotation.from_rotvec(np.radians(sway(3))[:, None] * (0, 0, 1)).as_matrix()
    poses[:, :3, :3] = poses[:, :3, :3] @ roll
    return poses


def _motion(poses: Array) -> Array:
    """Return how far (N,) one has moved along poses, in metres; 60 degrees count as one."""
    step = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    rotation = Rotation.from_matrix(poses[:, :3, :3])
    turned = (rotation[:-1].inv() * rotation[1:]).magnitude()
    return np.concatenate([[0.0], np.cumsum(np.hypot(step, turned / np.radians(60)))])


def _between(poses: Array, motion: Array, wanted: Array) -> Array:
    """Return poses at the given amounts of motion."""
    out = np.tile(np.eye(4), (len(wanted), 1, 1))
    for axis in range(3):
        out[:, axis, 3] = np.interp(wanted, motion, poses[:, axis, 3])
    inside = np.clip(wanted, motion[0], motion[-1])
    rotations = Slerp(motion, Rotation.from_matrix(poses[:, :3, :3]))(inside)
    out[:, :3, :3] = rotations.as_matrix()
    return out


def walk_through(
    keys: tuple[tuple[float, ...], ...], count: int, blurred_share: float, seed: int
) -> Walk:
    """Sample a walk of ``count`` frames, a share of them with motion blur."""
    rng = np.random.default_rng(seed)
    dense = _views(keys, 6000, seed)
    motion = _motion(dense)
    steps = rng.uniform(0.75, 1.25, count - 1)
    wanted = np.concatenate([[0], np.cumsum(steps)]) / steps.sum() * motion[-1] * 0.995
    wanted += 0.002 * motion[-1]
    # The shutter is open for up to an eighth of the way to the next frame.
    length = np.where(
        rng.random(count) < blurred_share,
        rng.uniform(0.05, 0.13, count) * motion[-1] / count,
        0.0,
    )
    shutter = np.linspace(-0.5, 0.5, POSES_A_BLUR)
    open_at = wanted[:, None] + length[:, None] * shutter
    exposures = _between(dense, motion, open_at.ravel()).reshape(count, POSES_A_BLUR, 4, 4)
    seconds = np.concatenate([[0], np.cumsum(steps * 0.4 + rng.uniform(0, 0.02, count - 1))])
    stamps = 1_760_000_000_000_000_000 + seed * 10**12 + (seconds * 1e9).astype(np.int64)
    return Walk(_between(dense, motion, wanted), exposures, stamps)


def build_walk(count: int) -> Walk:
    """Return the walk to build a map from: three rounds that look out, across and along."""
    return walk_through(WALK_KEYS, count, 0.03, seed=1)


def test_walk(count: int) -> Walk:
    """Return the walk to test on: another path, other heights, other directions."""
    return walk_through(TEST_KEYS, count, 0.25, seed=2)


def beside(
    walk: Walk, room_m: tuple[float, ...], distance_m: float, count: int, seed: int
) -> Array:
    """
    Return ``count`` poses (N, 4, 4) as far off the walked path as wished, within 5 cm.

    Each looks where the camera of a walked pose at that distance did, give or take 10 degrees each
    axis, and is 25 cm from walls, floor and ceiling of a room of size ``room_m``; furniture may be
    in the way.
    """
    rng, walked = np.random.default_rng(seed), walk.room_from_camera
    out: list[Array] = []
    while len(out) < count:
        start = walked[rng.integers(len(walked))]
        way = rng.standard_normal(3) * (1, 1, 0.5)
        place = start[:3, 3] + distance_m * way / np.linalg.norm(way)
        nearest_m = np.linalg.norm(walked[:, :3, 3] - place, axis=1).min()
        inside = (place > 0.25).all() and (place < np.array(room_m) - 0.25).all()
        if inside and abs(nearest_m - distance_m) < 0.05:
            turn = Rotation.from_rotvec(np.radians(rng.normal(0, 10, 3))).as_matrix()
            pose = start.copy()
            pose[:3, :3], pose[:3, 3] = turn @ start[:3, :3], place
            out.append(pose)
    return np.stack(out)
