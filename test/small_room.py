"""A small textured room that can be rendered exactly, and a walk through it as a real bag."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.camera import Camera
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.fields.base import Rendering, Space
from nerf_reversal_ros.geometry import look_at

CAMERA = Camera(240, 180, 200.0, 200.0, 119.5, 89.5)
LOW, HIGH = np.array([-2.0, -1.5, 0.0]), np.array([2.0, 1.5, 2.5])


class SmallRoom:
    """A box of 4 x 3 x 2.5 m, z up, with blotches of colour on all six sides: a perfect field."""

    def __init__(self, seed: int = 0) -> None:
        noise = np.random.default_rng(seed).uniform(0, 255, (6, 64, 64, 3)).astype(np.float32)
        self._walls = [
            cv2.resize(wall, (512, 512), interpolation=cv2.INTER_CUBIC) for wall in noise
        ]

    def render(self, map_from_camera: NDArray[np.float64], camera: Camera) -> list[Rendering]:
        """Render one view a pose."""
        return [self._view(pose, camera) for pose in map_from_camera]

    def space(self, points: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Tell what is at points (N, 3)."""
        inside = np.all((points > LOW) & (points < HIGH), axis=1)
        return np.where(inside, Space.FREE, Space.UNSEEN).astype(np.uint8)

    def _view(self, map_from_camera: NDArray[np.float64], camera: Camera) -> Rendering:
        rays = camera.rays() @ map_from_camera[:3, :3].T
        eye = map_from_camera[:3, 3]
        with np.errstate(divide='ignore', invalid='ignore'):
            reach = np.where(rays > 0, (HIGH - eye) / rays, (LOW - eye) / rays)
        reach = np.where(np.abs(rays) < 1e-12, np.inf, reach)
        axis = np.argmin(reach, axis=2)
        depth = np.take_along_axis(reach, axis[..., None], 2)[..., 0]
        share = (eye + rays * depth[..., None] - LOW) / (HIGH - LOW)
        rgb = np.zeros(rays.shape, np.float32)
        for side in range(3):
            across = [k for k in range(3) if k != side]
            at = (share[..., across] * 511).astype(np.float32)
            for end in (0, 1):
                here = (axis == side) & ((rays[..., side] > 0) == bool(end))
                wall = cv2.remap(
                    self._walls[2 * side + end], at[..., 0], at[..., 1], cv2.INTER_LINEAR
                )
                rgb[here] = wall[here]
        opacity = np.ones(depth.shape, np.float32)
        return Rendering(np.clip(rgb, 0, 255).astype(np.uint8), depth.astype(np.float32), opacity)


def walk(count: int, *, height: float = 1.3, phase: float = 0.0) -> NDArray[np.float64]:
    """Return (count, 4, 4) map_from_camera on an ellipse, looking outwards and a little down."""
    poses = []
    for angle in phase + np.linspace(0, 1.5 * np.pi, count):
        eye = np.array([0.8 * np.cos(angle), 0.6 * np.sin(angle), height])
        ahead = eye + np.array([np.cos(angle + 0.4), np.sin(angle + 0.4), -0.2])
        poses.append(look_at(eye, ahead))
    return np.stack(poses)


def write_bag(path: Path, poses: NDArray[np.float64], *, depth: bool = True) -> Path:
    """Record a walk, five pictures a second; the world of the poses is the map, z up."""
    room = SmallRoom()
    with BagWriter(path, up_axis='z') as bag:
        for number, pose in enumerate(poses):
            (view,) = room.render(pose[None], CAMERA)
            stamp_ns = 1_700_000_000_000_000_000 + number * 200_000_000
            bag.write(stamp_ns, view.rgb, view.depth if depth else None, CAMERA, pose)
    return path
