"""A small room of textured boxes, rendered by exact ray casting."""

from functools import cache

import numpy as np

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import look_at

ROOM = np.array([[-2.0, -2.5, 0.0], [2.0, 2.5, 2.6]])
"""Lower and upper corner of the room [m], z up; the floor is at z = 0."""

FURNITURE = np.array(
    [
        [[-1.9, 0.5, 0.0], [-1.1, 2.2, 0.7]],
        [[1.2, -2.3, 0.0], [1.9, -1.2, 1.6]],
        [[0.6, 1.6, 0.0], [1.6, 2.4, 0.9]],
        [[-1.8, -2.3, 0.0], [-1.3, -1.5, 1.1]],
    ]
)
"""(K, 2, 3) lower and upper corners of boxes in the room [m]."""

PAINT = 7
"""Seed of the colors of the room; another seed gives the same room in other colors."""

_CELLS_M = (0.5, 0.13, 0.05)
"""Edge lengths of the texture cells, from coarse to fine."""


def render_box_room(map_from_camera, camera, paint=PAINT):
    """
    Render color and depth of the room.

    Parameters
    ----------
    map_from_camera : (4, 4) array
        Pose of the optical camera frame.
    camera : Camera
        Intrinsics and size.
    paint : int
        Seed of the colors.

    Returns
    -------
    (H, W, 3) uint8 array, (H, W) float32 array
        RGB, and exact depth along the optical z axis [m].
    """
    directions = camera.rays().reshape(-1, 3) @ map_from_camera[:3, :3].T
    origin = map_from_camera[:3, 3]
    with np.errstate(divide='ignore'):
        inverse = 1.0 / directions
    # Rays have z = 1 in the camera, so the ray parameter is the depth.
    depth = _slabs(ROOM, origin, inverse)[1]
    surface = np.zeros(len(depth), int)
    for number, box in enumerate(FURNITURE, start=1):
        entry, exit = _slabs(box, origin, inverse)
        hit = (entry > 0) & (entry < exit) & (entry < depth)
        depth[hit], surface[hit] = entry[hit], number
    rgb = _texture(origin + depth[:, None] * directions, surface, paint)
    shape = (camera.height, camera.width)
    return rgb.reshape(*shape, 3), depth.reshape(shape).astype(np.float32)


def walk(count):
    """Return poses (count, 4, 4) of a camera on a loop in the room, aimed across it."""
    angles = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    poses = []
    for angle in angles:
        eye = np.array([0.6 * np.cos(angle), 0.8 * np.sin(angle), 1.4 + 0.1 * np.sin(3 * angle)])
        ahead = angle + 0.6
        target = np.array([-1.6 * np.cos(ahead), -2.0 * np.sin(ahead), 0.6])
        poses.append(look_at(eye, target))
    return np.stack(poses)


def phone_camera(width=96, height=128):
    """Return intrinsics of a portrait image with an off-center principal point."""
    return Camera(width, height, 0.9 * width, 0.9 * width, 0.52 * width, 0.47 * height)


def _slabs(box, origin, inverse):
    near, far = (box[0] - origin) * inverse, (box[1] - origin) * inverse
    return np.minimum(near, far).max(axis=1), np.maximum(near, far).min(axis=1)


@cache
def _palette(paint):
    return np.random.default_rng(paint).uniform(40, 215, (4096, 3))


def _texture(points, surface, paint):
    palette = _palette(paint)
    color = np.zeros((len(points), 3))
    for size in _CELLS_M:
        cell = np.floor(points / size + 1e-6 + 0.31).astype(np.int64)
        key = cell @ np.array([73856093, 19349663, 83492791]) + 977 * surface
        color += palette[key % len(palette)] / len(_CELLS_M)
    return np.clip(color, 0, 255).astype(np.uint8)
