"""Raw data exports of Polycam are converted with their poses, intrinsics and depth."""

import json
import shutil

import cv2
import numpy as np
import pytest
from rooms import render_box_room, walk

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import OPTICAL_FROM_OPENGL, pose_errors

CAMERA = Camera(96, 72, 78.0, 78.0, 47.5, 35.5)
TRAJECTORY = walk(11)
Y_UP = np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
COUNT = 6


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Write an export: images named by stamps, poses of ARKit with y up."""
    root = tmp_path_factory.mktemp('polycam') / 'export'
    keyframes = root / 'keyframes'
    for folder in ('images', 'depth', 'cameras', 'confidence'):
        (keyframes / folder).mkdir(parents=True)
    for number, pose in enumerate(TRAJECTORY[:COUNT]):
        stem = str(1000 + 7 * number)
        rgb, depth = render_box_room(pose, CAMERA)
        depth_mm = np.rint(depth * 1000).astype(np.uint16)[::2, ::2]
        confidence = np.full(depth_mm.shape, 255, np.uint8)
        confidence[:4] = 0
        cv2.imwrite(str(keyframes / f'images/{stem}.jpg'), rgb[..., ::-1])
        cv2.imwrite(str(keyframes / f'depth/{stem}.png'), depth_mm)
        cv2.imwrite(str(keyframes / f'confidence/{stem}.png'), confidence)
        arkit = Y_UP @ pose @ OPTICAL_FROM_OPENGL
        values = {f't_{i}{j}': arkit[i, j] for i in range(3) for j in range(4)}
        values |= {'fx': CAMERA.fx, 'fy': CAMERA.fy, 'cx': CAMERA.cx + 0.5, 'cy': CAMERA.cy + 0.5}
        values |= {'width': 96, 'height': 72, 'blur_score': 50.0}
        (keyframes / f'cameras/{stem}.json').write_text(json.dumps(values))
    return root


@pytest.fixture
def export(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / 'export')


@pytest.mark.parametrize('format', [None, 'polycam', 'nerfstudio-parser:polycam'])
def test_an_export_is_converted_with_poses_and_depth(whole, tmp_path, format):
    conversion = convert(whole, tmp_path / 'bag', format=format)
    assert conversion.notes == (f'keys of {whole} that are not used: blur_score',)
    capture = open_capture(tmp_path / 'bag', CaptureConfig(min_move_m=0.0, blur_ratio=0.0))
    assert capture.convention.up_source == 'noted in the bag: y is up'
    room_from_map = TRAJECTORY[0] @ np.linalg.inv(capture.map_from_camera[0])
    errors = pose_errors(room_from_map @ capture.map_from_camera, TRAJECTORY[:COUNT])
    assert errors.translation.max() < 1e-4 and errors.rotation.max() < 1e-4
    assert room_from_map[2, 2] > 0.99
    depth = capture.frame(3).depth
    expected = render_box_room(TRAJECTORY[3], CAMERA)[1][::2, ::2]
    assert not depth[:4].any()  # no confidence
    np.testing.assert_allclose(depth[4:], expected[4:], atol=0.002)


@pytest.mark.parametrize(
    ('file', 'content', 'reason'),
    [
        ('depth/1007.png', None, 'no depth'),
        ('depth/1007.png', b'', 'damaged depth'),
        ('cameras/1007.json', None, 'no pose'),
        ('cameras/1007.json', b'{', 'no pose'),
        ('cameras/1007.json', b'{"t_00": 1}', 'invalid pose'),
        ('images/1007.jpg', None, 'no image file'),
        ('images/1007.jpg', b'none', 'damaged image'),
    ],
)
def test_an_incomplete_frame_is_left_out(export, tmp_path, file, content, reason):
    path = export / 'keyframes' / file
    path.unlink() if content is None else path.write_bytes(content)
    conversion = convert(export, tmp_path / 'bag')
    assert conversion.frame_count == COUNT - 1
    assert conversion.notes[0].startswith(f'left out 1 of {COUNT} frames, {reason}: such as key')


def test_corrected_images_and_poses_are_used_where_there_are_some(export, tmp_path):
    keyframes = export / 'keyframes'
    for kind in ('images', 'cameras'):
        shutil.copytree(keyframes / kind, keyframes / f'corrected_{kind}')
        shutil.rmtree(keyframes / kind)
    assert convert(export, tmp_path / 'bag').frame_count == COUNT
    for number in range(3):
        (keyframes / f'corrected_images/{1000 + 7 * number}.jpg').unlink()
    with pytest.raises(CaptureError, match=r'no image file .* --max-left-out 0.5 to go on'):
        convert(export, tmp_path / 'half')
    assert convert(export, tmp_path / 'half', max_left_out=0.5).frame_count == 3


def test_an_export_without_poses_is_rejected(export, tmp_path):
    shutil.rmtree(export / 'keyframes' / 'cameras')
    with pytest.raises(CaptureError, match='no folder cameras with the poses of a Polycam export'):
        convert(export, tmp_path / 'bag', format='polycam')
