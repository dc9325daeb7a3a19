"""
Similarities: a NeRF's own, scaled frame and the map's metres.

A similarity is a (4, 4) matrix ``target_from_source`` like a pose, but its upper left part is a
rotation times a scale > 0.
"""

import numpy as np

from nerf_reversal_ros.core.geometry import Array, OPTICAL_FROM_OPENGL, orthonormalized, transform


def similarity(scale: float, pose: Array | None = None) -> Array:
    """Return ``x -> scale * (pose applied to x)`` as a (4, 4) matrix; default pose: none."""
    return np.diag([scale, scale, scale, 1.0]) @ (np.eye(4) if pose is None else pose)


def scale_of(target_from_source: Array) -> float:
    """Return how long a unit of the source is in the target."""
    return float(np.cbrt(np.linalg.det(target_from_source[:3, :3])))


def moved_poses(target_from_source: Array, source_from_camera: Array) -> Array:
    """
    Take camera poses (N, 4, 4) to another frame, which may have another scale.

    Centres are moved as points are; rotations stay rotations.
    """
    out = np.array(source_from_camera, dtype=np.float64)
    rotation = orthonormalized(target_from_source)[:3, :3]
    out[..., :3, :3] = rotation @ out[..., :3, :3]
    out[..., :3, 3] = transform(target_from_source, out[..., :3, 3])
    return out


def field_from_data(dataparser_transform: Array, dataparser_scale: float) -> Array:
    """
    Return the similarity of nerfstudio's dataparsers: from the data's world to the field.

    A dataparser applies its transform T (3, 4) to the cameras first and scales their positions
    by s then (``dataparser_transforms.json`` holds both): a point x comes to s * T x.
    """
    pose = np.eye(4)
    pose[:3] = np.asarray(dataparser_transform, dtype=np.float64)[:3]
    return similarity(dataparser_scale, orthonormalized(pose))


def opengl_poses(field_from_map: Array, map_from_camera: Array) -> Array:
    """Return (N, 3, 4) camera-to-field poses with OpenGL axes, as nerfstudio has them."""
    return (moved_poses(field_from_map, map_from_camera) @ OPTICAL_FROM_OPENGL)[..., :3, :]


def optical_poses(camera_to_world: Array) -> Array:
    """Return optical poses (N, 4, 4) of nerfstudio's camera-to-world (N, 3, 4), OpenGL axes."""
    out = np.tile(np.eye(4), (len(camera_to_world), 1, 1))
    out[:, :3] = camera_to_world
    return orthonormalized(out) @ OPTICAL_FROM_OPENGL
