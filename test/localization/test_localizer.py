"""The localizer gives a pose or a rejection reason, in a map from a real build."""

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
from nerf_reversal_ros.core.geometry import make_pose, pose_distance
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.localization import pose_search
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.localization.hypotheses import HypothesisRefiner
from nerf_reversal_ros.localization.localizer import Localizer, open_localizer
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import open_map
from nerf_reversal_ros.regressor.cpu_regressor import CpuRegressor
from nerf_reversal_ros.regressor.regressor import PoseRegressor

QUERY_POSES = walk(37)
"""Poses between the mapping poses, except for the first."""
NOISE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def render(pose, camera=CAMERA, paint=7):
    return render_box_room(pose, camera, paint)[0]


@pytest.mark.parametrize('number', [3, 14, 29])
def test_an_image_of_the_room_is_localized_to_centimeters(small_localizer, number):
    outcome = small_localizer.localize(render(QUERY_POSES[number]), CAMERA)
    assert isinstance(outcome, PoseEstimate), outcome
    error_m, error_deg = pose_distance(outcome.map_from_camera, QUERY_POSES[number])
    assert error_m < 0.03 and error_deg < 0.6
    diagnostics = outcome.diagnostics
    np.testing.assert_array_equal(diagnostics.refined_pose, outcome.map_from_camera)
    assert diagnostics.regressed_pose is not None and diagnostics.scores['inliers'] >= 30
    assert sum(diagnostics.latency_ms.values()) <= 2.001 * diagnostics.latency_ms['total']


def test_the_covariance_is_positive_definite_and_of_the_size_of_the_errors(small_localizer):
    outcome = small_localizer.localize(render(QUERY_POSES[5]), CAMERA)
    assert isinstance(outcome, PoseEstimate), outcome
    covariance = outcome.covariance
    np.testing.assert_allclose(covariance, covariance.T, rtol=1e-9)
    assert np.linalg.eigvalsh(covariance).min() > 0
    assert 0.001 < np.sqrt(np.trace(covariance[:3, :3])) < 0.08


def test_the_covariance_grows_with_distance_from_the_trajectory_in_its_extents(small_map):
    part = small_map.file

    def std_m(mapping_positions):
        localizer = Localizer(
            Atlas.load(part('atlas.safetensors')),
            Surface.load(part('surface.safetensors')),
            PoseRegressor.load(part('regressor.safetensors')),
            mapping_positions,
            Calibration(),
            LocalizerConfig(max_distance_m=10.0, max_std_m=1.0),
        )
        outcome = localizer.localize(render(QUERY_POSES[5]), CAMERA)
        assert isinstance(outcome, PoseEstimate), outcome
        return np.sqrt(outcome.covariance[0, 0])

    query = QUERY_POSES[5][:3, 3]
    trajectory = QUERY_POSES[:, :3, 3] - QUERY_POSES[:, :3, 3].mean(0)
    distant = query + np.array([4.0, 0.0, 0.0])
    through_query = np.vstack([query, query + trajectory])
    assert std_m(through_query) < std_m(distant + trajectory)
    assert std_m(distant + trajectory) < std_m(distant + 0.1 * trajectory)


def test_localization_is_deterministic(small_localizer):
    first, second = (small_localizer.localize(render(QUERY_POSES[8]), CAMERA) for _ in range(2))
    assert isinstance(first, PoseEstimate) and isinstance(second, PoseEstimate)
    np.testing.assert_array_equal(first.map_from_camera, second.map_from_camera)
    np.testing.assert_array_equal(first.covariance, second.covariance)


def test_a_larger_image_is_localized(small_localizer):
    camera = CAMERA.scaled_to(320, 240)
    outcome = small_localizer.localize(render(QUERY_POSES[20], camera), camera)
    assert isinstance(outcome, PoseEstimate), outcome
    assert pose_distance(outcome.map_from_camera, QUERY_POSES[20])[0] < 0.04


def test_an_image_of_another_camera_is_localized_once_other_views_verify_it(small_map):
    localizer = open_localizer(small_map, LocalizerConfig(device='cpu', max_std_m=0.022))
    camera = Camera(160, 120, 155.0, 155.0, 82.0, 57.0)
    first = localizer.localize(render(QUERY_POSES[20], camera), camera)
    assert isinstance(first, Rejection) and first.reason == 'high covariance'
    assert 'by a camera that few views verify' in first.detail
    for number in (3, 8, 14):
        localizer.localize(render(QUERY_POSES[number], camera), camera)
    outcome = localizer.localize(render(QUERY_POSES[20], camera), camera)
    assert isinstance(outcome, PoseEstimate), outcome
    assert pose_distance(outcome.map_from_camera, QUERY_POSES[20])[0] < 0.01


@pytest.mark.parametrize('factor', [0.5, 0.8, 0.95, 1.05, 1.25, 2.0])
def test_an_image_with_a_wrong_focal_length_is_rejected(small_localizer, factor):
    wrong = replace(CAMERA, fx=CAMERA.fx * factor, fy=CAMERA.fy * factor)
    outcomes = [small_localizer.localize(render(pose), wrong) for pose in QUERY_POSES[::12]]
    assert all(isinstance(outcome, Rejection) for outcome in outcomes), outcomes
    named = [o for o in outcomes if o.reason == 'implausible camera model']
    for outcome in named:
        scale = outcome.diagnostics.scores['focal_scale']
        assert scale == pytest.approx(1 / factor, rel=0.05)
        assert f'a focal length of {scale:.3g} times that of camera_info' in outcome.detail
    assert named


def test_an_image_of_another_exposure_is_localized(small_localizer):
    dark = (render(QUERY_POSES[11]) * 0.5).astype(np.uint8)
    outcome = small_localizer.localize(dark, CAMERA)
    assert isinstance(outcome, PoseEstimate), outcome
    assert pose_distance(outcome.map_from_camera, QUERY_POSES[11])[0] < 0.04


def test_a_camera_upside_down_is_localized(small_localizer):
    outcome = small_localizer.localize(render(QUERY_POSES[4])[::-1, ::-1].copy(), CAMERA)
    assert isinstance(outcome, PoseEstimate), outcome
    error_m, error_deg = pose_distance(
        outcome.map_from_camera, QUERY_POSES[4] @ np.diag([-1.0, -1.0, 1.0, 1.0])
    )
    assert error_m < 0.03 and error_deg < 0.6


@pytest.mark.parametrize('value', [0, 128, 255])
def test_a_uniform_image_has_low_contrast(small_localizer, value):
    outcome = small_localizer.localize(np.full((120, 160, 3), value, np.uint8), CAMERA)
    assert isinstance(outcome, Rejection)
    assert outcome.reason == 'low contrast'
    assert outcome.detail == 'contrast 0.0 of 255 (needed: 6.0)'


@pytest.mark.parametrize(
    ('rgb', 'reasons'),
    [
        (NOISE, {'novel image', 'too few matches', 'too few inliers'}),
        (NOISE // 8 + 100, {'novel image', 'too few matches', 'too few inliers'}),
        (render(QUERY_POSES[4], paint=8), {'novel image', 'too few matches', 'too few inliers'}),
        (render(QUERY_POSES[4])[:, ::-1].copy(), set(RejectionReason) - {'low contrast'}),
    ],
    ids=['noise', 'weak noise', 'another room', 'mirrored'],
)
def test_an_image_of_another_room_is_rejected(small_localizer, rgb, reasons):
    outcome = small_localizer.localize(rgb, CAMERA)
    assert isinstance(outcome, Rejection), outcome
    assert outcome.reason in reasons
    assert outcome.detail and outcome.diagnostics.regressed_pose is not None


@pytest.mark.parametrize('size', [(1, 1), (2, 2), (7, 5), (300, 3), (3, 300), (1000, 20)])
def test_an_image_of_any_size_has_an_outcome(small_localizer, size):
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
    ids=['size', 'type', 'gray', 'four channels'],
)
def test_an_image_that_does_not_fit_its_camera_is_an_error(small_localizer, rgb):
    with pytest.raises(ImageError, match=r'its camera_info says 160x120: give an rgb8 image'):
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
def test_the_limits_of_the_gate_are_settings(small_map, setting, reason):
    config = LocalizerConfig(device='cpu', hypotheses=1, **setting)
    outcome = open_localizer(small_map, config).localize(render(QUERY_POSES[3]), CAMERA)
    assert isinstance(outcome, Rejection) and outcome.reason == reason


def test_settings_given_with_an_image_hold_for_that_image_alone(small_localizer):
    rgb = render(QUERY_POSES[3])
    strict = replace(small_localizer.config, min_inliers=1000)
    rejection = small_localizer.localize(rgb, CAMERA, strict)
    assert isinstance(rejection, Rejection) and rejection.reason == 'too few inliers'
    assert isinstance(small_localizer.localize(rgb, CAMERA), PoseEstimate)


def test_the_calibration_of_the_map_is_used(small_map, tmp_path):
    def outcome(**calibration):
        path = shutil.copytree(small_map.path, tmp_path / f'{len(list(tmp_path.iterdir()))}.map')
        manifest = json.loads((path / 'manifest.json').read_text())
        manifest['calibration'] |= calibration
        (path / 'manifest.json').write_text(json.dumps(manifest))
        localizer = open_localizer(open_map(path), LocalizerConfig(device='cpu', max_std_m=1.0))
        return localizer.localize(render(QUERY_POSES[3]), CAMERA)

    narrow, wide = outcome(covariance_scale=1.0), outcome(covariance_scale=25.0)
    assert isinstance(narrow, PoseEstimate) and isinstance(wide, PoseEstimate)
    assert wide.covariance[0, 0] > 2 * narrow.covariance[0, 0]
    improbable = outcome(gate_bias=-200.0)
    assert isinstance(improbable, Rejection) and improbable.reason == 'low probability'


class NoRetrieval(CpuRegressor):
    """Regressor whose retrieval fails unless no views are requested."""

    def retrieve(self, regression, count):
        assert count == 0, 'similar views were retrieved'
        return np.empty((0, 4, 4))


def test_similar_views_are_retrieved_only_if_the_regressed_pose_is_rejected(small_map):
    def localize_from(pose, **settings):
        localizer = open_localizer(small_map, LocalizerConfig(device='cpu', **settings))
        localizer.regressor.__class__ = NoRetrieval
        regress = localizer.regressor.regress
        localizer.regressor.regress = lambda *args: replace(regress(*args), map_from_camera=pose)
        return localizer.localize(render(QUERY_POSES[3]), CAMERA)

    assert isinstance(localize_from(QUERY_POSES[3]), PoseEstimate)
    opposite = QUERY_POSES[3] @ make_pose(Rotation.from_euler('y', 180, degrees=True))
    with pytest.raises(AssertionError, match='retrieved'):
        localize_from(opposite)
    assert isinstance(localize_from(opposite, hypotheses=0, retry_size=0), Rejection)


def test_an_image_is_localized_without_any_good_hypothesis(small_map):
    """The regressed pose faces away; the whole map is matched, which the stages tell."""
    localizer = open_localizer(small_map, LocalizerConfig(device='cpu', hypotheses=0))
    opposite = QUERY_POSES[3] @ make_pose(Rotation.from_euler('y', 180, degrees=True))
    regress = localizer.regressor.regress
    localizer.regressor.regress = lambda *args: replace(regress(*args), map_from_camera=opposite)
    image = render(QUERY_POSES[3])
    outcome = localizer.localize(image, CAMERA)
    assert isinstance(outcome, PoseEstimate) and 'whole_map' in outcome.diagnostics.latency_ms
    assert pose_distance(outcome.map_from_camera, QUERY_POSES[3])[0] < 0.05
    bounded = replace(localizer.config, whole_map=False)
    assert isinstance(localizer.localize(image, CAMERA, bounded), Rejection)
    hurried = localizer.localize(image, CAMERA, time_limit_s=0.0)
    assert isinstance(hurried, Rejection) and 'whole_map' not in hurried.diagnostics.latency_ms


def test_an_accepted_pose_of_few_inliers_is_made_more_certain(small_map, monkeypatch):
    localizer = open_localizer(small_map, LocalizerConfig(device='cpu'))
    image = render(QUERY_POSES[3])
    quick = localizer.localize(image, CAMERA)
    monkeypatch.setattr(pose_search, 'NO_RETRY_INLIERS', 10_000)
    certain = localizer.localize(image, CAMERA)
    assert 'full_size' not in quick.diagnostics.latency_ms
    assert 'full_size' in certain.diagnostics.latency_ms
    assert 'whole_map' not in certain.diagnostics.latency_ms
    assert certain.diagnostics.scores['inliers'] >= quick.diagnostics.scores['inliers']
    assert pose_distance(certain.map_from_camera, QUERY_POSES[3])[0] < 0.02


def test_an_accepted_pose_that_refinement_moved_far_is_made_more_certain(small_map, monkeypatch):
    localizer = open_localizer(small_map, LocalizerConfig(device='cpu'))
    verify = HypothesisRefiner._verify

    def verify_moved(refiner, query, *args):
        verified = verify(refiner, query, *args)
        evidence = replace(verified.evidence, disagreement_m=0.031)
        return replace(verified, evidence=evidence)

    image = render(QUERY_POSES[3])
    assert 'full_size' not in localizer.localize(image, CAMERA).diagnostics.latency_ms
    monkeypatch.setattr(HypothesisRefiner, '_verify', verify_moved)
    outcome = localizer.localize(image, CAMERA)
    assert isinstance(outcome, PoseEstimate) and 'full_size' in outcome.diagnostics.latency_ms


def test_of_two_poses_that_explain_the_image_the_more_similar_one_is_kept(small_map, monkeypatch):
    """Two fifths of the landmarks are at their places, as many beside them, and some anywhere."""
    config = LocalizerConfig(device='cpu', min_similarity=-1.0)
    localizer = open_localizer(small_map, config)
    atlas = localizer.atlas
    rng = np.random.default_rng(0)
    part = rng.random(len(atlas))
    points = atlas.points.copy()
    points[part > 0.43] += QUERY_POSES[3][:3, 0].astype(np.float32) * 0.5
    points[part > 0.86] += rng.normal(0, 0.5, (int((part > 0.86).sum()), 3)).astype(np.float32)
    doubled = Localizer(
        replace(atlas, points=points),
        localizer.surface,
        localizer.regressor,
        small_map.mapping_poses[:, :3, 3],
        Calibration(),
        localizer.config,
    )
    image = render(QUERY_POSES[3])
    beside = QUERY_POSES[3] @ make_pose(translation=(0.5, 0, 0))
    found = doubled.localize(image, CAMERA, expected_pose=beside)
    assert isinstance(found, PoseEstimate) and 'other_pose' in found.diagnostics.latency_ms
    assert pose_distance(found.map_from_camera, QUERY_POSES[3])[0] < 0.05
    retried = replace(config, retry_size=96)
    monkeypatch.setattr(pose_search, 'NO_RETRY_INLIERS', 10_000)
    with monkeypatch.context() as context:
        search, widths = HypothesisRefiner.search, []

        def record_width(refiner, query, *args, **kwargs):
            widths.append(query.camera.width)
            return search(refiner, query, *args, **kwargs)

        context.setattr(HypothesisRefiner, 'search', record_width)
        found = doubled.localize(image, CAMERA, retried, beside)
    assert pose_distance(found.map_from_camera, QUERY_POSES[3])[0] < 0.05 and widths == [96]
    monkeypatch.setattr(pose_search, 'MIN_SIMILARITY_GAP', 2.0)
    rejected = doubled.localize(image, CAMERA, expected_pose=beside)
    assert rejected.reason == 'ambiguous view' and 'similarity' in rejected.detail


def test_an_expected_pose_is_the_first_hypothesis_and_not_the_only_one(small_map):
    localizer = open_localizer(small_map, LocalizerConfig(device='cpu'))
    localizer.regressor.__class__ = NoRetrieval
    opposite = QUERY_POSES[3] @ make_pose(Rotation.from_euler('y', 180, degrees=True))
    regress = localizer.regressor.regress
    image = render(QUERY_POSES[3])
    found = localizer.localize(image, CAMERA, expected_pose=opposite)
    assert isinstance(found, PoseEstimate)  # by the regressed pose
    localizer.regressor.regress = lambda *args: replace(regress(*args), map_from_camera=opposite)
    found = localizer.localize(image, CAMERA, expected_pose=QUERY_POSES[3])
    assert isinstance(found, PoseEstimate)  # by the expected pose
    assert pose_distance(found.map_from_camera, QUERY_POSES[3])[0] < 0.05


def test_no_pose_is_regressed_where_the_expected_pose_explains_the_image(small_map):
    """Novelty decides only where it does not: then it still rejects the image."""
    localizer = open_localizer(small_map, LocalizerConfig(device='cpu'))
    regress = localizer.regressor.regress
    localizer.regressor.regress = lambda *args: replace(regress(*args), novelty=99.0)
    image, pose = render(QUERY_POSES[3]), QUERY_POSES[3]
    assert localizer.localize(image, CAMERA).reason == 'novel image'
    tracked = localizer.localize(image, CAMERA, expected_pose=pose)
    assert isinstance(tracked, PoseEstimate)
    assert pose_distance(tracked.map_from_camera, pose)[0] < 0.05
    diagnostics = tracked.diagnostics
    assert list(diagnostics.latency_ms) == ['keypoints', 'refine', 'total']
    assert diagnostics.regressed_pose is None and 'novelty' not in diagnostics.scores
    opposite = pose @ make_pose(Rotation.from_euler('y', 180, degrees=True))
    lost = localizer.localize(image, CAMERA, expected_pose=opposite)
    assert lost.reason == 'novel image' and list(lost.diagnostics.latency_ms)[-2] == 'regress'


def test_only_the_map_folder_is_needed(small_map, tmp_path):
    shutil.copytree(small_map.path, tmp_path / 'elsewhere.map')
    localizer = open_localizer(open_map(tmp_path / 'elsewhere.map'), LocalizerConfig(device='cpu'))
    assert isinstance(localizer.localize(render(QUERY_POSES[3]), CAMERA), PoseEstimate)


@pytest.mark.parametrize('calibration', [None, {}, {'covariance_scale': 'much'}, 5])
def test_a_malformed_calibration_is_an_error(small_map, tmp_path, calibration):
    path = shutil.copytree(small_map.path, tmp_path / 'edited.map')
    manifest = json.loads((path / 'manifest.json').read_text())
    manifest['calibration'] = calibration
    if calibration is None:
        del manifest['calibration']
    (path / 'manifest.json').write_text(json.dumps(manifest))
    with pytest.raises(MapError, match=r'calibration .*edited\.map is malformed.*build it again'):
        open_localizer(open_map(path), LocalizerConfig(device='cpu'))
