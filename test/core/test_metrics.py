"""Metrics of localization, with numbers that can be verified by hand."""

import json
import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.metrics import (
    anees,
    compute_metrics,
    error_vectors,
    json_safe,
    MethodResults,
    psnr_db,
    result_errors,
    results_from_outcomes,
    results_from_poses,
    sigma_coverage,
)
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection

ORIGIN = np.eye(4)
ONE_CM_ONE_DEG = np.diag([0.01**2] * 3 + [math.radians(1) ** 2] * 3)


def pose_with_error(error_m: float = 0.0, error_deg: float = 0.0) -> np.ndarray:
    """Return a pose with errors along x and about z, relative to ORIGIN."""
    return make_pose(Rotation.from_euler('z', error_deg, degrees=True), (error_m, 0, 0))


def results(*poses: np.ndarray | None) -> MethodResults:
    return results_from_poses([(p, 10.0) for p in poses])


def estimates(*poses: np.ndarray, covariance: np.ndarray = ONE_CM_ONE_DEG) -> MethodResults:
    return results_from_outcomes([PoseEstimate(p, covariance) for p in poses], [1.0] * len(poses))


def metrics_of(*poses: np.ndarray | None) -> dict:
    return compute_metrics(results(*poses), np.stack([ORIGIN] * len(poses)))


def test_the_median_is_over_all_images() -> None:
    metrics = metrics_of(
        pose_with_error(0.01, 1), pose_with_error(0.02, 2), pose_with_error(0.40, 9)
    )
    assert metrics['median_translation_m'] == pytest.approx(0.02)
    assert metrics['median_rotation_deg'] == pytest.approx(2.0)
    assert (metrics['images'], metrics['published']) == (3, 3)


def test_a_rejected_image_has_an_infinite_error_and_180_degrees() -> None:
    metrics = metrics_of(pose_with_error(0.01, 1), None, None)
    assert metrics['median_translation_m'] == math.inf
    assert metrics['median_rotation_deg'] == 180.0
    metrics = metrics_of(pose_with_error(0.01, 1), pose_with_error(0.03, 3), None)
    assert metrics['median_translation_m'] == pytest.approx(0.03)


def test_recall_needs_both_translation_and_rotation_within_their_thresholds() -> None:
    metrics = metrics_of(
        pose_with_error(0.01, 1),
        pose_with_error(0.04, 1),
        pose_with_error(0.01, 20),
        pose_with_error(0.2, 1),
        None,
    )
    assert metrics['recall'] == {
        '2cm_2deg': 1 / 5,
        '5cm_5deg': 2 / 5,
        '10cm_10deg': 2 / 5,
        '25cm_2deg': 3 / 5,
        '50cm_5deg': 3 / 5,
    }


def test_accuracy_is_the_fraction_of_positions_within_ten_centimeters() -> None:
    assert (
        metrics_of(
            pose_with_error(0.09, 170), pose_with_error(0.11, 0), None, pose_with_error(0.0)
        )['accuracy_0.1m']
        == 0.5
    )


def test_the_worst_errors_are_of_accepted_poses_only() -> None:
    metrics = metrics_of(pose_with_error(0.01, 7), pose_with_error(0.3, 1), None)
    assert metrics['worst_published_translation_m'] == pytest.approx(0.3)
    assert metrics['worst_published_rotation_deg'] == pytest.approx(7.0)


def test_rejections_are_counted_by_reason() -> None:
    outcomes: list[Outcome] = [
        Rejection('low contrast'),
        PoseEstimate(ORIGIN, ONE_CM_ONE_DEG),
        Rejection('high covariance'),
        Rejection('low contrast'),
    ]
    metrics = compute_metrics(
        results_from_outcomes(outcomes, [1, 2, 3, 4]), np.stack([ORIGIN] * 4)
    )
    assert metrics['rejected'] == {'low contrast': 2, 'high covariance': 1}
    assert metrics['published'] == 1


def test_latency_percentiles_ignore_missing_times() -> None:
    timed = results_from_poses([(ORIGIN, float(k)) for k in range(101)] + [(ORIGIN, math.nan)])
    metrics = compute_metrics(timed, np.stack([ORIGIN] * 102))
    assert metrics['latency_ms'] == {'p50': 50.0, 'p95': 95.0, 'p99': 99.0}


def test_metrics_without_accepted_poses_are_valid_json() -> None:
    metrics = json_safe(metrics_of(None, None))
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert metrics['published'] == 0
    assert metrics['rejected'] == {'no answer': 2}
    assert metrics['median_translation_m'] is None and metrics['median_rotation_deg'] == 180.0
    assert metrics['worst_published_translation_m'] is None and metrics['anees'] is None
    assert set(metrics['recall'].values()) == {0.0}


def test_nested_values_keep_finite_numbers_only() -> None:
    dirty = {
        'a': [math.inf, {'b': np.float32('nan')}],
        'c': -math.inf,
        'd': 1,
        'e': 'x',
        'f': None,
    }
    clean = {'a': [None, {'b': None}], 'c': None, 'd': 1, 'e': 'x', 'f': None}
    assert json_safe(dirty) == clean


def test_an_error_of_one_sigma_in_one_direction_has_anees_one() -> None:
    assert anees(estimates(pose_with_error(0.01, 0)), ORIGIN[None]) == pytest.approx(1.0)
    assert anees(estimates(pose_with_error(0, 1)), ORIGIN[None]) == pytest.approx(1.0)
    assert anees(estimates(pose_with_error(0.02, 1)), ORIGIN[None]) == pytest.approx(4.0 + 1.0)


def test_anees_is_the_mean_over_accepted_poses() -> None:
    outcomes: list[Outcome] = [
        PoseEstimate(pose_with_error(0.01), ONE_CM_ONE_DEG),
        Rejection('high covariance'),
        PoseEstimate(pose_with_error(0.03), ONE_CM_ONE_DEG),
    ]
    collected = results_from_outcomes(outcomes, [1, 1, 1])
    assert anees(collected, np.stack([ORIGIN] * 3)) == pytest.approx((1 + 9) / 2)


def test_anees_of_errors_sampled_from_the_covariance_is_six() -> None:
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(4000, 6)) * np.sqrt(np.diag(ONE_CM_ONE_DEG))
    poses = [make_pose(Rotation.from_rotvec(v[3:]), v[:3]) for v in errors]
    map_from_camera_gt = np.stack([ORIGIN] * len(poses))
    assert anees(estimates(*poses), map_from_camera_gt) == pytest.approx(6.0, rel=0.05)
    coverage = sigma_coverage(estimates(*poses), map_from_camera_gt)
    assert coverage is not None
    for part in ('translation', 'rotation'):
        assert list(coverage[part].values()) == pytest.approx([0.683, 0.954, 0.997], abs=0.01)


def test_error_vectors_are_about_the_map_axes_for_any_orientation() -> None:
    true_pose = make_pose(Rotation.from_euler('xyz', [100, 20, 70], degrees=True), (1, 2, 3))
    estimate = make_pose(Rotation.from_rotvec([0, 0, math.radians(2)])) @ true_pose
    estimate[:3, 3] = true_pose[:3, 3] + [0.01, 0, 0]
    (error,) = error_vectors(estimate[None], true_pose[None])
    assert error == pytest.approx([0.01, 0, 0, 0, 0, math.radians(2)])


def test_a_zero_covariance_has_an_infinite_anees() -> None:
    assert (
        anees(estimates(pose_with_error(0.01), covariance=np.zeros((6, 6))), ORIGIN[None])
        == math.inf
    )


def test_results_without_covariance_have_no_consistency_metrics() -> None:
    assert anees(results(ORIGIN), ORIGIN[None]) is None
    assert sigma_coverage(results(ORIGIN), ORIGIN[None]) is None


def test_sigma_coverage_is_the_fraction_of_components() -> None:
    coverage = sigma_coverage(estimates(pose_with_error(0.025, 0)), ORIGIN[None])
    assert coverage is not None
    assert coverage['translation'] == pytest.approx({'1': 2 / 3, '2': 2 / 3, '3': 1.0})
    assert coverage['rotation'] == {'1': 1.0, '2': 1.0, '3': 1.0}


def test_errors_are_in_the_order_of_the_images() -> None:
    errors = result_errors(
        results(pose_with_error(0.1), None, pose_with_error(0.2)), np.stack([ORIGIN] * 3)
    )
    assert errors.translation == pytest.approx([0.1, math.inf, 0.2])


def test_psnr_of_a_tenth_of_the_range_is_20_db_and_of_equal_images_99_db() -> None:
    black = np.zeros((4, 4, 3))
    assert psnr_db(black, black + 25.5) == pytest.approx(20.0)
    assert psnr_db(black, black) == 99.0
