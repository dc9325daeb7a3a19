"""Recordings that nerfstudio parses are converted with metric poses, intrinsics and depth."""

import importlib.metadata
from pathlib import Path
import pickle

import cv2
from exports import write_depth_arrays, write_processed
import numpy as np
import pytest
from rooms import render_box_room, walk
import torch

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.converters.nerfstudio_parser import convert
from nerf_reversal_ros.converters.options import ConvertOptions
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import pose_errors
from nerf_reversal_ros.fields.nerfstudio.dependency import pickle_disabled

pytestmark = pytest.mark.skipif(
    not any(d.metadata['Name'] == 'nerfstudio' for d in importlib.metadata.distributions()),
    reason='nerfstudio is not installed: make test brings it',
)
CAMERA = Camera(96, 72, 78.0, 78.0, 47.5, 35.5)
TRAJECTORY = walk(11)


def write_image(path, pose):
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb, depth = render_box_room(pose, CAMERA)
    cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return np.rint(depth * 1000).astype(np.uint16)


def write_depth(path, depth_mm):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), depth_mm)


@pytest.fixture(scope='module')
def scannet(tmp_path_factory):
    """Write an extracted ScanNet scene: numbered from 0, optical poses, one of them invalid."""
    root = tmp_path_factory.mktemp('scannet') / 'scene'
    for number, pose in enumerate(TRAJECTORY):
        write_depth(root / f'depth/{number}.png', write_image(root / f'color/{number}.jpg', pose))
        (root / 'pose').mkdir(exist_ok=True)
        is_invalid = number == 4
        np.savetxt(root / f'pose/{number}.txt', np.full((4, 4), -np.inf) if is_invalid else pose)
    (root / 'intrinsic').mkdir()
    K = np.eye(4)
    K[:3, :3] = CAMERA.matrix
    K[:2, 2] += 0.5
    np.savetxt(root / 'intrinsic/intrinsic_color.txt', K)
    return root


def convert_and_open(source, name, tmp_path):
    bag = tmp_path / 'bag'
    assert main(['convert', str(source), str(bag), '--format', f'nerfstudio-parser:{name}']) == 0
    return open_capture(bag, CaptureConfig(min_move_m=0.0, blur_ratio=0.0))


def assert_same_trajectory(capture, poses):
    """Compare all poses up to one rigid transform, which must keep z up."""
    room_from_map = poses[0] @ np.linalg.inv(capture.map_from_camera[0])
    errors = pose_errors(room_from_map @ capture.map_from_camera, poses)
    assert errors.translation.max() < 1e-4 and errors.rotation.max() < 1e-4
    assert room_from_map[2, 2] > 0.99


@pytest.mark.parametrize('name', ['scannet', 'scannet-data'])
def test_a_scannet_scene_is_converted_without_frames_that_have_no_pose(scannet, tmp_path, name):
    capture = convert_and_open(scannet, name, tmp_path)
    assert_same_trajectory(capture, TRAJECTORY[[0, 1, 2, 3, 5, 6, 7, 8, 9, 10]])
    frame = capture.frame(2)
    camera = frame.camera
    assert (camera.width, camera.height) == (96, 72)
    assert (camera.fx, camera.cx, camera.cy) == pytest.approx((78.0, 47.5, 35.5), abs=1e-3)
    np.testing.assert_allclose(frame.depth, render_box_room(TRAJECTORY[2], CAMERA)[1], atol=0.002)


@pytest.mark.parametrize(('noted', 'arrays'), [(True, False), (False, False), (True, True)])
def test_both_converters_of_a_processed_scene_give_the_same_capture(
    tmp_path, capsys, noted, arrays
):
    source = write_processed(tmp_path / 'scene', noted=noted)
    if arrays:
        write_depth_arrays(source)
    bag = tmp_path / 'direct'
    assert main(['convert', str(source), str(bag), '--format', 'nerfstudio']) == 0
    by_parser = convert_and_open(source, 'nerfstudio', tmp_path)
    assert 'eval-mode' not in ''.join(capsys.readouterr())
    direct = open_capture(bag, CaptureConfig(min_move_m=0.0, blur_ratio=0.0))
    np.testing.assert_allclose(direct.map_from_camera, by_parser.map_from_camera, atol=1e-5)
    assert direct.convention.axes == by_parser.convention.axes == 'optical'
    assert direct.camera.as_dict() == pytest.approx(by_parser.camera.as_dict(), rel=1e-5)
    for first, second in zip(direct, by_parser, strict=True):
        assert np.array_equal(first.rgb, second.rgb)
        assert np.array_equal(first.depth, second.depth)


@pytest.mark.parametrize(
    ('name', 'error'),
    [
        ('mesh', 'nerfstudio has no parser mesh: use one of arkit-data, blender-data, colmap'),
        ('scannet', 'the nerfstudio parser scannet cannot read'),
    ],
)
def test_a_recording_that_no_parser_reads_is_rejected(tmp_path, capsys, name, error):
    source = tmp_path / 'source'
    source.mkdir()
    command = ['convert', str(source), str(tmp_path / 'bag')]
    assert main([*command, '--format', f'nerfstudio-parser:{name}']) == 1
    assert error in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / 'bag').exists()


def test_an_unknown_format_is_a_usage_error_that_lists_the_formats(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(['convert', str(tmp_path), str(tmp_path / 'bag'), '--format', 'mesh'])
    assert exit_info.value.code == 2
    message = capsys.readouterr().err
    formats = 'record3d, nerfstudio, polycam, 7scenes, rtabmap, colmap, tum, stray-scanner, nerf'
    assert f"'mesh' is not a format: choose from {formats}" in message


class TouchFile:
    """Creates a file when it is unpickled."""

    def __init__(self, file):
        self._file = file

    def __reduce__(self):
        return Path.touch, (self._file,)


def test_pickled_code_in_data_is_not_run(tmp_path):
    source, marker = tmp_path / 'scene', tmp_path / 'marker'
    source.mkdir()
    for split in ('train', 'test'):
        np.savez(
            source / f'{split}.npz', image_filenames=np.array([TouchFile(marker)], dtype=object)
        )
    with pytest.raises(CaptureError, match=r'parser minimal cannot read .*allow_pickle'):
        convert(source, tmp_path / 'bag', 'minimal', ConvertOptions())
    assert not marker.exists() and not (tmp_path / 'bag').exists()


def test_pickle_is_disabled_in_all_loaders_inside_the_block_only(tmp_path):
    marker = tmp_path / 'marker'
    pickled = pickle.dumps(TouchFile(marker))
    (tmp_path / 'data.pkl').write_bytes(pickled)
    np.save(tmp_path / 'data.npy', np.array([TouchFile(marker)], dtype=object))
    torch.save(TouchFile(marker), tmp_path / 'data.pt')
    with pickle_disabled():
        for load in (
            lambda: pickle.loads(pickled),
            lambda: pickle.load((tmp_path / 'data.pkl').open('rb')),
            lambda: np.load(tmp_path / 'data.npy', None, True),
            lambda: torch.load(tmp_path / 'data.pt', weights_only=False),
        ):
            with pytest.raises((ValueError, pickle.UnpicklingError)):
                load()
        np.save(tmp_path / 'numbers.npy', np.arange(3))
        assert np.load(tmp_path / 'numbers.npy', allow_pickle=True).tolist() == [0, 1, 2]
    assert not marker.exists()
    pickle.loads(pickled)
    assert marker.exists()


@pytest.mark.parametrize('name', ['instant-ngp', 'instant-ngp-data'])
def test_the_parser_with_wrong_focal_lengths_is_rejected_with_the_format_to_use(tmp_path, name):
    with pytest.raises(CaptureError, match=f'fx for fy .*{remedies.FORMAT_NERFSTUDIO}'):
        convert(tmp_path, tmp_path / 'bag', name, ConvertOptions())


@pytest.mark.parametrize('name', ['dycheck', 'nuscenes-data'])
def test_a_parser_with_an_unknown_scale_is_rejected(tmp_path, name):
    with pytest.raises(CaptureError, match='lengths would not be in meters'):
        convert(tmp_path, tmp_path / 'bag', name, ConvertOptions())
