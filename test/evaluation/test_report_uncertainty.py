"""The report tells what would be wrong if more were published, or less."""

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


def judged(*pictures):
    """An evaluation of pictures (published, probability, centimetres off), all truly at 0."""
    outcomes = []
    for published, probability, off_cm in pictures:
        at = None if off_cm is None else make_pose(None, (off_cm / 100, 0, 0))
        scores = {} if probability is None else {'probability': probability}
        told = Diagnostics(None, at, scores)
        outcomes.append(
            PoseEstimate(at, COVARIANCE, told)
            if published
            else Rejection('low probability', '', told)
        )
    truth = np.tile(np.eye(4), (len(outcomes), 1, 1))
    answers = results_from_outcomes(outcomes, [1.0] * len(outcomes))
    return SimpleNamespace(
        outcomes=outcomes,
        map_from_camera_gt=truth,
        localizer_results=answers,
        metrics=compute_metrics(answers, truth),
    )


FIVE = judged(
    (False, 0.95, 20),
    (True, 0.999, 1),
    (False, None, 50),  # rejected before a render
    (True, 0.997, 3),
    (False, None, None),  # no pose was found
)


def test_pictures_are_answered_from_the_most_probable_to_the_unknown():
    found = risk_coverage(FIVE)
    assert found.coverage == pytest.approx([0.2, 0.4, 0.6, 0.8])  # the fifth has no pose
    assert found.probability == pytest.approx([0.999, 0.997, 0.95, math.nan], nan_ok=True)
    assert found.risk == pytest.approx([0, 0, 1 / 3, 2 / 4])
    assert found.median_m == pytest.approx([0.01, 0.02, 0.03, 0.115])
    assert found.largest_m == pytest.approx([0.01, 0.03, 0.2, 0.5])


def test_a_turned_pose_is_wrong_too():
    one = judged((True, 0.999, 1))
    one.outcomes[0].map_from_camera[:3, :3] = np.diag([1, -1, -1])
    assert risk_coverage(one).risk == [1.0]


def test_each_limit_is_told_with_what_it_would_give():
    said = risk_section(FIVE)
    assert '<th scope="row">0.9</th><td>60 %</td><td>1</td><td>3</td><td>20</td>' in said
    assert '<th scope="row">0.995</th><td>40 %</td><td>0</td><td>2</td><td>3</td>' in said
    assert '1 poses that were rejected before' in said
    assert '1 pictures have no pose' in said


def test_no_limit_above_all_probabilities_is_answered():
    assert '<th scope="row">0.999</th><td>0 %</td><td>0</td>' in risk_section(
        judged((True, 0.996, 1))
    )


def test_without_any_probability_there_is_nothing_to_tell():
    assert risk_section(judged((False, None, 20), (False, None, None))) == ''


def test_the_covariance_is_judged_in_figures():
    said = covariance_section(judged((True, 0.999, 1), (True, 0.999, 3)))
    # The errors are 1 and 3 sigma along one axis: (1 + 9) / 2 over 6 degrees of freedom.
    assert '<b>0.833</b>' in said
    assert '<th scope="row">position</th><td>83 %</td><td>83 %</td><td>100 %</td>' in said
    assert '<th scope="row">a Gaussian error</th><td>68 %</td><td>95 %</td><td>99.7 %</td>' in said
