"""Landmarks lie on surfaces, are confirmed by several views, and are visible near their views."""

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


def atlas_of(points, views=None, directions=(0.0, 0.0, -1.0), distances=2.0):
    """Return an atlas of points (N, 3), observed from one direction and distance."""
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
    centers = points - np.array([0.0, 0.0, 2.0])
    return LandmarkObservations(points, centers, np.full(len(points), sizes_m), descriptors)


def test_landmarks_lie_on_the_surfaces(atlas):
    assert len(atlas) > 300
    assert np.median(distance_to_surface(atlas.origin_m + atlas.points)) < 0.002
    assert np.quantile(distance_to_surface(atlas.origin_m + atlas.points), 0.95) < 0.02


def test_each_landmark_is_confirmed_by_two_views_or_more(atlas):
    assert atlas.views.min() >= 2


def test_uniform_renderings_give_no_landmarks():
    gray = Rendering(
        np.full((240, 320, 3), 90, np.uint8),
        np.full((240, 320), 2.0, np.float32),
        np.ones((240, 320), np.float32),
    )
    empty = build_atlas([(gray, FORWARD), (gray, FORWARD)], CAMERA)
    assert len(empty) == 0 and len(empty.visible_indices(FORWARD, CAMERA, 10)) == 0


def test_observations_of_a_single_view_give_no_landmark():
    descriptors = np.eye(2, 128, dtype=np.float32)[[0, 0, 1]]
    single_view = observations([[0, 0, 2], [0.005, 0, 2], [1, 0, 2]], descriptors)
    assert len(merge_observations(single_view, np.array([0, 0, 1]))) == 0


def test_observations_of_two_views_merge_to_their_mean():
    descriptors = np.eye(2, 128, dtype=np.float32)[[0, 0, 1]]
    merged = merge_observations(
        observations([[0, 0, 2], [0.01, 0, 2], [1, 0, 2]], descriptors), np.array([0, 1, 1])
    )
    np.testing.assert_allclose(merged.origin_m + merged.points, [[0.005, 0, 2]], atol=1e-6)
    np.testing.assert_allclose(merged.directions, [[0, 0, -1]], atol=1e-6)
    assert merged.distances == pytest.approx(2.0) and merged.views.tolist() == [2]


def test_landmarks_count_the_views_that_confirm_them(tmp_path):
    descriptors = np.eye(2, 128, dtype=np.float32)[[0, 0, 0, 1, 1]]
    points = [[0, 0, 2], [0.005, 0, 2], [0.01, 0, 2], [1, 0, 2], [1.005, 0, 2]]
    merged = merge_observations(observations(points, descriptors), np.array([3, 40, 49, 40, 49]))
    assert merged.views.tolist() == [3, 2]
    merged.save(tmp_path / 'atlas.safetensors')
    assert len(Atlas.load(tmp_path / 'atlas.safetensors')) == 2


@pytest.mark.parametrize(
    ('points', 'descriptor_ids'),
    [([[0, 0, 2], [0.05, 0, 2]], [0, 0]), ([[0, 0, 2], [0.001, 0, 2]], [0, 1])],
    ids=['too far apart', 'different descriptors'],
)
def test_inconsistent_observations_give_no_landmark(points, descriptor_ids):
    descriptors = np.eye(2, 128, dtype=np.float32)[descriptor_ids]
    assert len(merge_observations(observations(points, descriptors), np.array([0, 1]))) == 0


@pytest.mark.parametrize(
    ('point', 'is_visible'),
    [
        ([0, 0, 2], True),
        ([0, 0, -2], False),
        ([5, 0, 2], False),
        ([0, 0, 6], False),
        ([0, 0, 0.5], False),
    ],
    ids=['in front', 'behind', 'outside the image', 'too far', 'too near'],
)
def test_landmarks_in_front_of_the_camera_are_visible(point, is_visible):
    assert len(atlas_of([point]).visible_indices(FORWARD, CAMERA, 10)) == is_visible


def test_a_landmark_is_not_visible_from_behind():
    back = atlas_of([[0, 0, 2]], directions=(0.0, 0.0, 1.0))
    assert len(back.visible_indices(FORWARD, CAMERA, 10)) == 0


def test_landmarks_with_most_views_are_kept():
    many = atlas_of([[0, 0, 2], [0.1, 0, 2], [0.2, 0, 2]], views=[3, 2, 9])
    assert many.visible_indices(FORWARD, CAMERA, 2).tolist() == [0, 2]


def test_visibility_does_not_depend_on_the_map_origin(atlas):
    pose = walk(12)[5]
    visible = atlas.visible_indices(pose, CAMERA, 10_000)
    move = make_pose(None, [4.5e5, 5.4e6, 100.0])
    moved = replace(atlas, origin_m=atlas.origin_m + move[:3, 3])
    visible_moved = moved.visible_indices(move @ pose, CAMERA, 10_000)
    assert len(np.setxor1d(visible, visible_moved)) <= 2 and len(visible) > 50


def test_landmarks_are_visible_from_a_mapping_pose(atlas):
    pose = walk(12)[3]
    visible = atlas.visible_indices(pose, CAMERA, 10_000)
    in_camera = transform_points(inverse(pose), atlas.origin_m + atlas.points[visible])
    pixels = CAMERA.project(in_camera)
    inside = np.all((pixels > 0) & (pixels < (319, 239)), axis=1)
    assert inside.sum() > 50


def test_an_atlas_is_equal_after_saving_and_loading(atlas, tmp_path):
    atlas.save(tmp_path / 'atlas.safetensors')
    loaded = Atlas.load(tmp_path / 'atlas.safetensors')
    np.testing.assert_array_equal(loaded.points, atlas.points)
    assert np.einsum('ij,ij->i', loaded.descriptors, atlas.descriptors).min() > 0.999


@pytest.mark.parametrize('defect', ['missing', 'truncated', 'not finite'])
def test_a_malformed_atlas_is_an_error(atlas, tmp_path, defect):
    path = tmp_path / 'atlas.safetensors'
    if defect == 'not finite':
        replace(atlas, points=atlas.points * np.float32(np.nan)).save(path)
    elif defect == 'truncated':
        atlas.save(path)
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MapError, match='atlas'):
        Atlas.load(path)


def test_farthest_poses_are_spaced_and_near_all_others():
    line = np.tile(np.eye(4), (101, 1, 1))
    line[:, 0, 3] = np.linspace(0, 3, 101)
    selected = np.sort(select_farthest_poses(line, 1000))
    assert (
        np.diff(line[selected, 0, 3]).min() >= 0.3 and np.diff(line[selected, 0, 3]).max() <= 0.6
    )
    assert len(select_farthest_poses(line, 3)) == 3
