"""Sequences of the TUM RGB-D benchmark are converted with poses, depth and intrinsics."""

import json
import shutil

import cv2
from exports import CAMERA, POSES
import numpy as np
import pytest
from recordings import shared
from rgbd_exports import COUNT, open_converted, stamp_s, UPRIGHT, write_trajectory, write_tum
from rooms import render_box_room

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import OPTICAL_FROM_OPENGL, quaternion_xyzw

K = f'{CAMERA.fx} {CAMERA.fy} {CAMERA.cx} {CAMERA.cy}'


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return write_tum(tmp_path_factory.mktemp('tum') / 'desk')


@pytest.fixture
def sequence(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / 'desk')


def append(path, line):
    path.write_text(f'{path.read_text()}{line}\n')


def without_line(path, number):
    lines = path.read_text().splitlines()
    del lines[number]
    path.write_text('\n'.join(lines))


def test_a_sequence_is_converted_with_poses_stamps_and_depth(whole, tmp_path):
    capture = open_converted(whole, tmp_path / 'bag', within_m=1e-4, camera=K)
    for frame, pose in zip(capture, POSES, strict=False):
        np.testing.assert_allclose(frame.depth, render_box_room(pose, CAMERA)[1], atol=0.001)


def test_another_trajectory_replaces_that_of_the_sequence(whole, tmp_path):
    poses = write_trajectory(tmp_path / 'slam.txt', range(COUNT), shift_m=0.25)
    convert(whole, tmp_path / 'bag', camera=K, poses=poses)
    capture = open_capture(tmp_path / 'bag', UPRIGHT)
    shift = capture.map_from_camera[:, :3, 3] - POSES[:COUNT, :3, 3]
    np.testing.assert_allclose(shift, 0.25, atol=1e-4)


def test_the_name_chooses_published_intrinsics_which_are_of_640x480(sequence, tmp_path):
    source = sequence.rename(tmp_path / 'rgbd_dataset_freiburg2_desk')
    with pytest.raises(CaptureError, match='are 640x480, but the image has 96x128 pixels'):
        convert(source, tmp_path / 'bag')


def test_unknown_intrinsics_are_asked_for_and_the_calibration_works(sequence, tmp_path):
    with pytest.raises(CaptureError) as caught:
        convert(sequence, tmp_path / 'bag')
    assert str(caught.value).endswith(remedies.CAMERA_OF_SEQUENCE)
    file = tmp_path / 'camera.yaml'
    rows = ', '.join(map(str, CAMERA.matrix.ravel()))
    file.write_text(
        f'image_width: {CAMERA.width}\nimage_height: {CAMERA.height}\n'
        f'camera_matrix: {{rows: 3, cols: 3, data: [{rows}]}}\n'
        'distortion_model: plumb_bob\n'
        'distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}\n'
    )
    convert(sequence, tmp_path / 'bag', camera=str(file))
    capture = open_capture(tmp_path / 'bag', UPRIGHT)
    assert capture.camera.as_dict() == pytest.approx(CAMERA.as_dict())


@pytest.mark.parametrize('camera', ['600 600 300', 'none.yaml'])
def test_a_camera_that_is_none_is_rejected(whole, tmp_path, camera):
    with pytest.raises(ConfigError, match='is neither a file nor four numbers'):
        convert(whole, tmp_path / 'bag', camera=camera)


@pytest.mark.parametrize(
    ('name', 'line', 'reason'),
    [
        ('groundtruth.txt', 3, 'no pose'),
        ('depth.txt', 3, 'no depth'),
    ],
)
def test_an_image_without_a_pose_or_depth_of_its_time_is_left_out(
    sequence, tmp_path, name, line, reason
):
    without_line(sequence / name, line)
    (note,) = convert(sequence, tmp_path / 'bag', camera=K).notes
    number = line - 1
    file = f'rgb/{stamp_s(number):.6f}.png'
    assert note.startswith(f'left out 1 of {COUNT} frames, {reason}: such as {file}')


@pytest.mark.parametrize(
    ('name', 'line', 'error'),
    [
        ('rgb.txt', 'noon rgb/1.png', 'rgb.txt line 8 is no "stamp file"'),
        ('depth.txt', '1.0', 'depth.txt line 8 is no "stamp file"'),
        ('groundtruth.txt', '1 2 3', 'line 8 is no "stamp tx ty tz qx qy qz qw"'),
    ],
)
def test_a_malformed_line_is_named(sequence, tmp_path, name, line, error):
    append(sequence / name, line)
    with pytest.raises(CaptureError, match=error):
        convert(sequence, tmp_path / 'bag', format='tum', camera=K)


def test_missing_lists_are_rejected(sequence, tmp_path):
    (sequence / 'groundtruth.txt').write_text('# nothing\n')
    with pytest.raises(CaptureError, match='holds no valid pose'):
        convert(sequence, tmp_path / 'bag', camera=K)
    (sequence / 'rgb.txt').write_text('# nothing\n')
    with pytest.raises(CaptureError, match='lists no images'):
        convert(sequence, tmp_path / 'bag', format='tum', camera=K)
    (sequence / 'rgb.txt').unlink()
    with pytest.raises(CaptureError, match=r'cannot read .*rgb.txt'):
        convert(sequence, tmp_path / 'bag', format='tum', camera=K)


def test_a_real_sequence_fits_its_depth_with_the_published_intrinsics(tmp_path):
    """The recording has depth in millimeters and one file of poses: here in the layout of TUM."""
    recording = shared('tum_fr1_rpy')
    scene = json.loads((recording / 'transforms_build.json').read_text())
    folder = tmp_path / 'rgbd_dataset_freiburg1_rpy'
    for kind in ('rgb', 'depth'):
        (folder / kind).mkdir(parents=True)
    lists = {'rgb.txt': [], 'depth.txt': [], 'groundtruth.txt': []}
    for number, frame in enumerate(scene['frames'][:16]):
        stamp = f'{1305031102 + number / 15:.6f}'
        depth_mm = cv2.imread(str(recording / frame['depth_file_path']), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(folder / f'depth/{stamp}.png'), (depth_mm * 5).astype(np.uint16))
        shutil.copy(recording / frame['file_path'], folder / f'rgb/{stamp}.jpg')
        pose = np.array(frame['transform_matrix']) @ OPTICAL_FROM_OPENGL
        values = ' '.join(map(str, (*pose[:3, 3], *quaternion_xyzw(pose))))
        lists['rgb.txt'].append(f'{stamp} rgb/{stamp}.jpg')
        lists['depth.txt'].append(f'{stamp} depth/{stamp}.png')
        lists['groundtruth.txt'].append(f'{stamp} {values}')
    for name, lines in lists.items():
        (folder / name).write_text('\n'.join(lines) + '\n')
    conversion = convert(folder, tmp_path / 'bag')
    assert conversion.notes == ('the intrinsics are those of freiburg1',)
    capture = open_capture(tmp_path / 'bag', UPRIGHT)
    assert capture.convention.axes == 'optical'
    assert capture.convention.depth_error_m['optical'] < 0.02


def test_a_camera_of_colmap_is_taken_and_several_are_refused(whole, tmp_path):
    file = tmp_path / 'cameras.txt'
    size = f'{CAMERA.width} {CAMERA.height}'
    values = f'{CAMERA.fx} {CAMERA.fy} {CAMERA.cx + 0.5} {CAMERA.cy + 0.5}'
    file.write_text(f'1 PINHOLE {size} {values}\n')
    convert(whole, tmp_path / 'bag', camera=str(file))
    assert open_capture(tmp_path / 'bag', UPRIGHT).camera.as_dict() == pytest.approx(
        CAMERA.as_dict()
    )
    file.write_text(f'1 PINHOLE {size} {values}\n2 PINHOLE {size} {values}\n')
    with pytest.raises(ConfigError, match='holds 2 cameras: leave one of them in it'):
        convert(whole, tmp_path / 'other', camera=str(file))
