"""
What the poses of a bag mean, found from its depth, and which way is up.

Drivers disagree on the axes of the camera (optical, or OpenGL as ARKit has it), and on whether
a pose takes the camera to the world or back. The data tell: back-project the depth of one
frame, re-project it into another; with the right convention the two depths agree.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import (
    FloatArray,
    inverse,
    OPTICAL_FROM_OPENGL,
    transform_points,
)
from nerf_reversal_ros.core.sampling import evenly_spaced_indices

POSE_CONVENTIONS = ('optical', 'opengl', 'optical_inverted', 'opengl_inverted')

MAX_ERROR_M = 0.06
"""The right convention must leave a smaller median depth error [m] ..."""
MIN_RATIO = 1.5
"""... and the next best one must be this much worse."""

_MOTION_DEG, _DEG_PER_M, _DRIFT_DEG = 15.0, 40.0, 0.05
"""Wanted between the frames of a pair: so much turn, so much more for a metre of move, and so
much off for each frame between them, for poses drift."""

DepthImage = tuple[NDArray[np.float32], Camera]
"""A depth picture (h, w) in metres, 0 unknown, and its camera."""


@dataclass(frozen=True)
class PoseConvention:
    """How the poses of a bag become ``map_from_camera``, and how that was found."""

    axes: str
    """One of `POSE_CONVENTIONS`: the camera's axes; inverted: a pose takes the world to the camera."""
    map_from_world: FloatArray
    """(4, 4) rotation that turns the world of the poses z up; its origin is kept."""
    up_source: str
    """What told the way up, in words."""
    depth_error_m: dict[str, float] = field(default_factory=dict)
    """Median re-projection error by convention [m]; empty where the capture has no depth."""
    of_bag: bool = True
    """False for a map that no bag was given for: what poses of a bag mean in it is not known."""

    def map_from_camera(self, poses: FloatArray) -> FloatArray:
        """Take poses (N, 4, 4) as the bag has them to the map's frame and optical axes."""
        return self.map_from_world @ world_from_camera(poses, self.axes)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            'axes': self.axes,
            'map_from_world': self.map_from_world.tolist(),
            'up_source': self.up_source,
            'depth_error_m': dict(self.depth_error_m),
            'of_bag': self.of_bag,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> 'PoseConvention':
        """Come back from `as_dict`."""
        return cls(
            axes=values['axes'],
            map_from_world=np.array(values['map_from_world'], dtype=np.float64),
            up_source=values['up_source'],
            depth_error_m=dict(values['depth_error_m']),
            of_bag=values.get('of_bag', True) is True,
        )


def world_from_camera(poses: FloatArray, axes: str) -> FloatArray:
    """Read poses (N, 4, 4) in one of `POSE_CONVENTIONS` as world_from_camera of the optical camera frame."""
    upright = inverse(poses) if axes.endswith('_inverted') else poses
    return upright @ OPTICAL_FROM_OPENGL if axes.startswith('opengl') else upright


def reprojection_errors(
    poses: FloatArray, depth_image: Callable[[int], DepthImage], pairs: int = 16
) -> dict[str, float]:
    """
    Measure how well the depths of frame pairs agree under each convention.

    Parameters
    ----------
    poses : (N, 4, 4) array
        As the bag has them.
    depth_image : callable
        Gives depth and camera of frame i.
    pairs : int
        How many pairs to look at.

    Returns
    -------
    dict
        Median over the pairs of the median absolute depth error [m] by convention; infinite
        where most pairs do not even overlap.
    """
    views: dict[int, DepthImage] = {}
    errors_m = {}
    for axes in POSE_CONVENTIONS:
        cameras = world_from_camera(poses, axes)
        found = []
        for i, j in _overlapping_pairs(cameras, pairs):
            for k in (i, j):
                if k not in views:
                    views[k] = depth_image(k)
            found.append(_depth_disagreement(views[i], views[j], inverse(cameras[j]) @ cameras[i]))
        errors_m[axes] = float(np.median(found)) if found else np.inf
    return errors_m


def select_convention(errors_m: dict[str, float], setting: str = 'auto') -> str:
    """
    Decide on a convention by its measured errors.

    Parameters
    ----------
    errors_m : dict
        From `reprojection_errors`.
    setting : str
        One of `POSE_CONVENTIONS` to have it confirmed, or ``auto`` to have it found.

    Raises
    ------
    CaptureError
        If none fits, several do, or another than ``setting`` does; the sentence holds the table.
    """
    ranked = sorted(POSE_CONVENTIONS, key=lambda axes: errors_m[axes])
    best, second = ranked[0], ranked[1]
    table = ', '.join(f'{axes} {errors_m[axes] * 100:.1f} cm' for axes in ranked)
    measured = f'median depth re-projection error by pose convention: {table}'
    if errors_m[best] > MAX_ERROR_M:
        raise CaptureError(
            f'the poses do not fit the depth in any convention ({measured}; needed is less than'
            f' {MAX_ERROR_M * 100:.0f} cm): check that depth, camera_info and poses are of one'
            ' camera and clock'
        )
    clear = errors_m[second] >= MIN_RATIO * errors_m[best]
    if setting == 'auto':
        if clear:
            return best
        raise CaptureError(
            f'the depth does not tell what the poses mean ({measured}; the best must be'
            f' {MIN_RATIO} times better than the next): walk more while recording, or set'
            ' pose_convention'
        )
    if errors_m[setting] > MAX_ERROR_M or errors_m[setting] > MIN_RATIO * errors_m[best]:
        raise CaptureError(
            f'the poses are not in pose_convention {setting} ({measured}): set pose_convention to'
            f' {best} or auto'
        )
    return setting


def _overlapping_pairs(world_from_camera: FloatArray, count: int) -> list[tuple[int, int]]:
    """Choose frames, evenly spread, and for each another that sees the same from elsewhere."""
    if len(world_from_camera) < 2:
        return []
    pairs, cameras = [], world_from_camera
    for i in evenly_spaced_indices(len(cameras), count):
        turn = Rotation.from_matrix(cameras[i, :3, :3].T @ cameras[:, :3, :3]).magnitude()
        move_m = np.linalg.norm(cameras[:, :3, 3] - cameras[i, :3, 3], axis=1)
        motion_deg = np.degrees(turn) + _DEG_PER_M * move_m
        apart = np.abs(np.arange(len(cameras)) - i)
        cost = np.abs(motion_deg - _MOTION_DEG) + _DRIFT_DEG * apart
        cost[i] = np.inf
        pairs.append((int(i), int(np.argmin(cost))))
    return pairs


def _depth_disagreement(one: DepthImage, other: DepthImage, other_from_one: FloatArray) -> float:
    """Median |depth| difference where both see something [m]; infinite without overlap."""
    depth, camera = one
    points = transform_points(other_from_one, camera.back_project(depth, _stride(depth)))
    depth, camera = other
    points = points[points[:, 2] > 0.05]
    u, v = np.rint(camera.project(points)).astype(np.int64).T
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    measured = depth[v[inside], u[inside]]
    both = measured > 0
    if both.sum() < 50:
        return np.inf
    return float(np.median(np.abs(points[inside, 2][both] - measured[both])))


def _stride(depth: NDArray[np.float32]) -> int:
    return max(1, round(float(np.sqrt(depth.size / 5000))))
