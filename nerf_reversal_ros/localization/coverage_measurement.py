"""
Measure where a map localizes: the field rendered all around at places on a grid, and localized.

Rendered views are easier than photos: they have the light of the mapping capture, and nothing
moves in them. The result says what the map covers, not what every camera achieves.
"""

from collections.abc import Callable, Iterator
import math

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, look_at, pose_distance
from nerf_reversal_ros.core.outcome import (
    CORRECT_WITHIN_DEG,
    CORRECT_WITHIN_M,
    PoseEstimate,
)
from nerf_reversal_ros.fields.base import Occupancy
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.coverage import Coverage
from nerf_reversal_ros.localization.localizer_protocol import localize_or_reject, LocalizerProtocol

PLACES, HEADINGS = 60, 8
"""Number of places, and of directions at each."""
MARGIN_M = 0.8
"""How far beyond the mapping poses the grid reaches [m]."""
VIEW_PX = 320
"""Longer side of a view [px], at which images are localized at first."""


def free_places(field: VoxelField, mapping_poses: FloatArray, count: int = PLACES) -> FloatArray:
    """
    Return at most ``count`` places (N, 3) [m] where the room is free, at mapping height.

    Parameters
    ----------
    field : VoxelField
    mapping_poses : (M, 4, 4) array
        Their surroundings are covered by a square grid, at their median height.
    count : int
        The grid is as fine as it allows.
    """
    positions = mapping_poses[:, :3, 3]
    low, high = positions.min(0)[:2] - MARGIN_M, positions.max(0)[:2] + MARGIN_M
    height = float(np.median(positions[:, 2]))
    spacing = math.sqrt(float(np.prod(high - low)) / count) / 2  # half and more may not be free
    while True:
        x, y = (np.arange(a, b, spacing) + spacing / 2 for a, b in zip(low, high, strict=True))
        grid = np.stack(np.meshgrid(x, y, [height], indexing='ij'), axis=-1).reshape(-1, 3)
        free: FloatArray = grid[field.occupancy(grid) == Occupancy.FREE]
        if len(free) <= count:
            return free
        spacing *= 1.1


def measure_coverage(
    field: VoxelField,
    localizer: LocalizerProtocol,
    camera: Camera,
    places: FloatArray,
    headings: int = HEADINGS,
    go_on: Callable[[], bool] = lambda: True,
) -> Iterator[Coverage]:
    """
    Render and localize the views from each place, level and evenly all around.

    Yields the coverage of the places so far, after each of them.

    Parameters
    ----------
    field : VoxelField
    localizer : LocalizerProtocol
    camera : Camera
        Of the views, reduced to `VIEW_PX`.
    places : (N, 3) array
        Positions in the map [m].
    headings : int
        Number of directions.
    go_on : callable
        Asked before each view; the first false ends the places.
    """
    small = camera.downscaled_to(VIEW_PX)
    angles = 2 * np.pi * np.arange(headings) / headings
    directions = np.stack([np.cos(angles), np.sin(angles), np.zeros(headings)], axis=-1)
    localized: list[float] = []
    std_m: list[float] = []
    for place in places:
        poses = [look_at(place, place + direction) for direction in directions]
        stds = []
        for pose in poses:
            if not go_on():
                return
            rgb: NDArray[np.uint8] = field.render(pose[None], small)[0].rgb
            outcome = localize_or_reject(localizer, rgb, small)
            if isinstance(outcome, PoseEstimate) and _is_correct(outcome, pose):
                stds.append(math.sqrt(float(np.linalg.eigvalsh(outcome.covariance[:3, :3])[-1])))
        localized.append(len(stds) / headings)
        std_m.append(float(np.median(stds)) if stds else math.nan)
        yield Coverage(places[: len(localized)], np.array(localized), np.array(std_m))


def _is_correct(estimate: PoseEstimate, pose_gt: FloatArray) -> bool:
    distance_m, angle_deg = pose_distance(estimate.map_from_camera, pose_gt)
    return distance_m <= CORRECT_WITHIN_M and angle_deg <= CORRECT_WITHIN_DEG
