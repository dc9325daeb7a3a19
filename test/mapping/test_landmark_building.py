"""Landmarks lie on surfaces, are confirmed by several views, and follow the scale of the scene."""

import numpy as np
import pytest
from rooms import walk
from small_room import distance_to_surface, room_atlas

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.mapping.landmark_building import (
    build_atlas,
    LandmarkObservations,
    merge_observations,
    rendered_views,
)

CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)


@pytest.fixture(scope='module')
def atlas() -> Atlas:
    return room_atlas(walk(12))


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
    rgb, depth = np.full((240, 320, 3), 90, np.uint8), np.full((240, 320), 2.0, np.float32)
    gray = Rendering(rgb, depth, np.ones((240, 320), np.float32)), np.eye(4)
    empty = build_atlas(rendered_views([gray, gray], CAMERA))
    assert len(empty) == 0 and len(empty.visible_indices(np.eye(4), CAMERA, 10)) == 0


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


@pytest.mark.parametrize('scale', [0.15, 1.0, 5.0], ids=['close-up', 'room', 'hall'])
def test_landmarks_do_not_depend_on_the_scale_of_the_scene(scale):
    descriptors = np.eye(3, 128, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]
    points = np.array([[0, 0, 2], [0.01, 0, 2], [1, 0, 2], [1.05, 0, 2], [0, 1, 2], [0, 1, 2]])
    centers = points - np.array([0.0, 0.0, 2.0])
    found = merge_observations(
        LandmarkObservations(scale * points, scale * centers, np.full(6, 0.05), descriptors),
        np.array([0, 1, 0, 1, 0, 1]),
    )
    positions = (found.origin_m + found.points) / scale
    assert np.round(positions[np.argsort(positions[:, 1])], 3).tolist() == [
        [0.005, 0, 2],
        [0, 1, 2],
    ]


def test_a_landmark_seen_from_two_distances_is_one():
    descriptors = np.eye(1, 128, dtype=np.float32)[[0, 0]]
    points, centers = np.zeros((2, 3)), np.array([[0, 0, -1.9], [0, 0, -2.1]])
    both = LandmarkObservations(points, centers, np.full(2, 0.05), descriptors)
    assert len(merge_observations(both, np.array([0, 1]))) == 1
