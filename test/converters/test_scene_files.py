"""Image formats, masks, EXIF, cameras of several sizes, and paths of a transforms.json."""

import json
import shutil

import cv2
from exports import ALL, CAMERA, POSES, write_nerfstudio
import numpy as np
from PIL import Image, ImageOps
import pytest
from room_bags import raw_image
from rooms import render_box_room

from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.orientation import turn
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.converters.image_files import load_image
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError

COUNT = 4


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    return write_nerfstudio(tmp_path_factory.mktemp('scene') / 'scene', order=range(COUNT))


@pytest.fixture
def scene(original, tmp_path):
    return shutil.copytree(original, tmp_path / 'scene')


def edit(scene, change):
    """Apply ``change(values, frames)`` to a transforms.json."""
    path = scene / 'transforms.json'
    values = json.loads(path.read_text())
    change(values, values['frames'])
    path.write_text(json.dumps(values))


def convert_and_open(scene, bag, **options):
    notes = convert(scene, bag, **options).notes
    return open_capture(bag, ALL), notes


def assert_like_the_room(capture):
    """Compare all frames with renderings; another frame differs by 30 gray values, noise by 11."""
    assert len(capture) == COUNT
    for frame, pose in zip(capture, POSES, strict=False):
        rgb, depth = render_box_room(pose, CAMERA)
        valid = np.ones(rgb.shape[:2], bool) if frame.valid is None else frame.valid
        assert np.abs(frame.rgb.astype(int) - rgb)[valid].mean() < 17
        known = frame.depth > 0
        assert np.abs(frame.depth - depth)[known].max() < 0.01
        assert known[valid].all()


# ---- image formats


@pytest.mark.parametrize('suffix', ['.webp', '.tiff', '.TIF', '.bmp', '.PNG', '.JPEG'])
def test_images_of_other_formats_are_converted(scene, tmp_path, suffix):
    for number in range(COUNT):
        file = scene / f'frame_{number}.jpg'
        Image.open(file).save(file.with_suffix(suffix))
        file.unlink()
    edit(scene, lambda _, frames: [f.update(file_path=f['file_path'][:-4]) for f in frames])
    assert_like_the_room(convert_and_open(scene, tmp_path / 'bag')[0])


def test_images_of_16_bits_gray_and_transparent_ones_are_converted(scene, tmp_path):
    rgb = cv2.imread(str(scene / 'frame_0.jpg'))
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[10:30, 20:40] = 0
    for number, pixels in enumerate(
        [
            rgb.astype(np.uint16) * 257,
            cv2.cvtColor(rgb, cv2.COLOR_BGR2GRAY),
            np.dstack([rgb, alpha]),
        ]
    ):
        cv2.imwrite(str(scene / f'frame_{number}.png'), pixels)
        (scene / f'frame_{number}.jpg').unlink()
    edit(scene, lambda _, frames: [f.update(file_path=f['file_path'][:-4]) for f in frames])
    frames = list(convert_and_open(scene, tmp_path / 'bag')[0])
    assert np.abs(frames[0].rgb[..., ::-1].astype(int) - rgb).max() < 40
    assert np.ptp(frames[1].rgb, axis=2).max() == 0
    assert np.array_equal(frames[2].valid, alpha > 0)
    assert not frames[2].depth[12:28, 22:38].any()


# ---- masks


def test_images_of_16_bits_are_rounded_as_raw_messages_are():
    stored = np.array([[0, 128, 129, 400, 65407, 65535]], np.uint16)
    data = cv2.imencode('.png', stored)[1].tobytes()
    message = raw_image(None, stored, 'mono16')
    assert np.array_equal(load_image(data).rgb, rgb_from_message(message))


def test_masked_pixels_are_left_out_of_color_and_depth(scene, tmp_path):
    """A red box before each image, and a mask that leaves it out."""
    for number in range(COUNT):
        rgb = cv2.imread(str(scene / f'frame_{number}.jpg'))
        depth = cv2.imread(str(scene / f'depth_{number}.png'), cv2.IMREAD_UNCHANGED)
        rgb[40:90, 30:60], depth[40:90, 30:60] = (0, 0, 255), 300
        mask = np.full(rgb.shape[:2], 255, np.uint8)
        mask[38:92, 28:62] = 0
        cv2.imwrite(str(scene / f'frame_{number}.jpg'), rgb)
        cv2.imwrite(str(scene / f'depth_{number}.png'), depth)
        cv2.imwrite(str(scene / f'mask_{number}.png'), mask)
    edit(
        scene,
        lambda _, frames: [
            f.update(mask_path=f['file_path'].replace('frame', 'mask')[:-3] + 'png')
            for f in frames
        ],
    )
    capture, _ = convert_and_open(scene, tmp_path / 'bag')
    assert capture.has_masks
    for frame in capture:
        assert np.array_equal(~frame.valid, mask == 0)
        assert not frame.depth[~frame.valid].any()
        red = frame.rgb.astype(int)[~frame.valid]
        assert (red[:, 0] - red[:, 1:].max(1)).max() < 100
    assert_like_the_room(capture)


def test_a_frame_that_is_masked_as_a_whole_is_left_out(scene, tmp_path):
    cv2.imwrite(str(scene / 'mask.png'), np.zeros((CAMERA.height, CAMERA.width), np.uint8))
    edit(scene, lambda _, frames: frames[1].update(mask_path='mask.png'))
    conversion = convert(scene, tmp_path / 'bag')
    assert 'missing or damaged mask: such as frame_1.jpg: its mask leaves' in conversion.notes[0]


# ---- EXIF


def store_sideways(scene, number, orientation=6):
    """Store an image turned by 90 degrees, with a tag that says so."""
    file = scene / f'frame_{number}.jpg'
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(file).rotate(90, expand=True).save(file, exif=exif, quality=95)


@pytest.mark.parametrize('sizes', [True, False])
def test_an_image_is_turned_where_its_intrinsics_are_of_the_turned_one(scene, tmp_path, sizes):
    store_sideways(scene, 1)
    if not sizes:
        edit(scene, lambda values, _: [values.pop(key) for key in ('w', 'h')])
    capture, notes = convert_and_open(scene, tmp_path / 'bag')
    assert_like_the_room(capture)
    assert notes == ()


@pytest.mark.parametrize('orientation', [3, 6, 8])
def test_confidence_is_turned_with_its_depth(scene, tmp_path, orientation):
    turns = {3: 2, 6: 1, 8: 3}[orientation]
    image, depth = scene / 'frame_1.jpg', scene / 'depth_1.png'
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(image).rotate(90 * turns, expand=True).save(image, exif=exif, quality=95)
    pixels = cv2.imread(str(depth), cv2.IMREAD_UNCHANGED)
    confidence = np.full(pixels.shape, 2, np.uint8)
    confidence[:5, :9] = 0
    cv2.imwrite(str(depth), np.rot90(pixels, turns))
    cv2.imwrite(str(scene / 'confidence_1.png'), np.rot90(confidence, turns))
    edit(
        scene,
        lambda _, frames: [
            f.update(confidence_path='confidence_1.png')
            for f in frames
            if f['file_path'].endswith('frame_1.jpg')
        ],
    )
    capture, _ = convert_and_open(scene, tmp_path / 'bag', exif='turn')
    assert np.array_equal(capture.frame(1).depth == 0, confidence == 0)


def test_an_orientation_that_nothing_confirms_is_named_and_both_remedies_work(scene, tmp_path):
    for number in range(COUNT):
        store_sideways(scene, number, 6)
    edit(scene, lambda values, _: [values.pop(key) for key in ('w', 'h', 'cx', 'cy')])
    with pytest.raises(
        CaptureError, match=f'EXIF orientation of frame_0.jpg is 6.* {remedies.EXIF}'
    ):
        convert(scene, tmp_path / 'bag')
    command = ['convert', str(scene), str(tmp_path / 'turned'), '--exif', 'turn']
    assert main(command) == 0
    assert_like_the_room(open_capture(tmp_path / 'turned', ALL))
    conversion = convert(scene, tmp_path / 'stored', exif='ignore', use_depth=False)
    assert conversion.frame_count == COUNT


@pytest.mark.parametrize('orientation', range(1, 9))
def test_pixels_are_turned_as_pillow_does(orientation):
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    assert np.array_equal(turn(pixels, orientation), np.asarray(ImageOps.exif_transpose(image)))


# ---- intrinsics, depth units, keys


def test_frames_of_a_second_camera_are_resampled_to_the_size_of_the_first(scene, tmp_path):
    """The image of frame 1 shows the middle rows only, with its own intrinsics."""
    for name in ('frame_1.jpg', 'depth_1.png'):
        pixels = cv2.imread(str(scene / name), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(scene / name), pixels[24:104])
    edit(scene, lambda v, frames: frames[1].update(h=80, cy=v['cy'] - 24))
    capture, notes = convert_and_open(scene, tmp_path / 'bag')
    assert notes[0].startswith('1 frames of another size were resampled to 96x128')
    frame = capture.frame(1)
    assert np.array_equal(frame.valid.all(1), [24 <= row < 104 for row in range(128)])
    assert_like_the_room(capture)


def test_the_depth_scale_has_two_names_and_is_checked(scene, tmp_path):
    for file in scene.glob('depth_*.png'):
        cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_UNCHANGED) // 2)
    edit(scene, lambda values, _: values.update(depth_unit_scale_factor=0.002))
    assert_like_the_room(convert_and_open(scene, tmp_path / 'bag')[0])
    edit(scene, lambda values, _: values.update(depth_unit_scale_factor=0))
    reason = 'depth_unit_scale_factor = 0 is no length .* set it to 0.001'
    with pytest.raises(CaptureError, match=f'{reason} .* or {remedies.NO_DEPTH}'):
        convert(scene, tmp_path / 'other')
    assert convert(scene, tmp_path / 'none', use_depth=False).frame_count == COUNT
    edit(scene, lambda values, _: values.update(depth_unit_scale_factor=0.001))
    assert convert(scene, tmp_path / 'other').frame_count == COUNT


def test_the_vertical_angle_and_the_full_model_are_used(scene, tmp_path):
    angle = 2 * np.arctan(CAMERA.height / 2 / (1.1 * CAMERA.fy))
    edit(scene, lambda v, _: (v.pop('fl_y'), v.update(camera_angle_y=angle)))
    assert convert_and_open(scene, tmp_path / 'a')[0].camera.fy == pytest.approx(1.1 * CAMERA.fy)
    edit(scene, lambda v, _: v.update(camera_model='OPENCV', k4=0.2))
    with pytest.raises(CaptureError, match=r'k4 = 0.2 .* set camera_model to FULL_OPENCV'):
        convert(scene, tmp_path / 'b')
    edit(scene, lambda v, _: v.update(camera_model='FULL_OPENCV'))
    assert convert(scene, tmp_path / 'b').frame_count == COUNT


def test_keys_that_are_not_used_are_named_once(scene, tmp_path):
    edit(scene, lambda v, frames: (v.update(ply_file_path='a.ply'), frames[0].update(sharpness=3)))
    notes = convert(scene, tmp_path / 'bag').notes
    assert notes == (
        f'keys of {scene / "transforms.json"} that are not used: ply_file_path, sharpness',
    )


# ---- paths


def move_to_images(scene):
    (scene / 'images').mkdir()
    for file in scene.glob('*_*.*'):
        file.rename(scene / 'images' / file.name)


@pytest.mark.parametrize(
    'path',
    ['/home/someone/room/images/{}', r'C:\Users\me\room\images\{}', r'images\{}', '../images/{}'],
)
def test_files_of_a_moved_folder_are_found_by_the_ends_of_their_paths(scene, tmp_path, path):
    move_to_images(scene)
    keys = ('file_path', 'depth_file_path')
    edit(scene, lambda _, frames: [f.update({k: path.format(f[k]) for k in keys}) for f in frames])
    capture, notes = convert_and_open(scene, tmp_path / 'bag')
    assert_like_the_room(capture)
    moved = f'{2 * COUNT} files are not where {scene / "transforms.json"} says: found by'
    assert path.startswith('images') or notes[0].startswith(moved)


def test_a_missing_image_is_found_where_the_message_says(scene, tmp_path):
    edit(scene, lambda _, frames: [f.update(file_path='/x/rgb/' + f['file_path']) for f in frames])
    for number in range(COUNT):
        (scene / f'frame_{number}.jpg').rename(tmp_path / f'frame_{number}.jpg')
    target = scene / 'rgb' / 'frame_0.jpg'
    with pytest.raises(CaptureError, match=f'no image /x/rgb/frame_0.jpg: copy it to {target}'):
        convert(scene, tmp_path / 'bag')
    target.parent.mkdir()
    for number in range(COUNT):
        shutil.copy(tmp_path / f'frame_{number}.jpg', target.parent)
    assert convert(scene, tmp_path / 'bag').frame_count == COUNT


def test_a_mask_with_the_name_of_a_missing_depth_image_is_not_taken_for_it(scene, tmp_path):
    (scene / 'masks').mkdir()
    (scene / 'depth_1.png').rename(scene / 'masks' / 'depth_1.png')
    assert 'no depth: such as frame_1.jpg' in convert(scene, tmp_path / 'bag').notes[0]


def test_outside_files_are_read_with_trusted_paths(scene, tmp_path, capsys):
    """Absolute paths and paths with ``..`` outside of the folder."""
    outside = tmp_path / 'outside'
    outside.mkdir()
    for number in range(COUNT):
        (scene / f'frame_{number}.jpg').rename(outside / f'frame_{number}.jpg')
    names = [f'../outside/frame_{n}.jpg' for n in range(COUNT)]
    names[3] = str(outside / 'frame_3.jpg')  # absolute
    edit(
        scene,
        lambda _, frames: [f.update(file_path=n) for f, n in zip(frames, names, strict=True)],
    )
    command = ['convert', str(scene), str(tmp_path / 'bag')]
    assert main(command) == 1
    assert 'leads outside of' in (message := capsys.readouterr().err)
    assert f'or {remedies.TRUST_PATHS}' in message
    assert main([*command, '--trust-paths']) == 0
    assert_like_the_room(open_capture(tmp_path / 'bag', ALL))
