"""
Find in another room a pose that explains an image as well as the one that was found.

What an image has in common with two rooms is known once a pose is accepted in the first: the
keypoints that agree with it. If another room looks like it, these agree with one pose there too.
A few of them tell it, matched with all landmarks of that room.
"""

from dataclasses import replace

import numpy as np

from nerf_reversal_ros.capture.sift import Keypoints
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, inverse, pose_distance
from nerf_reversal_ros.localization.hypotheses import HypothesisRefiner, RefinedHypothesis
from nerf_reversal_ros.localization.matching import QueryImage
from nerf_reversal_ros.localization.pose_search import PoseSearch
from nerf_reversal_ros.localization.refinement import estimate_pose
from nerf_reversal_ros.maps.building_folder import Room

MAX_KEYPOINTS = 32
"""Keypoints that are matched with another room, at most."""
SAME_PLACE_M, SAME_PLACE_DEG = 0.3, 10.0
"""Distance of two poses in the building up to which they are one: links are a little wrong."""


def find_rival(
    found: PoseSearch, other: HypothesisRefiner, config: LocalizerConfig
) -> RefinedHypothesis | None:
    """
    Find the pose in another room that the keypoints of an accepted pose agree with.

    Parameters
    ----------
    found : PoseSearch
        Search with an accepted pose.
    other : HypothesisRefiner
        Of the other room.
    config : LocalizerConfig
        Limits of the gate.

    Returns
    -------
    RefinedHypothesis or None
        Refined with all keypoints of the image, and verified; None if there is no such pose.
    """
    query, best = query_and_best(found)
    common = _keypoints_at(query, best.solution.pixels)
    initial = estimate_pose(replace(query, keypoints=common), other.landmarks_of_map)
    return None if initial is None else other.refine(query, initial.map_from_camera, config)


def query_and_best(found: PoseSearch) -> tuple[QueryImage, RefinedHypothesis]:
    """Return the best pose of a search that has one, and the image that it was found in."""
    assert found.best is not None
    queries = found.queries
    is_first = found.best.query_camera == queries.first.camera
    return queries.first if is_first else queries.retry, found.best


def is_same_place(first: Room, found: PoseSearch, second: Room, other: PoseSearch) -> bool:
    """Return whether the poses of two rooms are one pose in the building, as far as is known."""
    assert found.best is not None
    assert other.best is not None
    pose, other_pose = found.best.solution.map_from_camera, other.best.solution.map_from_camera
    return is_one_place(first, pose, second, other_pose)


def is_one_place(
    first: Room, first_from_camera: FloatArray, second: Room, second_from_camera: FloatArray
) -> bool:
    """Return whether poses (4, 4) in two rooms are one in the building; False if it is unknown."""
    if first.building_from_room is None or second.building_from_room is None:
        return False
    second_from_first = inverse(second.building_from_room) @ first.building_from_room
    distance_m, angle_deg = pose_distance(
        second_from_first @ first_from_camera, second_from_camera
    )
    return distance_m < SAME_PLACE_M and angle_deg < SAME_PLACE_DEG


def _keypoints_at(query: QueryImage, pixels: np.ndarray) -> Keypoints:
    """Return the keypoints of an image at some of these pixels (M, 2), spread over all."""
    inliers = {tuple(pixel) for pixel in pixels.tolist()}
    positions = query.keypoints.pixels.tolist()
    indices = [index for index, pixel in enumerate(positions) if tuple(pixel) in inliers]
    if len(indices) > MAX_KEYPOINTS:
        spread = np.linspace(0, len(indices) - 1, MAX_KEYPOINTS).astype(int)
        indices = np.array(indices)[spread].tolist()
    pixels, sizes, descriptors = query.keypoints
    return Keypoints(pixels[indices], sizes[indices], descriptors[indices])
