"""Figures that can be checked in the head."""

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

HERE = np.eye(4)
ONE_CM_ONE_DEG = np.diag([0.01**2] * 3 + [math.radians(1) ** 2] * 3)


def off(metres: float = 0.0, degrees: float = 0.0) -> np.ndarray:
    """Return a pose that far along x, and turned that much about z, from HERE."""
    return make_pose(Rotation.from_euler('z', degrees, degrees=True), (metres, 0, 0))


def answers(*poses: np.ndarray | None) -> MethodResults:
    return results_from_poses([(p, 10.0) for p in poses])


def estimates(*poses: np.ndarray, covariance: np.ndarray = ONE_CM_ONE_DEG) -> MethodResults:
    return results_from_outcomes([PoseEstimate(p, covariance) for p in poses], [1.0] * len(poses))


def block(*poses: np.ndarray | None) -> dict:
    return compute_metrics(answers(*poses), np.stack([HERE] * len(poses)))


def test_the_median_is_over_all_pictures() -> None:
    found = block(off(0.01, 1), off(0.02, 2), off(0.40, 9))
    assert found['median_translation_m'] == pytest.approx(0.02)
    assert found['median_rotation_deg'] == pytest.approx(2.0)
    assert (found['images'], found['published']) == (3, 3)


def test_a_rejected_picture_counts_as_infinitely_far_and_turned_by_180_degrees() -> None:
    found = block(off(0.01, 1), None, None)
    assert found['median_translation_m'] == math.inf
    assert found['median_rotation_deg'] == 180.0
    found = block(off(0.01, 1), off(0.03, 3), None)
    assert found['median_translation_m'] == pytest.approx(0.03)


def test_recall_needs_both_translation_and_rotation_within_their_thresholds() -> None:
    found = block(off(0.01, 1), off(0.04, 1), off(0.01, 20), off(0.2, 1), None)
    assert found['recall'] == {
        '2cm_2deg': 1 / 5,
        '5cm_5deg': 2 / 5,
        '10cm_10deg': 2 / 5,
        '25cm_2deg': 3 / 5,
        '50cm_5deg': 3 / 5,
    }


def test_accuracy_is_the_share_of_positions_within_ten_centimetres() -> None:
    assert block(off(0.09, 170), off(0.11, 0), None, off(0.0))['accuracy_0.1m'] == 0.5


def test_the_worst_is_among_the_published_only() -> None:
    found = block(off(0.01, 7), off(0.3, 1), None)
    assert found['worst_published_translation_m'] == pytest.approx(0.3)
    assert found['worst_published_rotation_deg'] == pytest.approx(7.0)


def test_rejections_are_counted_by_reason() -> None:
    outcomes: list[Outcome] = [
        Rejection('low contrast'),
        PoseEstimate(HERE, ONE_CM_ONE_DEG),
        Rejection('high covariance'),
        Rejection('low contrast'),
    ]
    found = compute_metrics(results_from_outcomes(outcomes, [1, 2, 3, 4]), np.stack([HERE] * 4))
    assert found['rejected'] == {'low contrast': 2, 'high covariance': 1}
    assert found['published'] == 1


def test_latency_has_its_percentiles_and_leaves_out_what_was_not_timed() -> None:
    timed = results_from_poses([(HERE, float(k)) for k in range(101)] + [(HERE, math.nan)])
    found = compute_metrics(timed, np.stack([HERE] * 102))
    assert found['latency_ms'] == {'p50': 50.0, 'p95': 95.0, 'p99': 99.0}


def test_when_nothing_is_published_every_figure_is_still_valid_json() -> None:
    found = json_safe(block(None, None))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found['published'] == 0
    assert found['rejected'] == {'no answer': 2}
    assert found['median_translation_m'] is None and found['median_rotation_deg'] == 180.0
    assert found['worst_published_translation_m'] is None and found['anees'] is None
    assert set(found['recall'].values()) == {0.0}


def test_nothing_but_finite_numbers_is_left_in_nested_values() -> None:
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
    assert anees(estimates(off(0.01, 0)), HERE[None]) == pytest.approx(1.0)
    assert anees(estimates(off(0, 1)), HERE[None]) == pytest.approx(1.0)
    assert anees(estimates(off(0.02, 1)), HERE[None]) == pytest.approx(4.0 + 1.0)


def test_anees_is_the_mean_over_what_was_published() -> None:
    outcomes: list[Outcome] = [
        PoseEstimate(off(0.01), ONE_CM_ONE_DEG),
        Rejection('high covariance'),
        PoseEstimate(off(0.03), ONE_CM_ONE_DEG),
    ]
    given = results_from_outcomes(outcomes, [1, 1, 1])
    assert anees(given, np.stack([HERE] * 3)) == pytest.approx((1 + 9) / 2)


def test_anees_of_errors_drawn_from_the_covariance_is_six() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(4000, 6)) * np.sqrt(np.diag(ONE_CM_ONE_DEG))
    poses = [make_pose(Rotation.from_rotvec(v[3:]), v[:3]) for v in drawn]
    truth = np.stack([HERE] * len(poses))
    assert anees(estimates(*poses), truth) == pytest.approx(6.0, rel=0.05)
    coverage = sigma_coverage(estimates(*poses), truth)
    assert coverage is not None
    for part in ('translation', 'rotation'):
        assert list(coverage[part].values()) == pytest.approx([0.683, 0.954, 0.997], abs=0.01)


def test_the_covariance_is_about_the_map_axes_whatever_way_the_camera_looks() -> None:
    looking = make_pose(Rotation.from_euler('xyz', [100, 20, 70], degrees=True), (1, 2, 3))
    turned = make_pose(Rotation.from_rotvec([0, 0, math.radians(2)])) @ looking
    turned[:3, 3] = looking[:3, 3] + [0.01, 0, 0]
    (error,) = error_vectors(turned[None], looking[None])
    assert error == pytest.approx([0.01, 0, 0, 0, 0, math.radians(2)])


def test_a_covariance_of_zero_is_infinitely_too_sure() -> None:
    assert anees(estimates(off(0.01), covariance=np.zeros((6, 6))), HERE[None]) == math.inf


def test_methods_without_covariance_have_no_calibration() -> None:
    assert anees(answers(HERE), HERE[None]) is None
    assert sigma_coverage(answers(HERE), HERE[None]) is None


def test_sigma_coverage_counts_components() -> None:
    coverage = sigma_coverage(estimates(off(0.025, 0)), HERE[None])
    assert coverage is not None
    assert coverage['translation'] == pytest.approx({'1': 2 / 3, '2': 2 / 3, '3': 1.0})
    assert coverage['rotation'] == {'1': 1.0, '2': 1.0, '3': 1.0}


def test_errors_are_in_the_order_of_the_pictures() -> None:
    errors = result_errors(answers(off(0.1), None, off(0.2)), np.stack([HERE] * 3))
    assert errors.translation == pytest.approx([0.1, math.inf, 0.2])


def test_psnr() -> None:
    black = np.zeros((4, 4, 3))
    assert psnr_db(black, black + 25.5) == pytest.approx(20.0)
    assert psnr_db(black, black) == 99.0
