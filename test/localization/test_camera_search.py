"""The camera of images is found from their matches with the map, or said not to be."""

from dataclasses import replace

import numpy as np
from photos import write_photo, write_video
import pytest
from rooms import render_box_room, walk

from nerf_reversal_ros.capture.image_sources import open_sources, SourceImage
from nerf_reversal_ros.capture.photo_camera import PhotoCamera
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import pose_distance
from nerf_reversal_ros.core.outcome import PoseEstimate, RejectionReason
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.localization.source_localizer import localize_source

WIDE = Camera(200, 150, 120.0, 120.0, 99.5, 74.5)
NARROW = Camera(240, 160, 260.0, 260.0, 119.5, 79.5)
POSES = walk(37)[2::7]


def localized(small_map, word):
    """Return the images of a source with their outcomes, and what was told."""
    (source,) = open_sources([str(word)], PhotoCamera(), CaptureConfig())
    told = []
    localizer = open_localizer(small_map, LocalizerConfig(device='cpu'))
    return list(localize_source(localizer, source, tell=told.append)), told


@pytest.mark.parametrize('camera', [WIDE, NARROW])
def test_the_focal_length_of_a_folder_is_found_from_all_its_images(small_map, tmp_path, camera):
    for number, pose in enumerate(POSES):
        write_photo(tmp_path / f'{number}.jpg', render_box_room(pose, camera)[0])
    answers, told = localized(small_map, tmp_path)
    assert len(told) == 1 and f'found from {len(POSES)} images' in told[0]
    for (image, outcome), pose in zip(answers, POSES, strict=True):
        assert image.camera.fx == pytest.approx(camera.fx, rel=0.01)
        assert isinstance(outcome, PoseEstimate), outcome
        error_m, error_deg = pose_distance(outcome.map_from_camera, pose)
        assert error_m < 0.04 and error_deg < 1.0


def test_one_image_tells_its_focal_length_less_certainly_and_so_its_pose(small_localizer):
    rgb = [render_box_room(pose, WIDE)[0] for pose in POSES]
    alone, together = small_localizer.camera_search(), small_localizer.camera_search()
    alone.add(rgb[0])
    for image in rgb:
        together.add(image)
    one, all_ = alone.find(), together.find()
    assert one is not None and all_ is not None
    assert one.focal_std > 1.2 * all_.focal_std
    for found in (one, all_):
        assert abs(np.log(found.camera.fx / WIDE.fx)) < 3 * found.focal_std
    stds = []
    for found in (one, all_):
        small_localizer.trust(found)
        outcome = small_localizer.localize(rgb[0], found.camera)
        assert isinstance(outcome, PoseEstimate), outcome
        assert pose_distance(outcome.map_from_camera, POSES[0])[0] < 0.1
        stds.append(np.sqrt(np.trace(outcome.covariance[:3, :3])))
    assert stds[0] > stds[1]


def test_frames_of_a_video_have_the_focal_length_of_samples(small_map, tmp_path):
    images = [render_box_room(pose, WIDE)[0] for pose in walk(60)[:20]]
    answers, told = localized(small_map, write_video(tmp_path / 'v.avi', images))
    assert 'px +- ' in told[0] and 'field of view' in told[0]
    assert sum(isinstance(outcome, PoseEstimate) for _, outcome in answers) >= 18
    assert answers[0][0].camera.fx == pytest.approx(WIDE.fx, rel=0.02)


def test_images_that_do_not_tell_their_focal_length_are_rejected_with_a_remedy(
    small_map, tmp_path
):
    gray = np.full((120, 160, 3), 128, np.uint8)
    for name in 'ab':
        write_photo(tmp_path / f'{name}.jpg', gray)
    answers, told = localized(small_map, tmp_path)
    assert not told and len(answers) == 2
    for image, outcome in answers:
        assert image.camera is None and outcome.reason == RejectionReason.INVALID_IMAGE
        assert '160x120' in outcome.detail and '--fov' in outcome.detail


def test_a_strip_among_photos_is_rejected_alone(small_map, tmp_path):
    for number, pose in enumerate(POSES[:3]):
        write_photo(tmp_path / f'{number}.jpg', render_box_room(pose, WIDE)[0])
    write_photo(tmp_path / 'strip.png', np.full((2, 600, 3), 128, np.uint8))
    answers, _ = localized(small_map, tmp_path)
    assert [isinstance(outcome, PoseEstimate) for _, outcome in answers] == [True] * 3 + [False]
    assert '600x2' in answers[-1][1].detail


def test_the_size_of_images_parts_those_of_different_cameras(small_map, tmp_path):
    for number, pose in enumerate(POSES[:3]):
        write_photo(tmp_path / f'wide_{number}.jpg', render_box_room(pose, WIDE)[0])
        write_photo(tmp_path / f'narrow_{number}.jpg', render_box_room(pose, NARROW)[0])
    answers, told = localized(small_map, tmp_path)
    assert len(told) == 2
    for image, _ in answers:
        expected = WIDE if 'wide' in image.name else NARROW
        assert image.camera.fx == pytest.approx(expected.fx, rel=0.03)


def test_exif_parts_the_images_of_two_cameras_and_of_two_lengths_of_a_zoom(small_map, tmp_path):
    focal_px = {'wide': 120.0, 'narrow': 190.0, 'other': 150.0}
    for name, (model, focal_mm) in {
        'wide': ('Zoom', 18.0),
        'narrow': ('Zoom', 28.5),
        'other': ('Compact', 18.0),
    }.items():
        camera = replace(WIDE, fx=focal_px[name], fy=focal_px[name])
        for number, pose in enumerate(POSES[:3]):
            rgb, _ = render_box_room(pose, camera)
            file = tmp_path / f'{number}_{name}.jpg'
            write_photo(file, rgb, camera=('Maker', model), FocalLength=focal_mm)
    answers, told = localized(small_map, tmp_path)
    assert sorted(line.partition(', found from ')[2] for line in told) == [
        '3 images of Maker Compact, 18 mm',
        '3 images of Maker Zoom, 18 mm',
        '3 images of Maker Zoom, 28.5 mm',
    ]
    for image, outcome in answers:
        expected = focal_px[image.name.rpartition('_')[2].removesuffix('.jpg')]
        assert image.camera.fx == pytest.approx(expected, rel=0.03)
        assert isinstance(outcome, PoseEstimate), outcome


class Stream:
    """A source whose images come once, half a second apart, as those of a webcam."""

    has_camera_info, is_endless = False, True

    def __init__(self, images):
        self._images = images

    def images(self):
        for number, rgb in enumerate(self._images):
            yield SourceImage(f'webcam:0#{number}', rgb, None, 500_000_000 * (number + 1))

    def samples(self, _):
        return iter(())


def test_the_focal_length_of_a_webcam_is_found_once_an_image_tells_it(small_map):
    gray = np.full((150, 200, 3), 128, np.uint8)
    told = []
    localizer = open_localizer(small_map, LocalizerConfig(device='cpu'))
    stream = Stream([gray, *(render_box_room(pose, WIDE)[0] for pose in POSES)])
    (_, first), *rest = localize_source(localizer, stream, tell=told.append)
    assert first.reason == RejectionReason.INVALID_IMAGE
    assert all(isinstance(outcome, PoseEstimate) for _, outcome in rest)
    stds = [image.focal_std for image, _ in rest]
    assert told[0].endswith('found from 1 image') and stds[-1] <= stds[0]
    assert rest[-1][0].camera.fx == pytest.approx(WIDE.fx, rel=0.01)
