"""A small room of textured boxes, rendered by exact ray casting."""

from functools import cache

import numba
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


def render_box_room(map_from_camera, camera, paint=PAINT, furniture=FURNITURE):
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
    furniture : (K, 2, 3) array
        Lower and upper corners of the boxes in the room [m].

    Returns
    -------
    (H, W, 3) uint8 array, (H, W) float32 array
        RGB, and exact depth along the optical z axis [m].
    """
    directions = camera.rays().reshape(-1, 3) @ map_from_camera[:3, :3].T
    boxes = np.concatenate([ROOM[None], furniture])
    rgb = np.empty((len(directions), 3), np.uint8)
    depth = np.empty(len(directions), np.float32)
    palette = _palette(paint) / len(_CELLS_M)
    _cast(map_from_camera[:3, 3], directions, boxes, np.array(_CELLS_M), palette, rgb, depth)
    shape = (camera.height, camera.width)
    return rgb.reshape(*shape, 3), depth.reshape(shape)


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


@cache
def _palette(paint):
    return np.random.default_rng(paint).uniform(40, 215, (4096, 3))


@numba.njit(cache=True, error_model='numpy')
def _cast(origin, directions, boxes, cells_m, palette, rgb, depth):
    """Write the colors and depths of rays; the first box is the room, seen from inside."""
    color = np.empty(3)
    for ray in range(len(directions)):
        nearest, surface = np.inf, 0
        for number in range(len(boxes)):
            enter, leave = -np.inf, np.inf
            for axis in range(3):
                # Rays have z = 1 in the camera, so the ray parameter is the depth.
                inverse = 1.0 / directions[ray, axis]
                near = (boxes[number, 0, axis] - origin[axis]) * inverse
                far = (boxes[number, 1, axis] - origin[axis]) * inverse
                enter, leave = max(enter, min(near, far)), min(leave, max(near, far))
            if number == 0:
                nearest = leave
            elif 0 < enter < leave and enter < nearest:
                nearest, surface = enter, number
        depth[ray] = nearest
        color[:] = 0.0
        for size in cells_m:
            key = 977 * surface
            for axis in range(3):
                point = origin[axis] + nearest * directions[ray, axis]
                cell = np.int64(np.floor(point / size + 1e-6 + 0.31))
                key += cell * (73856093, 19349663, 83492791)[axis]
            for channel in range(3):
                color[channel] += palette[key % len(palette), channel]
        for channel in range(3):
            rgb[ray, channel] = np.uint8(min(max(color[channel], 0.0), 255.0))
