"""Raw data exports of Polycam are converted with their poses, intrinsics and depth."""

import shutil

from exports import ALL, assert_same_cameras, POSES, views, write_polycam
import numpy as np
import pytest

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core.errors import CaptureError

COUNT = 6


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return write_polycam(tmp_path_factory.mktemp('polycam') / 'export', range(COUNT))


@pytest.fixture
def export(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / 'export')


@pytest.mark.parametrize('format', [None, 'polycam', 'nerfstudio-parser:polycam'])
def test_an_export_is_converted_with_poses_and_depth(whole, tmp_path, format):
    conversion = convert(whole, tmp_path / 'bag', format=format)
    assert conversion.notes == (f'keys of {whole} that are not used: blur_score',)
    capture = open_capture(tmp_path / 'bag', ALL)
    assert capture.convention.up_source == 'noted in the bag: y is up'
    assert_same_cameras(capture, POSES[:COUNT])
    for frame, (_, _, depth) in zip(capture, views(range(COUNT)), strict=True):
        assert not frame.depth[:4].any()  # no confidence
        np.testing.assert_allclose(frame.depth[4:], depth[4:], atol=0.002)


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
