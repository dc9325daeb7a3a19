"""One picture in, a pose or the reason why not out, in a map that was really built."""

from dataclasses import replace
import json
import shutil

import numpy as np
import pytest
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation
from small_map import CAMERA

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import ImageError, MapError
from nerf_reversal_ros.core.geometry import make_pose as pose_of, pose_errors
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.localization.localizer import Localizer, open_localizer
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import open_map
from nerf_reversal_ros.regressor.regressor import PoseRegressor

PLACES = walk(37)  # between those that the map was built from, but for the first
NOISE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def picture(pose, camera=CAMERA, paint=7):
    return render_box_room(pose, camera, paint)[0]


def errors(outcome, truth):
    found = pose_errors(outcome.map_from_camera[None], truth[None])
    return float(found.translation[0]), float(np.degrees(found.rotation[0]))


@pytest.mark.parametrize('number', [3, 14, 29])
def test_a_picture_of_the_room_is_localized_to_centimetres(small_localizer, number):
    outcome = small_localizer.localize(picture(PLACES[number]), CAMERA)
    assert isinstance(outcome, PoseEstimate), outcome
    error_m, error_deg = errors(outcome, PLACES[number])
    assert error_m < 0.03 and error_deg < 0.6
    told = outcome.diagnostics
    np.testing.assert_array_equal(told.refined_pose, outcome.map_from_camera)
    assert told.regressed_pose is not None and told.scores['inliers'] >= 30
    assert sum(told.latency_ms.values()) <= 2.001 * told.latency_ms['total']


def test_the_covariance_is_symmetric_and_positive_and_of_the_size_of_the_errors(small_localizer):
    outcome = small_localizer.localize(picture(PLACES[5]), CAMERA)
    assert isinstance(outcome, PoseEstimate), outcome
    covariance = outcome.covariance
    np.testing.assert_allclose(covariance, covariance.T, rtol=1e-9)
    assert np.linalg.eigvalsh(covariance).min() > 0
    assert 0.001 < np.sqrt(np.trace(covariance[:3, :3])) < 0.08


def test_the_covariance_is_wider_far_from_a_short_walk_than_near_a_long_one(small_map):
    part = small_map.file

    def std_m(walked):
        localizer = Localizer(
            Atlas.load(part('atlas.safetensors')),
            Surface.load(part('surface.safetensors')),
            PoseRegressor.load(part('regressor.safetensors')),
            walked,
            Calibration(),
            LocalizerConfig(max_distance_m=10.0, max_std_m=1.0),
        )
        outcome = localizer.localize(picture(PLACES[5]), CAMERA)
        assert isinstance(outcome, PoseEstimate), outcome
        return np.sqrt(outcome.covariance[0, 0])

    here = PLACES[5][:3, 3]
    long = PLACES[:, :3, 3] - PLACES[:, :3, 3].mean(0)
    beside = here + np.array([4.0, 0.0, 0.0])
    on_it = np.vstack([here, here + long])
    assert std_m(on_it) < std_m(beside + long) < std_m(beside + 0.1 * long)


def test_the_same_picture_has_the_same_pose(small_localizer):
    one, other = (small_localizer.localize(picture(PLACES[8]), CAMERA) for _ in range(2))
    assert isinstance(one, PoseEstimate) and isinstance(other, PoseEstimate)
    np.testing.assert_array_equal(one.map_from_camera, other.map_from_camera)
    np.testing.assert_array_equal(one.covariance, other.covariance)


@pytest.mark.parametrize(
    'camera',
    [Camera(320, 240, 260.0, 260.0, 159.5, 119.5), Camera(160, 120, 155.0, 155.0, 82.0, 57.0)],
    ids=['larger picture', 'longer lens'],
)
def test_a_picture_of_another_camera_is_localized_too(small_localizer, camera):
    outcome = small_localizer.localize(picture(PLACES[20], camera), camera)
    assert isinstance(outcome, PoseEstimate), outcome
    assert errors(outcome, PLACES[20])[0] < 0.04


def test_a_picture_of_another_exposure_is_localized_too(small_localizer):
    dark = (picture(PLACES[11]) * 0.5).astype(np.uint8)
    outcome = small_localizer.localize(dark, CAMERA)
    assert isinstance(outcome, PoseEstimate), outcome
    assert errors(outcome, PLACES[11])[0] < 0.04


def test_a_camera_held_upside_down_is_localized_as_such(small_localizer):
    outcome = small_localizer.localize(picture(PLACES[4])[::-1, ::-1].copy(), CAMERA)
    assert isinstance(outcome, PoseEstimate), outcome
    error_m, error_deg = errors(outcome, PLACES[4] @ np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert error_m < 0.03 and error_deg < 0.6


@pytest.mark.parametrize('value', [0, 128, 255])
def test_a_picture_that_shows_nothing_is_rejected_as_such(small_localizer, value):
    outcome = small_localizer.localize(np.full((120, 160, 3), value, np.uint8), CAMERA)
    assert isinstance(outcome, Rejection)
    assert outcome.reason == 'low contrast'
    assert outcome.detail == 'contrast 0.0 of 255 (needed: 6.0)'


@pytest.mark.parametrize(
    ('rgb', 'reasons'),
    [
        (NOISE, {'novel image', 'too few matches', 'too few inliers'}),
        (NOISE // 8 + 100, {'novel image', 'too few matches', 'too few inliers'}),
        (picture(PLACES[4], paint=8), {'novel image', 'too few matches', 'too few inliers'}),
        (picture(PLACES[4])[:, ::-1].copy(), set(RejectionReason) - {'low contrast'}),
    ],
    ids=['noise', 'weak noise', 'another room', 'in a mirror'],
)
def test_a_picture_that_is_not_of_the_room_is_rejected(small_localizer, rgb, reasons):
    outcome = small_localizer.localize(rgb, CAMERA)
    assert isinstance(outcome, Rejection), errors(outcome, PLACES[4])
    assert outcome.reason in reasons
    assert outcome.detail and outcome.diagnostics.regressed_pose is not None


@pytest.mark.parametrize('size', [(1, 1), (2, 2), (7, 5), (300, 3), (3, 300), (1000, 20)])
def test_a_picture_of_any_size_has_an_outcome(small_localizer, size):
    width, height = size
    rgb = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    camera = Camera(width, height, 100.0, 100.0, width / 2, height / 2)
    assert isinstance(small_localizer.localize(rgb, camera), Rejection)


@pytest.mark.parametrize(
    'rgb',
    [
        np.zeros((60, 80, 3), np.uint8),
        np.zeros((120, 160, 3), np.float32),
        np.zeros((120, 160), np.uint8),
        np.zeros((120, 160, 4), np.uint8),
    ],
    ids=['size', 'type', 'grey', 'four channels'],
)
def test_a_picture_that_is_not_its_cameras_is_an_error(small_localizer, rgb):
    with pytest.raises(ImageError, match=r'its camera_info says 160x120: an rgb8 picture'):
        small_localizer.localize(rgb, CAMERA)


@pytest.mark.parametrize(
    ('setting', 'reason'),
    [
        ({'min_inliers': 1000}, 'too few inliers'),
        ({'min_similarity': 1.0}, 'appearance mismatch'),
        ({'max_std_m': 1e-4}, 'high covariance'),
        ({'max_distance_m': 0.0}, 'outside the map'),
    ],
)
def test_the_gate_is_as_strict_as_it_is_set(small_map, setting, reason):
    config = LocalizerConfig(device='cpu', hypotheses=1, **setting)
    outcome = open_localizer(small_map, config).localize(picture(PLACES[3]), CAMERA)
    assert isinstance(outcome, Rejection) and outcome.reason == reason


def test_what_the_map_learned_about_its_answers_counts(small_map, tmp_path):
    def outcome(**learned):
        path = shutil.copytree(small_map.path, tmp_path / f'{len(list(tmp_path.iterdir()))}.map')
        manifest = json.loads((path / 'manifest.json').read_text())
        manifest['calibration'] |= learned
        (path / 'manifest.json').write_text(json.dumps(manifest))
        localizer = open_localizer(open_map(path), LocalizerConfig(device='cpu', max_std_m=1.0))
        return localizer.localize(picture(PLACES[3]), CAMERA)

    narrow, wide = outcome(covariance_scale=1.0), outcome(covariance_scale=25.0)
    assert isinstance(narrow, PoseEstimate) and isinstance(wide, PoseEstimate)
    assert wide.covariance[0, 0] > 2 * narrow.covariance[0, 0]
    doubtful = outcome(gate_bias=-200.0)
    assert isinstance(doubtful, Rejection) and doubtful.reason == 'low probability'


class Forgetful(PoseRegressor):
    """A regressor that knows no similar views, and refuses to be asked for any but none."""

    def retrieve(self, regression, count):
        assert count == 0, 'similar views were looked up'
        return np.empty((0, 4, 4))


def test_similar_views_are_looked_up_only_when_the_regressed_pose_fails(small_map):
    def localized(pose, **settings):
        localizer = open_localizer(small_map, LocalizerConfig(device='cpu', **settings))
        localizer.regressor.__class__ = Forgetful
        guess = localizer.regressor.regress
        localizer.regressor.regress = lambda *asked: replace(guess(*asked), map_from_camera=pose)
        return localizer.localize(picture(PLACES[3]), CAMERA)

    assert isinstance(localized(PLACES[3]), PoseEstimate)
    away = PLACES[3] @ pose_of(Rotation.from_euler('y', 180, degrees=True))
    with pytest.raises(AssertionError, match='looked up'):
        localized(away)
    assert isinstance(localized(away, hypotheses=0), Rejection)


def test_only_the_map_folder_is_needed(small_map, tmp_path):
    shutil.copytree(small_map.path, tmp_path / 'elsewhere.map')
    localizer = open_localizer(open_map(tmp_path / 'elsewhere.map'), LocalizerConfig(device='cpu'))
    assert isinstance(localizer.localize(picture(PLACES[3]), CAMERA), PoseEstimate)


@pytest.mark.parametrize('calibration', [None, {}, {'covariance_scale': 'much'}, 5])
def test_a_map_whose_calibration_is_not_one_is_refused(small_map, tmp_path, calibration):
    path = shutil.copytree(small_map.path, tmp_path / 'edited.map')
    manifest = json.loads((path / 'manifest.json').read_text())
    manifest['calibration'] = calibration
    if calibration is None:
        del manifest['calibration']
    (path / 'manifest.json').write_text(json.dumps(manifest))
    with pytest.raises(MapError, match=r'edited\.map .*calibration.*build it again'):
        open_localizer(open_map(path), LocalizerConfig(device='cpu'))
