"""Triangle meshes of many camera frustums and of many error ellipsoids, one mesh for all."""

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import error_ellipsoid, FloatArray, transform_points

_SIDES = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1]])
_RINGS, _SEGMENTS = 6, 8


def frustums(
    poses: FloatArray, camera: Camera, depth_m: float
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """
    Return vertices (5 N, 3) and faces (4 N, 3) of the frustums of a camera at poses (N, 4, 4).

    ``depth_m`` is the height of each pyramid [m].
    """
    width, height = float(camera.width), float(camera.height)
    corners = np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    pyramid = np.vstack([np.zeros(3), camera.unproject(corners - 0.5, depth_m)])
    vertices = np.concatenate([transform_points(pose, pyramid) for pose in poses])
    return _repeated(vertices, _SIDES, len(poses), len(pyramid))


def ellipsoids(
    centers: FloatArray, covariances: FloatArray
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """
    Return vertices and faces of the 3 sigma ellipsoids of positions.

    Parameters
    ----------
    centers : (N, 3) array
    covariances : (N, 3, 3) array
        Of the positions [m^2], positive semidefinite.
    """
    sphere, faces = _sphere()
    lengths, axes = error_ellipsoid(covariances)
    half_axes = axes * lengths[:, None, :]
    vertices = sphere @ half_axes.transpose(0, 2, 1) + centers[:, None]
    return _repeated(vertices.reshape(-1, 3), faces, len(centers), len(sphere))


def _sphere() -> tuple[FloatArray, NDArray[np.int64]]:
    """Return vertices and faces of a unit sphere of `_RINGS` rings."""
    polar = np.linspace(0, np.pi, _RINGS + 1)[:, None]
    around = np.linspace(0, 2 * np.pi, _SEGMENTS, endpoint=False)[None]
    vertices = np.stack(
        [
            np.sin(polar) * np.cos(around),
            np.sin(polar) * np.sin(around),
            np.cos(polar) + 0 * around,
        ],
        axis=-1,
    ).reshape(-1, 3)
    index = np.arange(len(vertices)).reshape(_RINGS + 1, _SEGMENTS)
    right = np.roll(index, -1, axis=1)
    faces = np.concatenate(
        [
            np.stack([index[:-1], index[1:], right[1:]], axis=-1).reshape(-1, 3),
            np.stack([index[:-1], right[1:], right[:-1]], axis=-1).reshape(-1, 3),
        ]
    )
    return vertices, faces


def _repeated(
    vertices: FloatArray, faces: NDArray[np.int64], count: int, step: int
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Return the vertices, and the faces of each of ``count`` copies of a shape."""
    shifted = faces + step * np.arange(count)[:, None, None]
    return vertices.astype(np.float32), shifted.reshape(-1, 3).astype(np.uint32)
