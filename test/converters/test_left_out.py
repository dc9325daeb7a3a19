"""A frame that cannot be used is left out and counted by reason; the others are converted."""

import json
import shutil
import zipfile

import cv2
from exports import (
    record3d_metadata,
    write_export,
    write_nerfstudio,
    write_r3d,
    write_seven_scenes,
)
import numpy as np
import pytest

from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.converters.left_out import LeftOutFrames, LeftOutReason, UnusableFrameError
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError, ConfigError

SHEAR = np.eye(4) + np.eye(4, k=1) * [1, 1, 0, 0]


def edit_frame(source, index, **changes):
    path = source / 'transforms.json'
    scene = json.loads(path.read_text())
    scene['frames'][index].update(changes)
    path.write_text(json.dumps(scene))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_square(path):
    cv2.imwrite(str(path), np.zeros((40, 40), np.uint16 if path.suffix == '.png' else np.uint8))


FAULTS = {
    'no image file': [
        lambda s: (s / 'frame_3.jpg').unlink(),
        lambda s: edit_frame(s, 3, file_path=7),
    ],
    'damaged image': [
        lambda s: (s / 'frame_3.jpg').write_bytes(b''),
        lambda s: (s / 'frame_3.jpg').write_bytes(b'not an image'),
        lambda s: truncate(s / 'frame_3.jpg'),
    ],
    'image size does not fit the intrinsics': [lambda s: write_square(s / 'frame_3.jpg')],
    'no depth': [
        lambda s: (s / 'depth_3.png').unlink(),
        lambda s: edit_frame(s, 3, depth_file_path=None),
    ],
    'damaged depth': [
        lambda s: (s / 'depth_3.png').write_bytes(b''),
        lambda s: truncate(s / 'depth_3.png'),
        lambda s: write_square(s / 'depth_3.png'),
        lambda s: shutil.copy(s / 'frame_3.jpg', s / 'depth_3.png'),
    ],
    'no pose': [lambda s: edit_frame(s, 3, transform_matrix=None), lambda s: null_frame(s)],
    'invalid pose': [
        lambda s: edit_frame(s, 3, transform_matrix=np.full((4, 4), np.nan).tolist()),
        lambda s: edit_frame(s, 3, transform_matrix=SHEAR.tolist()),
        lambda s: edit_frame(s, 3, transform_matrix=[['x'] * 4] * 4),
        lambda s: edit_frame(s, 3, transform_matrix=np.eye(4, k=-3).tolist()),
    ],
    'missing or invalid intrinsics': [
        lambda s: edit_frame(s, 3, fl_x=-5),
        lambda s: edit_frame(s, 3, k1='much'),
    ],
    'missing or damaged mask': [lambda s: edit_frame(s, 3, mask_path='gone.png')],
}


def null_frame(source):
    scene = json.loads((source / 'transforms.json').read_text())
    scene['frames'][3] = None
    (source / 'transforms.json').write_text(json.dumps(scene))


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
    return write_nerfstudio(tmp_path_factory.mktemp('scene') / 'scene', order=range(5))


@pytest.mark.parametrize(
    ('reason', 'spoil'), [(reason, f) for reason, faults in FAULTS.items() for f in faults]
)
def test_one_bad_frame_of_a_scene_is_left_out_by_its_reason(scene, tmp_path, reason, spoil):
    source = shutil.copytree(scene, tmp_path / 'scene')
    spoil(source)
    conversion = convert(source, tmp_path / 'bag')
    assert conversion.frame_count == 4
    assert conversion.notes[0].startswith(f'left out 1 of 5 frames, {reason}: such as ')
    with pytest.raises(CaptureError, match=f'1 of the 5 frames .* because of: {reason} '):
        convert(source, tmp_path / 'strict', max_left_out=0.0)
    assert not list(tmp_path.glob('strict*'))


def test_the_fraction_that_the_error_names_is_enough(scene, tmp_path, capsys):
    source = shutil.copytree(scene, tmp_path / 'scene')
    for number in (1, 2, 4):
        (source / f'frame_{number}.jpg').unlink()
    command = ['convert', str(source), str(tmp_path / 'bag')]
    assert main(command) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert 'no image file (3 of them, such as frame frame_1.jpg: there is no image' in message
    assert remedies.MAX_LEFT_OUT.format(needed=0.6) in message
    assert main([*command, '--max-left-out', '0.6']) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith('left out 3 of 5 frames, no image file: such as frame_1.jpg')
    assert out[-1] == f'wrote {tmp_path / "bag"}: 2 frames'


def test_where_most_frames_lack_depth_both_ways_out_work(scene, tmp_path):
    source = shutil.copytree(scene, tmp_path / 'scene')
    for number in range(1, 5):
        (source / f'depth_{number}.png').unlink()
    both = f'{remedies.MAX_LEFT_OUT.format(needed=0.8)}, or {remedies.NO_DEPTH}'
    with pytest.raises(CaptureError, match=rf'no depth \(4 of them.* {both}'):
        convert(source, tmp_path / 'bag')
    assert convert(source, tmp_path / 'some', max_left_out=0.8).frame_count == 1
    assert convert(source, tmp_path / 'none', use_depth=False).frame_count == 5
    (source / 'depth_0.png').unlink()
    with pytest.raises(CaptureError, match=f'none of the 5 frames .* or {remedies.NO_DEPTH}'):
        convert(source, tmp_path / 'bag')


def raise_unusable():
    raise UnusableFrameError(LeftOutReason.NO_POSE, 'it has none')


def test_a_fraction_is_rounded_up_to_a_frame_and_checked(tmp_path):
    for total, count, fits in ((3, 1, True), (10, 2, True), (10, 3, False), (1, 1, False)):
        left_out = LeftOutFrames(tmp_path, total, 0.2)
        for number in range(count):
            left_out.attempt(str(number), raise_unusable)
        if fits:
            left_out.check()
        else:
            with pytest.raises(CaptureError):
                left_out.check()
    with pytest.raises(ConfigError, match='max_left_out = 2 is no fraction'):
        convert(tmp_path, tmp_path / 'bag', format='7scenes', max_left_out=2.0)


def test_bad_frames_of_record3d_are_left_out(tmp_path):
    metadata = record3d_metadata()
    metadata['poses'][1] = [float('nan')] * 7
    metadata['poses'][2] = [0.0, 1.0]
    metadata['frameTimestamps'][3] = -1.0
    metadata['perFrameIntrinsicCoeffs'] = [[86.0, 86.0, 47.0, 63.0]] * 4 + [['x']]
    source = write_r3d(tmp_path / 'walk.r3d', range(8), metadata=metadata)
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    del files['rgbd/5.depth']
    files['rgbd/6.jpg'] = files['rgbd/6.jpg'][:500]
    files['rgbd/7.depth'] = files['rgbd/7.depth'][:50]
    with zipfile.ZipFile(source, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    conversion = convert(source, tmp_path / 'bag', max_left_out=0.9)
    assert conversion.frame_count == 1
    reasons = ' '.join(conversion.notes)
    assert 'left out 2 of 8 frames, invalid pose' in reasons
    for reason in ('invalid stamp', 'no depth', 'damaged image', 'damaged depth', 'intrinsics'):
        assert reason in reasons


def test_a_damaged_exr_is_left_out(tmp_path):
    source = write_export(tmp_path / 'walk', range(3))
    (source / 'depth' / '1.exr').write_bytes(b'not an EXR')
    conversion = convert(source, tmp_path / 'bag')
    assert conversion.frame_count == 2
    assert '1.exr is no EXR file or damaged' in conversion.notes[0]


def test_bad_frames_of_seven_scenes_are_left_out(tmp_path):
    source = write_seven_scenes(tmp_path / 'seq-01', range(4))
    (source / 'frame-000000.depth.png').unlink()
    (source / 'frame-000001.pose.txt').write_text('-1.#IND ' * 16)
    (source / 'frame-000002.pose.txt').unlink()
    conversion = convert(source, tmp_path / 'bag', max_left_out=0.75)
    assert conversion.frame_count == 1
    notes = ' '.join(conversion.notes)
    for reason in ('no depth', 'invalid pose', 'no pose'):
        assert f'left out 1 of 4 frames, {reason}: such as frame-00000' in notes
    lines = (source / 'poses.txt').read_text().splitlines()
    (source / 'poses.txt').write_text(lines[2])  # of frame 1
    conversion = convert(source, tmp_path / 'by_file', poses=source / 'poses.txt')
    assert conversion.frame_count == 1
    assert conversion.notes[-1].startswith('3 of 4 frames are not in ')
