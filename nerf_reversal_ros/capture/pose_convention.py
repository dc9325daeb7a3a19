"""
Estimate the pose convention of a bag by depth reprojection.

Drivers differ in the camera axes (optical, or OpenGL as in ARKit) and in the direction of a pose
(world_from_camera or its inverse). Depth of one frame is back-projected and reprojected into
another frame. The two depths agree under the correct convention only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core import remedies
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
"""Largest median depth error of the correct convention [m]: noise of depth and poses."""
MIN_RATIO = 1.5
"""Smallest ratio of the second smallest error to the smallest one, for a unique convention."""

_MOTION_DEG, _DEG_PER_M, _DRIFT_DEG = 15.0, 40.0, 0.05
"""Selection of frame pairs: their combined motion is near 15 deg, where 1 m counts as 40 deg. Each
frame between them costs 0.05 deg, because poses drift."""

DepthImage = tuple[NDArray[np.float32], Camera]
"""A depth image (h, w) in meters, 0 unknown, and its camera."""


@dataclass(frozen=True)
class PoseConvention:
    """Conversion of the poses of a bag to ``map_from_camera``, with its evidence."""

    axes: str
    """One of `POSE_CONVENTIONS`: camera axes, and ``_inverted`` if a pose is camera_from_world."""
    map_from_world: FloatArray
    """(4, 4) gravity alignment: rotation of the world frame to z up, about its origin."""
    up_source: str
    """Source of the up direction, in words."""
    depth_error_m: dict[str, float] = field(default_factory=dict)
    """Median depth reprojection error by convention [m]; empty without depth."""
    of_bag: bool = True
    """False for a map built without a bag: the relation of a bag to its frame is unknown."""

    def map_from_camera(self, poses: FloatArray) -> FloatArray:
        """Convert poses (N, 4, 4) of the bag to the map frame and optical axes."""
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
        """Restore a convention from the values of `as_dict`."""
        return cls(
            axes=values['axes'],
            map_from_world=np.array(values['map_from_world'], dtype=np.float64),
            up_source=values['up_source'],
            depth_error_m=dict(values['depth_error_m']),
            of_bag=values.get('of_bag', True) is True,
        )


class PoseMisfitError(CaptureError):
    """The poses do not fit the depth in any convention."""


def world_from_camera(poses: FloatArray, axes: str) -> FloatArray:
    """Convert poses (N, 4, 4) in one of `POSE_CONVENTIONS` to optical world_from_camera."""
    cameras = inverse(poses) if axes.endswith('_inverted') else poses
    return cameras @ OPTICAL_FROM_OPENGL if axes.startswith('opengl') else cameras


def reprojection_errors(
    poses: FloatArray, depth_image: Callable[[int], DepthImage], pairs: int = 16
) -> dict[str, float]:
    """
    Compute the depth reprojection error of frame pairs under each convention.

    Parameters
    ----------
    poses : (N, 4, 4) array
        Poses in the convention of the bag.
    depth_image : callable
        Returns depth and camera of frame i.
    pairs : int
        Number of frame pairs.

    Returns
    -------
    dict
        Median over the pairs of the median absolute depth error [m] by convention; infinite if
        most pairs do not overlap.
    """
    views: dict[int, DepthImage] = {}
    errors_m = {}
    for axes in POSE_CONVENTIONS:
        cameras = world_from_camera(poses, axes)
        pair_errors = []
        for i, j in _overlapping_pairs(cameras, pairs):
            for k in (i, j):
                if k not in views:
                    views[k] = depth_image(k)
            j_from_i = inverse(cameras[j]) @ cameras[i]
            pair_errors.append(_depth_disagreement(views[i], views[j], j_from_i))
        errors_m[axes] = float(np.median(pair_errors)) if pair_errors else np.inf
    return errors_m


def select_convention(errors_m: dict[str, float], setting: str = 'auto') -> str:
    """
    Select the convention with the smallest reprojection error, or confirm a configured one.

    Parameters
    ----------
    errors_m : dict
        Error by convention [m], from `reprojection_errors`.
    setting : str
        One of `POSE_CONVENTIONS` to confirm it, or ``auto`` to select one.

    Raises
    ------
    CaptureError
        If no convention fits, several fit, or another one than ``setting`` fits. The message lists
        the errors.
    """
    ranked = sorted(POSE_CONVENTIONS, key=lambda axes: errors_m[axes])
    best, second = ranked[0], ranked[1]
    table = ', '.join(
        f'{axes} {errors_m[axes] * 100:.1f} cm'.replace('inf cm', 'without overlap')
        for axes in ranked
    )
    measured = f'median depth reprojection error by pose convention: {table}'
    if errors_m[best] > MAX_ERROR_M:
        raise PoseMisfitError(
            f'the poses do not fit the depth in any convention ({measured}; the limit is'
            f' {MAX_ERROR_M * 100:.0f} cm)'
        )
    if setting == 'auto':
        if errors_m[second] >= MIN_RATIO * errors_m[best]:
            return best
        close = [axes for axes in ranked if errors_m[axes] < MIN_RATIO * errors_m[best]]
        raise CaptureError(
            f'the depth does not determine the pose convention ({measured}; the second must be'
            f' {MIN_RATIO} times the first): record more motion, or'
            f' {remedies.CONVENTION.format(conventions=", ".join(close))}'
        )
    if errors_m[setting] > MAX_ERROR_M or errors_m[setting] > MIN_RATIO * errors_m[best]:
        raise CaptureError(
            f'the poses are not in pose_convention {setting} ({measured}):'
            f' {remedies.RIGHT_CONVENTION.format(convention=best)}'
        )
    return setting


def _overlapping_pairs(world_from_camera: FloatArray, count: int) -> list[tuple[int, int]]:
    """Select evenly spaced frames, and for each a frame with an overlapping view."""
    if len(world_from_camera) < 2:
        return []
    pairs, cameras = [], world_from_camera
    for i in evenly_spaced_indices(len(cameras), count):
        rotation_rad = Rotation.from_matrix(cameras[i, :3, :3].T @ cameras[:, :3, :3]).magnitude()
        move_m = np.linalg.norm(cameras[:, :3, 3] - cameras[i, :3, 3], axis=1)
        motion_deg = np.degrees(rotation_rad) + _DEG_PER_M * move_m
        frames_between = np.abs(np.arange(len(cameras)) - i)
        cost = np.abs(motion_deg - _MOTION_DEG) + _DRIFT_DEG * frames_between
        cost[i] = np.inf
        pairs.append((int(i), int(np.argmin(cost))))
    return pairs


def _depth_disagreement(
    source: DepthImage, target: DepthImage, target_from_source: FloatArray
) -> float:
    """Return the median absolute depth difference of two frames [m]; infinite without overlap."""
    depth, camera = source
    points = transform_points(target_from_source, camera.back_project(depth, _stride(depth)))
    depth, camera = target
    points = points[points[:, 2] > 0.05]
    u, v = np.rint(camera.project(points)).astype(np.int64).T
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    measured = depth[v[inside], u[inside]]
    known = measured > 0
    if known.sum() < 50:
        return np.inf
    return float(np.median(np.abs(points[inside, 2][known] - measured[known])))


def _stride(depth: NDArray[np.float32]) -> int:
    return max(1, round(float(np.sqrt(depth.size / 5000))))
