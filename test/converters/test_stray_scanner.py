"""Recordings of Stray Scanner are converted with poses, intrinsics and depth."""

import shutil

from exports import ALL, views
import numpy as np
import pytest
from rgbd_exports import COUNT, open_converted, stamp_s, write_stray_scanner

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core.errors import CaptureError

HEADER = 'timestamp, frame, x, y, z, qx, qy, qz, qw'


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return write_stray_scanner(tmp_path_factory.mktemp('stray') / '71de12f9')


@pytest.fixture
def recording(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / 'recording')


def test_a_recording_is_converted_with_poses_stamps_and_depth(whole, tmp_path):
    capture = open_converted(whole, tmp_path / 'bag', ALL)
    assert capture.convention.up_source == 'noted in the bag: y is up'
    for frame, (_, rgb, depth) in zip(capture, views(range(COUNT)), strict=True):
        assert np.abs(frame.rgb.astype(int) - rgb).mean() < 25  # another frame differs by 30
        assert not frame.depth[:4].any()  # no confidence
        np.testing.assert_allclose(frame.depth[4:], depth[4:], atol=0.001)


def test_a_range_of_frames_gets_its_images_of_the_video(whole, tmp_path):
    convert(whole, tmp_path / 'bag', frames=slice(3, 5))
    capture = open_capture(tmp_path / 'bag', ALL)
    for frame, (_, rgb, _) in zip(capture, views(range(3, 5)), strict=True):
        assert np.abs(frame.rgb.astype(int) - rgb).mean() < 25


@pytest.mark.parametrize(
    ('file', 'content', 'reason'),
    [
        ('depth/000002.png', None, 'no depth'),
        ('depth/000002.png', b'none', 'damaged depth'),
        ('confidence/000002.png', b'none', 'damaged depth'),
    ],
)
def test_an_incomplete_frame_is_left_out(recording, tmp_path, file, content, reason):
    path = recording / file
    path.unlink() if content is None else path.write_bytes(content)
    (note,) = convert(recording, tmp_path / 'bag').notes
    assert note.startswith(f'left out 1 of {COUNT} frames, {reason}: such as 000002')


def test_rows_without_a_pose_a_stamp_or_an_image_are_left_out(recording, tmp_path):
    path = recording / 'odometry.csv'
    header, *rows = path.read_text().splitlines()
    rows[0] = f'{stamp_s(0)}, 000000, 0, 0, 0, 0, 0, 0, 0'
    rows[1] = rows[1].replace(str(stamp_s(1)), 'noon')
    rows.append(rows[-1].replace('000005', '000006'))
    del rows[2]
    path.write_text('\n'.join([header, *rows]))
    shutil.copy(recording / 'depth/000005.png', recording / 'depth/000006.png')
    notes = convert(recording, tmp_path / 'bag', max_left_out=0.5).notes
    assert {note.split(': such as ')[0] for note in notes} == {
        f'left out 1 of {COUNT} frames, invalid pose',
        f'left out 1 of {COUNT} frames, invalid stamp',
        f'left out 1 of {COUNT} frames, no image file',
    }


@pytest.mark.parametrize(
    ('file', 'content', 'error'),
    [
        ('rgb.mp4', 'none', 'is no video that OpenCV can read'),
        ('odometry.csv', 'timestamp, x\n1, 2\n', 'has no columns timestamp, frame, x'),
        ('odometry.csv', f'{HEADER}\n', 'has no rows'),
        ('odometry.csv', f'{HEADER}\n1, a, 0, 0, 0, 0, 0, 0, 1\n', 'is no table'),
        ('camera_matrix.csv', '1,2,3\n', 'is no matrix of 3x3 numbers'),
        ('camera_matrix.csv', '0,0,0\n0,0,0\n0,0,1\n', 'is no matrix of 3x3 numbers of a camera'),
        ('camera_matrix.csv', 'fx\n', 'is no matrix of 3x3 numbers'),
    ],
)
def test_an_unusable_recording_is_rejected(recording, tmp_path, file, content, error):
    (recording / file).write_text(content)
    with pytest.raises(CaptureError, match=error):
        convert(recording, tmp_path / 'bag', format='stray-scanner')
    assert not (tmp_path / 'bag').exists()


def test_without_depth_the_colors_are_converted(recording, tmp_path):
    shutil.rmtree(recording / 'depth')
    convert(recording, tmp_path / 'bag')
    capture = open_capture(tmp_path / 'bag', ALL)
    assert not capture.has_depth
