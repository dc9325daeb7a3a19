"""What poses mean is told by the depth, and which way is up by convention, floor or cameras."""

import json

import numpy as np
import pytest
from recordings import shared
from rooms import phone_camera, render_box_room, walk
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.bags.depth_decoding import sharpness
from nerf_reversal_ros.capture.capture import open_capture
from nerf_reversal_ros.capture.frame_selection import is_blurred, is_duplicate
from nerf_reversal_ros.capture.gravity_alignment import (
    AXIS_VECTORS,
    estimate_floor_normal,
    estimate_gravity_alignment,
    rotation_to_z_up,
)
from nerf_reversal_ros.capture.pose_convention import (
    POSE_CONVENTIONS,
    PoseConvention,
    reprojection_errors,
    select_convention,
    world_from_camera,
)
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import inverse, make_pose, OPTICAL_FROM_OPENGL

TABLE = {'optical': 0.01, 'opengl': 0.2, 'optical_inverted': 0.3, 'opengl_inverted': np.inf}


def as_written(world_from_optical, axes):
    """Poses (N, 4, 4) as a driver of that convention would write them."""
    poses = world_from_optical
    if axes.startswith('opengl'):
        poses = poses @ OPTICAL_FROM_OPENGL
    return inverse(poses) if axes.endswith('inverted') else poses


@pytest.fixture(scope='module')
def views():
    camera = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
    return [(render_box_room(pose, camera)[1], camera) for pose in walk(24)]


@pytest.mark.parametrize('axes', POSE_CONVENTIONS)
def test_the_right_convention_has_millimetres_of_error_the_wrong_ones_decimetres(views, axes):
    errors = reprojection_errors(as_written(walk(24), axes), views.__getitem__)
    wrong = [errors[other] for other in POSE_CONVENTIONS if other != axes]
    assert errors[axes] < 0.01
    assert min(wrong) > 0.1
    assert select_convention(errors) == axes


def test_noisy_depth_and_poses_do_not_hide_the_right_convention(views):
    """LiDAR noise of 1 %, and poses off by 1 cm and 0.5 degrees."""
    rng = np.random.default_rng(3)
    noisy = [
        ((depth * (1 + 0.01 * rng.standard_normal(depth.shape))).astype(np.float32), camera)
        for depth, camera in views
    ]
    jitter = [
        make_pose(
            Rotation.from_rotvec(np.radians(0.5) * rng.standard_normal(3)),
            0.01 * rng.standard_normal(3),
        )
        for _ in views
    ]
    errors = reprojection_errors(walk(24) @ np.stack(jitter), noisy.__getitem__)
    assert select_convention(errors) == 'optical'


def test_the_world_the_poses_are_in_does_not_matter(views):
    moved = make_pose(Rotation.from_euler('xyz', [1.0, -2.0, 0.5]), (10.0, -20.0, 3.0)) @ walk(24)
    there, here = (reprojection_errors(p, views.__getitem__) for p in (moved, walk(24)))
    assert there['optical'] == pytest.approx(here['optical'], abs=1e-6)
    assert there['opengl'] == pytest.approx(here['opengl'], abs=1e-6)


def test_every_convention_is_read_back_as_the_same_cameras():
    for axes in POSE_CONVENTIONS:
        assert np.allclose(world_from_camera(as_written(walk(5), axes), axes), walk(5))


def test_a_confirmed_convention_needs_no_clear_lead():
    close = {**TABLE, 'opengl': 0.012}
    assert select_convention(close, 'opengl') == 'opengl'
    with pytest.raises(CaptureError, match=r'does not tell .*optical 1.0 cm, opengl 1.2 cm'):
        select_convention(close)


def test_a_convention_that_does_not_fit_is_refused_with_the_one_that_does():
    with pytest.raises(CaptureError, match=r'opengl 20.0 cm.*: set pose_convention to optical'):
        select_convention(TABLE, 'opengl')


def test_when_none_fits_the_table_is_told_best_first():
    table = {axes: 0.1 * (4 - i) for i, axes in enumerate(POSE_CONVENTIONS)}
    with pytest.raises(CaptureError, match=r'any convention .*opengl_inverted 10.0 cm, optic'):
        select_convention(table)


def test_a_convention_survives_json():
    before = PoseConvention(
        'opengl', rotation_to_z_up(np.array([0.1, 0.9, 0.2])), 'floor plane', TABLE
    )
    after = PoseConvention.from_dict(json.loads(json.dumps(before.as_dict())))
    assert np.array_equal(after.map_from_world, before.map_from_world)
    assert (after.axes, after.up_source) == (before.axes, before.up_source)
    assert after.depth_error_m == before.depth_error_m


@pytest.mark.parametrize('axis', AXIS_VECTORS)
def test_the_up_axis_becomes_z_and_the_origin_stays(axis):
    rotation = rotation_to_z_up(np.array(AXIS_VECTORS[axis]))
    assert np.allclose(rotation[:3, :3] @ AXIS_VECTORS[axis], [0, 0, 1])
    assert np.allclose(rotation @ rotation.T, np.eye(4))
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def up_source(poses, *, axes='optical', frame='world', up_axis='auto', said='', floor=None):
    return estimate_gravity_alignment(axes, frame, up_axis, said, poses, lambda: floor)[1]


def test_the_way_up_comes_from_the_surest_source_that_the_cameras_agree_with():
    z_up, y_up = walk(8), inverse(rotation_to_z_up(np.array([0.0, 1.0, 0.0]))) @ walk(8)
    floor = np.array([0.0, 0.1, 1.0])
    assert up_source(z_up, up_axis='-x') == 'configured: -x is up'
    assert up_source(y_up, said='y') == 'noted in the bag: y is up'
    assert up_source(y_up, axes='opengl') == 'pose convention: y is up'
    assert up_source(z_up, frame='odom') == 'frame odom of the poses: z is up'
    assert up_source(z_up, axes='opengl', floor=floor) == 'floor plane'
    assert up_source(y_up, frame='map') == 'average camera up'


def test_the_floor_is_found_and_not_a_table_or_the_ceiling():
    views = [render_box_room(pose, phone_camera())[1] for pose in walk(12)]
    normal = estimate_floor_normal(
        walk(12), lambda i: (views[i], phone_camera()), np.random.default_rng(0)
    )
    assert np.degrees(np.arccos(normal[2])) < 0.2


def test_a_wall_is_no_floor():
    camera = Camera(40, 30, 40.0, 40.0, 19.5, 14.5)
    wall = np.full((30, 40), 2.0, np.float32)
    poses = walk(4)
    poses[:] = make_pose(Rotation.from_euler('x', -90, degrees=True))
    assert estimate_floor_normal(poses, lambda _: (wall, camera), np.random.default_rng(0)) is None


# ---- what is pruned


def test_blur_is_judged_against_neighbours_so_that_a_bare_wall_is_kept():
    sharp = np.full(60, 100.0)
    sharp[30:] = 5.0
    sharp[[10, 45]] *= 0.1
    assert np.flatnonzero(is_blurred(sharp, 0.25)).tolist() == [10, 45]


def test_sharpness_falls_with_blur():
    grey = render_box_room(walk(4)[0], phone_camera())[0][..., 1]
    blurred = (grey[:-1] // 2 + grey[1:] // 2).astype(np.uint8)
    assert sharpness(blurred) < 0.7 * sharpness(grey)


def test_a_slow_walk_keeps_a_frame_whenever_it_has_moved_enough():
    poses = np.repeat(np.eye(4)[None], 11, axis=0)
    poses[:, 0, 3] = np.arange(11) * 0.002
    kept = np.flatnonzero(~is_duplicate(poses, 0.005, 1.0))
    assert kept.tolist() == [0, 3, 6, 9]


# ---- a real room


def test_every_convention_of_a_real_kitchen_is_told_from_the_others(tmp_path):
    """Kinect depth of a fast move: 2.4 cm for the right one, more than 10 cm for the others."""
    source = shared('redkitchen_build')
    convert(source, tmp_path / 'bag', poses=source / 'pgt_sfm.txt', frames=slice(450, 490, 2))
    capture = open_capture(tmp_path / 'bag', CaptureConfig(), select_frames=False)
    world = inverse(capture.convention.map_from_world) @ capture.map_from_camera
    views = [(frame.depth, frame.depth_camera) for frame in capture]
    for axes in POSE_CONVENTIONS:
        errors = reprojection_errors(as_written(world, axes), views.__getitem__, pairs=6)
        assert select_convention(errors) == axes
        assert errors[axes] < 0.04
        assert min(errors[other] for other in POSE_CONVENTIONS if other != axes) > 0.1


def test_the_floor_of_a_real_kitchen_agrees_with_the_measured_gravity(tmp_path):
    source = shared('redkitchen_build')
    convert(source, tmp_path / 'bag', frames=slice(450, 850, 20))
    capture = open_capture(tmp_path / 'bag', CaptureConfig())
    assert capture.convention.up_source == 'floor plane'
    down = np.loadtxt(source / 'gravity-direction.txt')
    up = capture.convention.map_from_world[2, :3]
    assert np.degrees(np.arccos(-up @ down / np.linalg.norm(down))) < 3.0
