"""
Average the deviations of a camera that several views of it tell.

Errors of the map are shared by all views, and those of a place by all views from there.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nerf_reversal_ros.core.geometry import FloatArray, pose_errors

SIGNIFICANT_STD = 4.0
"""Standard deviations from which a deviation is not an error of the fit: fits of thousands of
images with the correct camera stay within."""
SAME_VIEW_M, SAME_VIEW_DEG = 0.2, 5.0
"""Views within this distance [m] and angle [deg] share their errors, so the latest counts."""
SHARED_STD = 0.003
"""Standard deviation of each parameter that all images share, from errors of the map."""
MAX_COVARIANCE_SCALE = 10.0
"""Largest factor on the covariance of the fit: that of a map also covers errors of its ground
truth, which move poses and leave the intrinsics. In three rooms, 9 covers the focal lengths."""


class CameraView(NamedTuple):
    """Fit of one image."""

    map_from_camera: FloatArray
    deviation: FloatArray
    """(4,) as `CameraFit.deviation`."""
    covariance: FloatArray
    """(4, 4) of the deviation."""


class CameraEstimate(NamedTuple):
    """Deviation (4,) with covariance (4, 4), from a number of views."""

    deviation: FloatArray
    covariance: FloatArray
    views: int


def views_of_other_places(views: Sequence[CameraView], view: CameraView) -> list[CameraView]:
    """Return the views that are not from about the pose of another one."""
    poses = np.array([other.map_from_camera for other in views]).reshape(-1, 4, 4)
    moved = pose_errors(poses, np.broadcast_to(view.map_from_camera, poses.shape))
    is_same = (moved.translation < SAME_VIEW_M) & (np.degrees(moved.rotation) < SAME_VIEW_DEG)
    return [other for other, same in zip(views, is_same, strict=True) if not same]


def without_outliers(views: Sequence[CameraView]) -> list[CameraView]:
    """Return the views whose focal length agrees with the median of all."""
    if not views:
        return []
    median = np.median([view.deviation[0] for view in views])
    return [
        view
        for view in views
        if abs(view.deviation[0] - median)
        < SIGNIFICANT_STD * np.hypot(np.sqrt(view.covariance[0, 0]), SHARED_STD)
    ]


def combine_views(views: Sequence[CameraView]) -> CameraEstimate:
    """Average deviations by their information; errors of the map do not average out."""
    informations = np.linalg.inv(np.array([view.covariance for view in views]))
    deviations = np.array([view.deviation for view in views])
    covariance = np.linalg.inv(informations.sum(0))
    deviation = covariance @ np.einsum('nij,nj->i', informations, deviations)
    return CameraEstimate(deviation, covariance + SHARED_STD**2 * np.eye(4), len(views))
