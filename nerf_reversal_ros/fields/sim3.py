"""
Sim(3): transforms between the scaled frame of a NeRF and the map in meters.

A Sim(3) is a (4, 4) matrix ``target_from_source`` like a pose, but its upper left part is a
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
    """Compose a pose and then a scale to a Sim(3) (4, 4); the default pose is the identity."""
    return np.diag([scale, scale, scale, 1.0]) @ (np.eye(4) if pose is None else pose)


def scale_of(target_from_source: FloatArray) -> float:
    """Return the scale of a Sim(3): the length of a unit of the source in the target."""
    return float(np.cbrt(np.linalg.det(target_from_source[:3, :3])))


def transform_poses(target_from_source: FloatArray, source_from_camera: FloatArray) -> FloatArray:
    """
    Transform camera poses (N, 4, 4) to another frame by a Sim(3).

    Centers are transformed like points; rotations stay without scale.
    """
    out = np.array(source_from_camera, dtype=np.float64)
    rotation = orthonormalize(target_from_source)[:3, :3]
    out[..., :3, :3] = rotation @ out[..., :3, :3]
    out[..., :3, 3] = transform_points(target_from_source, out[..., :3, 3])
    return out


def field_from_data(dataparser_transform: FloatArray, dataparser_scale: float) -> FloatArray:
    """
    Return the Sim(3) of a nerfstudio dataparser: from the world of the data to the field.

    A dataparser applies its transform T (3, 4) to the cameras and then scales their positions by
    s (``dataparser_transforms.json`` holds both): a point x is mapped to s * T x.
    """
    pose = np.eye(4)
    pose[:3] = np.asarray(dataparser_transform, dtype=np.float64)[:3]
    return make_sim3(dataparser_scale, orthonormalize(pose))


def to_opengl(field_from_map: FloatArray, map_from_camera: FloatArray) -> FloatArray:
    """Convert optical poses to camera-to-field (N, 3, 4) with OpenGL axes, as in nerfstudio."""
    return (transform_poses(field_from_map, map_from_camera) @ OPTICAL_FROM_OPENGL)[..., :3, :]


def from_opengl(camera_to_world: FloatArray) -> FloatArray:
    """Convert camera-to-world (N, 3, 4) with OpenGL axes to optical poses (N, 4, 4)."""
    out = np.tile(np.eye(4), (len(camera_to_world), 1, 1))
    out[:, :3] = camera_to_world
    return orthonormalize(out) @ OPTICAL_FROM_OPENGL
