"""Radiance field that needs no training: a box-shaped room with painted walls."""

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import look_at
from nerf_reversal_ros.fields.base import Occupancy, Rendering
from nerf_reversal_ros.synthesis.view_synthesis import Views

LOW, HIGH = np.array([-2.0, -1.5, 0.0]), np.array([2.0, 1.5, 2.5])
CAMERA = Camera(48, 36, 40.0, 40.0, 23.5, 17.5)


class BoxRoom:
    """Walls at `LOW` and `HIGH`, free space between them, occupied space outside."""

    def __init__(self, *, unknown_above_m: float = 10.0) -> None:
        self.unknown_above_m = unknown_above_m

    def render(self, map_from_camera: NDArray[np.float64], camera: Camera) -> list[Rendering]:
        return [self._view(pose, camera) for pose in map_from_camera]

    def _view(self, pose: NDArray[np.float64], camera: Camera) -> Rendering:
        rays = camera.rays() @ pose[:3, :3].T
        with np.errstate(divide='ignore'):
            to_walls = np.where(rays > 0, HIGH - pose[:3, 3], LOW - pose[:3, 3]) / rays
        depth = np.clip(to_walls.min(axis=2), 0.0, None)
        hit = pose[:3, 3] + depth[..., None] * rays
        paint = np.stack(
            [
                np.sin(hit @ np.array([2.1, 3.3, 1.2]) + 0.3),
                np.sin(hit @ np.array([-1.4, 2.2, 2.9]) + 1.1),
                np.cos(hit @ np.array([2.7, -1.1, 1.7])) * np.sin(2.0 * hit[..., 0]),
            ],
            axis=2,
        )
        known = (hit[..., 2] < self.unknown_above_m).astype(np.float32)
        return Rendering(
            ((127.5 + 120.0 * paint) * known[..., None]).astype(np.uint8),
            (depth * known).astype(np.float32),
            known,
        )

    def occupancy(self, points: NDArray[np.float64]) -> NDArray[np.uint8]:
        inside = np.all((points > LOW) & (points < HIGH), axis=1)
        return np.where(inside, Occupancy.FREE, Occupancy.OCCUPIED).astype(np.uint8)


def walk(count: int, *, radius_m: float = 0.7, height_m: float = 1.3) -> NDArray[np.float64]:
    """Return poses (count, 4, 4) on a circle in the room, facing ahead and outwards."""
    poses = []
    for angle in np.linspace(0.0, 2.0 * np.pi, count, endpoint=False):
        eye = np.array([radius_m * np.cos(angle), radius_m * np.sin(angle), height_m])
        ahead = eye + np.array([np.cos(angle + 0.8), np.sin(angle + 0.8), -0.2])
        poses.append(look_at(eye, ahead))
    return np.stack(poses)


def pictures(poses: NDArray[np.float64], camera: Camera = CAMERA) -> Views:
    """Render the room at the given poses."""
    views = BoxRoom().render(poses, camera)
    shape = (len(views), camera.height, camera.width)
    return Views(
        np.array([view.rgb for view in views], dtype=np.uint8).reshape(*shape, 3),
        np.ones(shape, dtype=np.bool_),
        np.array([view.depth for view in views], dtype=np.float16).reshape(shape),
        poses,
        {},
    )
