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
from nerf_reversal_ros.core.geometry import Array
from nerf_reversal_ros.core.metrics import (
    Answers,
    answers_of_outcomes,
    answers_of_poses,
    metrics_block,
    without_infinities,
)
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejected
from nerf_reversal_ros.core.progress import Progress, ProgressCallback, silent
from nerf_reversal_ros.core.sampling import evenly
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.fields.field_metrics import Likeness, likeness

PSNR_PICTURES = 24
"""So many of the judged pictures, evenly spread, are compared with renders of the field."""

PSNR_WIDTH = 320
"""Pictures are compared at this width [px] (or their own, if that is less)."""


class Localizes(Protocol):
    """What is judged."""

    def localize(self, rgb: NDArray[np.uint8], camera: Camera) -> Outcome:
        """Localize one picture (H, W, 3)."""


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured on one capture."""

    stamps_ns: NDArray[np.int64]
    """(N,) stamps of the judged pictures."""
    map_from_camera_true: Array
    """(N, 4, 4) true poses."""
    outcomes: tuple[Outcome, ...]
    """What the localizer said, with its diagnostics."""
    published: Answers
    """The outcomes as answers."""
    stages: dict[str, Answers]
    """``regressor`` and ``refined``: the localizer's poses before the gate."""
    baselines: dict[str, Answers]
    """Other methods, by name, on those of the pictures that they were asked about."""
    asked: dict[str, NDArray[np.int64]]
    """(n,) indices of these pictures, by name of the baseline."""
    metrics: dict[str, Any]
    """The content of ``metrics.json``."""


def evaluate(
    capture: Capture,
    localizer: Localizes,
    map_from_camera_walked: Array,
    *,
    field: RadianceField | None = None,
    baselines: Mapping[str, Baseline] | None = None,
    map_costs: Mapping[str, float] | None = None,
    progress: ProgressCallback = silent,
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
    map_from_camera_walked : (M, 4, 4) array
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
    baselines = dict(baselines or {})
    count = len(capture)
    asked = {name: evenly(count, b.most_pictures or count) for name, b in baselines.items()}
    outcomes: list[Outcome] = []
    latency_ms: list[float] = []
    rivals: dict[str, list[tuple[Array | None, float]]] = {name: [] for name in baselines}
    for_psnr = evenly(count, PSNR_PICTURES)
    alike: list[Likeness] = []
    truth: list[Array] = []
    stamps: list[int] = []
    for number, frame in enumerate(capture):
        if number == 0:
            _localize(localizer, frame)
        outcome, milliseconds = _localize(localizer, frame)
        outcomes.append(outcome)
        latency_ms.append(milliseconds)
        truth.append(frame.map_from_camera)
        stamps.append(frame.stamp_ns)
        for name, baseline in baselines.items():
            if number in asked[name]:
                start = time.perf_counter()
                answer = baseline(frame)
                rivals[name].append((answer, 1e3 * (time.perf_counter() - start)))
        if field is not None and number in for_psnr:
            alike.append(field_likeness(field, frame))
        progress(Progress('evaluate', number + 1, len(capture), _tally(outcomes)))
    published = answers_of_outcomes(outcomes, latency_ms)
    map_from_camera_true = np.stack(truth)
    oracle = nearest_reference(map_from_camera_walked)
    nearest = answers_of_poses([(oracle(true), math.nan) for true in map_from_camera_true])
    stages = {stage: _stage(stage, outcomes) for stage in ('regressor', 'refined')}
    rival_answers = {name: answers_of_poses(given) for name, given in rivals.items()}
    psnr_db, psnr_plain_db, _ = np.mean(alike, axis=0) if alike else [math.nan] * 3
    metrics = {
        **metrics_block(published, map_from_camera_true),
        **(map_costs or {}),
        'stages': {name: metrics_block(a, map_from_camera_true) for name, a in stages.items()},
        'baselines': {
            name: {
                **metrics_block(answers, map_from_camera_true[asked[name]]),
                **baselines[name].costs,
                'position_only': baselines[name].position_only,
            }
            for name, answers in rival_answers.items()
        },
        'psnr_db': psnr_db,
        'psnr_plain_db': psnr_plain_db,
        'oracle_nearest_reference': metrics_block(nearest, map_from_camera_true),
        'capture': dict(capture.counts),
    }
    return Evaluation(
        np.array(stamps, dtype=np.int64),
        map_from_camera_true,
        tuple(outcomes),
        published,
        stages,
        rival_answers,
        asked,
        without_infinities(metrics),
    )


def field_likeness(field: RadianceField, frame: Frame) -> Likeness:
    """Compare a frame with the field rendered at its true pose, `PSNR_WIDTH` pixels wide."""
    camera = frame.camera.fitted_to(min(PSNR_WIDTH, frame.camera.width))
    size = (camera.width, camera.height)
    real = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return likeness(real, field.render(frame.map_from_camera[None], camera)[0])


def localize_or_reject(localizer: Localizes, rgb: NDArray[np.uint8], camera: Camera) -> Outcome:
    """Localize one of many pictures: one that cannot be used is an outcome, not an end."""
    try:
        return localizer.localize(rgb, camera)
    except ImageError as error:
        return Rejected('unusable picture', str(error))


def _localize(localizer: Localizes, frame: Frame) -> tuple[Outcome, float]:
    start = time.perf_counter()
    outcome = localize_or_reject(localizer, frame.rgb, frame.camera)
    return outcome, 1e3 * (time.perf_counter() - start)


def _stage(stage: str, outcomes: list[Outcome]) -> Answers:
    """Collect the poses of a stage with the time that it and those before it took."""
    given: list[tuple[Array | None, float]] = []
    covariances: list[Array | None] = []
    for told in (outcome.diagnostics for outcome in outcomes):
        took_ms = told.latency_ms
        if stage == 'regressor':
            given.append((told.regressed, took_ms.get('regress', math.nan)))
            covariances.append(told.regressed_covariance)
        else:
            laps = ('regress', 'keypoints', 'refine')
            given.append((told.refined, sum(took_ms.get(lap, math.nan) for lap in laps)))
            covariances.append(told.refined_covariance)
    reasons = [getattr(outcome, 'reason', 'no answer') for outcome in outcomes]
    return answers_of_poses(given, reasons, covariances)


def _tally(outcomes: list[Outcome]) -> str:
    published = sum(isinstance(outcome, PoseEstimate) for outcome in outcomes)
    return f'{published} published, {len(outcomes) - published} rejected'
