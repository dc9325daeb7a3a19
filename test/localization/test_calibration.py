"""What is learned from held-out frames is how sure and how wide an answer must be."""

import json

import numpy as np
import pytest
from rooms import phone_camera, render_box_room, walk

from nerf_reversal_ros.core.outcome import Diagnostics, Rejection
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.localization.gate import BIAS, FEATURE_STATS, WEIGHTS
from nerf_reversal_ros.mapping.calibration_fitting import (
    CalibrationSamples,
    collect_samples,
    corrupted_variants,
    fit_calibration,
    fit_covariance_scale,
    fit_gate,
    MIN_CORRECT_POSES,
)
from nerf_reversal_ros.synthesis.image_corruption import (
    make_mirror_negative,
    motion_blur,
    PosedImage,
)

CAMERA = phone_camera()


def errors_and_covariances(count, factor, seed=0):
    """Errors that are, in variance, ``factor`` times what their covariances and the floor say."""
    rng = np.random.default_rng(seed)
    std = rng.uniform(0.002, 0.02, (count, 6))
    covariances = np.array([np.diag(row**2) for row in std])
    published = [Calibration(factor).covariance(one) for one in covariances]
    errors = np.array([rng.multivariate_normal(np.zeros(6), one) for one in published])
    return errors, covariances


@pytest.mark.parametrize('factor', [2.0, 9.0, 40.0])
def test_the_covariance_is_scaled_to_the_errors(factor):
    found = fit_covariance_scale(*errors_and_covariances(2000, factor))
    assert found == pytest.approx(factor, rel=0.1)


def test_one_bad_picture_hardly_changes_the_scale():
    errors, covariances = errors_and_covariances(90, 5.0)
    before = fit_covariance_scale(errors, covariances)
    errors[0] *= 30.0
    assert fit_covariance_scale(errors, covariances) == pytest.approx(before, rel=0.25)


def test_the_covariance_is_never_narrowed():
    errors, covariances = errors_and_covariances(200, 1.0)
    assert fit_covariance_scale(errors * 0.1, covariances) == 1.0


def test_the_floor_grows_with_the_distance_from_the_walk():
    calibration = Calibration(covariance_scale=1.0, floor_m=0.002, floor_deg=0.1)
    std = np.sqrt(np.diag(calibration.covariance(np.zeros((6, 6)), distance_in_extents=1.5)))
    np.testing.assert_allclose(std, [0.005] * 3 + [np.radians(0.25)] * 3)


def test_a_map_of_before_the_floor_grew_is_read_as_one_whose_floor_grows():
    stored = Calibration(floor_growth=3.0).as_dict()
    assert Calibration.from_dict(stored).floor_growth == 3.0
    del stored['floor_growth']
    assert Calibration.from_dict(stored) == Calibration()


class Answers:
    """A localizer that answers each picture with the outcome that is due."""

    def __init__(self, outcomes):
        self._outcomes = iter(outcomes)

    def localize(self, rgb, camera):
        return next(self._outcomes)


def test_what_is_learned_from_are_refined_poses_right_wrong_and_in_a_mirror(shot):
    near, far = shot.map_from_camera.copy(), shot.map_from_camera.copy()
    near[0, 3] += 0.01
    far[0, 3] += 0.2
    scores = dict(matched=30.0, inlier_ratio=0.9, inliers=60.0, similarity=0.8, spread=0.7)
    scores |= {'disagreement_deg': 0.1, 'disagreement_m': 0.01}
    blank = {**scores, 'similarity': float('nan')}
    undrawn = {name: value for name, value in scores.items() if name != 'similarity'}
    outcomes = [
        Rejection('low probability', '', Diagnostics(None, refined, told, {}, None, np.eye(6)))
        for refined, told in (
            (near, scores), (far, scores), (near, scores),
            (near, blank), (near, undrawn), (None, scores),
        )
    ]  # fmt: skip
    reflected = make_mirror_negative(shot)
    poses = collect_samples(Answers(outcomes), [shot, shot, reflected, shot, shot, shot])
    assert poses.correct.tolist() == [True, False, False]
    np.testing.assert_allclose(poses.errors[0, :3], [0.01, 0, 0], atol=1e-9)
    assert np.isnan(poses.errors[2]).all()


def sample(count, weights, bias, seed=0):
    """Draw features as they typically are, and whether the pose was right by given odds."""
    rng = np.random.default_rng(seed)
    centre, spread = np.array(FEATURE_STATS).T
    rows = rng.normal(centre, spread, (count, len(FEATURE_STATS)))
    odds = np.exp(-(bias + rows @ np.asarray(weights)))
    return rows, rng.random(count) < 1 / (1 + odds)


def test_many_pictures_of_a_room_teach_the_gate_what_is_right_there():
    centre, spread = np.array(FEATURE_STATS).T
    other = np.array(WEIGHTS) * [1, 0.3, 0.5, 0.3, -1, 1, 0.5]
    even_odds = -float(centre @ other)
    rows, right = sample(20_000, other, even_odds)
    bias, weights = fit_gate(rows, right)
    np.testing.assert_allclose(weights * spread, other * spread, atol=0.1)
    assert bias + centre @ weights == pytest.approx(0.0, abs=0.1)


def test_few_pictures_leave_the_gate_nearly_as_other_rooms_made_it():
    rows, right = sample(10, WEIGHTS, BIAS)
    _, weights = fit_gate(rows, right)
    spread = np.array(FEATURE_STATS)[:, 1]
    np.testing.assert_allclose(weights * spread, np.array(WEIGHTS) * spread, atol=0.4)


def test_with_too_few_right_poses_nothing_is_learned():
    rows, _ = sample(30, WEIGHTS, BIAS)
    few = np.arange(30) < MIN_CORRECT_POSES - 1
    poses = CalibrationSamples(rows, np.zeros((30, 6)), np.tile(np.eye(6), (30, 1, 1)), few)
    calibration, found = fit_calibration(poses)
    assert calibration == Calibration()
    assert found == {'calibration_poses': 30, 'calibration_right': MIN_CORRECT_POSES - 1}


def test_a_calibration_survives_json():
    calibration = Calibration(3.0, gate_bias=-1.5, gate_weights=tuple(np.arange(7.0)))
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
def test_a_calibration_with_wrong_numbers_is_refused(change):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Calibration.from_dict({**Calibration().as_dict(), **change})


@pytest.fixture(scope='module')
def shot():
    pose = walk(4)[1]
    return PosedImage(render_box_room(pose, CAMERA)[0], CAMERA, pose)


def test_a_shot_made_hard_keeps_its_pose_and_fits_its_camera(shot):
    as_it_is, *hard, _ = corrupted_variants(shot, seed=3)
    assert as_it_is is shot and len(hard) == 6
    for one in hard:
        np.testing.assert_array_equal(one.map_from_camera, shot.map_from_camera)
        assert one.rgb.shape == (one.camera.height, one.camera.width, 3)
        assert one.rgb.dtype == np.uint8
        same = one.rgb.shape == shot.rgb.shape and np.array_equal(one.rgb, shot.rgb)
        assert not same


def test_hard_shots_are_the_same_every_time(shot):
    for one, other in zip(
        corrupted_variants(shot, seed=3), corrupted_variants(shot, seed=3), strict=True
    ):
        np.testing.assert_array_equal(one.rgb, other.rgb)
        assert one.camera == other.camera


def test_a_crop_shows_the_same_points_of_the_room(shot):
    for seed in range(30):
        for one in corrupted_variants(shot, seed)[1:-1]:
            ray = np.linalg.inv(one.camera.matrix) @ [0, 0, 1]
            first = shot.camera.matrix @ ray
            assert -0.01 <= first[0] < shot.camera.width
            assert -0.01 <= first[1] < shot.camera.height


def test_in_a_mirror_no_pose_is_right(shot):
    mirror = corrupted_variants(shot, seed=0)[-1]
    assert np.isnan(mirror.map_from_camera).all()
    np.testing.assert_array_equal(mirror.rgb, shot.rgb[:, ::-1])
    left = mirror.camera.project(np.array([-0.1, 0.0, 1.0]))
    right = shot.camera.project(np.array([0.1, 0.0, 1.0]))
    assert left[0] == pytest.approx(shot.camera.width - 1 - right[0])


@pytest.mark.parametrize('length_px', [3, 4, 10, 26])
def test_a_blurred_picture_stays_where_it_is(length_px):
    dot = np.zeros((101, 101, 3), np.uint8)
    dot[50, 50] = 255
    for direction in np.linspace(0, np.pi, 7):
        blurred = motion_blur(dot, length_px, direction)[..., 0].astype(float)
        rows, columns = np.indices(blurred.shape)
        total = blurred.sum()
        assert (rows * blurred).sum() / total == pytest.approx(50, abs=0.3)
        assert (columns * blurred).sum() / total == pytest.approx(50, abs=0.3)
