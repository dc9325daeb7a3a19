"""Recordings that nerfstudio's parsers read come in as bags, in metres, where they were taken."""

import importlib.metadata
import json
from pathlib import Path
import pickle

import cv2
from exports import write_depth_arrays, write_processed
import numpy as np
import pytest
from rooms import render_box_room, walk
import torch

from nerf_reversal_ros.capture.capture import open_capture
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.converters.nerfstudio_parser import convert
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import OPTICAL_FROM_OPENGL, pose_errors
from nerf_reversal_ros.fields.nerfstudio.dependency import pickle_disabled

pytestmark = pytest.mark.skipif(
    not any(d.metadata['Name'] == 'nerfstudio' for d in importlib.metadata.distributions()),
    reason='nerfstudio is not installed: make test brings it',
)
CAMERA = Camera(96, 72, 78.0, 78.0, 47.5, 35.5)
WALK = walk(11)


def write_picture(path, pose):
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb, depth = render_box_room(pose, CAMERA)
    cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return np.rint(depth * 1000).astype(np.uint16)


def write_depth(path, millimetres):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), millimetres)


@pytest.fixture(scope='module')
def scannet(tmp_path_factory):
    """Write what the extracted stream of a ScanNet scene is: numbers from 0, poses optical."""
    root = tmp_path_factory.mktemp('scannet') / 'scene'
    for number, pose in enumerate(WALK):
        write_depth(
            root / f'depth/{number}.png', write_picture(root / f'color/{number}.jpg', pose)
        )
        (root / 'pose').mkdir(exist_ok=True)
        lost = number == 4
        np.savetxt(root / f'pose/{number}.txt', np.full((4, 4), -np.inf) if lost else pose)
    (root / 'intrinsic').mkdir()
    K = np.eye(4)
    K[:3, :3] = CAMERA.matrix
    K[:2, 2] += 0.5
    np.savetxt(root / 'intrinsic/intrinsic_color.txt', K)
    return root


@pytest.fixture(scope='module')
def polycam(tmp_path_factory):
    """Write what Polycam exports: pictures named by stamps, poses of ARKit, y up."""
    root = tmp_path_factory.mktemp('polycam') / 'export'
    y_up = np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    for number, pose in enumerate(WALK):
        name = f'keyframes/{{}}/{1000 + 7 * number}'
        depth = write_picture(root / (name.format('images') + '.jpg'), pose)
        write_depth(root / (name.format('depth') + '.png'), depth[::2, ::2])
        arkit = y_up @ pose @ OPTICAL_FROM_OPENGL
        told = {f't_{i}{j}': arkit[i, j] for i in range(3) for j in range(4)}
        told |= {'fx': CAMERA.fx, 'fy': CAMERA.fy, 'cx': CAMERA.cx + 0.5, 'cy': CAMERA.cy + 0.5}
        path = root / (name.format('cameras') + '.json')
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**told, 'width': 96, 'height': 72}))
    return root


def converted(source, name, tmp_path):
    bag = tmp_path / 'bag'
    assert main(['convert', str(source), str(bag), '--format', f'nerfstudio-parser:{name}']) == 0
    return open_capture(bag, CaptureConfig(min_move_m=0.0, blur_ratio=0.0))


def assert_same_walk(capture, walked):
    """Compare all poses with those that were walked, but for where the map's axes point."""
    turned = walked[0] @ np.linalg.inv(capture.map_from_camera[0])
    errors = pose_errors(turned @ capture.map_from_camera, walked)
    assert errors.translation.max() < 1e-4 and errors.rotation.max() < 1e-4
    up = turned[:3, 2]
    assert up[2] > 0.99


@pytest.mark.parametrize('name', ['scannet', 'scannet-data'])
def test_a_scannet_scene_comes_in_without_the_frames_that_have_no_pose(scannet, tmp_path, name):
    capture = converted(scannet, name, tmp_path)
    assert_same_walk(capture, WALK[[0, 1, 2, 3, 5, 6, 7, 8, 9, 10]])
    frame = capture.frame(2)
    found = frame.camera
    assert (found.width, found.height) == (96, 72)
    assert (found.fx, found.cx, found.cy) == pytest.approx((78.0, 47.5, 35.5), abs=1e-3)
    np.testing.assert_allclose(frame.depth, render_box_room(WALK[2], CAMERA)[1], atol=0.002)


def test_a_polycam_export_comes_in_with_its_depth(polycam, tmp_path):
    capture = converted(polycam, 'polycam', tmp_path)
    assert_same_walk(capture, WALK)
    frame = capture.frame(3)
    assert frame.depth.shape == (36, 48)
    true = render_box_room(WALK[3], CAMERA)[1][::2, ::2]
    np.testing.assert_allclose(frame.depth, true, atol=0.002)
    off = [np.abs(frame.rgb - render_box_room(at, CAMERA)[0].astype(int)).mean() for at in WALK]
    assert np.argmin(off) == 3 and off[3] < 0.6 * np.median(off)


@pytest.mark.parametrize(('noted', 'arrays'), [(True, False), (False, False), (True, True)])
def test_both_readers_of_a_processed_scene_give_the_same_walk(tmp_path, capsys, noted, arrays):
    source = write_processed(tmp_path / 'scene', noted=noted)
    if arrays:
        write_depth_arrays(source)
    ours = tmp_path / 'ours'
    assert main(['convert', str(source), str(ours), '--format', 'nerfstudio']) == 0
    theirs = converted(source, 'nerfstudio', tmp_path)
    assert 'eval-mode' not in ''.join(capsys.readouterr())
    found = open_capture(ours, CaptureConfig(min_move_m=0.0, blur_ratio=0.0))
    np.testing.assert_allclose(found.map_from_camera, theirs.map_from_camera, atol=1e-5)
    assert found.convention.axes == theirs.convention.axes == 'optical'
    assert found.camera.as_dict() == pytest.approx(theirs.camera.as_dict(), rel=1e-5)
    for mine, other in zip(found, theirs, strict=True):
        assert np.array_equal(mine.rgb, other.rgb) and np.array_equal(mine.depth, other.depth)


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('mesh', 'nerfstudio has no parser mesh: use one of arkit-data, blender-data, colmap'),
        ('polycam', "nerfstudio's parser polycam cannot read"),
        ('scannet', "nerfstudio's parser scannet cannot read"),
    ],
)
def test_what_no_parser_reads_is_told(tmp_path, capsys, name, sentence):
    source = tmp_path / 'source'
    source.mkdir()
    command = ['convert', str(source), str(tmp_path / 'bag')]
    assert main([*command, '--format', f'nerfstudio-parser:{name}']) == 1
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / 'bag').exists()


def test_an_unknown_format_is_misuse_and_told_with_all_there_are(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(['convert', str(tmp_path), str(tmp_path / 'bag'), '--format', 'mesh'])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "'mesh' is no format (choose from record3d, nerfstudio, 7scenes, nerfstudio-p" in told


class Program:
    """Makes a file when it is unpickled."""

    def __init__(self, file):
        self._file = file

    def __reduce__(self):
        return Path.touch, (self._file,)


def test_data_that_are_a_program_are_not_run(tmp_path):
    source, ran = tmp_path / 'scene', tmp_path / 'ran'
    source.mkdir()
    for split in ('train', 'test'):
        np.savez(source / f'{split}.npz', image_filenames=np.array([Program(ran)], dtype=object))
    with pytest.raises(CaptureError, match=r'parser minimal cannot read .*allow_pickle'):
        convert(source, tmp_path / 'bag', 'minimal')
    assert not ran.exists() and not (tmp_path / 'bag').exists()


def test_pickles_are_refused_by_whatever_name_and_only_for_a_while(tmp_path):
    ran = tmp_path / 'ran'
    packed = pickle.dumps(Program(ran))
    (tmp_path / 'data.pkl').write_bytes(packed)
    np.save(tmp_path / 'data.npy', np.array([Program(ran)], dtype=object))
    torch.save(Program(ran), tmp_path / 'data.pt')
    with pickle_disabled():
        for load in (
            lambda: pickle.loads(packed),
            lambda: pickle.load((tmp_path / 'data.pkl').open('rb')),
            lambda: np.load(tmp_path / 'data.npy', None, True),
            lambda: torch.load(tmp_path / 'data.pt', weights_only=False),
        ):
            with pytest.raises((ValueError, pickle.UnpicklingError)):
                load()
        np.save(tmp_path / 'numbers.npy', np.arange(3))
        assert np.load(tmp_path / 'numbers.npy', allow_pickle=True).tolist() == [0, 1, 2]
    assert not ran.exists()
    pickle.loads(packed)
    assert ran.exists()


@pytest.mark.parametrize('name', ['instant-ngp', 'instant-ngp-data'])
def test_the_parser_that_spoils_focal_lengths_is_refused_and_the_reader_that_does_not_named(
    tmp_path, name
):
    with pytest.raises(
        CaptureError, match=r'takes the focal length fx for fy .*format nerfstudio'
    ):
        convert(tmp_path, tmp_path / 'bag', name)


@pytest.mark.parametrize('name', ['dycheck', 'nuscenes-data'])
def test_a_parser_that_rescales_and_does_not_tell_is_refused(tmp_path, name):
    with pytest.raises(CaptureError, match='lengths would not be metres'):
        convert(tmp_path, tmp_path / 'bag', name)
