"""The gate rejects a pose for each reason, with the values behind it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from rooms import phone_camera, render_box_room, walk

from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.outcome import RejectionReason
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.localization.camera_check import CameraEvidence
from nerf_reversal_ros.localization.gate import (
    correctness_probability,
    find_rejection,
    GateEvidence,
    inlier_coverage,
    ncc_similarity,
)

ACCEPTABLE = GateEvidence(
    matched=60,
    inlier_ratio=0.8,
    inliers=100,
    spread=0.9,
    disagreement_m=0.005,
    disagreement_deg=0.1,
    explained=0.3,
    halves_m=0.004,
    halves_deg=0.1,
    similarity=0.9,
    std_m=0.01,
    distance_m=0.3,
)
LONGER = CameraEvidence(1.25, 0.01, 0.0, 0.002, 1.0, 0.002, 1, 0.0)
UNVERIFIED = CameraEvidence(1.03, 0.03, 0.0, 0.002, 1.0, 0.002, 1, 0.049)
CONFIG = LocalizerConfig()
CAMERA = phone_camera()


def render_view(pose):
    rgb, depth = render_box_room(pose, CAMERA)
    return Rendering(rgb, depth, np.ones(depth.shape, np.float32))


def rejection_of(evidence, config=CONFIG):
    return find_rejection(evidence, correctness_probability(evidence), config)


def test_guided_inliers_do_not_replace_descriptor_matches():
    reason, detail = rejection_of(replace(ACCEPTABLE, matched=6))
    assert reason == 'too few inliers' and detail.startswith('6 descriptor matches agree')


def test_acceptable_evidence_passes():
    assert rejection_of(ACCEPTABLE) is None


@pytest.mark.parametrize(
    ('change', 'reason', 'values'),
    [
        ({'inliers': 14}, 'too few inliers', '14 inliers, 80% of the matches (needed: 15, 15%)'),
        ({'inlier_ratio': 0.14}, 'too few inliers', '100 inliers, 14% of the matches'),
        ({'spread': 0.125}, 'clustered inliers', '12% of the image (needed: 25%)'),
        ({'disagreement_m': 0.2}, 'unstable refinement', 'by 0.200 m, 0.10 deg'),
        ({'disagreement_deg': 5.0}, 'unstable refinement', 'by 0.005 m, 5.00 deg'),
        (
            {'camera': LONGER},
            'implausible camera model',
            '1.25 times that of camera_info (std 0.01)',
        ),
        (
            {'camera': UNVERIFIED, 'std_m': 0.05},
            'high covariance',
            '0.050 m, 0.049 m of it by a camera that few views verify (allowed: 0.03 m)',
        ),
        ({'similarity': 0.1}, 'appearance mismatch', 'similarity 0.10'),
        ({'similarity': float('nan')}, 'appearance mismatch', 'similarity nan'),
        ({'std_m': 0.06}, 'high covariance', '0.060 m (allowed: 0.03 m)'),
        ({'distance_m': 2.0}, 'outside the map', '2.00 m from the nearest mapping position'),
        (
            {'similarity': 0.3, 'inlier_ratio': 0.2, 'inliers': 25},
            'low probability',
            '(needed: 0.95)',
        ),
    ],
)
def test_one_failed_check_rejects_with_its_reason_and_values(change, reason, values):
    rejection = rejection_of(replace(ACCEPTABLE, **change))
    assert rejection is not None
    assert rejection[0] == reason and rejection[0] in list(RejectionReason)
    assert values in rejection[1]


@pytest.mark.parametrize('name', ['disagreement_m', 'disagreement_deg', 'std_m', 'distance_m'])
def test_a_value_that_is_not_a_number_is_rejected(name):
    assert rejection_of(replace(ACCEPTABLE, **{name: float('nan')})) is not None


def test_a_missing_rendering_is_not_checked():
    assert rejection_of(replace(ACCEPTABLE, similarity=None)) is None
    assert 'similarity' not in replace(ACCEPTABLE, similarity=None).as_scores()
    assert ACCEPTABLE.as_scores()['similarity'] == 0.9


def test_values_at_the_limits_pass():
    at_the_limit = GateEvidence(
        matched=10,
        inliers=CONFIG.min_inliers,
        inlier_ratio=CONFIG.min_inlier_ratio,
        spread=CONFIG.min_spread,
        disagreement_m=CONFIG.max_disagreement_m,
        disagreement_deg=CONFIG.max_disagreement_deg,
        explained=0.05,
        halves_m=0.1,
        halves_deg=3.0,
        similarity=CONFIG.min_similarity,
        std_m=CONFIG.max_std_m,
        distance_m=CONFIG.max_distance_m,
    )
    assert rejection_of(at_the_limit, replace(CONFIG, min_probability=0.0)) is None


def test_the_probability_grows_with_the_evidence():
    weak = replace(ACCEPTABLE, similarity=0.5, inliers=40, inlier_ratio=0.4)
    assert 0.0 < correctness_probability(weak) < correctness_probability(ACCEPTABLE) <= 1.0
    for better in ({'similarity': 0.7}, {'inliers': 90}, {'inlier_ratio': 0.7}):
        assert correctness_probability(replace(weak, **better)) > correctness_probability(weak)
    assert correctness_probability(replace(ACCEPTABLE, similarity=None)) is None


def test_the_minimum_probability_is_a_setting():
    weak = replace(ACCEPTABLE, similarity=0.55, inliers=40, inlier_ratio=0.4)
    probability = correctness_probability(weak)
    assert rejection_of(weak, replace(CONFIG, min_probability=probability - 0.01)) is None
    rejection = rejection_of(weak, replace(CONFIG, min_probability=min(1.0, probability + 0.01)))
    assert rejection is not None and rejection[0] == 'low probability'


def test_coverage_is_the_fraction_of_sixteen_cells_that_hold_a_pixel():
    corner = np.array([[1.0, 1.0], [9.0, 9.0]])
    assert inlier_coverage(corner, 160, 120) == 1 / 16
    corners = np.array([[0.0, 0.0], [159.0, 0.0], [0.0, 119.0], [159.0, 119.0]])
    assert inlier_coverage(corners, 160, 120) == 4 / 16
    everywhere = np.stack(np.meshgrid(np.arange(160.0), np.arange(120.0)), -1).reshape(-1, 2)
    assert inlier_coverage(everywhere, 160, 120) == 1


def test_similarity_is_insensitive_to_exposure():
    view = render_view(walk(8)[0])
    same = ncc_similarity(view.rgb, view)
    dark, bright = (view.rgb * 0.4).astype(np.uint8), cv2.convertScaleAbs(view.rgb, beta=40)
    assert same > 0.8
    assert ncc_similarity(dark, view) == pytest.approx(same, abs=0.03)
    assert ncc_similarity(bright, view) == pytest.approx(same, abs=0.03)


def test_another_view_and_another_texture_are_dissimilar():
    pose, other_pose = walk(8)[:2]
    assert ncc_similarity(render_view(other_pose).rgb, render_view(pose)) < 0.3
    assert ncc_similarity(render_box_room(pose, CAMERA, paint=8)[0], render_view(pose)) < 0.3


def test_only_covered_pixels_are_compared():
    view = render_view(walk(8)[0])
    half_inverted = view.rgb.copy()
    half_inverted[:64] = 255 - half_inverted[:64]
    opacity = np.ones_like(view.opacity)
    opacity[:64] = 0
    assert ncc_similarity(half_inverted, view) < 0.5
    assert ncc_similarity(half_inverted, replace(view, opacity=opacity)) > 0.8
    uncovered = replace(view, opacity=np.zeros_like(opacity))
    assert np.isnan(ncc_similarity(view.rgb, uncovered))


def test_an_image_without_texture_cannot_be_compared():
    view = render_view(walk(8)[0])
    assert np.isnan(ncc_similarity(np.full_like(view.rgb, 90), view))
