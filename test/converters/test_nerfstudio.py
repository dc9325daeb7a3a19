"""Scenes of nerfstudio are converted with their poses, intrinsics and depth."""

import dataclasses

import cv2
from exports import (
    ALL,
    CAMERA,
    POSES,
    write_depth_arrays,
    write_nerfstudio,
    write_processed,
)
import numpy as np
import pytest
from recordings import shared
from rooms import render_box_room

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import (
    inverse,
)


def test_frames_are_read_in_the_natural_order_of_their_names(tmp_path):
    source = write_nerfstudio(tmp_path / 'scene', order=[10, 9, 2, 11, 0, 1, 3, 4, 5, 6, 7, 8])
    convert(source, tmp_path / 'bag')
    capture = open_capture(tmp_path / 'bag', CaptureConfig(up_axis='z'))
    assert capture.convention.axes == 'optical'
    assert np.allclose(capture.map_from_camera, POSES, atol=1e-6)
    assert capture.camera.as_dict() == pytest.approx(CAMERA.as_dict())
    assert np.abs(capture.frame(0).depth - render_box_room(POSES[0], CAMERA)[1]).max() < 6e-4


def test_a_scene_without_depth_is_converted_with_one_warning(tmp_path):
    source = write_nerfstudio(tmp_path / 'scene', depth=False)
    reports = []
    convert(source / 'transforms.json', tmp_path / 'bag', progress=reports.append)
    assert (reports[-1].done, reports[-1].total) == (12, 12)
    (note,) = [progress.note for progress in reports if progress.note]
    assert note.startswith('no depth: the pose convention cannot be checked')
    capture = open_capture(tmp_path / 'bag', CaptureConfig(up_axis='z'))
    assert not capture.has_depth
    assert np.allclose(capture.map_from_camera, POSES, atol=1e-6)


@pytest.mark.parametrize(('unit_m', 'changes'), [(0.001, {}), (1.0, {'integer_depth_scale': 1.0})])
def test_depth_arrays_are_in_millimeters_unless_the_scene_sets_a_scale(tmp_path, unit_m, changes):
    source = write_depth_arrays(write_nerfstudio(tmp_path / 'scene'), unit_m, **changes)
    convert(source, tmp_path / 'bag')
    capture = open_capture(tmp_path / 'bag', CaptureConfig(up_axis='z'))
    assert np.abs(capture.frame(0).depth - render_box_room(POSES[0], CAMERA)[1]).max() < 6e-4


def test_intrinsics_of_a_frame_override_those_of_the_scene(tmp_path):
    source = write_nerfstudio(tmp_path / 'scene', frame_changes={'fl_x': 86.0})
    convert(source, tmp_path / 'bag')
    assert open_capture(tmp_path / 'bag', ALL).camera.fx == 86.0


@pytest.mark.parametrize('noted', [True, False])
def test_the_transform_applied_to_the_poses_of_a_scene_is_inverted(tmp_path, noted):
    convert(write_processed(tmp_path / 'scene', noted=noted), tmp_path / 'bag')
    capture = open_capture(tmp_path / 'bag', CaptureConfig(up_axis='z'))
    assert capture.convention.axes == 'optical'  # the depth fits: lengths are metres
    assert np.allclose(capture.map_from_camera, POSES, atol=1e-6)


@pytest.mark.parametrize(
    ('changes', 'error'),
    [
        ({'applied_scale': 0}, 'applied_scale = 0 of .* must be > 0'),
        ({'applied_scale': 'two'}, 'applied_scale of .* is malformed .could not convert'),
        ({'applied_transform': np.diag([1, 1, -1, 1]).tolist()}, 'is no rigid transform'),
        (
            {'applied_transform': [1, 0, 0]},
            r'applied_transform = \[1, 0, 0\] of .* is no rigid transform',
        ),
        ({'frames': []}, 'list of frames .* is empty'),
        ({'frames': None}, 'has no list of frames'),
        ({'camera_model': 'EQUIRECTANGULAR'}, 'camera_model EQUIRECTANGULAR is unknown'),
        ({'fl_x': float('nan')}, 'frame frame_0.jpg.* focal lengths > 0: correct them'),
        ({'k4': 0.1}, 'k4 = 0.1 is not part of the camera model OPENCV'),
        ({'w': 400}, 'w and h are 400x128, but the image has 96x128 pixels, another aspect ratio'),
    ],
)
def test_an_invalid_scene_is_rejected(tmp_path, changes, error):
    with pytest.raises(CaptureError, match=error):
        convert(write_nerfstudio(tmp_path / 'scene', **changes), tmp_path / 'bag')
    assert not list(tmp_path.glob('bag*'))


@pytest.mark.parametrize(
    ('changes', 'error'),
    [
        ({'file_path': 'gone.jpg'}, 'frame gone.jpg: there is no image'),
        ({'transform_matrix': [[1.0]]}, 'no finite 4x4 matrix'),
        ({'transform_matrix': np.diag([1, 1, -1, 1]).tolist()}, 'mirrors or is singular'),
    ],
)
def test_an_invalid_frame_is_named(tmp_path, changes, error):
    with pytest.raises(CaptureError, match=error):
        convert(write_nerfstudio(tmp_path / 'scene', frame_changes=changes), tmp_path / 'bag')


def test_intrinsics_of_another_image_size_are_rejected_and_the_size_that_is_named_works(tmp_path):
    half = CAMERA.scaled_to(48, 64)
    k = {'fl_x': half.fx, 'fl_y': half.fy, 'cx': half.cx + 0.5, 'cy': half.cy + 0.5}
    with pytest.raises(CaptureError, match=r'at 1/4 of the image .*: set w and h to 48 and 64'):
        convert(write_nerfstudio(tmp_path / 'scene', **k), tmp_path / 'bag')
    convert(write_nerfstudio(tmp_path / 'mended', **k, w=48, h=64), tmp_path / 'bag')
    assert open_capture(tmp_path / 'bag', ALL).camera.as_dict() == pytest.approx(CAMERA.as_dict())


def test_a_fisheye_without_coefficients_is_undistorted(tmp_path):
    flat = write_nerfstudio(tmp_path / 'flat', depth=False)
    convert(flat, tmp_path / 'flat_bag')
    fisheye = write_nerfstudio(tmp_path / 'fish', depth=False, camera_model='OPENCV_FISHEYE')
    convert(fisheye, tmp_path / 'fish_bag')
    config = dataclasses.replace(ALL, pose_convention='optical', up_axis='z')
    images = [open_capture(tmp_path / f'{n}_bag', config).frame(0).rgb for n in ('flat', 'fish')]
    assert np.abs(images[0].astype(int) - images[1]).mean() > 3


def test_a_real_colmap_scene_satisfies_the_epipolar_constraint(tmp_path):
    """SIFT matches of undistorted images lie on the epipolar lines of the poses."""
    convert(shared('real_room_colmap'), tmp_path / 'bag', frames=slice(0, 4))
    capture = open_capture(tmp_path / 'bag', ALL)
    errors = [_epipolar_error_px(capture.frame(i), capture.frame(i + 1)) for i in range(3)]
    assert np.median(errors) < 1.0


def _epipolar_error_px(first, second):
    sift = cv2.SIFT_create(2000)
    (kp1, d1), (kp2, d2) = (sift.detectAndCompute(frame.rgb, None) for frame in (first, second))
    matches = cv2.BFMatcher().knnMatch(d1, d2, k=2)
    good = [m for m, n in matches if m.distance < 0.7 * n.distance]
    p1 = np.array([(*kp1[m.queryIdx].pt, 1.0) for m in good])
    p2 = np.array([(*kp2[m.trainIdx].pt, 1.0) for m in good])
    relative = inverse(second.map_from_camera) @ first.map_from_camera
    x, y, z = relative[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    k1, k2 = np.linalg.inv(first.camera.matrix), np.linalg.inv(second.camera.matrix)
    lines = p1 @ (k2.T @ cross @ relative[:3, :3] @ k1).T
    return np.median(np.abs(np.sum(lines * p2, axis=1)) / np.linalg.norm(lines[:, :2], axis=1))
