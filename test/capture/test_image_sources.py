"""Sources of images: what is found, in which order, and what is said of bad ones."""

import io
import sys
from types import SimpleNamespace

import numpy as np
from photos import write_photo, write_video
import pytest
from room_bags import write_room_bag
from rooms import phone_camera, walk

from nerf_reversal_ros.capture.image_sources import open_sources
from nerf_reversal_ros.capture.photo_camera import PhotoCamera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError

CAMERA = PhotoCamera(fov_deg=60.0)
GRAY = [np.full((30, 40, 3), value, np.uint8) for value in (50, 100, 200)]


def images(*words, camera=CAMERA):
    sources = open_sources(map(str, words), camera, CaptureConfig())
    return [image for source in sources for image in source.images()]


def test_files_folders_and_patterns_are_read_in_order(tmp_path):
    for name in ('b.JPG', 'a.jpg', '._a.jpg'):
        write_photo(tmp_path / name.replace('JPG', 'jpg'), GRAY[0]).rename(tmp_path / name)
    (tmp_path / 'notes.md').write_text('no image')
    in_order = [str(tmp_path / 'a.jpg'), str(tmp_path / 'b.JPG')]
    assert [image.name for image in images(tmp_path)] == in_order
    assert [image.name for image in images(tmp_path / '[ab].*')] == in_order
    assert [image.name for image in images(tmp_path / '*')] == in_order  # without the notes
    assert [image.name for image in images(*in_order[::-1])] == in_order[::-1]
    assert images(in_order[0])[0].stamp_ns is None


def test_an_image_of_any_name_is_read_with_its_exif(tmp_path):
    file = write_photo(tmp_path / 'a.jpg', GRAY[0], 6).rename(tmp_path / 'download')
    (image,) = images(file)
    assert image.name == str(file) and image.rgb.shape == (*GRAY[0].shape[:2], 3)


def test_a_video_gives_frames_with_times(tmp_path):
    video = write_video(tmp_path / 'v.avi', GRAY)
    frames = images(video)
    assert [frame.name for frame in frames] == [f'{video}#{k}' for k in range(3)]
    assert [frame.rgb.mean() for frame in frames] == pytest.approx([50, 100, 200], abs=3)
    stamps = [frame.stamp_ns for frame in frames]
    assert np.diff(stamps) == pytest.approx(1e8)
    assert (frames[0].camera.width, frames[0].camera.height) == (40, 30)


def test_an_image_comes_on_standard_input(tmp_path, monkeypatch):
    data = write_photo(tmp_path / 'a.jpg', GRAY[1]).read_bytes()
    monkeypatch.setattr(sys, 'stdin', SimpleNamespace(buffer=io.BytesIO(data)))
    (image,) = images('-')
    assert image.rgb.mean() == pytest.approx(100, abs=2)
    with pytest.raises(CaptureError, match='standard input holds no image'):
        images('-')
    with pytest.raises(CaptureError, match='named twice'):
        images('-', '-')


def test_a_bag_gives_its_images_with_stamps_and_camera_info(tmp_path):
    bag = write_room_bag(tmp_path / 'bag', walk(4))
    (source,) = open_sources([str(bag)], PhotoCamera(), CaptureConfig())
    assert source.has_camera_info and not source.is_endless
    found = list(source.images())
    assert [image.camera for image in found] == [phone_camera()] * 4
    assert np.diff([image.stamp_ns for image in found]) == pytest.approx(1e8)


def test_an_unusable_image_leaves_the_others(tmp_path):
    write_photo(tmp_path / 'a.jpg', GRAY[0])
    (tmp_path / 'b.jpg').write_bytes(b'hello')
    (tmp_path / 'c.heic').write_bytes(b'....ftypheic')
    write_photo(tmp_path / 'd.jpg', GRAY[0])
    found = images(tmp_path)
    assert [image.rgb is None for image in found] == [False, True, True, False]
    assert found[2].problem.endswith('convert it to JPEG')
    (unknown,) = images(tmp_path / 'a.jpg', camera=PhotoCamera())
    assert unknown.is_camera_unknown and not any(image.is_camera_unknown for image in found)


@pytest.mark.parametrize(
    ('word', 'problem'),
    [
        ('nowhere.jpg', 'there is nothing at .*nowhere.jpg: name an image'),
        ('*.jpg', r'nothing matches .*\*.jpg'),
        ('empty', 'empty holds neither images'),
        ('notes.md', r'notes.md is no image, no bag, and no video .*: convert'),
        ('short.mp4', r'short.mp4 is no image, no bag, and no video .*: convert'),
    ],
)
def test_a_source_that_cannot_be_used_is_named(tmp_path, capfd, word, problem):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'notes.md').write_text('no image')
    (tmp_path / 'short.mp4').write_bytes(b'\0\0\0\x20ftypisom')
    with pytest.raises(CaptureError, match=problem):
        images(tmp_path / word)
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize(('word', 'problem'), [('', 'an empty name'), ('x' * 300, 'too long')])
def test_a_word_that_is_no_name_is_told(word, problem):
    with pytest.raises(CaptureError, match=problem):
        images(word)


def test_a_webcam_that_is_absent_is_named(capfd):
    with pytest.raises(CaptureError, match='webcam:93 gives no image: connect a camera'):
        images('webcam:93')
    assert capfd.readouterr() == ('', '')


def test_neighboring_files_are_one_source_whose_samples_are_evenly_spaced(tmp_path):
    files = [write_photo(tmp_path / f'{k}.jpg', GRAY[0]) for k in range(9)]
    video = write_video(tmp_path / 'v.avi', [GRAY[k // 5 % 3] for k in range(15)])
    words = [*map(str, files), str(video)]
    photos, frames = open_sources(words, PhotoCamera(), CaptureConfig())
    assert [image.name for image in photos.samples(3)] == [str(files[k]) for k in (1, 4, 7)]
    assert [image.name for image in frames.samples(3)] == [f'{video}#{k}' for k in (2, 7, 12)]
    assert all(image.is_camera_unknown for image in [*photos.samples(3), *frames.samples(3)])
