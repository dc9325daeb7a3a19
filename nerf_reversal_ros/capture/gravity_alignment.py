"""Gravity alignment: estimate the up direction of a world frame, and rotate it to z."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.pose_convention import DepthImage
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, make_pose, transform_points
from nerf_reversal_ros.core.sampling import evenly_spaced_indices

AXIS_VECTORS = {
    'x': (1.0, 0.0, 0.0),
    'y': (0.0, 1.0, 0.0),
    'z': (0.0, 0.0, 1.0),
    '-x': (-1.0, 0.0, 0.0),
    '-y': (0.0, -1.0, 0.0),
    '-z': (0.0, 0.0, -1.0),
}

_MIN_AXIS_COS = np.cos(np.radians(45.0))
"""An axis within 45 deg of the mean camera up is nearer to it than any other axis."""
_MIN_FLOOR_COS = np.cos(np.radians(30.0))
"""Normals of floor candidates are within 30 deg of the mean camera up: cameras are tilted."""
_MIN_NORMAL_COS = np.cos(np.radians(20.0))
"""Normals of plane inliers are within 20 deg of the plane normal, which tolerates noise."""
_PLANE_TOLERANCE_M = 0.03
"""Largest distance of inliers to the plane, which tolerates the noise of depth sensors."""
_MIN_FRACTION = 0.05
"""Smallest fraction of all points on the floor plane; smaller surfaces are furniture."""
_GRID_COLUMNS = 64
"""Columns of the pixel grid on which normals are computed."""
_MAX_POINTS = 30_000
"""Largest number of points for RANSAC, as a bound on its time."""
_MAX_DEPTH_JUMP = 0.2
"""Largest range of depth around a pixel, as a fraction of its depth; more is an edge."""


def rotation_to_z_up(up: FloatArray) -> FloatArray:
    """Return the smallest rotation (4, 4) from ``up`` (3,) to z, about the origin."""
    up = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    axis = np.cross(up, [0.0, 0.0, 1.0])
    length = float(np.linalg.norm(axis))
    if length < 1e-9:
        return np.eye(4) if up[2] > 0 else np.diag([1.0, -1.0, -1.0, 1.0])
    return make_pose(Rotation.from_rotvec(axis / length * np.arctan2(length, up[2])))


def mean_camera_up(world_from_camera: FloatArray) -> FloatArray:
    """Average the up axes of cameras (3,): cameras are held upright on average."""
    mean: FloatArray = -world_from_camera[:, :3, 1].mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def is_near_axis(up: FloatArray, axis: str) -> bool:
    """Whether an axis of the world is within 45 degrees of an estimated up direction (3,)."""
    return bool(np.dot(up, AXIS_VECTORS[axis]) > _MIN_AXIS_COS)


def estimate_floor_normal(
    world_from_camera: FloatArray,
    depth_image: Callable[[int], DepthImage],
    rng: np.random.Generator,
    frames: int = 40,
) -> FloatArray | None:
    """
    Estimate the normal of the floor, or of another large level surface, by RANSAC on depth.

    Parameters
    ----------
    world_from_camera : (N, 4, 4) array
        Poses of the optical frame.
    depth_image : callable
        Returns depth and camera of frame i.
    rng : numpy Generator
        Samples the candidates.
    frames : int
        Number of frames whose depth is used.

    Returns
    -------
    (3,) array or None
        Unit normal in the world, pointing up; None if no level surface holds at least 5 % of
        the points.
    """
    up = mean_camera_up(world_from_camera)
    points, normals = [], []
    for i in evenly_spaced_indices(len(world_from_camera), frames):
        p, n = _oriented_points(*depth_image(int(i)))
        points.append(transform_points(world_from_camera[i], p))
        normals.append(n @ world_from_camera[i, :3, :3].T)
    sample = rng.permutation(sum(map(len, points)))[:_MAX_POINTS]
    all_points, all_normals = np.concatenate(points)[sample], np.concatenate(normals)[sample]
    level = all_normals @ up > _MIN_FLOOR_COS
    p, n = all_points[level], all_normals[level]
    min_support = max(50.0, _MIN_FRACTION * len(all_points))
    if len(p) < min_support:
        return None
    candidates = rng.choice(len(p), size=min(200, len(p)), replace=False)
    supports = [_plane_inliers(p, n, p[c], n[c]) for c in candidates]
    counts = np.array([support.sum() for support in supports])
    heights = p[candidates] @ up
    large = counts >= max(min_support, 0.4 * counts.max())
    if not large.any():
        return None
    lowest = int(np.argmin(np.where(large, heights, np.inf)))
    support = supports[lowest]
    normal = n[candidates[lowest]]
    for _ in range(3):
        center = p[support].mean(axis=0)
        normal = np.asarray(np.linalg.svd(p[support] - center, full_matrices=False)[2][2])
        normal = normal * np.sign(normal @ up)
        support = _plane_inliers(p, n, center, normal)
        if support.sum() < 3:
            return None
    return np.asarray(normal, dtype=np.float64)


def _plane_inliers(
    points: FloatArray, normals: FloatArray, point: FloatArray, normal: FloatArray
) -> NDArray[np.bool_]:
    near = np.abs((points - point) @ normal) < _PLANE_TOLERANCE_M
    return np.asarray(near & (normals @ normal > _MIN_NORMAL_COS))


def _oriented_points(depth: NDArray[np.float32], camera: Camera) -> tuple[FloatArray, FloatArray]:
    """Back-project a coarse pixel grid to points (M, 3) with normals (M, 3) toward the camera."""
    stride = max(1, depth.shape[1] // _GRID_COLUMNS)
    z = cv2.medianBlur(depth, 5)[::stride, ::stride].astype(np.float64)
    points = camera.rays()[::stride, ::stride] * z[..., None]
    right = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    center = z[1:-1, 1:-1]
    normal = np.cross(down, right)
    length = np.linalg.norm(normal, axis=-1)
    around = np.stack([center, z[1:-1, 2:], z[1:-1, :-2], z[2:, 1:-1], z[:-2, 1:-1]])
    smooth = (around.min(axis=0) > 0) & (np.ptp(around, axis=0) < _MAX_DEPTH_JUMP * center)
    valid = smooth & (length > 0)
    p, n = points[1:-1, 1:-1][valid], normal[valid] / length[valid][:, None]
    return p, n * -np.sign(np.sum(n * p, axis=1))[:, None]


def estimate_gravity_alignment(
    axes: str,
    world_frame: str,
    up_axis: str,
    metadata_up_axis: str,
    world_from_camera: FloatArray,
    floor: Callable[[], FloatArray | None],
) -> tuple[FloatArray, str]:
    """
    Estimate the rotation that makes the world z up.

    The sources are, in order of preference: the configured axis; the axis in the metadata of the
    bag; y for poses with OpenGL axes (ARKit); z for a world frame ``map`` or ``odom`` (REP 105);
    the floor normal; the mean camera up. An axis of the second to fourth source is used only
    within 45 degrees of the mean camera up.

    Parameters
    ----------
    axes : str
        The pose convention.
    world_frame : str
        Name of the coordinate frame of the poses.
    up_axis : str
        Configured axis, or ``auto``.
    metadata_up_axis : str
        Axis in the metadata of the bag; empty: unknown.
    world_from_camera : (N, 4, 4) array
        Poses of the optical frame.
    floor : callable
        Returns the floor normal in the world, or None; called only if it is needed.

    Returns
    -------
    (4, 4) array, str
        map_from_world, and the source of the up direction in words.
    """
    if up_axis != 'auto':
        return rotation_to_z_up(np.array(AXIS_VECTORS[up_axis])), f'configured: {up_axis} is up'
    mean_up = mean_camera_up(world_from_camera)
    by_convention = (
        (metadata_up_axis, 'noted in the bag'),
        ('y' if axes.startswith('opengl') else '', 'pose convention'),
        ('z' if world_frame in ('map', 'odom') else '', f'frame {world_frame} of the poses'),
    )
    for axis, source in by_convention:
        if axis in AXIS_VECTORS and is_near_axis(mean_up, axis):
            return rotation_to_z_up(np.array(AXIS_VECTORS[axis])), f'{source}: {axis} is up'
    normal = floor()
    if normal is not None:
        return rotation_to_z_up(normal), 'floor plane'
    return rotation_to_z_up(mean_up), 'average camera up'
