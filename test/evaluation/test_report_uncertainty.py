"""Risk and coverage by probability, and the calibration of the covariance, with small numbers."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.metrics import compute_metrics, results_from_outcomes
from nerf_reversal_ros.core.outcome import Diagnostics, PoseEstimate, Rejection
from nerf_reversal_ros.evaluation.report_uncertainty import (
    covariance_section,
    risk_coverage,
    risk_section,
)

COVARIANCE = np.diag([1e-4] * 3 + [4e-5] * 3)


def evaluation_of(*images):
    """Return an evaluation of images (accepted, probability, x error [cm]), all truly at 0."""
    outcomes = []
    for accepted, probability, error_cm in images:
        pose = None if error_cm is None else make_pose(None, (error_cm / 100, 0, 0))
        scores = {} if probability is None else {'probability': probability}
        diagnostics = Diagnostics(None, pose, scores)
        outcomes.append(
            PoseEstimate(pose, COVARIANCE, diagnostics)
            if accepted
            else Rejection('low probability', '', diagnostics)
        )
    poses_gt = np.tile(np.eye(4), (len(outcomes), 1, 1))
    results = results_from_outcomes(outcomes, [1.0] * len(outcomes))
    return SimpleNamespace(
        outcomes=outcomes,
        map_from_camera_gt=poses_gt,
        localizer_results=results,
        metrics=compute_metrics(results, poses_gt),
    )


FIVE_IMAGES = evaluation_of(
    (False, 0.95, 20),
    (True, 0.999, 1),
    (False, None, 50),  # rejected before the gate had a probability
    (True, 0.997, 3),
    (False, None, None),  # no refined pose
)


def test_images_are_ordered_by_probability_and_unknown_ones_come_last():
    curve = risk_coverage(FIVE_IMAGES)
    assert curve.coverage == pytest.approx([0.2, 0.4, 0.6, 0.8])  # the fifth image has no pose
    assert curve.probability == pytest.approx([0.999, 0.997, 0.95, math.nan], nan_ok=True)
    assert curve.risk == pytest.approx([0, 0, 1 / 3, 2 / 4])
    assert curve.median_m == pytest.approx([0.01, 0.02, 0.03, 0.115])
    assert curve.largest_m == pytest.approx([0.01, 0.03, 0.2, 0.5])


def test_a_pose_with_a_wrong_rotation_is_incorrect():
    evaluation = evaluation_of((True, 0.999, 1))
    evaluation.outcomes[0].map_from_camera[:3, :3] = np.diag([1, -1, -1])
    assert risk_coverage(evaluation).risk == [1.0]


def test_the_table_holds_coverage_and_errors_of_each_threshold():
    section = risk_section(FIVE_IMAGES)
    assert '<th scope="row">0.9</th><td>60 %</td><td>1</td><td>3</td><td>20</td>' in section
    assert '<th scope="row">0.995</th><td>40 %</td><td>0</td><td>2</td><td>3</td>' in section
    assert 'rejected before the gate had a probability (1)' in section
    assert 'Images without a refined pose: 1' in section


def test_a_threshold_above_all_probabilities_accepts_nothing():
    assert '<th scope="row">0.999</th><td>0 %</td><td>0</td>' in risk_section(
        evaluation_of((True, 0.996, 1))
    )


def test_without_any_probability_the_section_is_empty():
    assert risk_section(evaluation_of((False, None, 20), (False, None, None))) == ''


def test_the_covariance_is_compared_with_the_errors():
    section = covariance_section(evaluation_of((True, 0.999, 1), (True, 0.999, 3)))
    # The errors are 1 and 3 sigma along one axis: (1 + 9) / 2 over 6 degrees of freedom.
    assert '<b>0.833</b>' in section
    assert '<th scope="row">position</th><td>83 %</td><td>83 %</td><td>100 %</td>' in section
    assert (
        '<th scope="row">Gaussian error</th><td>68 %</td><td>95 %</td><td>99.7 %</td>' in section
    )
