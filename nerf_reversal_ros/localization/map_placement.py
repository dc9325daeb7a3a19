"""
Where the map lies in the frame of the poses.

A map has the origin and the heading that its walk began with. What is there already, as the grid
of a laser, has its own: the map is placed in that, by what both look like from above.
"""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.config import parse_floats
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.geometry import (
    FloatArray,
    make_pose,
    rotate_covariance,
    transform_points,
)
from nerf_reversal_ros.core.outcome import Diagnostics, Outcome, PoseEstimate
from nerf_reversal_ros.localization.surface import Surface


def parse_map_from_nerf(text: str) -> FloatArray:
    """
    Return map_from_nerf (4, 4) from ``x y z yaw``, in metres and degrees; both frames are z up.

    Raises
    ------
    ConfigError
        When there are not four finite numbers.
    """
    numbers = parse_floats(text, 4)
    if numbers is None:
        raise ConfigError(
            f'map_from_nerf must be four numbers "x y z yaw", got {text!r}: where the origin of'
            ' the map lies in map_frame [m], and how far it is turned about z there [deg]'
        )
    return make_pose(Rotation.from_euler('z', numbers[3], degrees=True), np.array(numbers[:3]))


def transform_outcome(outcome: Outcome, map_from_nerf: FloatArray) -> Outcome:
    """Return what the localizer answered, its poses and covariances brought to another frame."""
    told = outcome.diagnostics
    diagnostics = Diagnostics(
        regressed_pose=None
        if told.regressed_pose is None
        else map_from_nerf @ told.regressed_pose,
        refined_pose=None if told.refined_pose is None else map_from_nerf @ told.refined_pose,
        scores=told.scores,
        latency_ms=told.latency_ms,
        regressed_covariance=_rotate_optional_covariance(told.regressed_covariance, map_from_nerf),
        refined_covariance=_rotate_optional_covariance(told.refined_covariance, map_from_nerf),
    )
    if not isinstance(outcome, PoseEstimate):
        return replace(outcome, diagnostics=diagnostics)
    covariance = rotate_covariance(outcome.covariance, map_from_nerf)
    return PoseEstimate(map_from_nerf @ outcome.map_from_camera, covariance, diagnostics)


def transform_surface(surface: Surface, map_from_nerf: FloatArray) -> Surface:
    """Return a surface brought to another frame."""
    points = (surface.points @ map_from_nerf[:3, :3].T).astype(np.float32)
    return Surface(transform_points(map_from_nerf, surface.origin_m), points, surface.colours)


def _rotate_optional_covariance(
    covariance: FloatArray | None, map_from_nerf: FloatArray
) -> FloatArray | None:
    return None if covariance is None else rotate_covariance(covariance, map_from_nerf)
