"""Each reason for not believing a pose, by its own evidence."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from rooms import phone_camera, render_box_room, walk

from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.outcome import RejectionReason
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.localization.gate import (
    correctness_probability,
    find_rejection,
    GateEvidence,
    inlier_coverage,
    ncc_similarity,
)

GOOD = GateEvidence(
    matched=60,
    inlier_ratio=0.8,
    inliers=100,
    spread=0.9,
    disagreement_m=0.005,
    disagreement_deg=0.1,
    similarity=0.9,
    std_m=0.01,
    distance_m=0.3,
)
CONFIG = LocalizerConfig()
CAMERA = phone_camera()


def seen_at(pose):
    rgb, depth = render_box_room(pose, CAMERA)
    return Rendering(rgb, depth, np.ones(depth.shape, np.float32))


def judged(evidence, config=CONFIG):
    return find_rejection(evidence, correctness_probability(evidence), config)


def test_good_evidence_is_believed():
    assert judged(GOOD) is None


@pytest.mark.parametrize(
    ('change', 'reason', 'figures'),
    [
        ({'inliers': 14}, 'too few inliers', '14 inliers, 80% of the matches (needed: 15, 15%)'),
        ({'inlier_ratio': 0.14}, 'too few inliers', '100 inliers, 14% of the matches'),
        ({'spread': 0.125}, 'clustered inliers', '12% of the picture (needed: 25%)'),
        ({'disagreement_m': 0.2}, 'unstable refinement', 'by 0.200 m, 0.10 deg'),
        ({'disagreement_deg': 5.0}, 'unstable refinement', 'by 0.005 m, 5.00 deg'),
        ({'similarity': 0.1}, 'appearance mismatch', 'similarity 0.10'),
        ({'similarity': float('nan')}, 'appearance mismatch', 'similarity nan'),
        ({'std_m': 0.06}, 'high covariance', '0.060 m (allowed: 0.02 m)'),
        ({'distance_m': 2.0}, 'outside the map', '2.00 m from the nearest walked position'),
        (
            {'similarity': 0.3, 'inlier_ratio': 0.2, 'inliers': 25},
            'low probability',
            '(needed: 0.995)',
        ),
    ],
)
def test_one_fault_is_enough_and_is_named_with_its_figures(change, reason, figures):
    verdict = judged(replace(GOOD, **change))
    assert verdict is not None
    assert verdict[0] == reason and verdict[0] in list(RejectionReason)
    assert figures in verdict[1]


@pytest.mark.parametrize('name', ['disagreement_m', 'disagreement_deg', 'std_m', 'distance_m'])
def test_a_figure_that_could_not_be_computed_is_not_believed(name):
    assert judged(replace(GOOD, **{name: float('nan')})) is not None


def test_what_has_not_been_drawn_is_not_judged():
    assert judged(replace(GOOD, similarity=None)) is None
    assert 'similarity' not in replace(GOOD, similarity=None).as_scores()
    assert GOOD.as_scores()['similarity'] == 0.9


def test_limits_themselves_still_pass():
    at_the_limit = GateEvidence(
        matched=10,
        inliers=CONFIG.min_inliers,
        inlier_ratio=CONFIG.min_inlier_ratio,
        spread=CONFIG.min_spread,
        disagreement_m=CONFIG.max_disagreement_m,
        disagreement_deg=CONFIG.max_disagreement_deg,
        similarity=CONFIG.min_similarity,
        std_m=CONFIG.max_std_m,
        distance_m=CONFIG.max_distance_m,
    )
    assert judged(at_the_limit, replace(CONFIG, min_probability=0.0)) is None


def test_the_probability_grows_with_the_evidence_for_a_pose():
    weak = replace(GOOD, similarity=0.5, inliers=40, inlier_ratio=0.4)
    assert 0.0 < correctness_probability(weak) < correctness_probability(GOOD) <= 1.0
    for better in ({'similarity': 0.7}, {'inliers': 90}, {'inlier_ratio': 0.7}):
        assert correctness_probability(replace(weak, **better)) > correctness_probability(weak)
    assert correctness_probability(replace(GOOD, similarity=None)) is None


def test_the_user_sets_how_probable_a_pose_must_be():
    weak = replace(GOOD, similarity=0.55, inliers=40, inlier_ratio=0.4)
    wanted = correctness_probability(weak)
    assert judged(weak, replace(CONFIG, min_probability=wanted - 0.01)) is None
    verdict = judged(weak, replace(CONFIG, min_probability=min(1.0, wanted + 0.01)))
    assert verdict is not None and verdict[0] == 'low probability'


def test_spread_counts_the_sixteenths_of_the_picture_that_hold_a_pixel():
    corner = np.array([[1.0, 1.0], [9.0, 9.0]])
    assert inlier_coverage(corner, 160, 120) == 1 / 16
    corners = np.array([[0.0, 0.0], [159.0, 0.0], [0.0, 119.0], [159.0, 119.0]])
    assert inlier_coverage(corners, 160, 120) == 4 / 16
    everywhere = np.stack(np.meshgrid(np.arange(160.0), np.arange(120.0)), -1).reshape(-1, 2)
    assert inlier_coverage(everywhere, 160, 120) == 1


def test_the_same_view_is_similar_whatever_the_exposure():
    view = seen_at(walk(8)[0])
    same = ncc_similarity(view.rgb, view)
    dark, bright = (view.rgb * 0.4).astype(np.uint8), cv2.convertScaleAbs(view.rgb, beta=40)
    assert same > 0.8
    assert ncc_similarity(dark, view) == pytest.approx(same, abs=0.03)
    assert ncc_similarity(bright, view) == pytest.approx(same, abs=0.03)


def test_another_view_and_another_paint_are_not_similar():
    here, there = walk(8)[:2]
    assert ncc_similarity(seen_at(there).rgb, seen_at(here)) < 0.3
    assert ncc_similarity(render_box_room(here, CAMERA, paint=8)[0], seen_at(here)) < 0.3


def test_only_what_the_field_covers_is_compared():
    view = seen_at(walk(8)[0])
    half = view.rgb.copy()
    half[:64] = 255 - half[:64]
    opacity = np.ones_like(view.opacity)
    opacity[:64] = 0
    assert ncc_similarity(half, view) < 0.5
    assert ncc_similarity(half, replace(view, opacity=opacity)) > 0.8
    nothing = replace(view, opacity=np.zeros_like(opacity))
    assert np.isnan(ncc_similarity(view.rgb, nothing))


def test_a_picture_without_texture_cannot_be_compared():
    view = seen_at(walk(8)[0])
    assert np.isnan(ncc_similarity(np.full_like(view.rgb, 90), view))
