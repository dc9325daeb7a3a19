"""Recordings of other programs become bags in which nothing is lost or mistaken."""

import json
import resource
import zipfile

import cv2
import lzfse
import numpy as np
import OpenEXR
import pytest
from recordings import shared
from rooms import phone_camera, render_box_room, walk
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.capture import iter_images, open_capture
from nerf_reversal_ros.converters import convert, guess_format
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.converters.seven_scenes import COLOUR_FROM_DEPTH, register_depth
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import (
    inverse,
    OPTICAL_FROM_OPENGL,
    orthonormalized,
    pose_errors,
    Z_UP_FROM_Y_UP,
)

POSES = walk(24)[:12]
CAMERA = phone_camera()
DEPTH_CAMERA = CAMERA.scaled_to(48, 64)
ALL = CaptureConfig(min_move_m=0.0, min_turn_deg=0.0, blur_ratio=0.0)


def arkit(map_from_camera):
    """ARKit's y-up world and OpenGL camera axes."""
    return inverse(Z_UP_FROM_Y_UP) @ map_from_camera @ OPTICAL_FROM_OPENGL


def jpeg(rgb):
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    return cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def record3d_metadata(poses=POSES, **changes):
    k = CAMERA.matrix.T.ravel()  # column-major
    seven = [[*Rotation.from_matrix(p[:3, :3]).as_quat(), *p[:3, 3]] for p in map(arkit, poses)]
    times = [10.0 + i / 30 for i in range(len(poses))]
    values = {'w': 96, 'h': 128, 'dw': 48, 'dh': 64, 'fps': 30, 'K': list(k), 'poses': seven}
    return {**values, 'frameTimestamps': times, 'initPose': seven[0], **changes}


def views(numbers=range(12)):
    for n in numbers:
        yield n, render_box_room(POSES[n], CAMERA)[0], render_box_room(POSES[n], DEPTH_CAMERA)[1]


def write_r3d(path, numbers=range(12), *, metadata=None, confidence=None, **changes):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('metadata', json.dumps(metadata or record3d_metadata(**changes)))
        archive.writestr('icon', b'an icon')
        archive.writestr('sound.m4a', b'sound')
        for n, rgb, depth in views(numbers):
            archive.writestr(f'rgbd/{n}.jpg', jpeg(rgb))
            depth[:2] = np.nan
            archive.writestr(f'rgbd/{n}.depth', lzfse.compress(depth.tobytes()))
            if confidence is not None:
                archive.writestr(f'rgbd/{n}.conf', lzfse.compress(confidence.tobytes()))
    return path


def write_export(folder, numbers=range(12), **changes):
    (folder / 'rgb').mkdir(parents=True)
    (folder / 'depth').mkdir()
    (folder / 'metadata.json').write_text(json.dumps(record3d_metadata(**changes)))
    for n, rgb, depth in views(numbers):
        (folder / 'rgb' / f'{n}.jpg').write_bytes(jpeg(rgb))
        channels = {'R': depth.astype(np.float16)}
        with OpenEXR.File({'type': OpenEXR.scanlineimage}, channels) as file:
            file.write(str(folder / 'depth' / f'{n}.exr'))
    return folder


def assert_same_cameras(capture, poses):
    """The map is ARKit's world turned z up, which here is the room itself."""
    errors = pose_errors(capture.map_from_camera, poses)
    assert errors.translation.max() < 1e-6
    assert errors.rotation.max() < 1e-6


# ---- Record3D


@pytest.mark.parametrize('write', [write_r3d, write_export])
def test_record3d_recordings_come_back_as_they_were(tmp_path, write):
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


@pytest.mark.parametrize('write', [write_r3d, write_export])
def test_frames_the_user_deleted_do_not_shift_the_poses(tmp_path, write):
    """File 10 comes after file 9, and poses are taken by file number."""
    numbers = [0, 1, 2, 5, 6, 7, 9, 10, 11]
    convert(write(tmp_path / 'walk.r3d', numbers), tmp_path / 'bag')
    capture = open_capture(tmp_path / 'bag', ALL)
    assert_same_cameras(capture, POSES[numbers])


def test_the_colour_pictures_are_copied_without_a_loss(tmp_path):
    source = write_export(tmp_path / 'walk')
    convert(source, tmp_path / 'bag')
    first = open_capture(tmp_path / 'bag', ALL).frame(0).rgb
    stored = cv2.imread(str(source / 'rgb' / '0.jpg'))[..., ::-1]
    assert np.array_equal(first, stored)


def test_intrinsics_of_each_frame_beat_those_of_the_first(tmp_path):
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


def test_a_range_of_frames_is_counted_by_file_number(tmp_path):
    source = write_r3d(tmp_path / 'walk.r3d', [0, 1, 2, 5, 6, 7, 9, 10, 11])
    convert(source, tmp_path / 'bag', frames=slice(5, 10))
    assert_same_cameras(open_capture(tmp_path / 'bag', ALL), POSES[[5, 6, 7, 9]])
    with pytest.raises(CaptureError, match=r'has frames 0 to 11, none of them in 20:30'):
        convert(source, tmp_path / 'other', frames=slice(20, 30))


def test_recordings_of_the_faceid_camera_are_refused(tmp_path):
    faceid = {**record3d_metadata(), 'poses': [[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]] * 12}
    with pytest.raises(CaptureError, match=r'all poses .* are the same: the FaceID camera'):
        convert(write_r3d(tmp_path / 'walk.r3d', metadata=faceid), tmp_path / 'bag')


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'K': [1.0, 2.0]}, 'K in the metadata .* has 2 numbers'),
        ({'K': [0.0] * 9}, 'intrinsics of frame 0 .*focal lengths'),
        ({'poses': 'none'}, 'are not those of Record3D'),
        ({'dw': 50}, r'rgbd/0.depth .* holds 12288 bytes, but 50x64 .* need 12800'),
        ({'w': 128, 'h': 96}, r'picture 0 .* is 96x128, its metadata say 128x96'),
        ({'poses': []}, 'no picture .* has a pose'),
    ],
)
def test_metadata_that_cannot_be_used_are_refused(tmp_path, change, sentence):
    source = write_r3d(tmp_path / 'walk.r3d', range(3), metadata={**record3d_metadata(), **change})
    with pytest.raises(CaptureError, match=sentence):
        convert(source, tmp_path / 'bag')
    assert not list(tmp_path.glob('bag*'))


def test_an_archive_that_reaches_outside_itself_is_refused(tmp_path):
    source = write_r3d(tmp_path / 'walk.r3d', range(3))
    with zipfile.ZipFile(source, 'a') as archive:
        archive.writestr('../../evil.jpg', b'evil')
    with pytest.raises(CaptureError, match=r"holds '../../evil.jpg', outside of itself"):
        convert(source, tmp_path / 'bag')


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path):
    source = tmp_path / 'bomb.r3d'
    with zipfile.ZipFile(source, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('metadata', json.dumps(record3d_metadata()))
        archive.writestr('rgbd/0.jpg', bytes(100_000_000))
    with pytest.raises(CaptureError, match=r'rgbd/0.jpg .* would unpack to 100000000 bytes'):
        convert(source, tmp_path / 'bag')


@pytest.mark.parametrize('share', [0.0, 0.5, 0.95])
def test_an_archive_that_was_cut_off_is_refused(tmp_path, share):
    source = write_r3d(tmp_path / 'walk.r3d', range(3))
    data = source.read_bytes()
    source.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CaptureError, match=r'is no .r3d file or was cut off'):
        convert(source, tmp_path / 'bag')


def test_a_damaged_exr_is_named(tmp_path):
    source = write_export(tmp_path / 'walk', range(3))
    (source / 'depth' / '1.exr').write_bytes(b'not an EXR')
    with pytest.raises(CaptureError, match=r'1\.exr is no EXR file or damaged'):
        convert(source, tmp_path / 'bag')
    assert not list(tmp_path.glob('bag*'))


# ---- nerfstudio


def write_nerfstudio(folder, *, depth=True, order=range(12), frame_changes=None, **changes):
    folder.mkdir()
    frames = []
    for n in order:
        rgb, metres = render_box_room(POSES[n], CAMERA)
        (folder / f'frame_{n}.jpg').write_bytes(jpeg(rgb))
        frame = {
            'file_path': f'frame_{n}.jpg',
            'transform_matrix': (POSES[n] @ OPTICAL_FROM_OPENGL).tolist(),
            **(frame_changes or {}),
        }
        if depth:
            frame['depth_file_path'] = f'depth_{n}.png'
            cv2.imwrite(str(folder / f'depth_{n}.png'), np.rint(metres * 1e3).astype(np.uint16))
        frames.append(frame)
    scene = {
        'w': CAMERA.width,
        'h': CAMERA.height,
        'fl_x': CAMERA.fx,
        'fl_y': CAMERA.fy,
        'cx': CAMERA.cx + 0.5,
        'cy': CAMERA.cy + 0.5,
        'frames': frames,
    }
    (folder / 'transforms.json').write_text(json.dumps({**scene, **changes}))
    return folder


def test_a_nerfstudio_scene_with_depth_is_read_in_the_order_of_its_names(tmp_path):
    source = write_nerfstudio(tmp_path / 'scene', order=[10, 9, 2, 11, 0, 1, 3, 4, 5, 6, 7, 8])
    convert(source, tmp_path / 'bag')
    capture = open_capture(tmp_path / 'bag', CaptureConfig(up_axis='z'))
    assert capture.convention.axes == 'optical'
    assert np.allclose(capture.map_from_camera, POSES, atol=1e-6)
    assert capture.camera.as_dict() == pytest.approx(CAMERA.as_dict())
    assert np.abs(capture.frame(0).depth - render_box_room(POSES[0], CAMERA)[1]).max() < 6e-4


def test_a_scene_without_depth_works_and_says_once_what_is_lost(tmp_path):
    source = write_nerfstudio(tmp_path / 'scene', depth=False)
    told = []
    convert(source / 'transforms.json', tmp_path / 'bag', progress=told.append)
    assert (told[-1].done, told[-1].total) == (12, 12)
    (note,) = [progress.note for progress in told if progress.note]
    assert note.startswith('no depth: the pose convention cannot be checked')
    capture = open_capture(tmp_path / 'bag', CaptureConfig(up_axis='z'))
    assert not capture.has_depth
    assert np.allclose(capture.map_from_camera, POSES, atol=1e-6)


def test_a_depth_picture_that_a_scene_names_and_lacks_is_told(tmp_path):
    source = write_nerfstudio(tmp_path / 'scene')
    (source / 'depth_3.png').unlink()
    with pytest.raises(CaptureError, match=r'be used: there is no depth picture .*_3\.png$'):
        convert(source, tmp_path / 'bag')


def write_depth_arrays(source, unit_m=0.001, **told):
    """Give a scene its depth as float arrays in units of so many metres."""
    scene = json.loads((source / 'transforms.json').read_text())
    for n in range(12):
        depth = render_box_room(POSES[n], CAMERA)[1] / np.float32(unit_m)
        np.save(source / f'depth_{n}.npy', depth.astype(np.float32))
    for frame in scene['frames']:
        frame['depth_file_path'] = frame['depth_file_path'].replace('.png', '.npy')
    (source / 'transforms.json').write_text(json.dumps({**scene, **told}))
    return source


@pytest.mark.parametrize(('unit_m', 'told'), [(0.001, {}), (1.0, {'integer_depth_scale': 1.0})])
def test_depth_in_arrays_is_in_millimetres_unless_the_scene_tells(tmp_path, unit_m, told):
    source = write_depth_arrays(write_nerfstudio(tmp_path / 'scene'), unit_m, **told)
    convert(source, tmp_path / 'bag')
    capture = open_capture(tmp_path / 'bag', CaptureConfig(up_axis='z'))
    assert np.abs(capture.frame(0).depth - render_box_room(POSES[0], CAMERA)[1]).max() < 6e-4


def test_intrinsics_of_a_frame_beat_those_of_the_scene(tmp_path):
    source = write_nerfstudio(tmp_path / 'scene', frame_changes={'fl_x': 86.0})
    convert(source, tmp_path / 'bag')
    assert open_capture(tmp_path / 'bag', ALL).camera.fx == 86.0


TURNED = [[0.0, 1, 0, 0.3], [1, 0, 0, -2.0], [0, 0, -1, 0.7]]


def write_processed(folder, *, noted=True):
    """Write a scene whose poses were turned, shifted and shrunk; its depth was not."""
    turn, scale = (TURNED, 0.4) if noted else ([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]], 1.0)
    source = write_nerfstudio(folder)
    scene = json.loads((source / 'transforms.json').read_text())
    for frame in scene['frames']:
        at = np.array(turn) @ np.array(frame['transform_matrix'])
        at[:, 3] *= scale
        frame['transform_matrix'] = [*at.tolist(), [0, 0, 0, 1]]
    if noted:
        scene |= {'applied_transform': turn, 'applied_scale': scale}
    else:
        (source / 'colmap/sparse/0').mkdir(parents=True)
    (source / 'transforms.json').write_text(json.dumps(scene))
    return source


@pytest.mark.parametrize('noted', [True, False])
def test_what_was_done_to_the_poses_of_a_scene_is_undone(tmp_path, noted):
    convert(write_processed(tmp_path / 'scene', noted=noted), tmp_path / 'bag')
    capture = open_capture(tmp_path / 'bag', CaptureConfig(up_axis='z'))
    assert capture.convention.axes == 'optical'  # the depth fits: lengths are metres
    assert np.allclose(capture.map_from_camera, POSES, atol=1e-6)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'applied_scale': 0}, 'applied_scale = 0 of .* must be > 0'),
        ({'applied_scale': 'two'}, 'has an applied transform that is none: could not convert'),
        ({'applied_transform': np.diag([1, 1, -1, 1]).tolist()}, 'is no turn and shift'),
        ({'applied_transform': [1, 0, 0]}, r'applied_transform = \[1, 0, 0\] of .* is no turn'),
        ({'frames': []}, 'list of frames .* is empty'),
        ({'frames': None}, 'has no list of frames'),
        ({'camera_model': 'EQUIRECTANGULAR'}, 'camera_model EQUIRECTANGULAR is not known'),
        ({'fl_x': float('nan')}, 'frame frame_0.jpg .* focal lengths must be'),
        ({'k4': 0.1}, 'k4 = 0.1 has no meaning'),
        ({'w': 400}, 'not the same view'),
    ],
)
def test_a_scene_that_cannot_be_used_is_refused(tmp_path, changes, sentence):
    with pytest.raises(CaptureError, match=sentence):
        convert(write_nerfstudio(tmp_path / 'scene', **changes), tmp_path / 'bag')
    assert not list(tmp_path.glob('bag*'))


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'file_path': 'gone.jpg'}, 'frame gone.jpg .* there is no picture'),
        ({'transform_matrix': [[1.0]]}, 'no finite 4x4 matrix'),
        ({'transform_matrix': np.diag([1, 1, -1, 1]).tolist()}, 'mirrors or is singular'),
    ],
)
def test_a_frame_that_cannot_be_used_is_named(tmp_path, changes, sentence):
    with pytest.raises(CaptureError, match=sentence):
        convert(write_nerfstudio(tmp_path / 'scene', frame_changes=changes), tmp_path / 'bag')


def test_a_real_colmap_scene_is_undistorted(tmp_path):
    """SIFT matches between undistorted pictures lie on the epipolar lines of the bag's poses."""
    convert(shared('real_room_colmap'), tmp_path / 'bag', frames=slice(0, 4))
    capture = open_capture(tmp_path / 'bag', ALL)
    errors = [_epipolar_error_px(capture.frame(i), capture.frame(i + 1)) for i in range(3)]
    assert np.median(errors) < 1.0


def _epipolar_error_px(one, other):
    sift = cv2.SIFT_create(2000)
    (kp1, d1), (kp2, d2) = (sift.detectAndCompute(frame.rgb, None) for frame in (one, other))
    pairs = cv2.BFMatcher().knnMatch(d1, d2, k=2)
    good = [m for m, n in pairs if m.distance < 0.7 * n.distance]
    p1 = np.array([(*kp1[m.queryIdx].pt, 1.0) for m in good])
    p2 = np.array([(*kp2[m.trainIdx].pt, 1.0) for m in good])
    relative = inverse(other.map_from_camera) @ one.map_from_camera
    x, y, z = relative[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    k1, k2 = np.linalg.inv(one.camera.matrix), np.linalg.inv(other.camera.matrix)
    lines = p1 @ (k2.T @ cross @ relative[:3, :3] @ k1).T
    return np.median(np.abs(np.sum(lines * p2, axis=1)) / np.linalg.norm(lines[:, :2], axis=1))


# ---- 7-Scenes

SCENES_COLOUR = Camera(640, 480, 525.505, 525.505, 320.0, 240.0)
SCENES_DEPTH = Camera(640, 480, 585.0, 585.0, 320.0, 240.0)


def write_seven_scenes(folder, numbers):
    """Poses beside the frames are of the depth camera, those in poses.txt of the colour camera."""
    folder.mkdir()
    lines = []
    for n in numbers:
        world_from_depth = walk(24)[n % 24]
        world_from_colour = world_from_depth @ inverse(orthonormalized(COLOUR_FROM_DEPTH))
        rgb = render_box_room(world_from_colour, SCENES_COLOUR)[0]
        millimetres = np.rint(render_box_room(world_from_depth, SCENES_DEPTH)[1] * 1e3)
        millimetres[:, :8], millimetres[:, 8:16] = 0, 65535
        stem = f'frame-{n:06d}'
        (folder / f'{stem}.color.jpg').write_bytes(jpeg(rgb))
        cv2.imwrite(str(folder / f'{stem}.depth.png'), millimetres.astype(np.uint16))
        stretched = world_from_depth.copy()
        stretched[:3, :3] *= 0.9998
        np.savetxt(folder / f'{stem}.pose.txt', stretched)
        x, y, z, w = Rotation.from_matrix(inverse(world_from_colour)[:3, :3]).as_quat()
        t = ' '.join(map(str, inverse(world_from_colour)[:3, 3]))
        lines.append(f'seq-01/{stem}.color.png {w} {x} {y} {z} {t} 525.505')
        lines.append(f'seq-02/{stem}.color.png 1 0 0 0 9 9 9 525.505')
    (folder / 'poses.txt').write_text('\n'.join(lines))
    return folder


@pytest.mark.parametrize('pose_file', [None, 'poses.txt'])
def test_depth_and_poses_of_seven_scenes_are_taken_to_the_colour_camera(tmp_path, pose_file):
    source = write_seven_scenes(tmp_path / 'seq-01', range(4))
    convert(source, tmp_path / 'bag', poses=pose_file and source / pose_file)
    capture = open_capture(tmp_path / 'bag', CaptureConfig(up_axis='z'))
    for frame in capture:
        expected = walk(24)[frame.index] @ inverse(orthonormalized(COLOUR_FROM_DEPTH))
        assert np.allclose(frame.map_from_camera, expected, atol=1e-5)
        truth = render_box_room(expected, SCENES_COLOUR)[1]
        known = frame.depth > 0
        assert known[60:-60, 80:-40].mean() > 0.99
        assert np.median(np.abs(frame.depth - truth)[known]) < 2e-3
        assert np.mean(np.abs(frame.depth - truth)[known] < 0.05) > 0.98


def test_the_stamp_tells_the_frame_number(tmp_path):
    source = write_seven_scenes(tmp_path / 'seq-01', [0, 3, 12])
    convert(source, tmp_path / 'bag')
    stamps_ns = np.array([p.stamp_ns for p in iter_images(tmp_path / 'bag', CaptureConfig())])
    assert stamps_ns.min() > 0
    assert np.rint(stamps_ns * 30 / 1e9).tolist() == [0, 3, 12]


def test_the_nearest_surface_wins_when_depth_is_registered():
    depth = np.full((480, 640), 3.0, np.float32)
    depth[200:280, 280:360] = 1.0
    registered = register_depth(depth, SCENES_COLOUR)
    assert set(np.unique(np.rint(registered[registered > 0]))) == {1.0, 3.0}
    # The near square moves by 525.5 * -2.6 cm / 1 m = -13 px, the wall by a third of that.
    square = np.flatnonzero(np.abs(registered[240] - 1.0) < 0.5)
    assert abs(square.mean() - (320 - 13.4 - 525.5 * 0.0079)) < 2.0
    assert register_depth(np.zeros((480, 640), np.float32), SCENES_COLOUR).max() == 0.0


def test_a_pose_file_of_another_sequence_is_refused(tmp_path):
    source = write_seven_scenes(tmp_path / 'seq-07', range(2))
    with pytest.raises(CaptureError, match=r'no frame of .* has a pose in .*poses.txt'):
        convert(source, tmp_path / 'bag', poses=source / 'poses.txt')


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [('frame-000000.color.png 1 0 0', 'line 1 is not'), ('a b c d e f g h i', 'line 1 is not')],
)
def test_a_pose_file_in_another_format_is_refused(tmp_path, content, sentence):
    source = write_seven_scenes(tmp_path / 'seq-01', range(2))
    (tmp_path / 'bad.txt').write_text(content)
    with pytest.raises(CaptureError, match=sentence):
        convert(source, tmp_path / 'bag', poses=tmp_path / 'bad.txt')


def test_a_missing_or_binary_pose_file_is_told_in_a_clear_sentence(tmp_path):
    source = write_seven_scenes(tmp_path / 'seq-01', range(2))
    poses = tmp_path / 'poses.txt'
    with pytest.raises(CaptureError) as caught:
        convert(source, tmp_path / 'bag', poses=poses)
    assert str(caught.value) == f'cannot read the pose file {poses}: No such file or directory'
    poses.write_bytes(b'\xff\xfe')
    with pytest.raises(CaptureError, match='is not a file of lines "name qw qx qy qz tx ty tz f"'):
        convert(source, tmp_path / 'bag', poses=poses)


def test_a_missing_depth_picture_is_named(tmp_path):
    source = write_seven_scenes(tmp_path / 'seq-01', range(2))
    (source / 'frame-000001.depth.png').unlink()
    with pytest.raises(CaptureError, match=r'frame-000001.depth.png is missing'):
        convert(source, tmp_path / 'bag')
    assert not list(tmp_path.glob('bag*'))


# ---- all of them


def test_the_format_is_guessed_from_the_files(tmp_path):
    (tmp_path / 'export').mkdir()
    (tmp_path / 'export' / 'metadata.json').touch()
    (tmp_path / 'seq').mkdir()
    (tmp_path / 'seq' / 'frame-000000.color.png').touch()
    assert guess_format(tmp_path / 'walk.r3d') == 'record3d'
    assert guess_format(tmp_path / 'export') == 'record3d'
    assert guess_format(tmp_path / 'transforms.json') == 'nerfstudio'
    assert guess_format(tmp_path / 'seq') == '7scenes'
    with pytest.raises(CaptureError, match='name its format, one of record3d, nerfstudio, 7s'):
        guess_format(tmp_path)


def test_what_is_not_there_or_not_known_is_refused(tmp_path):
    with pytest.raises(CaptureError, match='there is no recording at'):
        convert(tmp_path / 'nothing', tmp_path / 'bag')
    with pytest.raises(CaptureError, match="format 'kinect' is not known"):
        convert(tmp_path, tmp_path / 'bag', format='kinect')
    with pytest.raises(CaptureError, match='a pose file goes with the format 7scenes only'):
        convert(tmp_path, tmp_path / 'bag', format='record3d', poses=tmp_path / 'poses.txt')


def test_an_existing_bag_is_not_overwritten(tmp_path):
    source = write_r3d(tmp_path / 'walk.r3d', range(3))
    (tmp_path / 'bag').mkdir()
    with pytest.raises(CaptureError, match='exists already: choose another name or remove it'):
        convert(source, tmp_path / 'bag')


def test_a_bag_whose_writing_failed_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt), BagWriter(tmp_path / 'bag') as writer:
        writer.write(1, np.zeros((4, 4, 3), np.uint8), None, Camera(4, 4, 4, 4, 2, 2), np.eye(4))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_full_disk_is_told_in_one_sentence_and_leaves_nothing_behind(tmp_path, storage):
    """A limit on the size of files stands for the disk."""
    noise = np.random.default_rng(0).integers(0, 256, (128, 96, 3), dtype=np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(CaptureError, match=r'cannot write the bag .*/bag'):
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
        try:
            with BagWriter(tmp_path / 'bag', storage=storage) as writer:
                for stamp_ns in range(1, 100):
                    writer.write(stamp_ns, noise, None, CAMERA, np.eye(4))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_bag_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(CaptureError, match='cannot write the bag'):
        BagWriter(tmp_path / 'file' / 'bag')
