"""
Place a map in another map frame: transform outcomes and the surface cloud by `map_from_nerf`.

A map has the origin and the heading of its mapping capture. An existing map, such as an occupancy
grid of a laser scanner, has its own. The user gives the transform between both.
"""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.geometry import (
    FloatArray,
    make_pose,
    rotate_covariance,
    transform_points,
)
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate
from nerf_reversal_ros.core.validated_config import parse_floats
from nerf_reversal_ros.localization.surface import Surface


def parse_upright_pose(text: str) -> FloatArray | None:
    """Parse a pose (4, 4) from ``x y z yaw`` [m], [deg]; None if these are no four numbers."""
    numbers = parse_floats(text, 4)
    if numbers is None:
        return None
    return make_pose(Rotation.from_euler('z', numbers[3], degrees=True), np.array(numbers[:3]))


def parse_map_from_nerf(text: str) -> FloatArray:
    """
    Parse map_from_nerf (4, 4) from ``x y z yaw`` [m], [deg]; both frames are z up.

    Raises
    ------
    ConfigError
        If the text is not four finite numbers.
    """
    pose = parse_upright_pose(text)
    if pose is None:
        raise ConfigError(
            f'map_from_nerf must be four numbers "x y z yaw", got {text!r}:'
            f' {remedies.MAP_FROM_NERF}'
        )
    return pose


def transform_outcome(outcome: Outcome, map_from_nerf: FloatArray) -> Outcome:
    """Return an outcome with its poses and covariances in another frame, by a pose (4, 4)."""
    source = outcome.diagnostics
    diagnostics = replace(
        source,
        regressed_pose=_transform_pose(source.regressed_pose, map_from_nerf),
        refined_pose=_transform_pose(source.refined_pose, map_from_nerf),
        regressed_covariance=_rotate_covariance(source.regressed_covariance, map_from_nerf),
        refined_covariance=_rotate_covariance(source.refined_covariance, map_from_nerf),
        inlier_points=None
        if source.inlier_points is None
        else transform_points(map_from_nerf, source.inlier_points),
    )
    if not isinstance(outcome, PoseEstimate):
        return replace(outcome, diagnostics=diagnostics)
    covariance = rotate_covariance(outcome.covariance, map_from_nerf)
    return PoseEstimate(map_from_nerf @ outcome.map_from_camera, covariance, diagnostics)


def transform_surface(surface: Surface, map_from_nerf: FloatArray) -> Surface:
    """Return a surface cloud in another frame, by a pose (4, 4)."""
    points = (surface.points @ map_from_nerf[:3, :3].T).astype(np.float32)
    origin_m = transform_points(map_from_nerf, surface.origin_m)
    return replace(surface, origin_m=origin_m, points=points)


def _transform_pose(pose: FloatArray | None, map_from_nerf: FloatArray) -> FloatArray | None:
    return None if pose is None else map_from_nerf @ pose


def _rotate_covariance(
    covariance: FloatArray | None, map_from_nerf: FloatArray
) -> FloatArray | None:
    return None if covariance is None else rotate_covariance(covariance, map_from_nerf)
