"""Recordings of Record3D are converted with their poses, intrinsics and depth."""

import json
import sys
import zipfile

import cv2
from exports import (
    ALL,
    assert_same_cameras,
    CAMERA,
    POSES,
    record3d_metadata,
    views,
    write_export,
    write_r3d,
)
import numpy as np
from PIL import Image
import pytest

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError


@pytest.mark.parametrize(
    ('write', 'package', 'remedy'),
    [
        (write_r3d, 'lzfse', remedies.INSTALL_LZFSE),
        (write_export, 'OpenEXR', remedies.INSTALL_OPENEXR),
    ],
)
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, write, package, remedy):
    source = write(tmp_path / 'walk.r3d')
    with monkeypatch.context() as without:
        without.setitem(sys.modules, package, None)  # as if it were not installed
        with pytest.raises(CaptureError) as caught:
            convert(source, tmp_path / 'bag')
    assert str(caught.value).endswith(f'needs the package {package}: {remedy}')
    assert convert(source, tmp_path / 'bag').frame_count == len(POSES)


@pytest.mark.parametrize('write', [write_r3d, write_export])
def test_images_poses_stamps_and_depth_are_converted(tmp_path, write):
    source = write(tmp_path / 'walk.r3d')
    convert(source, tmp_path / 'bag')
    capture = open_capture(tmp_path / 'bag', ALL)
    assert capture.convention.axes == 'opengl'
    assert capture.convention.up_source == 'noted in the bag: y is up'
    assert_same_cameras(capture, POSES)
    assert capture.stamps_ns[:2].tolist() == [10_000_000_000, 10_033_333_333]
    for frame, (_, _, depth) in zip(capture, views(), strict=True):
        assert frame.camera == CAMERA
        assert np.abs(frame.depth - depth)[2:].max() < 3e-3  # float16 at 3 m: 1 mm
    if write is write_r3d:
        assert not frame.depth[:2].any()


def unpacked(folder):
    """Write a .r3d file, unpack it to a folder and return that."""
    with zipfile.ZipFile(write_r3d(folder.with_suffix('.r3d'))) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize(
    'write',
    [
        lambda folder: write_r3d(folder / 'UPPER.R3D'),
        lambda folder: write_r3d(folder / 'renamed.zip'),
        lambda folder: unpacked(folder / 'unpacked'),
        lambda folder: write_export(folder / 'export' / '2024-05-14' / 'EXR_RGBD').parents[1],
    ],
    ids=['capital letters', 'zip', 'unpacked', 'folder above an export'],
)
def test_a_recording_is_recognized_as_phones_and_unpackers_leave_it(tmp_path, write):
    convert(write(tmp_path), tmp_path / 'bag')
    capture = open_capture(tmp_path / 'bag', ALL)
    assert_same_cameras(capture, POSES)
    assert (capture.frame(3).depth > 0).any()


def test_of_several_recordings_in_a_folder_one_has_to_be_named(tmp_path):
    for name in 'ab':
        write_export(tmp_path / 'exports' / name)
    with pytest.raises(CaptureError, match=r'holds 2 recordings: name one, such as .*a$'):
        convert(tmp_path / 'exports', tmp_path / 'bag')
    convert(tmp_path / 'exports' / 'a', tmp_path / 'bag')


@pytest.mark.parametrize('write', [write_r3d, write_export])
def test_deleted_frames_do_not_shift_the_poses(tmp_path, write):
    """File 10 comes after file 9, and poses are joined by file number."""
    numbers = [0, 1, 2, 5, 6, 7, 9, 10, 11]
    convert(write(tmp_path / 'walk.r3d', numbers), tmp_path / 'bag')
    capture = open_capture(tmp_path / 'bag', ALL)
    assert_same_cameras(capture, POSES[numbers])


def test_color_images_are_copied_without_loss(tmp_path):
    source = write_export(tmp_path / 'walk')
    convert(source, tmp_path / 'bag')
    first = open_capture(tmp_path / 'bag', ALL).frame(0).rgb
    stored = cv2.imread(str(source / 'rgb' / '0.jpg'))[..., ::-1]
    assert np.array_equal(first, stored)


def test_intrinsics_of_another_image_size_are_rejected_and_the_size_that_is_named_works(tmp_path):
    k = list(CAMERA.scaled_to(48, 64).matrix.T.ravel())
    with pytest.raises(CaptureError, match='set w and h of the metadata to 48 and 64, or export'):
        convert(write_r3d(tmp_path / 'walk.r3d', K=k), tmp_path / 'bag')
    convert(write_r3d(tmp_path / 'mended.r3d', K=k, w=48, h=64), tmp_path / 'bag')
    assert open_capture(tmp_path / 'bag', ALL).camera.as_dict() == pytest.approx(CAMERA.as_dict())


def test_intrinsics_of_a_frame_override_those_of_the_first(tmp_path):
    coefficients = [[86.4 + n, 86.4 + n, 49.92, 60.16] for n in range(12)]
    source = write_r3d(tmp_path / 'walk.r3d', perFrameIntrinsicCoeffs=coefficients)
    convert(source, tmp_path / 'bag')
    focal = [frame.camera.fx for frame in open_capture(tmp_path / 'bag', ALL)]
    assert focal == pytest.approx([86.4 + n for n in range(12)])


def test_the_principal_point_and_both_focal_lengths_are_kept(tmp_path):
    k = [80.0, 0.0, 0.0, 0.0, 81.0, 0.0, 47.0, 62.0, 1.0]
    convert(write_export(tmp_path / 'walk', K=k), tmp_path / 'bag', frames=slice(0, 3))
    config = CaptureConfig(depth_topic='', pose_convention='opengl')
    camera = open_capture(tmp_path / 'bag', config).camera
    assert camera == Camera(96, 128, 80.0, 81.0, 47.0, 62.0)


def test_pixels_without_confidence_are_unknown(tmp_path):
    confidence = np.full((64, 48), 2, np.uint8)
    confidence[10:20] = 0
    convert(write_r3d(tmp_path / 'walk.r3d', confidence=confidence), tmp_path / 'bag')
    depth = open_capture(tmp_path / 'bag', ALL).frame(1).depth
    assert not depth[10:20].any()
    assert depth[20:].all()


def test_an_image_that_was_turned_by_exif_is_turned_back(tmp_path):
    source = write_export(tmp_path / 'walk', range(3))
    file = source / 'rgb' / '1.jpg'
    upright = np.asarray(Image.open(file)).astype(int)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(file).rotate(90, expand=True).save(file.with_suffix('.png'), exif=exif)
    file.unlink()
    convert(source, tmp_path / 'bag')
    rgb = open_capture(tmp_path / 'bag', ALL).frame(1).rgb
    assert np.abs(rgb - upright).mean() < 6  # it was encoded as JPEG


def test_a_range_of_frames_selects_file_numbers(tmp_path):
    source = write_r3d(tmp_path / 'walk.r3d', [0, 1, 2, 5, 6, 7, 9, 10, 11])
    convert(source, tmp_path / 'bag', frames=slice(5, 10))
    assert_same_cameras(open_capture(tmp_path / 'bag', ALL), POSES[[5, 6, 7, 9]])
    with pytest.raises(CaptureError, match=r'has frames 0 to 11, none of them in 20:30'):
        convert(source, tmp_path / 'other', frames=slice(20, 30))


def test_recordings_of_the_faceid_camera_are_rejected(tmp_path):
    faceid = {**record3d_metadata(), 'poses': [[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]] * 12}
    with pytest.raises(CaptureError, match=r'all poses .* are the same, as of the FaceID camera'):
        convert(write_r3d(tmp_path / 'walk.r3d', metadata=faceid), tmp_path / 'bag')


@pytest.mark.parametrize(
    ('change', 'error'),
    [
        ({'K': [1.0, 2.0]}, 'K in the metadata .* has 2 numbers'),
        ({'K': [0.0] * 9}, 'frame rgbd/0.jpg: its intrinsics: K of the metadata is all 0'),
        ({'poses': 'none'}, 'are not of Record3D'),
        ({'dw': 50}, r'rgbd/0.depth .* holds 12288 bytes, but 50x64 .* need 12800'),
        ({'w': 128, 'h': 96}, r'rgbd/0.jpg: it is 96x128, but its metadata say 128x96'),
        ({'poses': []}, 'none of the 3 frames .* no pose'),
    ],
)
def test_invalid_metadata_are_rejected(tmp_path, change, error):
    source = write_r3d(tmp_path / 'walk.r3d', range(3), metadata={**record3d_metadata(), **change})
    with pytest.raises(CaptureError, match=error):
        convert(source, tmp_path / 'bag')
    assert not list(tmp_path.glob('bag*'))


def test_an_archive_with_paths_outside_of_itself_is_rejected(tmp_path):
    source = write_r3d(tmp_path / 'walk.r3d', range(3))
    with zipfile.ZipFile(source, 'a') as archive:
        archive.writestr('../../evil.jpg', b'evil')
    with pytest.raises(CaptureError, match=r"holds '../../evil.jpg', outside of itself"):
        convert(source, tmp_path / 'bag')


def test_an_archive_that_unpacks_to_too_much_is_rejected(tmp_path):
    source = tmp_path / 'bomb.r3d'
    with zipfile.ZipFile(source, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('metadata', json.dumps(record3d_metadata()))
        archive.writestr('rgbd/0.jpg', bytes(100_000_000))
    with pytest.raises(CaptureError, match=r'rgbd/0.jpg .* would unpack to 100000000 bytes'):
        convert(source, tmp_path / 'bag')


@pytest.mark.parametrize('fraction', [0.0, 0.5, 0.95])
def test_a_truncated_archive_is_rejected(tmp_path, fraction):
    source = write_r3d(tmp_path / 'walk.r3d', range(3))
    data = source.read_bytes()
    source.write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(CaptureError, match=r'is no .r3d file or was cut off'):
        convert(source, tmp_path / 'bag')
