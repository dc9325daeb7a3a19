"""Evaluate a localizer, its stages and baselines on images with ground truth."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
import math
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.baselines.baselines import Baseline, nearest_reference
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.image_resampling import downscale_image
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import (
    compute_metrics,
    json_safe,
    MethodResults,
    results_from_outcomes,
    results_from_poses,
)
from nerf_reversal_ros.core.outcome import (
    Diagnostics,
    Outcome,
    PoseEstimate,
    Rejection,
    RejectionReason,
)
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.evaluation.rigid_alignment import (
    aligned_block,
    find_rigid_alignment,
    RigidAlignment,
)
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.fields.field_metrics import compute_psnr, PsnrScores
from nerf_reversal_ros.localization.camera_advice import CameraAdvice
from nerf_reversal_ros.localization.localizer_protocol import (
    localize_or_reject,
    LocalizerProtocol,
)

MAX_PSNR_IMAGES = 24
"""Number of evenly spaced images that are compared with renderings of the field, at most."""

PSNR_WIDTH_PX = 320
"""Image width for PSNR [px]; narrower images keep their width."""

Judge = Callable[[int, Frame, Outcome], tuple[Outcome, FloatArray]]
"""From the index of an image, the image and its outcome: what is compared with which true pose."""


@dataclass(frozen=True)
class Evaluation:
    """Results of all methods on the N images of one capture."""

    stamps_ns: NDArray[np.int64]
    """(N,) stamps of the images."""
    map_from_camera_gt: FloatArray
    """(N, 4, 4) ground-truth poses, each in the frame of its outcome."""
    outcomes: tuple[Outcome, ...]
    """Outcomes of the localizer, with their diagnostics."""
    localizer_results: MethodResults
    """The same outcomes as results, with measured latencies."""
    stages: dict[str, MethodResults]
    """``regressor`` and ``refined``: the localizer's poses before the gate."""
    baselines: dict[str, MethodResults]
    """Results by name of the baseline, on the images of `evaluated_indices`."""
    evaluated_indices: dict[str, NDArray[np.int64]]
    """(n,) indices of the images that a baseline is evaluated on, by its name."""
    metrics: dict[str, Any]
    """The content of ``metrics.json``."""
    alignment: RigidAlignment | None = None
    """The motion that explains the poses if the ground truth is in another frame."""

    def aligned(self) -> 'Evaluation | None':
        """Return the evaluation after the rigid motion of the ground truth; None without one."""
        if self.alignment is None:
            return None
        poses_gt = self.alignment.map_from_ground_truth @ self.map_from_camera_gt
        metrics = {**self.metrics, **self.metrics['aligned'], 'aligned': None}
        return replace(self, map_from_camera_gt=poses_gt, metrics=metrics, alignment=None)

    def camera_advice(self, camera: Camera) -> str:
        """Return what fits the images better than their ``camera_info``; empty if nothing does."""
        advice = CameraAdvice()
        for outcome in self.outcomes:
            advice.add(outcome, camera)
        return advice.sentence

    def baseline_poses_gt(self, name: str) -> FloatArray:
        """Return the ground truth (n, 4, 4) of the images that a baseline is evaluated on."""
        return self.map_from_camera_gt[self.evaluated_indices[name]]


def _as_it_is(_: int, frame: Frame, outcome: Outcome) -> tuple[Outcome, FloatArray]:
    """Compare an outcome with the pose of its image in the capture."""
    return outcome, frame.map_from_camera


def evaluate(
    capture: Capture,
    localizer: LocalizerProtocol,
    mapping_poses: FloatArray | None,
    *,
    judge: Judge = _as_it_is,
    field: RadianceField | None = None,
    baselines: Mapping[str, Baseline] | None = None,
    map_costs: Mapping[str, float] | None = None,
    progress: ProgressCallback = no_progress,
) -> Evaluation:
    """
    Localize every image of a capture and compute errors against its ground truth.

    The first image is localized once before, so that its time does not include start-up.

    Parameters
    ----------
    capture : Capture
        Images with ground-truth poses, opened with the pose convention of the map.
    localizer : LocalizerProtocol
        The method under evaluation.
    mapping_poses : (M, 4, 4) array or None
        Poses that the map was built from, for ``oracle_nearest_reference``.
    judge : callable, optional
        Says what an outcome is compared with; default: the pose of its image in the capture.
    field : RadianceField, optional
        The map's field, to measure its PSNR at ground-truth poses.
    baselines : mapping, optional
        Compared methods by name, each on all images or on ``max_images`` evenly spaced ones.
    map_costs : mapping, optional
        ``mapping_s`` and ``map_mb`` of the map, reported with the localizer's metrics.
    progress : callable, optional
        Called after every image.

    Raises
    ------
    CaptureError
        If the capture holds no image.
    """
    runs = {name: _BaselineRun(b, len(capture)) for name, b in (baselines or {}).items()}
    recording = _record(capture, localizer, runs.values(), judge, progress)
    return _assemble(recording, runs, mapping_poses, map_costs or {}, capture, field)


def check_has_images(capture: Capture) -> None:
    """Raise CaptureError if a capture has no image with a pose."""
    if len(capture) == 0:
        raise CaptureError(
            f'{capture.source} holds no image with a pose: give a bag with images and ground truth'
        )


def rendering_psnr(field: RadianceField, frame: Frame) -> PsnrScores:
    """Compute the PSNR of the field rendered at the pose of a frame, `PSNR_WIDTH_PX` wide."""
    camera = frame.camera.scaled_to_width(min(PSNR_WIDTH_PX, frame.camera.width))
    image = downscale_image(frame.rgb, camera)
    rendering = field.render(frame.map_from_camera[None], camera)[0]
    return compute_psnr(image, rendering, frame.valid)


class _BaselineRun:
    """A baseline evaluated on evenly spaced images, with the time of each."""

    def __init__(self, baseline: Baseline, image_count: int) -> None:
        self.indices = evenly_spaced_indices(image_count, baseline.max_images or image_count)
        self._baseline = baseline
        self._timed_poses: list[tuple[FloatArray | None, float]] = []

    def add(self, index: int, frame: Frame) -> None:
        """Localize a frame if its index is one of `indices`."""
        if index in self.indices:
            start_s = time.perf_counter()
            pose = self._baseline(frame)
            self._timed_poses.append((pose, 1e3 * (time.perf_counter() - start_s)))

    @property
    def results(self) -> MethodResults:
        """Poses and times on the images of `indices`."""
        return results_from_poses(self._timed_poses)

    def metrics(self, map_from_camera_gt: FloatArray) -> dict[str, Any]:
        """Return the block of ``metrics.json``, given the ground truth of all images."""
        return {
            **compute_metrics(self.results, map_from_camera_gt[self.indices]),
            **self._baseline.costs,
            'position_only': self._baseline.position_only,
        }


class _Recording(NamedTuple):
    """Measurements on the N images of a capture, in their order."""

    stamps_ns: list[int]
    poses_gt: list[FloatArray]
    outcomes: list[Outcome]
    judged: list[Outcome]
    """What is compared with the true poses."""
    latency_ms: list[float]


def _record(
    capture: Capture,
    localizer: LocalizerProtocol,
    runs: Collection[_BaselineRun],
    judge: Judge,
    progress: ProgressCallback,
) -> _Recording:
    """Localize each frame with the localizer and the baselines, in one pass over the capture."""
    check_has_images(capture)
    recording = _Recording([], [], [], [], [])
    count = len(capture)
    for index, frame in enumerate(capture):
        if index == 0:
            _localize(localizer, frame)
        outcome, latency_ms = _localize(localizer, frame)
        recording.outcomes.append(outcome)
        recording.latency_ms.append(latency_ms)
        judged, pose_gt = judge(index, frame, outcome)
        recording.judged.append(judged)
        recording.poses_gt.append(pose_gt)
        recording.stamps_ns.append(frame.stamp_ns)
        for run in runs:
            run.add(index, frame)
        note = _format_counts(recording.outcomes)
        progress(Progress('evaluate', index + 1, count, note))
    return recording


def _assemble(
    recording: _Recording,
    runs: Mapping[str, _BaselineRun],
    mapping_poses: FloatArray | None,
    map_costs: Mapping[str, float],
    capture: Capture,
    field: RadianceField | None,
) -> Evaluation:
    """Compute the metrics of all methods, and those after a rigid motion that explains them."""
    poses_gt = np.stack(recording.poses_gt)
    results = results_from_outcomes(recording.judged, recording.latency_ms)
    stages = _stage_results(recording.judged)

    def compute_all(map_from_camera_gt: FloatArray) -> dict[str, Any]:
        psnr_db, psnr_plain_db = _mean_psnr(field, capture, map_from_camera_gt)
        return {
            **compute_metrics(results, map_from_camera_gt),
            **map_costs,
            'stages': {name: compute_metrics(s, map_from_camera_gt) for name, s in stages.items()},
            'baselines': {name: run.metrics(map_from_camera_gt) for name, run in runs.items()},
            'psnr_db': psnr_db,
            'psnr_plain_db': psnr_plain_db,
            'oracle_nearest_reference': _oracle_metrics(mapping_poses, map_from_camera_gt),
        }

    alignment = find_rigid_alignment(results, poses_gt)
    metrics = {
        **compute_all(poses_gt),
        'capture': dict(capture.counts),
        'aligned': aligned_block(alignment, compute_all, poses_gt),
    }
    return Evaluation(
        stamps_ns=np.array(recording.stamps_ns, dtype=np.int64),
        map_from_camera_gt=poses_gt,
        outcomes=tuple(recording.outcomes),
        localizer_results=results,
        stages=stages,
        baselines={name: run.results for name, run in runs.items()},
        evaluated_indices={name: run.indices for name, run in runs.items()},
        metrics=json_safe(metrics),
        alignment=alignment,
    )


def _localize(localizer: LocalizerProtocol, frame: Frame) -> tuple[Outcome, float]:
    """Return the outcome of a frame and its latency [ms]."""
    start_s = time.perf_counter()
    outcome = localize_or_reject(localizer, frame.rgb, frame.camera)
    return outcome, 1e3 * (time.perf_counter() - start_s)


def _stage_results(outcomes: Sequence[Outcome]) -> dict[str, MethodResults]:
    """Collect the poses before the gate; the time of a stage includes the stages before it."""
    diagnostics = [outcome.diagnostics for outcome in outcomes]
    reasons = [
        outcome.reason if isinstance(outcome, Rejection) else RejectionReason.NO_ANSWER
        for outcome in outcomes
    ]
    return {
        'regressor': results_from_poses(
            [(d.regressed_pose, _sum_laps_ms(d, 'regress')) for d in diagnostics],
            reasons,
            [d.regressed_covariance for d in diagnostics],
        ),
        'refined': results_from_poses(
            [
                (d.refined_pose, _sum_laps_ms(d, 'regress', 'keypoints', 'refine'))
                for d in diagnostics
            ],
            reasons,
            [d.refined_covariance for d in diagnostics],
        ),
    }


def _sum_laps_ms(diagnostics: Diagnostics, *laps: str) -> float:
    """Return the time of some stages [ms]; NaN if one of them was not reached."""
    return sum(diagnostics.latency_ms.get(lap, math.nan) for lap in laps)


def _mean_psnr(
    field: RadianceField | None, capture: Capture, map_from_camera_gt: FloatArray
) -> tuple[float, float]:
    """Return the means of ``psnr_db`` and ``psnr_plain_db``; NaN without a field."""
    if field is None:
        return math.nan, math.nan
    scores = [
        rendering_psnr(field, replace(capture.frame(k), map_from_camera=map_from_camera_gt[k]))
        for k in evenly_spaced_indices(len(capture), MAX_PSNR_IMAGES)
    ]
    psnr_db, psnr_plain_db, _ = np.mean(scores, axis=0)
    return psnr_db, psnr_plain_db


def _oracle_metrics(
    mapping_poses: FloatArray | None, map_from_camera_gt: FloatArray
) -> dict[str, Any] | None:
    """Return the metrics of the mapping pose nearest to the ground truth."""
    if mapping_poses is None:
        return None
    oracle = nearest_reference(mapping_poses)
    poses = [(oracle(pose), math.nan) for pose in map_from_camera_gt]
    return compute_metrics(results_from_poses(poses), map_from_camera_gt)


def _format_counts(outcomes: Sequence[Outcome]) -> str:
    accepted = sum(isinstance(outcome, PoseEstimate) for outcome in outcomes)
    return f'{accepted} accepted, {len(outcomes) - accepted} rejected'
