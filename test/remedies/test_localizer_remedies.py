"""Remedies of rejected images, evaluations and calibrations, followed to an accepted pose."""

from dataclasses import replace
import re

from command_line import run_command
from photos import write_photo
import pytest
from room_bags import write_room_bag
from rooms import render_box_room, walk
from small_map import CAMERA

from nerf_reversal_ros.capture.camera_origin import CameraOrigin
from nerf_reversal_ros.capture.mapping_data import MappingData, SplitCapture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.camera_advice import CameraAdvice
from nerf_reversal_ros.localization.localizer import Localizer, open_localizer
from nerf_reversal_ros.localization.map_placement import parse_map_from_nerf
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.mapping.build_stages import _calibration_images
from nerf_reversal_ros.mapping.build_warnings import calibration_warnings
from nerf_reversal_ros.mapping.calibration_fitting import (
    collect_samples,
    fit_calibration,
    IDENTITY_CALIBRATION,
    PERMISSIVE_GATE,
)
from nerf_reversal_ros.regressor.regressor import PoseRegressor

POSES = walk(37)[[3, 9, 14, 20, 29]]
IMAGES = [render_box_room(pose, CAMERA)[0] for pose in POSES]


def test_images_fit_the_proposed_focal_length(small_map):
    localizer, advice = open_localizer(small_map, LocalizerConfig(device='cpu')), CameraAdvice()
    wrong = replace(CAMERA, fx=CAMERA.fx * 1.15, fy=CAMERA.fy * 1.15)
    for image in IMAGES:
        advice.add(localizer.localize(image, wrong), wrong)
    fx, fy = map(float, re.search(r'try fx ([\d.]+), fy ([\d.]+)$', advice.sentence).groups())
    assert advice.sentence.endswith(remedies.FOCAL_LENGTH.format(fx=fx, fy=fy))
    calibrated = replace(CAMERA, fx=fx, fy=fy)
    outcomes = [localizer.localize(image, calibrated) for image in IMAGES]
    assert sum(isinstance(outcome, PoseEstimate) for outcome in outcomes) >= 4


@pytest.mark.parametrize(
    ('reason', 'setting', 'low', 'high'),
    [
        (RejectionReason.HIGH_COVARIANCE, 'max_std_m', 1e-4, 0.1),
        (RejectionReason.OUTSIDE_THE_MAP, 'max_distance_m', 0.0, 1.5),
    ],
)
def test_a_rejected_image_is_accepted_when_the_named_limit_is_raised(
    small_map, reason, setting, low, high
):
    def localize(limit):
        config = LocalizerConfig(device='cpu', **{setting: limit})
        return open_localizer(small_map, config).localize(IMAGES[1], CAMERA)

    rejected = localize(low)
    assert isinstance(rejected, Rejection) and rejected.reason == reason
    assert f'aise `{setting}`' in reason.remedy
    assert isinstance(localize(high), PoseEstimate)


def test_the_position_of_a_map_is_given_as_the_message_says():
    with pytest.raises(ConfigError) as error:
        parse_map_from_nerf('1 2 3')
    assert 'four numbers "x y z yaw"' in str(error.value)
    assert str(error.value).endswith(remedies.MAP_FROM_NERF)
    parse_map_from_nerf('1 2 3 90')


def test_a_baseline_runs_with_its_reference(small_map, tmp_path):
    bag, mapping_bag = tmp_path / 'short', small_map.path.parent / 'walk'
    write_room_bag(bag, walk(48)[:2], CAMERA, up_axis='z')
    command = ['evaluate', small_map.path, bag, '--baselines', 'vlad_retrieval']
    for options in ([], ['--reference', bag]):  # none, and another bag than that of the build
        assert remedies.REFERENCE in run_command(*command, *options).stderr.splitlines()[-1]
    completed = run_command(*command, '--reference', mapping_bag)
    assert completed.returncode == 0 and 'vlad retrieval' in completed.stdout


def test_a_larger_held_out_segment_calibrates_the_map(small_map):
    capture = open_capture(small_map.path.parent / 'walk', CaptureConfig(up_axis='z'))
    part = small_map.file
    localizer = Localizer(
        Atlas.load(part('atlas.safetensors')),
        Surface.load(part('surface.safetensors')),
        PoseRegressor.load(part('regressor.safetensors'), 'cpu'),
        small_map.mapping_poses[:, :3, 3],
        IDENTITY_CALIBRATION,
        PERMISSIVE_GATE,
    )

    def warnings(share):
        split = SplitCapture.split(capture, share)
        images = _calibration_images(split, 0, 40, lambda *_: None)
        _, metrics = fit_calibration(collect_samples(localizer, images))
        data = MappingData(split, split, capture.camera, capture.convention, [])
        return calibration_warnings(data, metrics)

    (warning,) = warnings(0.02)
    assert warning.endswith(remedies.MORE_HELD_OUT)
    assert warnings(0.12) == []


def localize_photos(small_map, folder, number, *options):
    """Write photos of the walk, localize them by the command, and return what it prints."""
    folder.mkdir()
    for index, image in enumerate(IMAGES[:number]):
        write_photo(folder / f'{index}.jpg', image)
    return run_command('localize', small_map.path, folder, *options).stdout


def test_a_wrong_field_of_view_is_left_out(small_map, tmp_path):
    advice = remedies.FIELD_OF_VIEW.removeprefix('check ')
    wrong = localize_photos(small_map, tmp_path / 'wrong', 5, '--fov', '90')
    assert advice in wrong and 'camera_info' not in wrong
    assert '5 of 5 images were localized' in localize_photos(small_map, tmp_path / 'found', 5)


def test_a_focal_length_of_one_photo_that_is_unsure_is_given(small_map, tmp_path):
    config = tmp_path / 'strict.yaml'
    config.write_text('localizer: {max_std_m: 0.006}')
    unsure = localize_photos(small_map, tmp_path / 'one', 1, '--config', config)
    assert 'high covariance' in unsure and remedies.FOUND_CAMERA[1:] in unsure, unsure
    fx, fy, cx, cy = CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy
    options = '--config', config, '--camera', f'{fx} {fy} {cx} {cy}'
    assert '1 of 1 images were' in localize_photos(small_map, tmp_path / 'known', 1, *options)


def test_what_to_do_depends_on_where_the_intrinsics_come_from():
    rejection = Rejection(RejectionReason.IMPLAUSIBLE_CAMERA, 'off')
    remedy_by_origin = {origin: origin.remedy_of(rejection) for origin in CameraOrigin}
    assert len(set(remedy_by_origin.values())) == len(CameraOrigin)
    assert remedies.EXIF_CAMERA[1:] in remedy_by_origin[CameraOrigin.EXIF]
    assert remedies.STATED_CAMERA[1:] in remedy_by_origin[CameraOrigin.STATED]
    few = Rejection(RejectionReason.TOO_FEW_INLIERS)
    assert CameraOrigin.FIELD_OF_VIEW.remedy_of(few).startswith('Check --fov, or move')
