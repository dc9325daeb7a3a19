"""Landmarks of a field without error: where they are, and which a camera may see."""

from dataclasses import replace

import numpy as np
import pytest
from rooms import walk
from small_room import distance_to_surface, room_atlas

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.core.geometry import inverse, make_pose, transform_points
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.localization.atlas import (
    Atlas,
    build_atlas,
    LandmarkObservations,
    merge_observations,
    select_farthest_poses,
)

CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)
FORWARD = np.eye(4)


@pytest.fixture(scope='module')
def atlas() -> Atlas:
    return room_atlas(walk(12))


def landmarks(points, views=None, directions=(0.0, 0.0, -1.0), distances=2.0):
    """An atlas of points (N, 3), seen from one direction and distance."""
    count = len(points)
    return Atlas(
        np.zeros(3),
        np.asarray(points, np.float32),
        np.tile(np.asarray(directions, np.float32), (count, 1)),
        np.full(count, distances, np.float32),
        np.asarray(np.full(count, 2) if views is None else views, np.uint8),
        np.eye(count, 128, dtype=np.float32),
    )


def observations(points, descriptors, sizes_m=0.05):
    points = np.asarray(points, np.float64)
    centres = points - np.array([0.0, 0.0, 2.0])
    return LandmarkObservations(points, centres, np.full(len(points), sizes_m), descriptors)


def test_landmarks_lie_on_the_surfaces(atlas):
    assert len(atlas) > 300
    assert np.median(distance_to_surface(atlas.origin_m + atlas.points)) < 0.002
    assert np.quantile(distance_to_surface(atlas.origin_m + atlas.points), 0.95) < 0.02


def test_each_landmark_was_found_in_two_views_or_more(atlas):
    assert atlas.views.min() >= 2


def test_a_view_that_shows_nothing_gives_no_landmarks():
    grey = Rendering(
        np.full((240, 320, 3), 90, np.uint8),
        np.full((240, 320), 2.0, np.float32),
        np.ones((240, 320), np.float32),
    )
    empty = build_atlas([(grey, FORWARD), (grey, FORWARD)], CAMERA)
    assert len(empty) == 0 and len(empty.visible_indices(FORWARD, CAMERA, 10)) == 0


def test_what_one_view_alone_shows_is_no_landmark():
    look = np.eye(2, 128, dtype=np.float32)[[0, 0, 1]]
    seen = observations([[0, 0, 2], [0.005, 0, 2], [1, 0, 2]], look)
    assert len(merge_observations(seen, np.array([0, 0, 1]))) == 0


def test_two_views_of_one_point_become_one_landmark_between_them():
    look = np.eye(2, 128, dtype=np.float32)[[0, 0, 1]]
    found = merge_observations(
        observations([[0, 0, 2], [0.01, 0, 2], [1, 0, 2]], look), np.array([0, 1, 1])
    )
    np.testing.assert_allclose(found.origin_m + found.points, [[0.005, 0, 2]], atol=1e-6)
    np.testing.assert_allclose(found.directions, [[0, 0, -1]], atol=1e-6)
    assert found.distances == pytest.approx(2.0) and found.views.tolist() == [2]


def test_few_keypoints_in_many_views_become_landmarks_with_their_own_counts(tmp_path):
    look = np.eye(2, 128, dtype=np.float32)[[0, 0, 0, 1, 1]]
    places = [[0, 0, 2], [0.005, 0, 2], [0.01, 0, 2], [1, 0, 2], [1.005, 0, 2]]
    found = merge_observations(observations(places, look), np.array([3, 40, 49, 40, 49]))
    assert found.views.tolist() == [3, 2]
    found.save(tmp_path / 'atlas.safetensors')
    assert len(Atlas.load(tmp_path / 'atlas.safetensors')) == 2


@pytest.mark.parametrize(
    'points, looks',
    [([[0, 0, 2], [0.05, 0, 2]], [0, 0]), ([[0, 0, 2], [0.001, 0, 2]], [0, 1])],
    ids=['too far apart', 'of another look'],
)
def test_views_that_do_not_agree_give_no_landmark(points, looks):
    look = np.eye(2, 128, dtype=np.float32)[looks]
    assert len(merge_observations(observations(points, look), np.array([0, 1]))) == 0


@pytest.mark.parametrize(
    'point, seen',
    [
        ([0, 0, 2], True),
        ([0, 0, -2], False),
        ([5, 0, 2], False),
        ([0, 0, 6], False),
        ([0, 0, 0.5], False),
    ],
    ids=['ahead', 'behind', 'beside the picture', 'too far', 'too near'],
)
def test_a_camera_sees_the_landmarks_before_it(point, seen):
    assert len(landmarks([point]).visible_indices(FORWARD, CAMERA, 10)) == seen


def test_a_landmark_is_not_looked_for_from_behind():
    back = landmarks([[0, 0, 2]], directions=(0.0, 0.0, 1.0))
    assert len(back.visible_indices(FORWARD, CAMERA, 10)) == 0


def test_of_too_many_landmarks_those_that_most_views_agree_on_are_taken():
    many = landmarks([[0, 0, 2], [0.1, 0, 2], [0.2, 0, 2]], views=[3, 2, 9])
    assert many.visible_indices(FORWARD, CAMERA, 2).tolist() == [0, 2]


def test_what_is_visible_does_not_depend_on_where_the_map_has_its_origin(atlas):
    camera = walk(12)[5]
    here = atlas.visible_indices(camera, CAMERA, 10_000)
    move = make_pose(None, [4.5e5, 5.4e6, 100.0])
    moved = replace(atlas, origin_m=atlas.origin_m + move[:3, 3])
    there = moved.visible_indices(move @ camera, CAMERA, 10_000)
    assert len(np.setxor1d(here, there)) <= 2 and len(here) > 50


def test_a_camera_at_a_walked_pose_sees_what_it_showed(atlas):
    camera = walk(12)[3]
    seen = atlas.visible_indices(camera, CAMERA, 10_000)
    local = transform_points(inverse(camera), atlas.origin_m + atlas.points[seen])
    shown = CAMERA.project(local)
    inside = np.all((shown > 0) & (shown < (319, 239)), axis=1)
    assert inside.sum() > 50


def test_a_stored_atlas_is_the_same(atlas, tmp_path):
    atlas.save(tmp_path / 'atlas.safetensors')
    again = Atlas.load(tmp_path / 'atlas.safetensors')
    np.testing.assert_array_equal(again.points, atlas.points)
    assert np.einsum('ij,ij->i', again.descriptors, atlas.descriptors).min() > 0.999


@pytest.mark.parametrize('harm', ['missing', 'truncated', 'not finite'])
def test_an_atlas_that_is_damaged_is_refused(atlas, tmp_path, harm):
    path = tmp_path / 'atlas.safetensors'
    if harm == 'not finite':
        replace(atlas, points=atlas.points * np.float32(np.nan)).save(path)
    elif harm == 'truncated':
        atlas.save(path)
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MapError, match='atlas'):
        Atlas.load(path)


def test_spread_poses_are_apart_and_near_all_others():
    line = np.tile(np.eye(4), (101, 1, 1))
    line[:, 0, 3] = np.linspace(0, 3, 101)
    chosen = np.sort(select_farthest_poses(line, 1000))
    assert np.diff(line[chosen, 0, 3]).min() >= 0.3 and np.diff(line[chosen, 0, 3]).max() <= 0.6
    assert len(select_farthest_poses(line, 3)) == 3
