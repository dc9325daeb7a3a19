"""
Sampling of camera poses around mapping poses, and rejection of impossible ones.

A pose is impossible if it lies inside a surface, behind one, or too close to one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation, Slerp

from nerf_reversal_ros.core.config import SynthesisConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.fields.base import Occupancy, RadianceField

ROLL_FRACTION = 1 / 3
"""Roll over yaw and pitch, in standard deviations: people and robots keep cameras upright."""
LINE_STEP_M = 0.04
"""Distance between the occupancy samples of a line; thinner walls may be missed."""
PARTNER_RADIUS_M = 1.5
"""Two mapping poses within this distance span positions between and beyond them."""


class SampledPoses(NamedTuple):
    """Camera poses sampled around mapping poses."""

    map_from_camera: FloatArray
    """(N, 4, 4) sampled poses."""
    source_positions: FloatArray
    """(N, 3) camera center of the mapping pose that each was sampled around [m]."""


def sample_poses(
    mapping_poses: FloatArray, count: int, config: SynthesisConfig, rng: np.random.Generator
) -> SampledPoses:
    """
    Sample camera poses around mapping poses.

    Positions lie in a ball around a mapping pose. For ``config.between_share`` of them the center
    of the ball is a point on the line through two mapping poses that are close. Orientations are
    those of the mapping poses, rotated about the vertical (yaw), about the x axis of the camera
    (pitch) and, less, about its optical axis (roll).

    Parameters
    ----------
    mapping_poses : (N, 4, 4) array
        ``map_from_camera`` of the mapping images; the z axis of the map points up.
    count : int
        Number of poses.
    config : SynthesisConfig
        Radius of the ball, standard deviation of the rotations, fraction between poses.
    rng : numpy Generator
        Source of all randomness.
    """
    first = rng.integers(len(mapping_poses), size=count)
    position, rotation = mapping_poses[first, :3, 3], mapping_poses[first, :3, :3]
    tree = cKDTree(mapping_poses[:, :3, 3])
    for i in np.flatnonzero(rng.random(count) < config.between_share):
        partners = tree.query_ball_point(position[i], PARTNER_RADIUS_M)
        second = mapping_poses[partners[rng.integers(len(partners))]]
        fraction = rng.uniform(-0.5, 1.5)
        ends = Rotation.from_matrix(np.stack([rotation[i], second[:3, :3]]))
        rotation[i] = Slerp([0.0, 1.0], ends)(np.clip(fraction, 0.0, 1.0)).as_matrix()
        position[i] += fraction * (second[:3, 3] - position[i])
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = config.translation_m * np.cbrt(rng.random((count, 1)))
    yaw, pitch, roll = rng.normal(scale=config.rotation_deg, size=(3, count))
    about_vertical = Rotation.from_euler('z', yaw[:, None], degrees=True).as_matrix()
    in_camera = Rotation.from_euler(
        'xz', np.stack([pitch, roll * ROLL_FRACTION], axis=1), degrees=True
    ).as_matrix()
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = about_vertical @ rotation @ in_camera
    poses[:, :3, 3] = position + direction * radius
    return SampledPoses(poses, mapping_poses[first, :3, 3])


def find_pose_rejections(
    field: RadianceField, candidates: SampledPoses, clearance_m: float
) -> list[str | None]:
    """
    Find why sampled poses are impossible for a camera: a reason per pose, or None.

    Unknown space is allowed: a moving camera does not observe the space beside and behind it, and
    another recording may pass there. But the straight line from the mapping pose to the sampled
    one must not cross occupied space.

    Parameters
    ----------
    field : RadianceField
        Field whose occupancy is tested.
    candidates : SampledPoses
        N poses.
    clearance_m : float
        Minimum distance of the camera center to occupied space [m]; 0 disables the test.
    """
    goals, sources = candidates.map_from_camera[:, :3, 3], candidates.source_positions
    corners = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T.astype(np.float64)
    directions = corners[np.any(corners != 0, axis=1)]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    shell = goals[:, None] + np.concatenate([directions, 0.5 * directions]) * clearance_m
    longest_m = np.linalg.norm(goals - sources, axis=1).max(initial=0.0)
    fraction = np.linspace(0.0, 1.0, 2 + int(longest_m / LINE_STEP_M))[1:, None]
    line = sources[:, None] + fraction * (goals - sources)[:, None]
    rejections: list[str | None] = []
    for goal_hits, line_hits, shell_hits in zip(
        *(_is_occupied(field, points) for points in (goals[:, None], line, shell)), strict=True
    ):
        if goal_hits.any():
            rejections.append('inside matter')
        elif line_hits.any():
            rejections.append('behind matter')
        elif clearance_m > 0.0 and shell_hits.any():
            rejections.append('too close to matter')
        else:
            rejections.append(None)
    return rejections


def _is_occupied(field: RadianceField, points: FloatArray) -> NDArray[np.bool_]:
    """Return which of the points (N, K, 3) [m, map frame] are occupied, (N, K)."""
    occupancy = field.occupancy(points.reshape(-1, 3)).reshape(points.shape[:2])
    return np.asarray(occupancy == Occupancy.OCCUPIED)
