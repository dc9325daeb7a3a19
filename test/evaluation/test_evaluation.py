"""A localizer is judged on every picture of a real bag, by the clock and by the true poses."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_room import CAMERA, SmallRoom, walk, write_bag

from nerf_reversal_ros.baselines.baselines import Baseline
from nerf_reversal_ros.capture.capture import Capture, Frame, open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.errors import ImageError
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.outcome import Diagnostics, Outcome, PoseEstimate, Rejection
from nerf_reversal_ros.core.progress import Progress
from nerf_reversal_ros.evaluation.evaluation import evaluate, Evaluation, rendering_psnr
from nerf_reversal_ros.fields.base import Rendering

COVARIANCE = np.diag([0.01**2] * 3 + [0.01**2] * 3)
AS_IT_IS = PoseConvention('optical', np.eye(4), 'configured')
WALKED = walk(6)


class Script:
    """A localizer that knows each picture and its outcome by heart."""

    def __init__(self, capture: Capture, outcomes: list[Outcome | ImageError]) -> None:
        pictures = (frame.rgb.tobytes() for frame in capture)
        self._outcomes = dict(zip(pictures, outcomes, strict=True))

    def localize(self, rgb: np.ndarray, camera: Camera) -> Outcome:
        """Look the picture up."""
        assert camera == CAMERA
        outcome = self._outcomes[rgb.tobytes()]
        if isinstance(outcome, ImageError):
            raise outcome
        return outcome


def shifted(true: np.ndarray, metres: float) -> np.ndarray:
    return make_pose(translation=(0, 0, metres)) @ true


def outcomes_for(true: np.ndarray) -> list[Outcome | ImageError]:
    """1 cm off, 3 cm off, rejected after 1.8 cm, rejected at once, unusable."""
    times = {'regress': 4.0, 'keypoints': 5.0, 'refine': 30.0, 'total': 40.0}
    told = [
        Diagnostics(shifted(p, 0.2), shifted(p, off), {}, times, 400 * COVARIANCE, known)
        for p, off, known in zip(
            true, (0.01, 0.03, 0.018), (COVARIANCE, COVARIANCE, None), strict=False
        )
    ]
    return [
        PoseEstimate(shifted(true[0], 0.01), COVARIANCE, told[0]),
        PoseEstimate(shifted(true[1], 0.03), COVARIANCE, told[1]),
        Rejection('too few inliers', '12 < 30', told[2]),
        Rejection('low contrast'),
        ImageError('the picture is empty'),
    ]


@pytest.fixture(scope='module')
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    bag = write_bag(tmp_path_factory.mktemp('bags') / 'walk', walk(5, phase=0.1))
    return open_capture(bag, CaptureConfig(), convention=AS_IT_IS, select_frames=False)


@pytest.fixture(scope='module')
def result(capture: Capture) -> Evaluation:
    script = Script(capture, outcomes_for(capture.map_from_camera))
    return evaluate(capture, script, WALKED, field=SmallRoom())


def test_the_block_of_the_localizer(result: Evaluation) -> None:
    found = result.metrics
    assert (found['images'], found['published']) == (5, 2)
    assert found['rejected'] == {
        'low contrast': 1,
        'too few inliers': 1,
        'invalid image': 1,
    }
    assert found['median_translation_m'] is None and found['median_rotation_deg'] == 180.0
    assert found['worst_published_translation_m'] == pytest.approx(0.03)
    assert found['recall']['2cm_2deg'] == pytest.approx(1 / 5)
    assert found['accuracy_0.1m'] == pytest.approx(2 / 5)
    assert found['anees'] == pytest.approx((1 + 9) / 2, rel=1e-5)
    assert found['latency_ms']['p50'] < 50


def test_the_stages_are_judged_before_the_gate_with_their_own_times(result: Evaluation) -> None:
    regressor, refined = (result.metrics['stages'][name] for name in ('regressor', 'refined'))
    assert regressor['published'] == 3
    assert regressor['median_translation_m'] == pytest.approx(0.2)
    assert regressor['latency_ms']['p50'] == 4.0
    assert refined['published'] == 3
    assert refined['median_translation_m'] == pytest.approx(0.03)
    assert refined['recall']['2cm_2deg'] == pytest.approx(2 / 5)
    assert refined['latency_ms']['p50'] == 39.0
    assert refined['rejected'] == {'low contrast': 1, 'invalid image': 1}


def test_the_stages_have_the_calibration_of_their_own_covariances(result: Evaluation) -> None:
    regressor, refined = (result.metrics['stages'][name] for name in ('regressor', 'refined'))
    assert regressor['anees'] == pytest.approx(1.0)  # 20 cm off, and that is its sigma
    assert refined['anees'] == pytest.approx((1 + 9) / 2)  # of the two that have a covariance
    assert refined['sigma_coverage']['translation']['2'] == pytest.approx(5 / 6)


def test_the_truth_is_in_the_frame_of_the_map_that_is_judged(capture: Capture) -> None:
    turned = PoseConvention(
        'optical', make_pose(Rotation.from_euler('z', 90, degrees=True)), 'configured'
    )
    other = open_capture(capture.source, CaptureConfig(), convention=turned, select_frames=False)
    script = Script(other, [PoseEstimate(p, COVARIANCE) for p in other.map_from_camera])
    found = evaluate(other, script, WALKED)
    assert found.metrics['median_translation_m'] == pytest.approx(0, abs=1e-9)
    assert not np.allclose(found.map_from_camera_gt, capture.map_from_camera)


def test_the_oracle_is_the_walked_pose_nearest_to_the_truth(capture: Capture) -> None:
    near = shifted(capture.map_from_camera[2], 0.04)
    script = Script(capture, [Rejection('high covariance')] * 5)
    found = evaluate(capture, script, np.stack([near, shifted(near, 50.0)]))
    oracle = found.metrics['oracle_nearest_reference']
    assert oracle['published'] == 5
    assert oracle['recall']['5cm_5deg'] == pytest.approx(1 / 5)
    assert oracle['latency_ms'] == {'p50': None, 'p95': None, 'p99': None}


def test_baselines_see_the_same_pictures_and_have_the_same_block(capture: Capture) -> None:
    def every_other(frame: Frame) -> np.ndarray | None:
        return None if frame.index % 2 else frame.map_from_camera

    script = Script(capture, [Rejection('high covariance')] * 5)
    found = evaluate(capture, script, WALKED, baselines={'every_other': Baseline(every_other)})
    baseline = found.metrics['baselines']['every_other']
    assert baseline['rejected'] == {'no answer': 2}
    assert baseline['recall']['2cm_2deg'] == pytest.approx(3 / 5)
    assert set(baseline) == {*found.metrics['stages']['regressor'], 'position_only'}


def test_what_a_map_costs_stands_beside_the_figures_of_each_method(capture: Capture) -> None:
    script = Script(capture, [Rejection('high covariance')] * 5)
    same = Baseline(lambda frame: WALKED[0], position_only=True, costs={'map_mb': 0.1})
    found = evaluate(
        capture, script, WALKED, baselines={'same': same}, map_costs={'map_mb': 33.7}
    ).metrics
    assert found['map_mb'] == 33.7
    assert (found['baselines']['same']['map_mb'], found['images']) == (0.1, 5)
    assert found['baselines']['same']['position_only'] is True


def test_a_slow_baseline_is_asked_about_few_pictures_and_judged_on_these(
    capture: Capture,
) -> None:
    asked: list[int] = []

    def slow(frame: Frame) -> np.ndarray:
        asked.append(frame.index)
        return shifted(frame.map_from_camera, 0.01 * (1 + frame.index))

    script = Script(capture, [Rejection('high covariance')] * 5)
    found = evaluate(capture, script, WALKED, baselines={'slow': Baseline(slow, max_images=3)})
    assert asked == found.evaluated_indices['slow'].tolist() == [0, 2, 4]
    block = found.metrics['baselines']['slow']
    assert (block['images'], block['published'], found.metrics['images']) == (3, 3, 5)
    assert block['median_translation_m'] == pytest.approx(0.03)
    assert block['worst_published_translation_m'] == pytest.approx(0.05)


def test_metrics_are_valid_json_without_infinities(result: Evaluation) -> None:
    assert json.loads(json.dumps(result.metrics, allow_nan=False)) == result.metrics


def test_progress_tells_how_it_is_going(capture: Capture) -> None:
    heard: list[Progress] = []
    script = Script(capture, outcomes_for(capture.map_from_camera))
    evaluate(capture, script, WALKED, progress=heard.append)
    assert [report.done for report in heard] == [1, 2, 3, 4, 5]
    assert heard[-1].note == '2 published, 3 rejected'


def test_a_perfect_field_has_the_psnr_of_the_jpeg_pictures(result: Evaluation) -> None:
    assert result.metrics['psnr_db'] >= result.metrics['psnr_plain_db'] > 25


class Darker(SmallRoom):
    """The same room with half the light."""

    def render(self, map_from_camera: np.ndarray, camera: Camera) -> list[Rendering]:
        """Render and darken."""
        bright = super().render(map_from_camera, camera)
        return [Rendering(view.rgb // 2, view.depth, view.opacity) for view in bright]


def test_psnr_does_not_mind_another_exposure_and_plain_psnr_does(capture: Capture) -> None:
    found = rendering_psnr(Darker(), capture.frame(0))
    assert found.psnr_plain_db < 15 < 25 < found.psnr_db
    assert found.psnr_covered_db == found.psnr_db  # it covers every pixel


def test_it_runs_through_the_whole_bag(result: Evaluation, tmp_path: Path) -> None:
    assert np.all(np.diff(result.stamps_ns) == 200_000_000)
    assert len(result.outcomes) == 5
