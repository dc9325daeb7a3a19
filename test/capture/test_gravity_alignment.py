"""The world is rotated z up by settings, conventions, floor or mean camera up."""

import numpy as np
import pytest
from recordings import shared
from room_bags import write_room_bag
from rooms import phone_camera, render_box_room, walk
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.gravity_alignment import (
    AXIS_VECTORS,
    estimate_floor_normal,
    estimate_gravity_alignment,
    rotation_to_z_up,
)
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.geometry import inverse, make_pose, OPTICAL_FROM_OPENGL, pose_errors


@pytest.mark.parametrize('axis', AXIS_VECTORS)
def test_the_up_axis_becomes_z_by_a_rotation(axis):
    rotation = rotation_to_z_up(np.array(AXIS_VECTORS[axis]))
    assert np.allclose(rotation[:3, :3] @ AXIS_VECTORS[axis], [0, 0, 1])
    assert np.allclose(rotation @ rotation.T, np.eye(4))
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def up_source(poses, *, axes='optical', frame='world', up_axis='auto', metadata='', floor=None):
    return estimate_gravity_alignment(axes, frame, up_axis, metadata, poses, lambda: floor)[1]


def test_the_up_direction_comes_from_the_first_source_near_the_mean_camera_up():
    z_up, y_up = walk(8), inverse(rotation_to_z_up(np.array([0.0, 1.0, 0.0]))) @ walk(8)
    floor = np.array([0.0, 0.1, 1.0])
    assert up_source(z_up, up_axis='-x') == 'configured: -x is up'
    assert up_source(y_up, metadata='y') == 'noted in the bag: y is up'
    assert up_source(y_up, axes='opengl') == 'pose convention: y is up'
    assert up_source(z_up, frame='odom') == 'frame odom of the poses: z is up'
    assert up_source(z_up, axes='opengl', floor=floor) == 'floor plane'
    assert up_source(y_up, frame='map') == 'average camera up'


def test_the_floor_is_estimated_and_not_a_table_or_the_ceiling():
    views = [render_box_room(pose, phone_camera())[1] for pose in walk(12)]
    normal = estimate_floor_normal(
        walk(12), lambda i: (views[i], phone_camera()), np.random.default_rng(0)
    )
    assert np.degrees(np.arccos(normal[2])) < 0.2


def test_a_wall_gives_no_floor():
    camera = Camera(40, 30, 40.0, 40.0, 19.5, 14.5)
    wall = np.full((30, 40), 2.0, np.float32)
    poses = walk(4)
    poses[:] = make_pose(Rotation.from_euler('x', -90, degrees=True))
    assert estimate_floor_normal(poses, lambda _: (wall, camera), np.random.default_rng(0)) is None


def test_the_floor_of_a_real_kitchen_agrees_with_the_measured_gravity(tmp_path):
    source = shared('redkitchen_build')
    convert(source, tmp_path / 'bag', frames=slice(450, 850, 20))
    capture = open_capture(tmp_path / 'bag', CaptureConfig())
    assert capture.convention.up_source == 'floor plane'
    down = np.loadtxt(source / 'gravity-direction.txt')
    up = capture.convention.map_from_world[2, :3]
    assert np.degrees(np.arccos(-up @ down / np.linalg.norm(down))) < 3.0


def test_a_y_up_world_with_opengl_axes_becomes_z_up(tmp_path):
    """ARKit: the floor at y = 0."""
    poses = walk(24)
    y_up_from_z_up = make_pose(Rotation.from_euler('x', -90, degrees=True))
    recorded = y_up_from_z_up @ poses @ OPTICAL_FROM_OPENGL
    capture = open_capture(
        write_room_bag(tmp_path / 'bag', poses, world_from_camera=recorded), CaptureConfig()
    )
    assert capture.convention.up_source == 'pose convention: y is up'
    assert pose_errors(capture.map_from_camera, poses).rotation.max() < 1e-6


def test_a_tilted_world_is_aligned_by_the_floor(tmp_path):
    poses = walk(24)
    tilt = make_pose(Rotation.from_euler('xyz', [40, -25, 10], degrees=True), (3.0, 1.0, -2.0))
    bag = write_room_bag(tmp_path / 'bag', poses, world_from_camera=tilt @ poses)
    capture = open_capture(bag, CaptureConfig())
    assert capture.convention.up_source == 'floor plane'
    up_of_room = (capture.convention.map_from_world @ tilt)[:3, 2]
    assert np.degrees(np.arccos(up_of_room[2])) < 0.3
    assert np.array_equal(capture.convention.map_from_world[:3, 3], [0, 0, 0])
    again = open_capture(bag, CaptureConfig())
    assert np.array_equal(capture.map_from_camera, again.map_from_camera)
