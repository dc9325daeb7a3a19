"""The room of `rooms` as a radiance field without error, and captures of it as real bags."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rooms import FURNITURE, render_box_room, ROOM

from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import look_at
from nerf_reversal_ros.fields.base import Occupancy, Rendering
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.mapping.landmark_building import build_atlas, rendered_views

CAMERA = Camera(240, 180, 200.0, 200.0, 119.5, 89.5)


class SmallRoom:
    """Radiance field that renders the room exactly."""

    def render(self, map_from_camera: NDArray[np.float64], camera: Camera) -> list[Rendering]:
        """Render one view per pose."""
        views = [render_box_room(pose, camera) for pose in map_from_camera]
        return [Rendering(rgb, depth, np.ones(depth.shape, np.float32)) for rgb, depth in views]

    def occupancy(self, points: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return the occupancy of points (N, 3): free inside the room, else unknown."""
        inside = np.all((points > ROOM[0]) & (points < ROOM[1]), axis=1)
        return np.where(inside, Occupancy.FREE, Occupancy.UNKNOWN).astype(np.uint8)


def room_atlas(poses: NDArray[np.float64]) -> Atlas:
    """Build the landmark map of the room from views of 320x240 px at poses (N, 4, 4)."""
    camera = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)
    renderings = zip(SmallRoom().render(poses, camera), poses, strict=True)
    return build_atlas(rendered_views(renderings, camera))


def walk(count: int, *, height: float = 1.3, phase: float = 0.0) -> NDArray[np.float64]:
    """Return (count, 4, 4) map_from_camera on an arc around the center, looking across."""
    poses = []
    for angle in phase + np.linspace(0, 1.5 * np.pi, count):
        eye = np.array([0.8 * np.cos(angle), 0.6 * np.sin(angle), height])
        poses.append(look_at(eye, eye - np.array([np.cos(angle), np.sin(angle), 0.2])))
    return np.stack(poses)


def write_bag(path: Path, poses: NDArray[np.float64], *, depth: bool = True) -> Path:
    """Record a capture at 5 Hz; the poses are in the map frame, z up."""
    with BagWriter(path, up_axis='z') as bag:
        for number, pose in enumerate(poses):
            rgb, distance = render_box_room(pose, CAMERA)
            stamp_ns = 1_700_000_000_000_000_000 + number * 200_000_000
            bag.write(stamp_ns, rgb, distance if depth else None, CAMERA, pose)
    return path


def distance_to_surface(points):
    """Return the distance (N,) of points (N, 3) to the nearest face of the room or a box [m]."""
    faces = []
    for box in (ROOM, *FURNITURE):
        beyond = np.maximum(np.maximum(box[0] - points, points - box[1]), 0)
        outside = np.linalg.norm(beyond, axis=1)
        inside = np.minimum(points - box[0], box[1] - points).min(axis=1)
        faces.append(np.where(inside > 0, inside, outside))
    return np.min(faces, axis=0)
