"""
Similarities: a NeRF's own, scaled frame and the map's metres.

A similarity is a (4, 4) matrix ``target_from_source`` like a pose, but its upper left part is a
rotation times a scale > 0.
"""

import numpy as np

from nerf_reversal_ros.core.geometry import (
    FloatArray,
    OPTICAL_FROM_OPENGL,
    orthonormalize,
    transform_points,
)


def make_sim3(scale: float, pose: FloatArray | None = None) -> FloatArray:
    """Return ``x -> scale * (pose applied to x)`` as a (4, 4) matrix; default pose: none."""
    return np.diag([scale, scale, scale, 1.0]) @ (np.eye(4) if pose is None else pose)


def scale_of(target_from_source: FloatArray) -> float:
    """Return how long a unit of the source is in the target."""
    return float(np.cbrt(np.linalg.det(target_from_source[:3, :3])))


def transform_poses(target_from_source: FloatArray, source_from_camera: FloatArray) -> FloatArray:
    """
    Take camera poses (N, 4, 4) to another frame, which may have another scale.

    Centres are moved as points are; rotations stay rotations.
    """
    out = np.array(source_from_camera, dtype=np.float64)
    rotation = orthonormalize(target_from_source)[:3, :3]
    out[..., :3, :3] = rotation @ out[..., :3, :3]
    out[..., :3, 3] = transform_points(target_from_source, out[..., :3, 3])
    return out


def field_from_data(dataparser_transform: FloatArray, dataparser_scale: float) -> FloatArray:
    """
    Return the similarity of nerfstudio's dataparsers: from the data's world to the field.

    A dataparser applies its transform T (3, 4) to the cameras first and scales their positions
    by s then (``dataparser_transforms.json`` holds both): a point x comes to s * T x.
    """
    pose = np.eye(4)
    pose[:3] = np.asarray(dataparser_transform, dtype=np.float64)[:3]
    return make_sim3(dataparser_scale, orthonormalize(pose))


def to_opengl(field_from_map: FloatArray, map_from_camera: FloatArray) -> FloatArray:
    """Return (N, 3, 4) camera-to-field poses with OpenGL axes, as nerfstudio has them."""
    return (transform_poses(field_from_map, map_from_camera) @ OPTICAL_FROM_OPENGL)[..., :3, :]


def from_opengl(camera_to_world: FloatArray) -> FloatArray:
    """Return optical poses (N, 4, 4) of nerfstudio's camera-to-world (N, 3, 4), OpenGL axes."""
    out = np.tile(np.eye(4), (len(camera_to_world), 1, 1))
    out[:, :3] = camera_to_world
    return orthonormalize(out) @ OPTICAL_FROM_OPENGL
