"""
Sampling of camera poses around mapping poses, and rejection of impossible ones.

A pose is impossible if it lies inside a surface, behind one, or too close to one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import SynthesisConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.fields.base import Occupancy, RadianceField

ROLL_FRACTION = 1 / 3
"""Roll over yaw and pitch, in standard deviations: people and robots keep cameras upright."""
HEIGHT_FRACTION = 0.5
"""Vertical over horizontal radius of sampled positions: cameras are carried at similar heights."""
LINE_STEP_M = 0.04
"""Distance between the occupancy samples of a line; thinner walls may be missed."""
PARTNER_RADIUS_M = 1.5
"""Two mapping poses within this distance span positions between and beyond them."""
DEPTH_VIEW_PX = 16
"""Longer side of the renderings that `relative_depths` measures."""
MIN_RELATIVE_DEPTH = 0.05
"""Lower bound of `relative_depths`, for a camera that touches a surface."""


class SampledPoses(NamedTuple):
    """Camera poses sampled around mapping poses."""

    map_from_camera: FloatArray
    """(N, 4, 4) sampled poses."""
    source_positions: FloatArray
    """(N, 3) camera center of the mapping pose that each was sampled around [m]."""
    scales: NDArray[np.float64]
    """(N,) factor of all lengths there: `relative_depths` of that mapping pose."""


def relative_depths(
    field: RadianceField, mapping_poses: FloatArray, camera: Camera
) -> NDArray[np.float64]:
    """
    Return how near the scene is at each mapping pose, compared with the others: (N,), at most 1.

    It is the median depth that the field renders there, over the median of these. A radius that
    suits a room leads into the object that a camera looks at from an arm's length.
    """
    small = camera.downscaled_to(DEPTH_VIEW_PX)
    known = [view.depth[view.depth > 0] for view in field.render(mapping_poses, small)]
    depths = np.array([np.median(depth) if len(depth) else np.nan for depth in known])
    if np.isnan(depths).all():
        return np.ones(len(mapping_poses))
    return np.clip(np.nan_to_num(depths / np.nanmedian(depths), nan=1.0), MIN_RELATIVE_DEPTH, 1.0)


def sample_poses(
    mapping_poses: FloatArray,
    count: int,
    config: SynthesisConfig,
    rng: np.random.Generator,
    scales: NDArray[np.float64] | None = None,
) -> SampledPoses:
    """
    Sample camera poses around mapping poses.

    Positions lie in a flattened ball around a mapping pose. For ``config.between_share`` of them
    the center of the ball is a point on the line through two mapping poses that are close.
    Orientations are those of the mapping poses, rotated about the vertical (yaw), about the x axis
    of the camera (pitch) and, less, about its optical axis (roll).

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
    scales : (N,) array, optional
        Factors of the radius and of the distance of close poses; default: 1.
    """
    first = rng.integers(len(mapping_poses), size=count)
    scale = (np.ones(len(mapping_poses)) if scales is None else scales)[first]
    position, rotation = mapping_poses[first, :3, 3], mapping_poses[first, :3, :3]
    between = np.flatnonzero(rng.random(count) < config.between_share)
    if len(between):
        tree = cKDTree(mapping_poses[:, :3, 3])
        near = tree.query_ball_point(position[between], PARTNER_RADIUS_M * scale[between])
        picks = rng.random(len(between))
        chosen = [
            partners[int(pick * len(partners))] for partners, pick in zip(near, picks, strict=True)
        ]
        second = mapping_poses[chosen]
        fraction = rng.uniform(-0.5, 1.5, (len(between), 1))
        start = Rotation.from_matrix(rotation[between])
        turn = (start.inv() * Rotation.from_matrix(second[:, :3, :3])).as_rotvec()
        turned = start * Rotation.from_rotvec(np.clip(fraction, 0.0, 1.0) * turn)
        rotation[between] = turned.as_matrix()
        position[between] += fraction * (second[:, :3, 3] - position[between])
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    direction[:, 2] *= HEIGHT_FRACTION
    radius = config.translation_m * scale[:, None] * np.cbrt(rng.random((count, 1)))
    yaw, pitch, roll = rng.normal(scale=config.rotation_deg, size=(3, count))
    about_vertical = Rotation.from_euler('z', yaw[:, None], degrees=True).as_matrix()
    in_camera = Rotation.from_euler(
        'xz', np.stack([pitch, roll * ROLL_FRACTION], axis=1), degrees=True
    ).as_matrix()
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = about_vertical @ rotation @ in_camera
    poses[:, :3, 3] = position + direction * radius
    return SampledPoses(poses, mapping_poses[first, :3, 3], scale)


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
        Minimum distance of the camera center to occupied space [m], times the scale of each
        pose; 0 disables the test.
    """
    goals, sources = candidates.map_from_camera[:, :3, 3], candidates.source_positions
    corners = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T.astype(np.float64)
    directions = corners[np.any(corners != 0, axis=1)]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions = np.concatenate([directions, 0.5 * directions])
    shell = goals[:, None] + directions * (clearance_m * candidates.scales)[:, None, None]
    longest_m = np.linalg.norm(goals - sources, axis=1).max(initial=0.0)
    fraction = np.linspace(0.0, 1.0, 2 + int(longest_m / LINE_STEP_M))[1:, None]
    line = sources[:, None] + fraction * (goals - sources)[:, None]
    rejections: list[str | None] = [None] * len(goals)
    checks = [('inside matter', goals[:, None]), ('behind matter', line)]
    if clearance_m > 0.0:
        checks.append(('too close to matter', shell))
    for reason, points in checks:
        possible = np.array([n for n, found in enumerate(rejections) if found is None], int)
        for number in possible[_is_occupied(field, points[possible]).any(1)]:
            rejections[number] = reason
    return rejections


def _is_occupied(field: RadianceField, points: FloatArray) -> NDArray[np.bool_]:
    """Return which of the points (N, K, 3) [m, map frame] are occupied, (N, K)."""
    occupancy = field.occupancy(points.reshape(-1, 3)).reshape(points.shape[:2])
    return np.asarray(occupancy == Occupancy.OCCUPIED)
