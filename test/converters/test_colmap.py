"""Models of COLMAP, text and binary, are converted with their images."""

from dataclasses import replace
import shutil

from exports import CAMERA, POSES
import numpy as np
import pytest
from rgbd_exports import COUNT, UPRIGHT, write_colmap

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters import convert, guess_format
from nerf_reversal_ros.converters.colmap import BINARY_MODELS
from nerf_reversal_ros.core.errors import CaptureError


@pytest.fixture(scope='module', params=[False, True], ids=['text', 'binary'])
def whole(request, tmp_path_factory):
    return write_colmap(tmp_path_factory.mktemp('colmap') / 'scene', binary=request.param)


@pytest.fixture
def scene(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / 'scene')


@pytest.mark.parametrize('given', ['', 'sparse', 'sparse/0'])
def test_a_model_is_found_in_its_workspace_and_by_itself(whole, tmp_path, given):
    assert guess_format(whole / given) == 'colmap'
    conversion = convert(whole / given, tmp_path / 'bag')
    assert (conversion.frame_count, conversion.notes) == (COUNT, ())
    capture = open_capture(tmp_path / 'bag', UPRIGHT)
    assert not capture.has_depth
    assert np.allclose(capture.map_from_camera, POSES[:COUNT], atol=1e-6)
    assert capture.camera.as_dict() == pytest.approx(CAMERA.as_dict())


def test_lengths_are_those_of_the_model_until_its_unit_is_set(tmp_path):
    """Structure from motion leaves the scale open: here one unit is 0.4 m."""
    convert(write_colmap(tmp_path / 'scene', unit_m=0.4), tmp_path / 'bag')
    capture = open_capture(tmp_path / 'bag', replace(UPRIGHT, pose_unit_m=0.4))
    assert np.allclose(capture.map_from_camera, POSES[:COUNT], atol=1e-6)


def test_other_models_beside_it_are_told(scene, tmp_path):
    shutil.copytree(scene / 'sparse' / '0', scene / 'sparse' / '1')
    (note,) = convert(scene, tmp_path / 'bag').notes
    assert note.startswith('1 other models beside')


def test_an_image_that_is_missing_is_left_out(scene, tmp_path):
    (scene / 'images' / 'view_3.jpg').unlink()
    (note,) = convert(scene, tmp_path / 'bag').notes
    assert note.startswith(f'left out 1 of {COUNT} frames, no image file: such as view_3.jpg')


def test_a_workspace_without_images_is_rejected(scene, tmp_path):
    shutil.rmtree(scene / 'images')
    with pytest.raises(CaptureError, match='there is no folder images in'):
        convert(scene, tmp_path / 'bag')


def test_a_file_that_was_cut_off_is_rejected(scene, tmp_path):
    for name in ('cameras', 'images'):
        (path,) = scene.glob(f'sparse/0/{name}.*')
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 9 // 20])
        with pytest.raises(CaptureError, match=f'{path.name} .*: export the model again'):
            convert(scene, tmp_path / 'bag', format='colmap')
        path.write_bytes(data)


def test_a_folder_without_a_model_is_rejected(tmp_path):
    with pytest.raises(CaptureError, match='holds no model of COLMAP'):
        convert(tmp_path, tmp_path / 'bag', format='colmap')


@pytest.mark.parametrize(
    ('line', 'error'),
    [
        ('7 FOV 96 128 86 86 48 60 0.1', 'camera_model FOV is unknown: undistort to one of'),
        ('7 OPENCV 96 128 86 86 48 60', 'line 1, .* is no camera of COLMAP, .*4 parameters'),
        ('8 PINHOLE 96 128 86 86 48 60', 'it has neither fl_x nor camera_angle_x'),
        ('7 PINHOLE 96 128 0 0 48 60', 'focal lengths > 0'),
        ('7 PINHOLE 96', 'is no camera of COLMAP, "CAMERA_ID MODEL WIDTH HEIGHT PARAMS"'),
    ],
)
def test_a_camera_that_cannot_be_used_is_named(tmp_path, line, error):
    scene = write_colmap(tmp_path / 'scene')
    (scene / 'sparse/0/cameras.txt').write_text(line)
    with pytest.raises(CaptureError, match=error):
        convert(scene, tmp_path / 'bag', format='colmap')


def test_an_invalid_pose_is_left_out(tmp_path):
    scene = write_colmap(tmp_path / 'scene')
    path = scene / 'sparse/0/images.txt'
    lines = path.read_text().splitlines()
    lines[2] = '1 0 0 0 0 0 0 0 7 view_0.jpg'
    path.write_text('\n'.join(lines))
    (note,) = convert(scene, tmp_path / 'bag').notes
    assert note.startswith(f'left out 1 of {COUNT} frames, invalid pose: such as view_0.jpg')


def test_distortion_is_removed(tmp_path):
    scene = write_colmap(tmp_path / 'scene')
    size = f'{CAMERA.width} {CAMERA.height}'
    center = f'{CAMERA.cx + 0.5} {CAMERA.cy + 0.5}'
    camera = f'7 SIMPLE_RADIAL {size} {CAMERA.fx} {center} -0.2'
    (scene / 'sparse/0/cameras.txt').write_text(camera)
    convert(scene, tmp_path / 'bag')
    plain = write_colmap(tmp_path / 'plain')
    convert(plain, tmp_path / 'plain_bag')
    distorted, pinhole = (
        open_capture(tmp_path / name, UPRIGHT).frame(0).rgb.astype(int)
        for name in ('bag', 'plain_bag')
    )
    assert np.abs(distorted - pinhole)[60, 50].max() < 30  # the center stays
    assert np.abs(distorted - pinhole)[:12].mean() > 5  # the border moves


def test_binary_files_that_colmap_wrote_are_read(tmp_path):
    """COLMAP 4 also writes rigs and frames."""
    pycolmap = pytest.importorskip('pycolmap')
    scene = write_colmap(tmp_path / 'scene')
    model = scene / 'sparse' / '0'
    reconstruction = pycolmap.Reconstruction(str(model))
    shutil.rmtree(model)
    model.mkdir()
    reconstruction.write_binary(str(model))
    assert not any(model.glob('*.txt'))
    assert convert(scene, tmp_path / 'bag').frame_count == COUNT
    capture = open_capture(tmp_path / 'bag', UPRIGHT)
    assert np.allclose(capture.map_from_camera, POSES[:COUNT], atol=1e-6)
    assert capture.camera.as_dict() == pytest.approx(CAMERA.as_dict())


def test_binary_files_know_the_models_of_colmap():
    pycolmap = pytest.importorskip('pycolmap')
    ids = {value.value: name for name, value in pycolmap.CameraModelId.__members__.items()}
    for number, (name, count) in enumerate(BINARY_MODELS):
        if number in ids:
            camera = pycolmap.Camera.create_from_model_name(1, name, 5.0, 10, 10)
            assert (ids[number], len(camera.params)) == (name, count)
