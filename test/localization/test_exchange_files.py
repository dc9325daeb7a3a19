"""Parts of a map are opened by other programs, and by the converters."""

import re

from command_line import run_command, user_error
import cv2
import numpy as np
import pytest
from small_map import CAMERA

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.geometry import pose_from_quaternion
from nerf_reversal_ros.localization.exchange_files import write_exchange_file
from nerf_reversal_ros.localization.exchange_formats import FORMATS
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import Map

EVERY_FRAME = CaptureConfig(min_move_m=0.0, min_turn_deg=0.0, blur_ratio=0.0, up_axis='z')


@pytest.fixture
def surface(small_map: Map) -> Surface:
    return Surface.of_map(small_map)


def test_the_surface_is_a_ply_of_colored_points(small_map, surface, tmp_path) -> None:
    write_exchange_file(small_map, tmp_path / 'room.ply', 'ply')
    header, _, body = (tmp_path / 'room.ply').read_bytes().partition(b'end_header\n')
    lines = header.decode('ascii').splitlines()
    assert lines[:2] == ['ply', 'format binary_little_endian 1.0']
    (count,) = (int(line.split()[-1]) for line in lines if line.startswith('element vertex'))
    types = {'float': '<f4', 'uchar': 'u1'}
    fields = [line.split()[1:] for line in lines if line.startswith('property')]
    vertices = np.frombuffer(body, [(name, types[type]) for type, name in fields])
    assert len(vertices) == count == len(surface)
    positions = np.stack([vertices[axis] for axis in 'xyz'], axis=1)
    colors = np.stack([vertices[name] for name in ('red', 'green', 'blue')], axis=1)
    np.testing.assert_allclose(positions, surface.points + surface.origin_m, atol=1e-5)
    np.testing.assert_array_equal(colors, surface.colours)


@pytest.mark.parametrize('reader', ['plyfile', 'trimesh'])
def test_other_programs_read_the_ply(small_map, surface, tmp_path, reader) -> None:
    library = pytest.importorskip(reader)
    write_exchange_file(small_map, tmp_path / 'room.ply', 'ply')
    if reader == 'plyfile':
        vertices = library.PlyData.read(tmp_path / 'room.ply')['vertex']
        positions = np.stack([vertices[axis] for axis in 'xyz'], axis=1)
    else:
        cloud = library.load(tmp_path / 'room.ply')
        positions = np.asarray(cloud.vertices)
        np.testing.assert_array_equal(np.asarray(cloud.colors)[:, :3], surface.colours)
    np.testing.assert_allclose(positions, surface.points + surface.origin_m, atol=1e-5)


def test_the_trajectory_holds_the_mapping_poses(small_map, tmp_path) -> None:
    write_exchange_file(small_map, tmp_path / 'walk.tum', 'tum')
    rows = np.loadtxt(tmp_path / 'walk.tum')
    np.testing.assert_array_equal(rows[:, 0], np.arange(len(small_map.mapping_poses)))
    poses = pose_from_quaternion(rows[:, 1:4], rows[:, 4:])
    np.testing.assert_allclose(poses, small_map.mapping_poses, atol=1e-7)


def test_the_cameras_are_a_model_that_is_converted_back(small_map, tmp_path) -> None:
    workspace = tmp_path / 'workspace'
    (workspace / 'images').mkdir(parents=True)
    write_exchange_file(small_map, workspace / 'sparse', 'colmap')
    camera = small_map.capture_camera
    picture = np.zeros((camera.height, camera.width, 3), np.uint8)
    for number in range(len(small_map.mapping_poses)):
        cv2.imwrite(str(workspace / 'images' / f'{number:06d}.png'), picture)
    conversion = convert(workspace, tmp_path / 'bag')
    assert conversion.frame_count == len(small_map.mapping_poses)
    capture = open_capture(tmp_path / 'bag', EVERY_FRAME)
    np.testing.assert_allclose(capture.map_from_camera, small_map.mapping_poses, atol=1e-6)
    assert capture.camera.as_dict() == pytest.approx(camera.as_dict())


def test_colmap_reads_the_model(small_map, surface, tmp_path) -> None:
    pycolmap = pytest.importorskip('pycolmap')
    write_exchange_file(small_map, tmp_path / 'model', 'colmap')
    model = pycolmap.Reconstruction(str(tmp_path / 'model'))
    assert model.num_images() == len(small_map.mapping_poses)
    assert model.num_points3D() == len(surface)
    center = model.images[1].projection_center()
    np.testing.assert_allclose(center, small_map.mapping_poses[0, :3, 3], atol=1e-6)
    assert (model.cameras[1].width, model.cameras[1].height) == (CAMERA.width, CAMERA.height)


def test_the_suffix_or_an_option_tells_what_is_written(small_map, tmp_path) -> None:
    for out in ('room.ply', 'room.glb', 'walk.TUM'):
        completed = run_command('export', small_map.path, tmp_path / out)
        assert completed.stdout == f'wrote {tmp_path / out}\n'
    error = user_error('export', small_map.path, tmp_path / 'model')
    remedy = remedies.EXPORT_KIND.format(
        suffixes='.map, .ply, .glb, .tum', kinds='robot, ply, glb, tum, colmap'
    )
    assert error.endswith(f'{remedy}\n') and not (tmp_path / 'model').exists()
    assert (
        run_command('export', small_map.path, tmp_path / 'model', '--to', 'colmap').returncode == 0
    )
    assert {path.name for path in (tmp_path / 'model').iterdir()} == {
        'cameras.txt',
        'images.txt',
        'points3D.txt',
    }


@pytest.mark.parametrize('format', FORMATS)
def test_nothing_is_replaced_unless_that_is_asked_for(small_map, tmp_path, format) -> None:
    out = tmp_path / 'out'
    write_exchange_file(small_map, out, format)
    with pytest.raises(NerfReversalError, match=re.escape(remedies.OVERWRITE_FILE)):
        write_exchange_file(small_map, out, format)
    write_exchange_file(small_map, out, format, overwrite=True)
    with pytest.raises(NerfReversalError, match='cannot write'):
        write_exchange_file(small_map, tmp_path / 'no' / 'folder', format)


def test_a_binary_model_that_is_replaced_does_not_stay_beside_the_new_one(small_map, tmp_path):
    """COLMAP and `convert` prefer binary files, and COLMAP 4 reads rigs and frames, too."""
    (tmp_path / 'notes.txt').write_text('of the user')
    for name in ('cameras.bin', 'images.bin', 'points3D.bin', 'rigs.txt', 'frames.bin'):
        (tmp_path / name).write_bytes(b'old')
    write_exchange_file(small_map, tmp_path, 'colmap', overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        *('cameras.txt', 'images.txt', 'points3D.txt'),
        'notes.txt',
    }
