"""Which way is up in the world of the poses, and the rotation that makes it z."""

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
_MIN_FLOOR_COS = np.cos(np.radians(30.0))
_MIN_NORMAL_COS = np.cos(np.radians(20.0))
_PLANE_TOLERANCE_M = 0.03
_MIN_FRACTION = 0.05
_GRID_COLUMNS = 64
_MAX_POINTS = 30_000
_MAX_DEPTH_JUMP = 0.2


def rotation_to_z_up(up: FloatArray) -> FloatArray:
    """Return the shortest rotation (4, 4) that takes ``up`` (3,) to z; the origin stays."""
    up = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    axis = np.cross(up, [0.0, 0.0, 1.0])
    length = float(np.linalg.norm(axis))
    if length < 1e-9:
        return np.eye(4) if up[2] > 0 else np.diag([1.0, -1.0, -1.0, 1.0])
    return make_pose(Rotation.from_rotvec(axis / length * np.arctan2(length, up[2])))


def mean_camera_up(world_from_camera: FloatArray) -> FloatArray:
    """Return the mean (3,) of the cameras' upward axes: people hold a camera upright."""
    mean: FloatArray = -world_from_camera[:, :3, 1].mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def is_near_axis(up: FloatArray, axis: str) -> bool:
    """Whether an axis of the world is within 45 degrees of a measured way up (3,)."""
    return bool(np.dot(up, AXIS_VECTORS[axis]) > _MIN_AXIS_COS)


def estimate_floor_normal(
    world_from_camera: FloatArray,
    depth_image: Callable[[int], DepthImage],
    rng: np.random.Generator,
    frames: int = 40,
) -> FloatArray | None:
    """
    Find the floor, or another large level surface, by RANSAC over back-projected depth.

    Parameters
    ----------
    world_from_camera : (N, 4, 4) array
        Poses of the optical frame.
    depth_image : callable
        Gives depth and camera of frame i.
    rng : numpy Generator
        Draws the candidates.
    frames : int
        How many frames to look at.

    Returns
    -------
    (3,) array or None
        Unit normal in the world, pointing up; None if there is no level surface of at least
        5 % of what was seen.
    """
    up = mean_camera_up(world_from_camera)
    points, normals = [], []
    for i in evenly_spaced_indices(len(world_from_camera), frames):
        p, n = _oriented_points(*depth_image(int(i)))
        points.append(transform_points(world_from_camera[i], p))
        normals.append(n @ world_from_camera[i, :3, :3].T)
    some = rng.permutation(sum(map(len, points)))[:_MAX_POINTS]
    all_points, all_normals = np.concatenate(points)[some], np.concatenate(normals)[some]
    level = all_normals @ up > _MIN_FLOOR_COS
    p, n = all_points[level], all_normals[level]
    enough = max(50.0, _MIN_FRACTION * len(all_points))
    if len(p) < enough:
        return None
    candidates = rng.choice(len(p), size=min(200, len(p)), replace=False)
    supports = [_plane_inliers(p, n, p[c], n[c]) for c in candidates]
    counts = np.array([support.sum() for support in supports])
    heights = p[candidates] @ up
    large = counts >= max(enough, 0.4 * counts.max())
    if not large.any():
        return None
    lowest = int(np.argmin(np.where(large, heights, np.inf)))
    support = supports[lowest]
    normal = n[candidates[lowest]]
    for _ in range(3):
        centre = p[support].mean(axis=0)
        normal = np.asarray(np.linalg.svd(p[support] - centre, full_matrices=False)[2][2])
        normal = normal * np.sign(normal @ up)
        support = _plane_inliers(p, n, centre, normal)
        if support.sum() < 3:
            return None
    return np.asarray(normal, dtype=np.float64)


def _plane_inliers(
    points: FloatArray, normals: FloatArray, point: FloatArray, normal: FloatArray
) -> NDArray[np.bool_]:
    near = np.abs((points - point) @ normal) < _PLANE_TOLERANCE_M
    return np.asarray(near & (normals @ normal > _MIN_NORMAL_COS))


def _oriented_points(depth: NDArray[np.float32], camera: Camera) -> tuple[FloatArray, FloatArray]:
    """Points (M, 3) of a coarse grid of pixels, and normals (M, 3) that face the camera."""
    stride = max(1, depth.shape[1] // _GRID_COLUMNS)
    z = cv2.medianBlur(depth, 5)[::stride, ::stride].astype(np.float64)
    points = camera.rays()[::stride, ::stride] * z[..., None]
    right = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    centre = z[1:-1, 1:-1]
    normal = np.cross(down, right)
    length = np.linalg.norm(normal, axis=-1)
    around = np.stack([centre, z[1:-1, 2:], z[1:-1, :-2], z[2:, 1:-1], z[:-2, 1:-1]])
    smooth = (around.min(axis=0) > 0) & (np.ptp(around, axis=0) < _MAX_DEPTH_JUMP * centre)
    good = smooth & (length > 0)
    p, n = points[1:-1, 1:-1][good], normal[good] / length[good][:, None]
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
    Find the rotation that makes the world z up.

    In this order: the configured axis; the axis the bag's writer noted, y for poses with OpenGL
    axes (ARKit), z for a world called ``map`` or ``odom`` (REP 105), each only if the cameras'
    average up is within 45 degrees of it; the floor; the cameras' average up.

    Parameters
    ----------
    axes : str
        The pose convention.
    world_frame : str
        Name of the frame the poses are in.
    up_axis, said_up_axis : str
        What the user set (``auto``: nothing) and what the bag's metadata note (or '').
    world_from_camera : (N, 4, 4) array
        Poses of the optical frame.
    floor : callable
        Gives the floor's normal in the world, or None; called only where it is needed.

    Returns
    -------
    (4, 4) array, str
        map_from_world, and what told the way up.
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
