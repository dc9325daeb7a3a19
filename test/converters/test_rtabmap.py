"""Databases of RTAB-Map are converted with optimized poses, calibration and depth."""

import shutil
import struct

from exports import POSES, views
import numpy as np
import pytest
from rgbd_exports import (
    calibration,
    COUNT,
    counts,
    DRIFT,
    edit_rtabmap,
    float_png,
    open_converted,
    png,
    ROBOT_FROM_CAMERA,
    UPRIGHT,
    write_rtabmap,
)

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import inverse, pose_errors


def rvl(depth):
    """Encode depth in RVL, with one run and values of few nibbles (zigzag of differences)."""
    values = counts(depth, 0.001).ravel().astype(np.int64)
    differences = np.diff(values, prepend=0)
    nibbles = []
    for value in (0, len(values), *((differences << 1) ^ (differences >> 63)).tolist()):
        while value > 7:
            nibbles.append(value & 7 | 8)
            value >>= 3
        nibbles.append(value)
    nibbles += [0] * (-len(nibbles) % 8)
    words = np.array(nibbles, np.uint32).reshape(-1, 8) << np.arange(28, -4, -4, dtype=np.uint32)
    body = np.bitwise_or.reduce(words, axis=1).astype('<u4').tobytes()
    return b'DEPTHRVL' + struct.pack('<II', depth.shape[1], depth.shape[0]) + body


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return write_rtabmap(tmp_path_factory.mktemp('rtabmap') / 'walk.db')


@pytest.fixture
def database(whole, tmp_path):
    return shutil.copy(whole, tmp_path / 'renamed')


def test_a_database_is_converted_with_optimized_poses_stamps_and_depth(database, tmp_path):
    capture = open_converted(database, tmp_path / 'bag')
    for frame, (_, _, depth) in zip(capture, views(range(COUNT)), strict=True):
        np.testing.assert_allclose(frame.depth, depth, atol=0.001)


def test_without_an_optimized_graph_the_poses_of_the_odometry_are_used(tmp_path):
    database = write_rtabmap(tmp_path / 'walk.db', optimized=False)
    (note,) = convert(database, tmp_path / 'bag').notes
    assert note == (
        'the database has no optimized poses: those of the odometry, which drift, were used'
    )
    drift = inverse(ROBOT_FROM_CAMERA) @ DRIFT @ ROBOT_FROM_CAMERA
    capture = open_capture(tmp_path / 'bag', UPRIGHT)
    errors = pose_errors(capture.map_from_camera, POSES[:COUNT] @ drift)
    assert errors.translation.max() < 1e-5


def test_sessions_that_were_not_joined_are_rejected(tmp_path):
    """Without an optimized graph each one has the frame of its own odometry."""
    database = write_rtabmap(tmp_path / 'walk.db', optimized=False, session=lambda n: n // 3)
    with pytest.raises(CaptureError, match='from the nodes 1, 4 on') as caught:
        convert(database, tmp_path / 'bag')
    assert str(caught.value).endswith(remedies.ONE_SESSION)
    assert not (tmp_path / 'bag').exists()
    assert convert(database, tmp_path / 'bag', frames=slice(4, 7)).frame_count == 3


def test_sessions_that_the_optimized_graph_joins_are_one_walk(tmp_path):
    database = write_rtabmap(tmp_path / 'walk.db', session=lambda n: n // 3)
    conversion = convert(database, tmp_path / 'bag')
    assert (conversion.frame_count, conversion.notes) == (COUNT, ())


@pytest.mark.parametrize('encode', [float_png, rvl])
def test_depth_in_floats_and_in_rvl_is_read(tmp_path, encode):
    database = write_rtabmap(tmp_path / 'walk.db', encode=encode)
    convert(database, tmp_path / 'bag')
    frame = open_capture(tmp_path / 'bag', UPRIGHT).frame(0)
    np.testing.assert_allclose(frame.depth, next(views())[2], atol=0.0015)


def test_the_unit_of_depth_can_be_given(tmp_path):
    encode = lambda depth: png(counts(depth, 0.0002))  # noqa: E731
    database = write_rtabmap(tmp_path / 'walk.db', encode=encode)
    convert(database, tmp_path / 'bag', depth_unit_m=0.0002)
    frame = open_capture(tmp_path / 'bag', UPRIGHT).frame(0)
    np.testing.assert_allclose(frame.depth, next(views())[2], atol=0.0015)


SQUARE = png(np.zeros((40, 40, 3), np.uint8))


@pytest.mark.parametrize(
    ('column', 'value', 'reason'),
    [
        ('image', b'no image', 'damaged image'),
        ('image', SQUARE, 'image size does not fit the intrinsics'),
        ('depth', None, 'no depth'),
        ('depth', b'no depth', 'damaged depth'),
        ('depth', b'DEPTHRVL' + bytes(4), 'damaged depth'),
        ('depth', png(np.zeros((64, 48), np.uint8)), 'damaged depth'),
        ('calibration', None, 'missing or invalid intrinsics'),
        ('calibration', calibration()[:50], 'missing or invalid intrinsics'),
        ('calibration', calibration(cameras=2), 'missing or invalid intrinsics'),
        ('calibration', calibration(kind=1), 'missing or invalid intrinsics'),
        ('calibration', calibration(local=0), 'missing or invalid intrinsics'),
    ],
)
def test_an_unusable_node_is_left_out(database, tmp_path, column, value, reason):
    edit_rtabmap(database, f'UPDATE Data SET {column} = ? WHERE id = 3', value)
    conversion = convert(database, tmp_path / 'bag')
    assert conversion.frame_count == COUNT - 1
    assert conversion.notes[0].startswith(
        f'left out 1 of {COUNT} frames, {reason}: such as node 3'
    )


def test_a_node_outside_of_the_graph_or_without_a_stamp_is_left_out(database, tmp_path):
    edit_rtabmap(database, "UPDATE Node SET stamp = 'noon' WHERE id = 1")
    edit_rtabmap(
        database,
        'INSERT INTO Data (id, image, depth, calibration)'
        ' SELECT 99, image, depth, calibration FROM Data WHERE id = 1',
    )
    notes = convert(database, tmp_path / 'bag').notes
    assert [note.split(': such as ')[0] for note in notes] == [
        f'left out 1 of {COUNT + 1} frames, invalid stamp',
        f'left out 1 of {COUNT + 1} frames, no pose',
    ]


@pytest.mark.parametrize(
    ('statement', 'error'),
    [
        ("UPDATE Admin SET version = '0.17.3'", 'is of version 0.17.3 .* older than 0.18'),
        ('DELETE FROM Admin', 'is of version none of RTAB-Map'),
        ("UPDATE Admin SET opt_poses = 'none'", 'optimized poses of .* are damaged'),
        ('UPDATE Admin SET opt_ids = opt_poses', 'optimized poses of .* are damaged'),
        ('UPDATE Data SET image = NULL', 'holds no images'),
        ('DROP TABLE Data', 'is no database of RTAB-Map: give its .db file'),
    ],
)
def test_an_unusable_database_is_rejected(database, tmp_path, statement, error):
    edit_rtabmap(database, statement)
    with pytest.raises(CaptureError, match=error):
        convert(database, tmp_path / 'bag', format='rtabmap')
    assert not (tmp_path / 'bag').exists()


def test_a_database_that_was_cut_off_is_rejected(whole, tmp_path):
    data = whole.read_bytes()
    (tmp_path / 'half.db').write_bytes(data[: len(data) // 2])
    with pytest.raises(CaptureError, match='damaged'):
        convert(tmp_path / 'half.db', tmp_path / 'bag', format='rtabmap')


def test_a_range_of_frames_is_one_of_nodes(whole, tmp_path):
    convert(whole, tmp_path / 'bag', frames=slice(2, 5))
    capture = open_capture(tmp_path / 'bag', UPRIGHT)
    assert pose_errors(capture.map_from_camera, POSES[1:4]).translation.max() < 1e-5
