"""
Search the pose of a query image, with more effort while the gate accepts none.

The first attempts are cheap: the image is small, and a pose hypothesis selects the landmarks. The
hypotheses are an expected pose (tracking), the regressed pose (absolute pose regression) and the
poses of similar views (retrieval). Retries see more of the image: more and finer keypoints. They
start at the best pose so far, then match the whole map without any hypothesis, so that no result
depends on the regressor alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.keypoints import KeypointDetector
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.stage_timer import StageTimer
from nerf_reversal_ros.localization.hypotheses import HypothesisRefiner, RefinedHypothesis
from nerf_reversal_ros.localization.matching import (
    make_query,
    QUERY_DETECTOR,
    QueryImage,
    RETRY_DETECTOR,
)
from nerf_reversal_ros.regressor.regressor import PoseRegressor, RegressedPose


@dataclass
class PoseSearch:
    """
    Search for the pose of one image.

    Parameters
    ----------
    refiner, regressor : HypothesisRefiner, PoseRegressor
        Of the map.
    rgb : (H, W, 3) uint8 array
        The image.
    camera : Camera
        Intrinsics of ``rgb``.
    regressed : RegressedPose
        Its regressed pose.
    expected_pose : (4, 4) array or None
        First hypothesis, if there is one.
    config : LocalizerConfig
        Effort and limits of the gate.
    time_limit_s : float
        No further attempt starts after this time [s].
    timer : StageTimer
        Records the stages ``keypoints``, ``refine``, ``full_size`` and ``whole_map``.
    """

    refiner: HypothesisRefiner
    regressor: PoseRegressor
    rgb: NDArray[np.uint8]
    camera: Camera
    regressed: RegressedPose
    expected_pose: FloatArray | None
    config: LocalizerConfig
    time_limit_s: float
    timer: StageTimer
    best: RefinedHypothesis | None = None
    """The accepted pose, else the best so far; None if none explains the matches."""
    keypoints: int = 0
    """Keypoints of the last attempt."""

    def run(self) -> None:
        """Try until the gate accepts a pose, the time limit has passed, or all was tried."""
        deadline = perf_counter() + self.time_limit_s
        for refined in self._attempts():
            if refined is not None and (self.best is None or refined.is_better_than(self.best)):
                self.best = refined
            if self.best is not None and self.best.rejection is None:
                return
            if perf_counter() > deadline:
                return

    def _attempts(self) -> Iterator[RefinedHypothesis | None]:
        """Yield the result of each attempt, the cheap ones first."""
        if self.config.query_size:
            query = self._query(self.config.query_size, QUERY_DETECTOR)
            self.timer.lap('keypoints')
            yield from self._try_hypotheses(query, 'refine')
        if not self.config.retry_size:
            return
        query = self._query(self.config.retry_size, RETRY_DETECTOR)
        if self.best is not None:
            pose = self.best.solution.map_from_camera
            refined = self.refiner.refine(query, pose, self.config)
            self.timer.lap('full_size')
            yield refined
        if self.config.whole_map:
            refined = self.refiner.search(query, self.config)
            self.timer.lap('whole_map')
            yield refined
        yield from self._try_hypotheses(query, 'full_size')

    def _try_hypotheses(self, query: QueryImage, stage: str) -> Iterator[RefinedHypothesis | None]:
        for hypothesis in self._hypotheses():
            refined = self.refiner.refine(query, hypothesis, self.config)
            self.timer.lap(stage)
            yield refined

    def _query(self, longer_side: int, detector: KeypointDetector) -> QueryImage:
        query = make_query(self.rgb, self.camera, longer_side, detector)
        self.keypoints = len(query.keypoints.pixels)
        return query

    def _hypotheses(self) -> Iterator[FloatArray]:
        """Yield the expected pose, the regressed pose, then poses of similar views."""
        if self.expected_pose is not None:
            yield self.expected_pose
        yield self.regressed.map_from_camera
        yield from self.regressor.retrieve(self.regressed, self.config.hypotheses)
