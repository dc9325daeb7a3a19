"""Cameras other than that of the capture are verified by their images."""

from dataclasses import replace

import numpy as np
import pytest
from rooms import render_box_room, walk
from small_room import CAMERA, room_atlas

from nerf_reversal_ros.localization.camera_check import CameraCheck, CameraEvidence
from nerf_reversal_ros.localization.matching import make_query, visible_landmarks
from nerf_reversal_ros.localization.refinement import estimate_pose, refine_pose

POSES = walk(12)
CERTAIN = CameraEvidence(1.0, 0.01, 0.0, 0.002, 1.0, 0.002, 1, 0.0)


@pytest.fixture(scope='module')
def atlas():
    return room_atlas(POSES)


def scaled(factor):
    return replace(CAMERA, fx=CAMERA.fx * factor, fy=CAMERA.fy * factor)


def refined_query(atlas, number, given, taken=CAMERA):
    """Return the image of one pose with given intrinsics, its landmarks and refined pose."""
    query = make_query(render_box_room(POSES[number], taken)[0], given)
    landmarks = visible_landmarks(atlas, POSES[number], taken)
    initial = estimate_pose(query, landmarks)
    return query, landmarks, refine_pose(query, landmarks, initial) or initial


def examine(check, atlas, number, given, taken=CAMERA):
    examined = check.examine(*refined_query(atlas, number, given, taken), 4.0)
    check.remember(make_query(render_box_room(POSES[number], taken)[0], given).camera,
                   examined)  # fmt: skip
    return examined


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        ({}, ''),
        ({'focal_scale': 1.015}, ''),
        ({'focal_scale': 1.25}, 'a focal length of 1.25 times that of camera_info (std 0.01)'),
        ({'focal_scale': 0.9, 'focal_std': 0.03}, ''),
        ({'center_shift': 0.05}, 'a principal point 5.0% of the image from that of'),
        ({'center_shift': 0.05, 'center_std': 0.02}, ''),
        ({'aspect_scale': 1.1}, 'fx / fy of 1.1 times that of camera_info'),
    ],
)
def test_a_deviation_counts_beyond_two_percent_and_four_standard_deviations(change, text):
    described = replace(CERTAIN, **change).deviation_text(0.02)
    assert text in described and bool(text) == bool(described)


def test_the_camera_of_the_capture_is_plausible_at_any_image_size(atlas):
    check = CameraCheck(atlas, CAMERA)
    assert check.is_capture_camera(CAMERA.scaled_to(960, 720))
    assert not check.is_capture_camera(scaled(1.01))
    np.testing.assert_array_equal(examine(check, atlas, 3, CAMERA).covariance, np.zeros((6, 6)))


def test_a_part_of_the_images_of_the_capture_is_plausible_if_it_fits(atlas):
    check = CameraCheck(atlas, CAMERA)
    rgb = render_box_room(POSES[3], CAMERA)[0]
    _, landmarks, solution = refined_query(atlas, 3, CAMERA)
    part = replace(CAMERA, width=200, height=150, cx=CAMERA.cx - 20, cy=CAMERA.cy - 15)
    query = make_query(np.ascontiguousarray(rgb[15:165, 20:220]), part)
    assert check.examine(query, landmarks, solution, 4.0).evidence.camera_std_m == 0
    for other in (replace(part, cx=part.cx + 0.3), replace(CAMERA, cx=CAMERA.cx + 5)):
        query = make_query(rgb[: other.height, : other.width].copy(), other)
        assert check.examine(query, landmarks, solution, 4.0).evidence.camera_std_m > 0


def test_the_error_of_another_focal_length_is_within_the_added_covariance(atlas):
    check = CameraCheck(atlas, CAMERA)
    for factor in (0.97, 1.03):
        _, _, solution = refined_query(atlas, 3, scaled(factor))
        examined = examine(check, atlas, 3, scaled(factor))
        error = solution.map_from_camera[:3, 3] - POSES[3][:3, 3]
        assert np.linalg.norm(error) > 0.02
        covariance = examined.covariance[:3, :3] + 0.003**2 * np.eye(3)
        assert error @ np.linalg.solve(covariance, error) < 9


def test_views_of_one_camera_are_counted_together(atlas):
    check = CameraCheck(atlas, scaled(1.3))
    first = examine(check, atlas, 1, CAMERA).evidence
    again = examine(check, atlas, 1, CAMERA).evidence
    assert (first.camera_views, again.camera_views) == (1, 1) and again == first
    for number in (3, 5, 7):
        last = examine(check, atlas, number, CAMERA).evidence
    assert last.camera_views == 4 and last.focal_std < first.focal_std
    assert examine(check, atlas, 9, scaled(1.01)).evidence.camera_views == 1


def test_first_images_of_a_zoomed_camera_with_the_intrinsics_of_the_capture_are_noticed(atlas):
    check = CameraCheck(atlas, CAMERA)
    for number in (1, 5, 7):
        examined = examine(check, atlas, number, CAMERA, taken=scaled(1.25))
        assert examined.view is None and examined.best_scale == 1.25
        assert examined.evidence.focal_scale == pytest.approx(1.25, abs=0.03)
        assert 'a focal length of 1.2' in examined.evidence.deviation_text(0.02)
    # What three of the last images say holds for the next ones, until most say otherwise.
    texts = [
        examine(check, atlas, number, CAMERA).evidence.deviation_text(0.02)
        for number in (3, 9, 11, 2, 4, 6, 8, 10)
    ]
    assert texts[0] and not texts[-1]


def test_an_image_of_the_capture_camera_that_zoomed_contradicts_its_camera_info(atlas):
    check = CameraCheck(atlas, CAMERA)
    for number in (1, 5, 7):
        examine(check, atlas, number, CAMERA)
    evidence = examine(check, atlas, 3, CAMERA, taken=scaled(1.1)).evidence
    assert evidence.focal_scale == pytest.approx(1.1, abs=0.02)
    assert 'a focal length of 1.1' in evidence.deviation_text(0.02)


def test_a_camera_that_cannot_be_fitted_is_uncertain_unless_it_is_that_of_the_capture(atlas):
    check = CameraCheck(atlas, CAMERA)
    _, landmarks, solution = refined_query(atlas, 3, CAMERA)
    solution = replace(solution, points=solution.points[:20], pixels=solution.pixels[:20])
    blank = np.full((180, 240, 3), 90, np.uint8)
    known = check.examine(make_query(blank, CAMERA), landmarks, solution, 4.0)
    unknown = check.examine(make_query(blank, scaled(1.1)), landmarks, solution, 4.0)
    assert known.view is None and known.evidence.camera_std_m == 0
    assert unknown.view is None and unknown.evidence.camera_std_m == 1.0
