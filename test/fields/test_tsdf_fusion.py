"""TSDF fusion of depth images of a room with exact ground truth."""

import numpy as np
import pytest
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation
import torch

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import look_at, make_pose, transform_points
from nerf_reversal_ros.fields.base import Occupancy
from nerf_reversal_ros.fields.tsdf_fusion import fuse_depth, mask_depth_edges, RgbdView
from nerf_reversal_ros.fields.voxel import CELL
from nerf_reversal_ros.fields.voxel_io import BRICK, MAX_GRID_BRICKS

VOXEL_M = 0.05
CPU = torch.device('cpu')
CAMERA = Camera(64, 48, 55.0, 55.0, 31.5, 23.5)
WALK = walk(16)


def rgbd_view(map_from_camera, depth=None):
    rgb, exact = render_box_room(map_from_camera, CAMERA)
    depth = exact if depth is None else np.full_like(exact, depth)
    return RgbdView(rgb, CAMERA, depth, CAMERA, map_from_camera)


VIEWS = [rgbd_view(pose) for pose in WALK]


def transform_view(view, new_from_map):
    pose = new_from_map @ view.map_from_camera
    return RgbdView(view.rgb, view.camera, view.depth, view.depth_camera, pose)


@pytest.fixture(scope='module')
def fused_room():
    return fuse_depth(VIEWS, VOXEL_M, CPU)


def test_pixels_are_back_projected_to_their_map_positions():
    camera = Camera(3, 3, 1.0, 1.0, 1.0, 1.0)
    depth = np.zeros((3, 3), np.float32)
    depth[1, 1], depth[1, 2] = 2.0, 4.0
    ahead = look_at(np.array([1.0, 0.0, 1.0]), np.array([2.0, 0.0, 1.0]))
    view = RgbdView(np.zeros((3, 3, 3), np.uint8), camera, depth, camera, ahead)
    np.testing.assert_allclose(view.points(), [[3, 0, 1], [5, -4, 1]], atol=1e-12)


def test_both_sides_of_a_depth_edge_are_masked_and_unknown_pixels_are_no_edge():
    depth = np.full((5, 8), 2.0, np.float32)
    depth[:, 4:] = 3.0
    depth[2, 0] = 0.0
    kept = mask_depth_edges(depth) > 0
    assert not kept[:, 3:5].any()
    assert kept[:, 5:].all() and kept[0, :3].all()
    assert kept[1, 1] and not kept[2, 0]


def test_renderings_of_a_fused_room_match_its_views(fused_room):
    for view in VIEWS[::3]:
        (rendered,) = fused_room.render(view.map_from_camera[None], CAMERA)
        both = (view.depth > 0) & (rendered.depth > 0)
        assert both.mean() > 0.75
        assert np.median(np.abs(rendered.depth - view.depth)[both]) < VOXEL_M / 2
        assert np.median(np.abs(rendered.rgb.astype(float) - view.rgb)[both]) < 25


def test_space_in_front_of_a_wall_is_free_and_behind_it_unknown(fused_room):
    occupancy = fused_room.occupancy(
        np.array([[0.0, 0, 1.3], [0, 0, 0.7], [0, 0, -0.8], [4, 4, 1]])
    )
    assert occupancy.tolist() == [
        Occupancy.FREE,
        Occupancy.FREE,
        Occupancy.UNKNOWN,
        Occupancy.UNKNOWN,
    ]
    surface = VIEWS[0].points(stride=4)
    assert (fused_room.occupancy(surface) == Occupancy.OCCUPIED).mean() > 0.8


def test_transforming_the_capture_transforms_the_field(fused_room):
    new_from_map = make_pose(Rotation.from_euler('z', 37, degrees=True), (12.3, -4.5, 0.7))
    transformed = fuse_depth([transform_view(view, new_from_map) for view in VIEWS], VOXEL_M, CPU)
    for pose in WALK[::5]:
        (before,) = fused_room.render(pose[None], CAMERA)
        (after,) = transformed.render((new_from_map @ pose)[None], CAMERA)
        both = (before.depth > 0) & (after.depth > 0)
        assert both.mean() > 0.75
        assert np.median(np.abs(before.depth - after.depth)[both]) < VOXEL_M / 2
        assert np.median(np.abs(before.rgb.astype(float) - after.rgb)[both]) < 20
    points = np.random.default_rng(0).uniform((-1, -1, 0.8), (1, 1, 1.8), (200, 3))
    agree = fused_room.occupancy(points) == transformed.occupancy(
        transform_points(new_from_map, points)
    )
    assert agree.mean() > 0.9


def test_color_and_depth_may_have_different_sizes():
    small = Camera(32, 24, 27.5, 27.5, 15.5, 11.5)
    views = [
        RgbdView(v.rgb, CAMERA, render_box_room(v.map_from_camera, small)[1], small, p)
        for v, p in zip(VIEWS, WALK, strict=True)
    ]
    field = fuse_depth(views, VOXEL_M, CPU)
    (rendered,) = field.render(WALK[0][None], CAMERA)
    both = (VIEWS[0].depth > 0) & (rendered.depth > 0)
    assert both.mean() > 0.7
    assert np.median(np.abs(rendered.depth - VIEWS[0].depth)[both]) < VOXEL_M / 2


def test_images_without_depth_raise_an_error():
    without_depth = [rgbd_view(pose, depth=0.0) for pose in WALK[:3]]
    with pytest.raises(BuildError, match='no image has depth: record'):
        fuse_depth(without_depth, VOXEL_M, CPU)
    with pytest.raises(BuildError, match='no image has depth: record'):
        fuse_depth([], VOXEL_M, CPU)


def test_an_extent_too_large_for_the_voxels_raises_its_size_and_the_remedy():
    far = [rgbd_view(make_pose(None, (x, 7.0 * x, x)) @ WALK[0]) for x in (0.0, 60.0)]
    with pytest.raises(BuildError, match=r'spans .* m, too much for voxels of 0.01 m: set'):
        fuse_depth(far, 0.01, CPU)


def test_cell_indices_of_the_largest_grid_fit_into_30_bits():
    assert MAX_GRID_BRICKS * (BRICK // CELL) ** 3 <= 1 << 29


def test_a_few_isolated_depth_pixels_make_no_surface():
    lone = np.zeros((48, 64), np.float32)
    lone[:8:4, :8:4] = 2.0
    view = RgbdView(VIEWS[0].rgb, CAMERA, lone, CAMERA, WALK[0])
    with pytest.raises(BuildError, match='too few valid pixels'):
        fuse_depth([view], VOXEL_M, CPU)
