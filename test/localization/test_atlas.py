"""Landmarks are visible near the views that confirm them, at a size that can be detected."""

from dataclasses import replace

import numpy as np
import pytest
from rooms import walk
import safetensors.numpy
from small_room import room_atlas

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.core.geometry import inverse, make_pose, transform_points
from nerf_reversal_ros.localization.atlas import Atlas

CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)
FORWARD = np.eye(4)


@pytest.fixture(scope='module')
def atlas() -> Atlas:
    return room_atlas(walk(12))


def atlas_of(points, views=None, directions=(0.0, 0.0, -1.0), distances=2.0, sizes=0.05):
    """Return an atlas of points (N, 3), observed from one direction and distance."""
    count = len(points)
    return Atlas(
        np.zeros(3),
        np.asarray(points, np.float32),
        np.tile(np.asarray(directions, np.float32), (count, 1)),
        np.full(count, distances, np.float32),
        np.full(count, sizes, np.float32),
        np.asarray(np.full(count, 2) if views is None else views, np.uint8),
        np.eye(count, 128, dtype=np.float32),
    )


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


def test_landmarks_too_small_to_be_detected_are_not_visible():
    assert len(atlas_of([[0, 0, 2]], sizes=0.015).visible_indices(FORWARD, CAMERA, 10)) == 1
    assert len(atlas_of([[0, 0, 2]], sizes=0.005).visible_indices(FORWARD, CAMERA, 10)) == 0


def test_landmarks_of_older_maps_have_no_size_and_are_visible(atlas, tmp_path):
    path = tmp_path / 'atlas.safetensors'
    atlas.save(path)
    arrays = safetensors.numpy.load_file(path)
    del arrays['sizes']
    safetensors.numpy.save_file(arrays, path)
    old, pose = Atlas.load(path), walk(12)[3]
    assert len(old.visible_indices(pose, CAMERA, 10_000)) >= len(
        atlas.visible_indices(pose, CAMERA, 10_000)
    )
