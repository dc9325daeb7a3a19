"""Sequences of 7-Scenes are converted, with depth and poses of the color camera."""

from exports import (
    SCENES_COLOR,
    write_seven_scenes,
)
import numpy as np
import pytest
from rooms import render_box_room, walk

from nerf_reversal_ros.capture.open_capture import iter_images, open_capture
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.converters.seven_scenes import COLOR_FROM_DEPTH, register_depth
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import (
    inverse,
    orthonormalize,
)


@pytest.mark.parametrize('pose_file', [None, 'poses.txt'])
def test_depth_and_poses_are_transformed_to_the_color_camera(tmp_path, pose_file):
    source = write_seven_scenes(tmp_path / 'seq-01', range(4))
    convert(source, tmp_path / 'bag', poses=pose_file and source / pose_file)
    capture = open_capture(tmp_path / 'bag', CaptureConfig(up_axis='z'))
    for frame in capture:
        expected = walk(24)[frame.index] @ inverse(orthonormalize(COLOR_FROM_DEPTH))
        assert np.allclose(frame.map_from_camera, expected, atol=1e-5)
        expected_depth = render_box_room(expected, SCENES_COLOR)[1]
        known = frame.depth > 0
        assert known[60:-60, 80:-40].mean() > 0.99
        assert np.median(np.abs(frame.depth - expected_depth)[known]) < 2e-3
        assert np.mean(np.abs(frame.depth - expected_depth)[known] < 0.05) > 0.98


def test_stamps_encode_the_frame_numbers(tmp_path):
    source = write_seven_scenes(tmp_path / 'seq-01', [0, 3, 12])
    convert(source, tmp_path / 'bag')
    stamps_ns = np.array(
        [image.stamp_ns for image in iter_images(tmp_path / 'bag', CaptureConfig())]
    )
    assert stamps_ns.min() > 0
    assert np.rint(stamps_ns * 30 / 1e9).tolist() == [0, 3, 12]


def test_registered_depth_keeps_the_nearest_surface():
    depth = np.full((480, 640), 3.0, np.float32)
    depth[200:280, 280:360] = 1.0
    registered = register_depth(depth, SCENES_COLOR)
    assert set(np.unique(np.rint(registered[registered > 0]))) == {1.0, 3.0}
    # The near square shifts by 525.5 * -2.6 cm / 1 m = -13 px, the wall by a third of that.
    square = np.flatnonzero(np.abs(registered[240] - 1.0) < 0.5)
    assert abs(square.mean() - (320 - 13.4 - 525.5 * 0.0079)) < 2.0
    assert register_depth(np.zeros((480, 640), np.float32), SCENES_COLOR).max() == 0.0


def test_a_pose_file_of_another_sequence_is_rejected(tmp_path):
    source = write_seven_scenes(tmp_path / 'seq-07', range(2))
    with pytest.raises(CaptureError, match=r'no frame of .* has a pose in .*poses.txt'):
        convert(source, tmp_path / 'bag', poses=source / 'poses.txt')


@pytest.mark.parametrize(
    ('content', 'error'),
    [('frame-000000.color.png 1 0 0', 'line 1 is not'), ('a b c d e f g h i', 'line 1 is not')],
)
def test_a_pose_file_in_another_format_is_rejected(tmp_path, content, error):
    source = write_seven_scenes(tmp_path / 'seq-01', range(2))
    (tmp_path / 'bad.txt').write_text(content)
    with pytest.raises(CaptureError, match=error):
        convert(source, tmp_path / 'bag', poses=tmp_path / 'bad.txt')


def test_a_focal_length_in_a_pose_file_that_no_camera_has_is_rejected(tmp_path):
    source = write_seven_scenes(tmp_path / 'seq-01', range(2))
    poses = source / 'poses.txt'
    content = poses.read_text()
    lines = [line.split() for line in content.splitlines()]
    poses.write_text('\n'.join(' '.join([*words[:-1], '4.5']) for words in lines))
    with pytest.raises(CaptureError, match=r'view of 178 deg .* correct f in .*poses\.txt'):
        convert(source, tmp_path / 'bag', poses=poses)
    poses.write_text(content)
    convert(source, tmp_path / 'bag', poses=poses)


def test_a_missing_or_binary_pose_file_is_rejected(tmp_path):
    source = write_seven_scenes(tmp_path / 'seq-01', range(2))
    poses = tmp_path / 'poses.txt'
    with pytest.raises(CaptureError) as caught:
        convert(source, tmp_path / 'bag', poses=poses)
    assert str(caught.value) == f'cannot read {poses}: No such file or directory'
    poses.write_bytes(b'\xff\xfe')
    with pytest.raises(CaptureError, match='is no text'):
        convert(source, tmp_path / 'bag', poses=poses)
