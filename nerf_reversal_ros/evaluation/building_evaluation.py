"""Evaluate a building on a bag with ground truth: errors, and in which rooms images are found."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.core.config import QueryConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import (
    compute_metrics,
    correct_mask,
    json_safe,
    MethodResults,
    result_errors,
)
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.evaluation.evaluation import check_has_images, evaluate, Evaluation
from nerf_reversal_ros.evaluation.report import building_report_html
from nerf_reversal_ros.evaluation.room_truth import (
    BUILDING_FRAME,
    open_walk,
    open_walk_of_truth,
    WalkTruth,
)
from nerf_reversal_ros.evaluation.summary import summary_text
from nerf_reversal_ros.maps.building_folder import Building

NOT_JUDGED = 'true pose unknown'
"""Reason under which an answer is counted whose true pose nobody knows."""


class BuildingEvaluation(NamedTuple):
    """An evaluation with the building and the images that it was made on."""

    evaluation: Evaluation
    """Its ground truth is in the frames of the answers."""
    map: Building
    capture: Capture
    """The images with their poses in the frame of the bag."""

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``."""
        return self.evaluation.metrics

    def summary(self) -> str:
        """Return headline and tables, and advice on a wrong camera_info, for a terminal."""
        advice = self.evaluation.camera_advice(self.capture.camera)
        return '\n'.join(filter(None, [summary_text(self.metrics), advice]))

    def report_html(self, command: str) -> str:
        """Return the report as one HTML page; ``command`` is the command line that made it."""
        frames = {outcome.diagnostics.frame for outcome in self.evaluation.outcomes}
        poses = _mapping_poses(self.map) if frames == {BUILDING_FRAME} else None
        return building_report_html(
            self.evaluation, self.map.path, self.capture, poses, command=command
        )


def evaluate_building(
    building: Building,
    bag: Path | str,
    *,
    frame: str | None = None,
    truth: Path | str | None = None,
    config: QueryConfig | None = None,
    progress: ProgressCallback = no_progress,
) -> BuildingEvaluation:
    """
    Localize every image of a bag in a building and compute errors against the poses of the bag.

    A pose is judged in the room that it is in. Where the true pose in that room is not known, the
    image counts as rejected, and is told.

    Parameters
    ----------
    building : Building
        The building, see `open_map`.
    bag : str or Path
        rosbag2 with images and ground truth.
    frame : str, optional
        A room, whose mapping bag has the world of the bag's poses, or ``map``: they are in the
        frame of the building. Default: the first room that has a place in the building. Another
        world is reported under ``aligned`` in the metrics.
    truth : str or Path, optional
        File that says which room each image was taken in, and where the rooms are; see
        `open_walk_of_truth`. Then answers in a wrong room are counted.
    config : QueryConfig, optional
        How the bag is read and how images are localized; default: ``building.query_config({})``.
    progress : callable, optional
        Called after each image.

    Raises
    ------
    CaptureError, ConfigError, MapError
        If the bag, the truth or the building cannot be used.
    """
    bag, config = Path(bag), config or building.query_config({})
    with BagReader(bag):
        pass  # raises before anything is loaded
    if truth is None:
        walk = open_walk(building, bag, config.capture, frame, progress)
    else:
        walk = open_walk_of_truth(building, bag, config.capture, Path(truth), progress)
    check_has_images(walk.capture)
    localizer = building.localizer(config.localizer)
    try:
        evaluation = evaluate(
            walk.capture, localizer, None, judge=_Judge(building, walk), progress=progress
        )
    finally:
        localizer.close()
    return BuildingEvaluation(_with_rooms(evaluation, walk), building, walk.capture)


class _Judge:
    """Compares an outcome with the true pose in its room, in the frame of the outcome."""

    def __init__(self, building: Building, walk: WalkTruth) -> None:
        self._building, self._walk = building, walk
        self._some_room = next(iter(walk.room_from_walk))

    def __call__(self, index: int, frame: Frame, outcome: Outcome) -> tuple[Outcome, FloatArray]:
        """Return what is judged of an outcome, and its true pose (4, 4)."""
        found = outcome.diagnostics.room
        pose = self._walk.pose(found, frame.map_from_camera)
        if pose is None or found is None:
            true = self._some_room if self._walk.rooms is None else self._walk.rooms[index]
            found = true if true in self._walk.room_from_walk else self._some_room
            pose = self._walk.pose(found, frame.map_from_camera)
            if isinstance(outcome, PoseEstimate):
                outcome = Rejection(NOT_JUDGED)
        assert pose is not None  # of a room whose place is known
        placement = self._building.rooms[found].building_from_room
        return outcome, pose if placement is None else placement @ pose


def _with_rooms(evaluation: Evaluation, walk: WalkTruth) -> Evaluation:
    """Add the metrics of the rooms: as they are, and after the motion of the ground truth."""
    metrics = {**evaluation.metrics, **_room_metrics(evaluation, walk)}
    aligned = evaluation.aligned()
    if aligned is not None:
        metrics['aligned'] = {**metrics['aligned'], **_room_metrics(aligned, walk)}
    return replace(evaluation, metrics=metrics)


def _room_metrics(evaluation: Evaluation, walk: WalkTruth) -> Mapping[str, Any]:
    """Return ``rooms``, ``wrong_room`` and ``not_judged`` of ``metrics.json``."""
    results, poses_gt = evaluation.localizer_results, evaluation.map_from_camera_gt
    answered = np.array(
        [
            outcome.diagnostics.room if isinstance(outcome, PoseEstimate) else None
            for outcome in evaluation.outcomes
        ],
        dtype=object,
    )
    is_answered = np.array([room is not None for room in answered])
    incorrect = ~correct_mask(result_errors(results, poses_gt)) & is_answered
    taken_in = np.array(walk.rooms, dtype=object) if walk.rooms else None
    is_wrong = np.zeros(len(answered), bool)
    if taken_in is not None:
        is_wrong = incorrect & (answered != taken_in)
    rooms = {}
    by_room = answered if taken_in is None else taken_in
    for name in sorted({room for room in by_room if room is not None}):
        chosen = by_room == name
        block = compute_metrics(_subset(results, chosen), poses_gt[chosen])
        rooms[name] = {**block, 'wrong_room': int(is_wrong[chosen].sum()) if walk.rooms else None}
    not_judged = [room for room, ok in zip(answered, results.is_accepted, strict=True) if not ok]
    counts = {name: not_judged.count(name) for name in sorted({*filter(None, not_judged)})}
    return {
        'rooms': json_safe(rooms),
        'wrong_room': int(is_wrong.sum()) if walk.rooms else None,
        'not_judged': counts,
    }


def _subset(results: MethodResults, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> MethodResults:
    """Return the results of some of the images."""
    reasons = [r for r, keep in zip(results.reasons, chosen, strict=True) if keep]
    covariance = None if results.covariance is None else results.covariance[chosen]
    return MethodResults(
        results.map_from_camera[chosen], results.latency_ms[chosen], tuple(reasons), covariance
    )


def _mapping_poses(building: Building) -> FloatArray | None:
    """Return the mapping poses (M, 4, 4) of the placed rooms, in the frame of the building."""
    poses = [
        room.building_from_room @ room.open().mapping_poses
        for room in building.rooms.values()
        if room.building_from_room is not None
    ]
    return np.concatenate(poses) if poses else None
