"""The advice on camera_info is given once, when several images agree."""

import pytest

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.outcome import Diagnostics, Rejection, RejectionReason
from nerf_reversal_ros.localization.camera_advice import CameraAdvice

CAMERA = Camera(240, 180, 200.0, 200.0, 119.5, 89.5)


def rejection(focal_scale, reason=RejectionReason.IMPLAUSIBLE_CAMERA):
    return Rejection(reason, '', Diagnostics(scores={'focal_scale': focal_scale}))


def advice_of(*focal_scales, camera=CAMERA):
    advice = CameraAdvice()
    for scale in focal_scales:
        advice.add(rejection(scale), camera)
    return advice


def test_five_images_that_agree_name_the_median_focal_length():
    assert advice_of(1.25, 1.25, 1.25, 1.25).sentence == ''
    assert advice_of(1.24, 1.25, 1.25, 1.26, 3.0).sentence == (
        'camera_info has fx 200.0 px, fy 200.0 px, and 5 images fit 1.25 times as much (median):'
        ' calibrate the camera, or try fx 250.0, fy 250.0'
    )


def test_the_advice_is_announced_once():
    advice = advice_of(*[1.25] * 5)
    assert advice.announce() == advice.sentence != ''
    advice.add(rejection(1.25), CAMERA)
    assert advice.announce() == ''


def test_other_intrinsics_start_anew():
    advice = advice_of(*[1.25] * 5)
    advice.add(rejection(1.25), CAMERA.scaled_to(120, 90))
    assert advice.sentence == ''


@pytest.mark.parametrize(
    ('scales', 'text'),
    [([1.0, 1.01, 0.99, 1.0, 1.0], 'not their principal point'), ([0.5, 0.8, 1, 1.3, 2], 'ways')],
)
def test_images_without_a_common_focal_length_get_other_advice(scales, text):
    assert text in advice_of(*scales).sentence


def test_images_rejected_for_another_reason_do_not_count():
    advice = CameraAdvice()
    for _ in range(9):
        advice.add(rejection(1.25, RejectionReason.LOW_PROBABILITY), CAMERA)
    assert advice.sentence == ''
