"""Judge a localizer, its stages and the baselines on pictures whose true poses are known."""

from collections.abc import Mapping
from dataclasses import dataclass
import math
import time
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.baselines.baselines import Baseline, nearest_reference
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError, ImageError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import (
    compute_metrics,
    json_safe,
    MethodResults,
    results_from_outcomes,
    results_from_poses,
)
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.fields.field_metrics import compute_psnr, PsnrScores

MAX_PSNR_IMAGES = 24
"""So many of the judged pictures, evenly spread, are compared with renders of the field."""

PSNR_WIDTH_PX = 320
"""Pictures are compared at this width [px] (or their own, if that is less)."""


class LocalizerProtocol(Protocol):
    """What is judged."""

    def localize(self, rgb: NDArray[np.uint8], camera: Camera) -> Outcome:
        """Localize one picture (H, W, 3)."""


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured on one capture."""

    stamps_ns: NDArray[np.int64]
    """(N,) stamps of the judged pictures."""
    map_from_camera_gt: FloatArray
    """(N, 4, 4) true poses."""
    outcomes: tuple[Outcome, ...]
    """What the localizer said, with its diagnostics."""
    localizer_results: MethodResults
    """The outcomes as answers."""
    stages: dict[str, MethodResults]
    """``regressor`` and ``refined``: the localizer's poses before the gate."""
    baselines: dict[str, MethodResults]
    """Other methods, by name, on those of the pictures that they were asked about."""
    evaluated_indices: dict[str, NDArray[np.int64]]
    """(n,) indices of these pictures, by name of the baseline."""
    metrics: dict[str, Any]
    """The content of ``metrics.json``."""


def evaluate(
    capture: Capture,
    localizer: LocalizerProtocol,
    mapping_poses: FloatArray,
    *,
    field: RadianceField | None = None,
    baselines: Mapping[str, Baseline] | None = None,
    map_costs: Mapping[str, float] | None = None,
    progress: ProgressCallback = no_progress,
) -> Evaluation:
    """
    Localize every picture of a capture and compare with its true pose.

    The first picture is shown once beforehand, so that starting up is not timed.

    Parameters
    ----------
    capture : Capture
        The pictures with their true poses, opened with the convention of the map.
    localizer : Localizes
        What is judged. It sees decoded pixels and intrinsics, nothing else.
    mapping_poses : (M, 4, 4) array
        Poses that the map was built from, for ``oracle_nearest_reference``.
    field : RadianceField, optional
        The map's field, to measure its PSNR at true poses.
    baselines : mapping, optional
        Further methods by name; each is asked about all the pictures or ``most_pictures`` of
        them, evenly spread.
    map_costs : mapping, optional
        ``mapping_s`` and ``map_mb`` of the map, to stand beside the localizer's figures.
    progress : callable, optional
        Told after every picture.

    Raises
    ------
    CaptureError
        If the capture holds no picture.
    """
    if len(capture) == 0:
        raise CaptureError(f'{capture.source} holds no picture with a pose: nothing to judge')
    count = len(capture)
    runs = {name: _BaselineRun(b, count) for name, b in (baselines or {}).items()}
    psnr_indices = evenly_spaced_indices(count, MAX_PSNR_IMAGES)
    psnr: list[PsnrScores] = []
    timed: list[tuple[Outcome, float]] = []
    poses: list[FloatArray] = []
    stamps: list[int] = []
    for number, frame in enumerate(capture):
        if number == 0:
            _localize(localizer, frame)
        timed.append(_localize(localizer, frame))
        poses.append(frame.map_from_camera)
        stamps.append(frame.stamp_ns)
        for run in runs.values():
            run.add(number, frame)
        if field is not None and number in psnr_indices:
            psnr.append(rendering_psnr(field, frame))
        progress(Progress('evaluate', number + 1, count, _format_counts(timed)))
    outcomes = [outcome for outcome, _ in timed]
    map_from_camera_gt = np.stack(poses)
    results = results_from_outcomes(outcomes, [milliseconds for _, milliseconds in timed])
    stages = {stage: _stage_results(stage, outcomes) for stage in ('regressor', 'refined')}
    psnr_db, psnr_plain_db, _ = np.mean(psnr, axis=0) if psnr else [math.nan] * 3
    metrics = {
        **compute_metrics(results, map_from_camera_gt),
        **(map_costs or {}),
        'stages': {name: compute_metrics(s, map_from_camera_gt) for name, s in stages.items()},
        'baselines': {name: run.metrics(map_from_camera_gt) for name, run in runs.items()},
        'psnr_db': psnr_db,
        'psnr_plain_db': psnr_plain_db,
        'oracle_nearest_reference': _oracle_metrics(mapping_poses, map_from_camera_gt),
        'capture': dict(capture.counts),
    }
    return Evaluation(
        np.array(stamps, dtype=np.int64),
        map_from_camera_gt,
        tuple(outcomes),
        results,
        stages,
        {name: run.results for name, run in runs.items()},
        {name: run.indices for name, run in runs.items()},
        json_safe(metrics),
    )


class _BaselineRun:
    """A baseline on its share of the images, with the time of each."""

    def __init__(self, baseline: Baseline, count: int) -> None:
        self.indices = evenly_spaced_indices(count, baseline.max_images or count)
        self._baseline = baseline
        self._timed_poses: list[tuple[FloatArray | None, float]] = []

    def add(self, number: int, frame: Frame) -> None:
        """Localize a frame if the baseline is evaluated on it."""
        if number in self.indices:
            start = time.perf_counter()
            pose = self._baseline(frame)
            self._timed_poses.append((pose, 1e3 * (time.perf_counter() - start)))

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


def _oracle_metrics(mapping_poses: FloatArray, map_from_camera_gt: FloatArray) -> dict[str, Any]:
    """Return the metrics of the mapping pose that is nearest to the ground truth."""
    oracle = nearest_reference(mapping_poses)
    poses = [(oracle(pose), math.nan) for pose in map_from_camera_gt]
    return compute_metrics(results_from_poses(poses), map_from_camera_gt)


def rendering_psnr(field: RadianceField, frame: Frame) -> PsnrScores:
    """Compare a frame with the field rendered at its true pose, `PSNR_WIDTH_PX` pixels wide."""
    camera = frame.camera.scaled_to_width(min(PSNR_WIDTH_PX, frame.camera.width))
    size = (camera.width, camera.height)
    real = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return compute_psnr(real, field.render(frame.map_from_camera[None], camera)[0])


def localize_or_reject(
    localizer: LocalizerProtocol, rgb: NDArray[np.uint8], camera: Camera
) -> Outcome:
    """Localize one of many pictures: one that cannot be used is an outcome, not an end."""
    try:
        return localizer.localize(rgb, camera)
    except ImageError as error:
        return Rejection(RejectionReason.INVALID_IMAGE, str(error))


def _localize(localizer: LocalizerProtocol, frame: Frame) -> tuple[Outcome, float]:
    start = time.perf_counter()
    outcome = localize_or_reject(localizer, frame.rgb, frame.camera)
    return outcome, 1e3 * (time.perf_counter() - start)


def _stage_results(stage: str, outcomes: list[Outcome]) -> MethodResults:
    """Collect the poses of a stage with the time that it and those before it took."""
    given: list[tuple[FloatArray | None, float]] = []
    covariances: list[FloatArray | None] = []
    for told in (outcome.diagnostics for outcome in outcomes):
        took_ms = told.latency_ms
        if stage == 'regressor':
            given.append((told.regressed_pose, took_ms.get('regress', math.nan)))
            covariances.append(told.regressed_covariance)
        else:
            laps = ('regress', 'keypoints', 'refine')
            given.append((told.refined_pose, sum(took_ms.get(lap, math.nan) for lap in laps)))
            covariances.append(told.refined_covariance)
    reasons = [getattr(outcome, 'reason', RejectionReason.NO_ANSWER) for outcome in outcomes]
    return results_from_poses(given, reasons, covariances)


def _format_counts(timed: list[tuple[Outcome, float]]) -> str:
    published = sum(isinstance(outcome, PoseEstimate) for outcome, _ in timed)
    return f'{published} published, {len(timed) - published} rejected'
