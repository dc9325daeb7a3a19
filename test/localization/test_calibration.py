"""Gate and covariance are calibrated on held-out frames and their corrupted variants."""

import json

import numpy as np
import pytest
from rooms import phone_camera, render_box_room, walk

from nerf_reversal_ros.core.outcome import Diagnostics, Rejection
from nerf_reversal_ros.localization.calibration import Calibration, match_weakness
from nerf_reversal_ros.localization.gate import BIAS, FEATURE_STATS, WEIGHTS
from nerf_reversal_ros.mapping.calibration_fitting import (
    CalibrationSamples,
    collect_samples,
    corrupted_variants,
    fit_calibration,
    fit_covariance,
    fit_gate,
    MIN_CORRECT_POSES,
)
from nerf_reversal_ros.synthesis.image_corruption import (
    make_mirror_negative,
    motion_blur,
    PosedImage,
)

CAMERA = phone_camera()


def errors_and_covariances(count, truth, seed=0):
    """Return errors (N, 6) that a true calibration explains, and the covariances of PnP."""
    rng = np.random.default_rng(seed)
    std = rng.uniform(0.0005, 0.005, (count, 6))
    covariances = np.array([np.diag(row**2) for row in std])
    calibrated = [truth.covariance(covariance) for covariance in covariances]
    errors = np.array([rng.multivariate_normal(np.zeros(6), c) for c in calibrated])
    return errors, covariances


def consistency(calibration, errors, covariances):
    """Return the mean squared Mahalanobis length over 6: 1 for a consistent covariance."""
    calibrated = np.array([calibration.covariance(covariance) for covariance in covariances])
    whitened = np.linalg.solve(calibrated, errors[..., None])[..., 0]
    return (errors * whitened).sum(1).mean() / 6


@pytest.mark.parametrize(
    'truth',
    [
        Calibration(2.0),
        Calibration(40.0),
        Calibration(4.0, floor_m=0.01),
        Calibration(4.0, floor_deg=0.8),
    ],
    ids=['small scale', 'large scale', 'positions with noise', 'orientations with noise'],
)
def test_the_covariance_is_fitted_to_the_errors_of_other_images(truth):
    calibration = fit_covariance(*errors_and_covariances(200, truth))
    assert 0.7 < consistency(calibration, *errors_and_covariances(500, truth, seed=1)) < 1.3


def test_noise_of_the_orientation_does_not_inflate_the_position():
    calibration = fit_covariance(*errors_and_covariances(200, Calibration(4.0, floor_deg=0.8)))
    assert calibration.floor_deg == pytest.approx(0.8, rel=0.2) and calibration.floor_m < 0.004


def test_the_fit_is_robust_to_one_outlier():
    errors, covariances = errors_and_covariances(90, Calibration(5.0))
    before = fit_covariance(errors, covariances).covariance(covariances[0])
    errors[0] *= 30.0
    after = fit_covariance(errors, covariances).covariance(covariances[0])
    np.testing.assert_allclose(np.diag(after), np.diag(before), rtol=0.4)


def test_the_covariance_is_never_reduced():
    errors, covariances = errors_and_covariances(200, Calibration(1.0))
    calibration = fit_covariance(errors * 0.1, covariances)
    assert calibration.covariance_scale >= 1.0
    assert calibration.floor_m >= 0.002 and calibration.floor_deg >= 0.05


def test_the_floor_grows_with_the_distance_from_the_trajectory():
    calibration = Calibration(covariance_scale=1.0, floor_m=0.002, floor_deg=0.1)
    std = np.sqrt(np.diag(calibration.covariance(np.zeros((6, 6)), distance_in_extents=1.5)))
    np.testing.assert_allclose(std, [0.005] * 3 + [np.radians(0.25)] * 3)


def test_fewer_landmarks_found_and_fewer_matches_that_agree_widen_the_covariance():
    usual = match_weakness(0.05, 0.7)
    assert usual == pytest.approx(1.0)
    assert match_weakness(0.0125, 0.7) == pytest.approx(2.0)
    assert match_weakness(0.05, 0.35) == pytest.approx(2.0)
    assert np.isfinite(match_weakness(0.0, 0.0))
    calibration = Calibration(2.0)
    np.testing.assert_allclose(
        calibration.covariance(np.eye(6), weakness=4.0), 4 * calibration.covariance(np.eye(6))
    )


def test_the_calibration_of_weakly_matched_poses_is_that_of_usual_ones():
    errors, covariances = errors_and_covariances(60, Calibration(5.0))
    rows, correct = np.ones((60, len(WEIGHTS))), np.ones(60, bool)
    weakness = np.geomspace(0.5, 8, 60)
    usual = CalibrationSamples(rows, errors, covariances, np.ones(60), correct)
    weak = usual._replace(errors=errors * np.sqrt(weakness[:, None]), weakness=weakness)
    fitted = [fit_calibration(samples)[0].covariance_scale for samples in (usual, weak)]
    assert fitted[1] == pytest.approx(fitted[0], rel=1e-6)


def test_an_older_calibration_without_floor_growth_is_read_with_the_default():
    stored = Calibration(floor_growth=3.0).as_dict()
    assert Calibration.from_dict(stored).floor_growth == 3.0
    del stored['floor_growth']
    assert Calibration.from_dict(stored) == Calibration()


def test_an_older_calibration_does_without_weakness():
    stored = Calibration().as_dict()
    assert Calibration.from_dict(stored).covariance(np.eye(6), weakness=4.0)[0, 0] > 40
    del stored['counts_weakness']
    older = Calibration.from_dict(stored)
    np.testing.assert_array_equal(
        older.covariance(np.eye(6), weakness=4.0), older.covariance(np.eye(6))
    )


class ScriptedLocalizer:
    """Localizer that returns given outcomes in order."""

    def __init__(self, outcomes):
        self._outcomes = iter(outcomes)

    def localize(self, rgb, camera, config=None):
        return next(self._outcomes)


def test_samples_are_refined_poses_correct_incorrect_and_mirrored(image):
    near, far = image.map_from_camera.copy(), image.map_from_camera.copy()
    near[0, 3] += 0.01
    far[0, 3] += 0.2
    scores = dict(matched=30.0, inlier_ratio=0.9, inliers=60.0, similarity=0.8, spread=0.7)
    scores |= {'disagreement_deg': 0.1, 'disagreement_m': 0.01, 'explained': 0.3}
    scores |= {'halves_deg': 0.1, 'halves_m': 0.01}
    blank = {**scores, 'similarity': float('nan')}
    not_rendered = {name: value for name, value in scores.items() if name != 'similarity'}
    outcomes = [
        Rejection('low probability', '', Diagnostics(None, refined, named, {}, None, np.eye(6)))
        for refined, named in (
            (near, scores), (far, scores),  # the first image, and a retry of it
            (far, scores), (near, scores),
            (near, blank), (None, scores), (near, not_rendered), (None, scores),
        )
    ]  # fmt: skip
    mirrored = make_mirror_negative(image)
    samples = collect_samples(
        ScriptedLocalizer(outcomes), [image, image, mirrored, image, image, image]
    )
    assert samples.correct.tolist() == [True, False, False, False]
    np.testing.assert_allclose(samples.errors[0, :3], [0.01, 0, 0], atol=1e-9)
    assert np.isnan(samples.errors[3]).all()
    np.testing.assert_allclose(samples.weakness, match_weakness(0.3, 0.9))
    np.testing.assert_allclose(samples.covariances[0], np.eye(6) / match_weakness(0.3, 0.9))


def sample_features(count, weights, bias, seed=0):
    """Sample typical features (N, F), and correctness (N,) by given log odds."""
    rng = np.random.default_rng(seed)
    mean, std = np.array(FEATURE_STATS).T
    rows = rng.normal(mean, std, (count, len(FEATURE_STATS)))
    odds = np.exp(-(bias + rows @ np.asarray(weights)))
    return rows, rng.random(count) < 1 / (1 + odds)


def test_the_gate_is_fitted_to_many_poses_of_a_room():
    mean, std = np.array(FEATURE_STATS).T
    room_weights = np.array(WEIGHTS) * [1, 0.3, 0.5, 0.3, -1, 1, 0.5, 1, 1, 1]
    even_odds = -float(mean @ room_weights)
    rows, correct = sample_features(20_000, room_weights, even_odds)
    bias, weights = fit_gate(rows, correct)
    np.testing.assert_allclose(weights * std, room_weights * std, atol=0.1)
    assert bias + mean @ weights == pytest.approx(0.0, abs=0.1)


def test_few_poses_change_the_prior_weights_little():
    rows, correct = sample_features(10, WEIGHTS, BIAS)
    _, weights = fit_gate(rows, correct)
    std = np.array(FEATURE_STATS)[:, 1]
    np.testing.assert_allclose(weights * std, np.array(WEIGHTS) * std, atol=0.4)


def test_too_few_correct_poses_keep_the_default_calibration():
    rows, _ = sample_features(30, WEIGHTS, BIAS)
    correct = np.arange(30) < MIN_CORRECT_POSES - 1
    samples = CalibrationSamples(
        rows, np.zeros((30, 6)), np.tile(np.eye(6), (30, 1, 1)), np.ones(30), correct
    )
    calibration, counts = fit_calibration(samples)
    noisy, _ = fit_calibration(samples, (0.01, 0.5))
    assert (noisy.noise_m, noisy.noise_deg) == (0.01, 0.5)
    std = np.sqrt(np.diag(noisy.noise_covariance))
    np.testing.assert_allclose(std, [0.01] * 3 + [np.radians(0.5)] * 3)
    assert calibration == Calibration()
    assert counts == {'calibration_poses': 30, 'calibration_right': MIN_CORRECT_POSES - 1}


def test_a_calibration_is_equal_after_json():
    calibration = Calibration(3.0, gate_bias=-1.5, gate_weights=tuple(np.arange(10.0)))
    assert Calibration.from_dict(json.loads(json.dumps(calibration.as_dict()))) == calibration


@pytest.mark.parametrize(
    'change',
    [
        {'gate_weights': [1.0]},
        {'gate_weights': 3.0},
        {'covariance_scale': None},
        {'gate_bias': float('nan')},
        {'floor_m': 'x'},
        {'floor_m': 0.0},
        {'covariance_scale': -1.0},
    ],
)
def test_a_malformed_calibration_is_an_error(change):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Calibration.from_dict({**Calibration().as_dict(), **change})


@pytest.fixture(scope='module')
def image():
    pose = walk(4)[1]
    return PosedImage(render_box_room(pose, CAMERA)[0], CAMERA, pose)


def test_a_corrupted_image_keeps_its_pose_and_fits_its_camera(image):
    original, *corrupted, _ = corrupted_variants(image, seed=3)
    assert original is image and len(corrupted) == 6
    for variant in corrupted:
        np.testing.assert_array_equal(variant.map_from_camera, image.map_from_camera)
        assert variant.rgb.shape == (variant.camera.height, variant.camera.width, 3)
        assert variant.rgb.dtype == np.uint8
        assert not np.array_equal(variant.rgb, image.rgb)


def test_corruptions_are_deterministic(image):
    variants = corrupted_variants(image, seed=3), corrupted_variants(image, seed=3)
    for first, second in zip(*variants, strict=True):
        np.testing.assert_array_equal(first.rgb, second.rgb)
        assert first.camera == second.camera


def test_a_crop_is_inside_the_original_image(image):
    for seed in range(30):
        for variant in corrupted_variants(image, seed)[1:-1]:
            corner = image.camera.project(variant.camera.unproject(np.zeros(2)))
            assert -0.01 <= corner[0] < image.camera.width
            assert -0.01 <= corner[1] < image.camera.height


def test_a_mirrored_image_has_no_correct_pose(image):
    mirror = corrupted_variants(image, seed=0)[-1]
    assert np.isnan(mirror.map_from_camera).all()
    np.testing.assert_array_equal(mirror.rgb, image.rgb[:, ::-1])
    left = mirror.camera.project(np.array([-0.1, 0.0, 1.0]))
    right = image.camera.project(np.array([0.1, 0.0, 1.0]))
    assert left[0] == pytest.approx(image.camera.width - 1 - right[0])


@pytest.mark.parametrize('length_px', [3, 4, 10, 26])
def test_motion_blur_keeps_the_image_centered(length_px):
    dot = np.zeros((101, 101, 3), np.uint8)
    dot[50, 50] = 255
    for direction in np.linspace(0, np.pi, 7):
        blurred = motion_blur(dot, length_px, direction)[..., 0].astype(float)
        rows, columns = np.indices(blurred.shape)
        total = blurred.sum()
        assert (rows * blurred).sum() / total == pytest.approx(50, abs=0.3)
        assert (columns * blurred).sum() / total == pytest.approx(50, abs=0.3)
