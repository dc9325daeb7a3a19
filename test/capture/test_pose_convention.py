"""The pose convention of a bag is estimated by depth reprojection."""

import json

import numpy as np
import pytest
from recordings import shared
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.gravity_alignment import rotation_to_z_up
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.pose_convention import (
    POSE_CONVENTIONS,
    PoseConvention,
    reprojection_errors,
    select_convention,
    world_from_camera,
)
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import inverse, make_pose, OPTICAL_FROM_OPENGL

TABLE = {'optical': 0.01, 'opengl': 0.2, 'optical_inverted': 0.3, 'opengl_inverted': np.inf}


def recorded_poses(world_from_optical, axes):
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
def test_the_correct_convention_has_millimeters_of_error_the_others_decimeters(views, axes):
    errors = reprojection_errors(recorded_poses(walk(24), axes), views.__getitem__)
    others = [errors[other] for other in POSE_CONVENTIONS if other != axes]
    assert errors[axes] < 0.01
    assert min(others) > 0.1
    assert select_convention(errors) == axes


def test_the_correct_convention_is_selected_despite_noisy_depth_and_poses(views):
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


def test_reprojection_errors_are_invariant_to_the_world_frame(views):
    moved = make_pose(Rotation.from_euler('xyz', [1.0, -2.0, 0.5]), (10.0, -20.0, 3.0)) @ walk(24)
    shifted, original = (reprojection_errors(p, views.__getitem__) for p in (moved, walk(24)))
    assert shifted['optical'] == pytest.approx(original['optical'], abs=1e-6)
    assert shifted['opengl'] == pytest.approx(original['opengl'], abs=1e-6)


def test_every_convention_is_converted_to_the_same_cameras():
    for axes in POSE_CONVENTIONS:
        assert np.allclose(world_from_camera(recorded_poses(walk(5), axes), axes), walk(5))


def test_a_configured_convention_needs_no_unique_minimum():
    close = {**TABLE, 'opengl': 0.012}
    assert select_convention(close, 'opengl') == 'opengl'
    with pytest.raises(
        CaptureError, match=r'does not determine .*optical 1.0 cm, opengl 1.2 cm'
    ) as caught:
        select_convention(close)
    assert str(caught.value).endswith(remedies.CONVENTION.format(conventions='optical, opengl'))


def test_a_convention_that_does_not_fit_is_rejected_with_the_one_that_does():
    with pytest.raises(CaptureError, match=r'opengl 20.0 cm.*: ') as caught:
        select_convention(TABLE, 'opengl')
    assert str(caught.value).endswith(remedies.RIGHT_CONVENTION.format(convention='optical'))
    assert select_convention(TABLE, 'optical') == select_convention(TABLE, 'auto') == 'optical'


def test_if_no_convention_fits_the_errors_are_listed_in_ascending_order():
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


def test_every_convention_is_recognized_on_a_real_kitchen(tmp_path):
    """Kinect depth of a fast move: 2.4 cm for the right one, more than 10 cm for the others."""
    source = shared('redkitchen_build')
    convert(source, tmp_path / 'bag', poses=source / 'pgt_sfm.txt', frames=slice(450, 490, 2))
    capture = open_capture(tmp_path / 'bag', CaptureConfig(), select_frames=False)
    world = inverse(capture.convention.map_from_world) @ capture.map_from_camera
    views = [(frame.depth, frame.depth_camera) for frame in capture]
    for axes in POSE_CONVENTIONS:
        errors = reprojection_errors(recorded_poses(world, axes), views.__getitem__, pairs=6)
        assert select_convention(errors) == axes
        assert errors[axes] < 0.04
        assert min(errors[other] for other in POSE_CONVENTIONS if other != axes) > 0.1
