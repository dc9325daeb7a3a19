"""Where cameras can be: poses sampled around those of a capture, and what forbids them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation, Slerp

from nerf_reversal_ros.core.config import SynthesisConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.fields.base import Occupancy, RadianceField

ROLL_FRACTION = 1 / 3
"""People and robots keep cameras upright: roll varies less than yaw and pitch."""


LINE_STEP_M = 0.04


PARTNER_RADIUS_M = 1.5
"""Two walked poses within this distance span positions between and beyond them."""


class SampledPoses(NamedTuple):
    """Camera poses drawn from walked ones."""

    map_from_camera: FloatArray
    """(N, 4, 4) drawn poses."""
    source_positions: FloatArray
    """(N, 3) camera centre of the walked pose that each was drawn from."""


def sample_poses(
    mapping_poses: FloatArray, count: int, config: SynthesisConfig, rng: np.random.Generator
) -> SampledPoses:
    """
    Draw camera poses near walked ones.

    Positions lie in a ball around a walked pose or, for ``config.between_share`` of them, in
    such a ball around a point on the line through two walked poses that are close. Orientations
    are those of the walked poses, turned about the vertical (yaw), about the camera's x axis
    (pitch) and, less, about its optical axis (roll).

    Parameters
    ----------
    mapping_poses : (N, 4, 4) array
        Walked ``map_from_camera``; the map's z axis points up.
    count : int
        Poses wanted.
    """
    first = rng.integers(len(mapping_poses), size=count)
    position, rotation = mapping_poses[first, :3, 3], mapping_poses[first, :3, :3]
    tree = cKDTree(mapping_poses[:, :3, 3])
    for i in np.flatnonzero(rng.random(count) < config.between_share):
        around = tree.query_ball_point(position[i], PARTNER_RADIUS_M)
        second = mapping_poses[around[rng.integers(len(around))]]
        share = rng.uniform(-0.5, 1.5)
        ends = Rotation.from_matrix(np.stack([rotation[i], second[:3, :3]]))
        rotation[i] = Slerp([0.0, 1.0], ends)(np.clip(share, 0.0, 1.0)).as_matrix()
        position[i] += share * (second[:3, 3] - position[i])
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = config.translation_m * np.cbrt(rng.random((count, 1)))
    yaw, pitch, roll = rng.normal(scale=config.rotation_deg, size=(3, count))
    about_vertical = Rotation.from_euler('z', yaw[:, None], degrees=True).as_matrix()
    in_camera = Rotation.from_euler(
        'xz', np.stack([pitch, roll * ROLL_FRACTION], axis=1), degrees=True
    ).as_matrix()
    drawn = np.tile(np.eye(4), (count, 1, 1))
    drawn[:, :3, :3] = about_vertical @ rotation @ in_camera
    drawn[:, :3, 3] = position + direction * radius
    return SampledPoses(drawn, mapping_poses[first, :3, 3])


def find_pose_rejections(
    field: RadianceField, candidates: SampledPoses, clearance_m: float
) -> list[str | None]:
    """
    Tell for drawn poses why no camera can be there, as one of `REASONS`; None where it can.

    Space need not have been seen: a walking camera does not see what is beside and behind it,
    and another walk may pass just there. But it must be possible to get there from the walked
    pose on a straight line without crossing matter.
    """
    goal = candidates.map_from_camera[:, :3, 3]
    corners = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T.astype(np.float64)
    directions = corners[np.any(corners != 0, axis=1)]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    around = goal[:, None] + np.concatenate([directions, 0.5 * directions]) * clearance_m
    longest_m = np.linalg.norm(goal - candidates.source_positions, axis=1).max(initial=0.0)
    share = np.linspace(0.0, 1.0, 2 + int(longest_m / LINE_STEP_M))[1:, None]
    line = (
        candidates.source_positions[:, None]
        + share * (goal - candidates.source_positions)[:, None]
    )
    faults: list[str | None] = []
    for here, on_line, near in zip(
        *(_is_occupied(field, points) for points in (goal[:, None], line, around)), strict=True
    ):
        if here.any():
            faults.append('inside matter')
        elif on_line.any():
            faults.append('behind matter')
        elif clearance_m > 0.0 and near.any():
            faults.append('too close to matter')
        else:
            faults.append(None)
    return faults


def _is_occupied(field: RadianceField, points: FloatArray) -> NDArray[np.bool_]:
    """Tell for points (N, K, 3) which are in matter, (N, K)."""
    space = field.occupancy(points.reshape(-1, 3)).reshape(points.shape[:2])
    return np.asarray(space == Occupancy.OCCUPIED)
