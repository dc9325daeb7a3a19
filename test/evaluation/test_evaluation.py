"""A localizer is evaluated on every image of a real bag: errors, stages, baselines, times."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_room import CAMERA, SmallRoom, walk, write_bag

from nerf_reversal_ros.baselines.baselines import Baseline
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import ImageError
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.outcome import Diagnostics, Outcome, PoseEstimate, Rejection
from nerf_reversal_ros.core.progress import Progress
from nerf_reversal_ros.evaluation.evaluation import evaluate, Evaluation, rendering_psnr
from nerf_reversal_ros.fields.base import Rendering

COVARIANCE = np.diag([0.01**2] * 3 + [0.01**2] * 3)
IDENTITY_CONVENTION = PoseConvention('optical', np.eye(4), 'configured')
MAPPING_POSES = walk(6)


class ScriptedLocalizer:
    """A localizer that returns a given outcome for each image of a capture."""

    def __init__(self, capture: Capture, outcomes: list[Outcome | ImageError]) -> None:
        images = (frame.rgb.tobytes() for frame in capture)
        self._outcomes = dict(zip(images, outcomes, strict=True))

    def localize(
        self, rgb: np.ndarray, camera: Camera, *, expected_pose: np.ndarray | None = None
    ) -> Outcome:
        """Return the outcome of an image, or raise it."""
        assert camera == CAMERA
        outcome = self._outcomes[rgb.tobytes()]
        if isinstance(outcome, ImageError):
            raise outcome
        return outcome


def shift_z(pose: np.ndarray, distance_m: float) -> np.ndarray:
    return make_pose(translation=(0, 0, distance_m)) @ pose


def outcomes_for(poses_gt: np.ndarray) -> list[Outcome | ImageError]:
    """Return errors of 1 cm and 3 cm, a rejection at 1.8 cm, one without a pose, a bad image."""
    times = {'regress': 4.0, 'keypoints': 5.0, 'refine': 30.0, 'total': 40.0}
    diagnostics = [
        Diagnostics(
            shift_z(pose, 0.2), shift_z(pose, error_m), {}, times, 400 * COVARIANCE, covariance
        )
        for pose, error_m, covariance in zip(
            poses_gt, (0.01, 0.03, 0.018), (COVARIANCE, COVARIANCE, None), strict=False
        )
    ]
    return [
        PoseEstimate(shift_z(poses_gt[0], 0.01), COVARIANCE, diagnostics[0]),
        PoseEstimate(shift_z(poses_gt[1], 0.03), COVARIANCE, diagnostics[1]),
        Rejection('too few inliers', '12 < 30', diagnostics[2]),
        Rejection('low contrast'),
        ImageError('the image is empty'),
    ]


@pytest.fixture(scope='module')
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    bag = write_bag(tmp_path_factory.mktemp('bags') / 'query', walk(5, phase=0.1))
    return open_capture(bag, CaptureConfig(), convention=IDENTITY_CONVENTION, select_frames=False)


@pytest.fixture(scope='module')
def result(capture: Capture) -> Evaluation:
    localizer = ScriptedLocalizer(capture, outcomes_for(capture.map_from_camera))
    return evaluate(capture, localizer, MAPPING_POSES, field=SmallRoom())


def test_the_localizer_is_scored_over_all_images(result: Evaluation) -> None:
    metrics = result.metrics
    assert (metrics['images'], metrics['published']) == (5, 2)
    assert metrics['rejected'] == {
        'low contrast': 1,
        'too few inliers': 1,
        'invalid image': 1,
    }
    assert metrics['median_translation_m'] is None and metrics['median_rotation_deg'] == 180.0
    assert metrics['worst_published_translation_m'] == pytest.approx(0.03)
    assert metrics['recall']['2cm_2deg'] == pytest.approx(1 / 5)
    assert metrics['accuracy_0.1m'] == pytest.approx(2 / 5)
    assert metrics['anees'] == pytest.approx((1 + 9) / 2, rel=1e-5)
    assert metrics['latency_ms']['p50'] < 50


def test_stages_are_scored_before_the_gate_with_their_own_times(result: Evaluation) -> None:
    regressor, refined = (result.metrics['stages'][name] for name in ('regressor', 'refined'))
    assert regressor['published'] == 3
    assert regressor['median_translation_m'] == pytest.approx(0.2)
    assert regressor['latency_ms']['p50'] == 4.0
    assert refined['published'] == 3
    assert refined['median_translation_m'] == pytest.approx(0.03)
    assert refined['recall']['2cm_2deg'] == pytest.approx(2 / 5)
    assert refined['latency_ms']['p50'] == 39.0
    assert refined['rejected'] == {'low contrast': 1, 'invalid image': 1}


def test_stages_have_the_anees_of_their_own_covariances(result: Evaluation) -> None:
    regressor, refined = (result.metrics['stages'][name] for name in ('regressor', 'refined'))
    assert regressor['anees'] == pytest.approx(1.0)  # the error is 20 cm, and so is sigma
    assert refined['anees'] == pytest.approx((1 + 9) / 2)  # of the two that have a covariance
    assert refined['sigma_coverage']['translation']['2'] == pytest.approx(5 / 6)


def test_the_ground_truth_is_in_the_frame_of_the_map(capture: Capture) -> None:
    rotated = PoseConvention(
        'optical', make_pose(Rotation.from_euler('z', 90, degrees=True)), 'configured'
    )
    other = open_capture(capture.source, CaptureConfig(), convention=rotated, select_frames=False)
    localizer = ScriptedLocalizer(
        other, [PoseEstimate(p, COVARIANCE) for p in other.map_from_camera]
    )
    result = evaluate(other, localizer, MAPPING_POSES)
    assert result.metrics['median_translation_m'] == pytest.approx(0, abs=1e-9)
    assert not np.allclose(result.map_from_camera_gt, capture.map_from_camera)


def test_the_oracle_is_the_mapping_pose_nearest_to_the_ground_truth(capture: Capture) -> None:
    near = shift_z(capture.map_from_camera[2], 0.04)
    localizer = ScriptedLocalizer(capture, [Rejection('high covariance')] * 5)
    result = evaluate(capture, localizer, np.stack([near, shift_z(near, 50.0)]))
    oracle = result.metrics['oracle_nearest_reference']
    assert oracle['published'] == 5
    assert oracle['recall']['5cm_5deg'] == pytest.approx(1 / 5)
    assert oracle['latency_ms'] == {'p50': None, 'p95': None, 'p99': None}


def test_baselines_are_scored_on_the_same_images_with_the_same_keys(capture: Capture) -> None:
    def every_other(frame: Frame) -> np.ndarray | None:
        return None if frame.index % 2 else frame.map_from_camera

    localizer = ScriptedLocalizer(capture, [Rejection('high covariance')] * 5)
    result = evaluate(
        capture, localizer, MAPPING_POSES, baselines={'every_other': Baseline(every_other)}
    )
    baseline = result.metrics['baselines']['every_other']
    assert baseline['rejected'] == {'no answer': 2}
    assert baseline['recall']['2cm_2deg'] == pytest.approx(3 / 5)
    assert set(baseline) == {*result.metrics['stages']['regressor'], 'position_only'}


def test_metrics_hold_the_costs_of_each_method(capture: Capture) -> None:
    localizer = ScriptedLocalizer(capture, [Rejection('high covariance')] * 5)
    constant = Baseline(lambda frame: MAPPING_POSES[0], position_only=True, costs={'map_mb': 0.1})
    metrics = evaluate(
        capture,
        localizer,
        MAPPING_POSES,
        baselines={'constant': constant},
        map_costs={'map_mb': 33.7},
    ).metrics
    assert metrics['map_mb'] == 33.7
    assert (metrics['baselines']['constant']['map_mb'], metrics['images']) == (0.1, 5)
    assert metrics['baselines']['constant']['position_only'] is True


def test_a_slow_baseline_is_scored_on_evenly_spaced_images_only(
    capture: Capture,
) -> None:
    indices: list[int] = []

    def slow(frame: Frame) -> np.ndarray:
        indices.append(frame.index)
        return shift_z(frame.map_from_camera, 0.01 * (1 + frame.index))

    localizer = ScriptedLocalizer(capture, [Rejection('high covariance')] * 5)
    result = evaluate(
        capture, localizer, MAPPING_POSES, baselines={'slow': Baseline(slow, max_images=3)}
    )
    assert indices == result.evaluated_indices['slow'].tolist() == [0, 2, 4]
    block = result.metrics['baselines']['slow']
    assert (block['images'], block['published'], result.metrics['images']) == (3, 3, 5)
    assert block['median_translation_m'] == pytest.approx(0.03)
    assert block['worst_published_translation_m'] == pytest.approx(0.05)


def test_metrics_are_valid_json_without_infinities(result: Evaluation) -> None:
    assert json.loads(json.dumps(result.metrics, allow_nan=False)) == result.metrics


def turned_world(capture: Capture) -> Capture:
    """Return the capture with the poses of a session that began elsewhere."""
    world = make_pose(Rotation.from_euler('z', 70, degrees=True), (1.1, -0.6, 0.05))
    convention = PoseConvention('optical', world, 'configured')
    return open_capture(
        capture.source, CaptureConfig(), convention=convention, select_frames=False
    )


def test_ground_truth_of_another_frame_is_told_with_metrics_before_and_after(
    capture: Capture,
) -> None:
    def exact(frame: Frame) -> np.ndarray:
        return capture.map_from_camera[frame.index]

    other = turned_world(capture)
    outcomes: list[Outcome | ImageError] = [
        PoseEstimate(shift_z(pose, error_m), COVARIANCE)
        for pose, error_m in zip(capture.map_from_camera, (0, 0.01, 0, -0.01, 0), strict=True)
    ]
    result = evaluate(
        other,
        ScriptedLocalizer(other, outcomes),
        MAPPING_POSES,
        field=SmallRoom(),
        baselines={'exact': Baseline(exact)},
    )
    metrics, after = result.metrics, result.metrics['aligned']
    assert metrics['wrong_published'] == 5 and metrics['median_translation_m'] > 0.5
    assert metrics['baselines']['exact']['wrong_published'] == 5
    assert (after['explained'], after['wrong_published']) == (1.0, 0)
    assert after['rotation_deg'] == pytest.approx(70, abs=0.1)
    assert after['translation_m'] == pytest.approx(np.sqrt(1.1**2 + 0.6**2 + 0.05**2), abs=0.01)
    assert after['median_translation_m'] < 0.005 < after['worst_published_translation_m'] < 0.015
    assert after['baselines']['exact']['worst_published_translation_m'] < 0.005
    assert after['psnr_db'] > metrics['psnr_db'] + 5
    assert set(after) - set(metrics) == {
        *('map_from_ground_truth', 'translation_m', 'rotation_deg', 'explained')
    }
    assert result.aligned().metrics['median_translation_m'] == after['median_translation_m']
    assert np.allclose(result.aligned().map_from_camera_gt, capture.map_from_camera, atol=0.02)


def test_nothing_is_aligned_where_the_frames_agree(result: Evaluation) -> None:
    assert result.metrics['aligned'] is None and result.aligned() is None


def test_progress_counts_accepted_and_rejected_images(capture: Capture) -> None:
    reports: list[Progress] = []
    localizer = ScriptedLocalizer(capture, outcomes_for(capture.map_from_camera))
    evaluate(capture, localizer, MAPPING_POSES, progress=reports.append)
    assert [report.done for report in reports] == [1, 2, 3, 4, 5]
    assert reports[-1].note == '2 accepted, 3 rejected'


def test_the_psnr_of_a_perfect_field_is_that_of_the_jpeg_images(result: Evaluation) -> None:
    assert result.metrics['psnr_db'] >= result.metrics['psnr_plain_db'] > 25


class DarkRoom(SmallRoom):
    """The same room, rendered at half the brightness."""

    def render(self, map_from_camera: np.ndarray, camera: Camera) -> list[Rendering]:
        """Render and halve the colors."""
        renderings = super().render(map_from_camera, camera)
        return [Rendering(r.rgb // 2, r.depth, r.opacity) for r in renderings]


def test_psnr_ignores_the_exposure_and_plain_psnr_does_not(capture: Capture) -> None:
    scores = rendering_psnr(DarkRoom(), capture.frame(0))
    assert scores.psnr_plain_db < 15 < 25 < scores.psnr_db
    assert scores.psnr_covered_db == scores.psnr_db  # the field covers every pixel


def test_every_image_of_the_bag_has_an_outcome(result: Evaluation) -> None:
    assert np.all(np.diff(result.stamps_ns) == 200_000_000)
    assert len(result.outcomes) == 5
