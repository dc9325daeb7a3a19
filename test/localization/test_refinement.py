"""Pose hypotheses are refined to millimeters in a field without error."""

from dataclasses import replace

import numpy as np
import pytest
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation
from small_room import room_atlas

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import make_pose, pose_distance
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.matching import (
    make_query,
    REFERENCE_SIZE_PX,
    visible_landmarks,
)
from nerf_reversal_ros.localization.refinement import estimate_pose, refine_pose

CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)
MAP_FROM_CAMERA = walk(6)


def perturb(map_from_camera, distance_m, angle_deg, seed=0):
    """Move a camera by a distance in a random direction, and rotate it about a random axis."""
    rng = np.random.default_rng(seed)
    axis, direction = rng.normal(size=(2, 3))
    rotation = Rotation.from_rotvec(np.radians(angle_deg) * axis / np.linalg.norm(axis))
    shift = distance_m * direction / np.linalg.norm(direction)
    return make_pose(None, shift) @ map_from_camera @ make_pose(rotation)


@pytest.fixture(scope='module')
def atlas() -> Atlas:
    return room_atlas(walk(16)[1::2])


def refine(query, atlas, hypothesis):
    """Refine a pose hypothesis as the localizer does."""
    initial = estimate_pose(query, visible_landmarks(atlas, hypothesis, query.camera))
    if initial is None:
        return None
    landmarks = visible_landmarks(atlas, initial.map_from_camera, query.camera)
    return refine_pose(query, landmarks, initial)


@pytest.mark.parametrize('number', [0, 3, 5])
def test_a_hypothesis_off_by_20_cm_and_10_degrees_is_refined_to_millimeters(atlas, number):
    pose = MAP_FROM_CAMERA[number]
    query = make_query(render_box_room(pose, CAMERA)[0], CAMERA)
    found = refine(query, atlas, perturb(pose, 0.20, 10.0, seed=number))
    assert found is not None and found.inliers > 50
    error_m, error_deg = pose_distance(found.map_from_camera, pose)
    assert error_m < 0.01 and error_deg < 0.2


def test_guided_matching_refines_centimeters_to_millimeters(atlas):
    error = make_pose(Rotation.from_rotvec([0.3, -0.2, 0.2], degrees=True), (0.01, -0.015, 0.01))
    for pose in MAP_FROM_CAMERA:
        query = make_query(render_box_room(pose, CAMERA)[0], CAMERA)
        landmarks = visible_landmarks(atlas, pose, CAMERA)
        initial = estimate_pose(query, landmarks)
        assert initial is not None
        refined = refine_pose(query, landmarks, replace(initial, map_from_camera=pose @ error))
        assert refined is not None and refined.inliers > 0.8 * initial.inliers
        assert pose_distance(refined.map_from_camera, pose)[0] < 0.006


@pytest.mark.parametrize(
    'camera',
    [
        Camera(320, 240, 380.0, 380.0, 150.0, 125.0),
        Camera(240, 320, 250.0, 250.0, 119.5, 159.5),
        Camera(960, 720, 700.0, 700.0, 479.5, 359.5),
        Camera(200, 150, 150.0, 150.0, 99.5, 74.5),
    ],
    ids=['longer lens', 'portrait', 'larger than the query size', 'small'],
)
def test_the_pose_of_another_camera_is_refined(atlas, camera):
    query = make_query(render_box_room(MAP_FROM_CAMERA[0], camera)[0], camera)
    assert max(query.camera.width, query.camera.height) <= REFERENCE_SIZE_PX
    found = refine(query, atlas, perturb(MAP_FROM_CAMERA[0], 0.05, 3.0))
    assert found is not None
    error_m, error_deg = pose_distance(found.map_from_camera, MAP_FROM_CAMERA[0])
    assert error_m < 0.02 and error_deg < 0.5


def test_an_image_of_another_room_has_few_inliers(atlas):
    query = make_query(render_box_room(MAP_FROM_CAMERA[0], CAMERA, paint=8)[0], CAMERA)
    found = refine(query, atlas, MAP_FROM_CAMERA[0])
    assert found is None or found.inliers < 15


def test_an_image_without_keypoints_has_no_pose(atlas):
    flat = make_query(np.full((240, 320, 3), 90, np.uint8), CAMERA)
    assert len(flat.keypoints.pixels) == 0
    assert estimate_pose(flat, visible_landmarks(atlas, MAP_FROM_CAMERA[0], CAMERA)) is None
