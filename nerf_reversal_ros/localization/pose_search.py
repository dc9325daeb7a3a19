"""
Search the pose of a query image, with more effort while the gate accepts none.

The first attempts are cheap: the image is small, and a pose hypothesis selects the landmarks. The
hypotheses are an expected pose (tracking), the regressed pose (absolute pose regression) and the
poses of similar views (retrieval). The regressor is asked only if the expected pose leads to no
accepted and certain pose. Retries see more of the image: more and finer keypoints. They start at
the best pose so far, which also makes an accepted pose of few inliers more accurate. Then they
match the whole map without any hypothesis, so that no result depends on the regressor alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter

from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, pose_distance
from nerf_reversal_ros.core.outcome import (
    CORRECT_WITHIN_DEG,
    CORRECT_WITHIN_M,
    RejectionReason,
)
from nerf_reversal_ros.core.stage_timer import StageTimer
from nerf_reversal_ros.localization.hypotheses import HypothesisRefiner, RefinedHypothesis
from nerf_reversal_ros.localization.image_queries import ImageQueries
from nerf_reversal_ros.localization.matching import QueryImage
from nerf_reversal_ros.regressor.regressed_pose import RegressedPose, Regressor

NO_RETRY_INLIERS = 50
"""Inliers from which an accepted pose needs no retry: with fewer, the pose of the larger image has
half the error. That was so in three rooms that no limit was chosen on."""
NO_RETRY_DISAGREEMENT_M = 0.03
"""Distance [m] by which refinement may move an accepted pose that needs no retry. It is rarely
exceeded in clear images, and once was where an occluded image was 10 cm off."""
DISTINCT_RATIO = 0.5
"""Inlier ratio from which an accepted pose is the only one. Where equal things stand side by side,
matches with the others are outliers: the ratio is smaller there, and elsewhere hardly ever."""
MIN_SIMILARITY_GAP = 0.05
"""Smallest difference in similarity that decides between two poses. Equal things have as many
inliers as the right ones, and what is around them is less similar by 0.08 to 0.26."""
NO_RIVALS = (RejectionReason.APPEARANCE_MISMATCH, RejectionReason.IMPLAUSIBLE_CAMERA)
"""Reasons of the gate for which another pose is no rival of an accepted one."""


@dataclass
class PoseSearch:
    """
    Search for the pose of one image.

    Parameters
    ----------
    refiner, regressor : HypothesisRefiner, Regressor
        Of the map.
    queries : ImageQueries
        The image with its keypoints.
    expected_pose : (4, 4) array or None
        First hypothesis, if there is one.
    config : LocalizerConfig
        Effort and limits of the gate.
    timer : StageTimer
        Records the stages ``regress``, ``keypoints``, ``refine``, ``full_size``, ``whole_map``
        and ``other_pose``. Keypoints are detected beside the regression: their stage is the rest.
    """

    refiner: HypothesisRefiner
    regressor: Regressor
    queries: ImageQueries
    expected_pose: FloatArray | None
    config: LocalizerConfig
    timer: StageTimer
    best: RefinedHypothesis | None = None
    """The accepted pose, else the best so far; None if none explains the matches."""
    keypoints: int = 0
    """Keypoints of the last attempt."""
    regressed: RegressedPose | None = None
    """The regressed pose; None if the expected pose sufficed."""
    last_query: QueryImage | None = None
    """The image of the last attempt."""
    _is_roll_searched: bool = False

    def run(self, time_limit_s: float) -> None:
        """
        Try until a pose is accepted and certain, all failed, or the time [s] has passed.

        An image whose novelty is too large is not searched further: then ``best`` is no result.
        """
        deadline = perf_counter() + time_limit_s
        self.queries.begin()
        try:
            self.attempt(deadline)
            self.complete(deadline)
        finally:
            self.queries.finish()  # of a novel image: nothing goes on afterwards
        self.remember()

    def attempt(self, deadline: float) -> None:
        """Try the hypotheses on the small image, until one is accepted or the time has come."""
        if self.expected_pose is None and self._regress_novelty():
            return
        self._try(self._first_attempts(), deadline)

    def complete(self, deadline: float) -> None:
        """Retry unless the attempt was certain; compare an accepted pose with another one."""
        if not self._is_certain(self.accepted):
            self._search_roll()
            if self._regress_novelty():
                return
            if perf_counter() <= deadline:
                self._try(self._retries(), deadline)
        accepted = self.accepted
        if accepted is not None and accepted.evidence.inlier_ratio < DISTINCT_RATIO:
            self._compare_with_other_pose(accepted)

    def remember(self) -> None:
        """Count what the result tells of the camera, for later images."""
        if self.best is not None and not self.is_novel:
            self.refiner.remember(self.queries.camera, self.best)

    @property
    def accepted(self) -> RefinedHypothesis | None:
        """The best result, if the gate accepts it."""
        return self.best if self.best is not None and self.best.rejection is None else None

    def _try(self, attempts: Iterator[RefinedHypothesis | None], deadline: float) -> None:
        """Keep the best result of attempts until one is accepted."""
        for refined in attempts:
            if refined is not None and (self.best is None or refined.is_better_than(self.best)):
                self.best = refined
            if self.accepted is not None or perf_counter() > deadline:
                break

    def _is_certain(self, accepted: RefinedHypothesis | None) -> bool:
        """Return whether a retry would hardly change an accepted pose."""
        return (
            accepted is not None
            and accepted.solution.inliers >= NO_RETRY_INLIERS
            and accepted.evidence.disagreement_m <= NO_RETRY_DISAGREEMENT_M
        )

    def _compare_with_other_pose(self, accepted: RefinedHypothesis) -> None:
        """
        Keep the accepted pose, take another that explains the image better, or accept none.

        It is part of the verification, so the time limit does not prevent it. The other pose is
        searched in the image of the last attempt: what a retry needed, the other pose needs too.
        """
        assert self.last_query is not None
        pose = accepted.solution.map_from_camera
        other = self.refiner.search(self.last_query, self.config, apart_from=pose)
        self.timer.lap('other_pose')
        similarity = accepted.evidence.similarity
        if other is None or other.evidence.similarity is None or similarity is None:
            return
        if other.rejection is not None and other.rejection[0] in NO_RIVALS:
            return
        distance_m, angle_deg = pose_distance(pose, other.solution.map_from_camera)
        if distance_m < CORRECT_WITHIN_M and angle_deg < CORRECT_WITHIN_DEG:
            return
        gap = similarity - other.evidence.similarity
        if gap > MIN_SIMILARITY_GAP:
            return
        if gap < -MIN_SIMILARITY_GAP and other.rejection is None:
            self.best = other
            return
        detail = (
            f'similarity {similarity:.2f}, and {other.evidence.similarity:.2f} at a pose'
            f' {distance_m:.2f} m, {angle_deg:.0f} deg away'
            f' (needed: a difference of {MIN_SIMILARITY_GAP})'
        )
        self.best = replace(accepted, rejection=(RejectionReason.AMBIGUOUS_VIEW, detail))

    def _first_attempts(self) -> Iterator[RefinedHypothesis | None]:
        """Yield the result of each hypothesis on the small image."""
        if self.config.query_size:
            query = self._keep(self.queries.first)
            self.timer.lap('keypoints')
            yield from self._refine_hypotheses(query, 'refine')

    def _retries(self) -> Iterator[RefinedHypothesis | None]:
        """Yield the result of each attempt on the larger image, that at the best pose first."""
        if not self.config.retry_size:
            return
        query = self._keep(self.queries.retry)
        if self.best is not None:
            pose = self.best.solution.map_from_camera
            refined = self.refiner.refine(query, pose, self.config)
            self.timer.lap('full_size')
            yield refined
        if self.config.whole_map:
            refined = self.refiner.search(query, self.config)
            self.timer.lap('whole_map')
            yield refined
        yield from self._refine_hypotheses(query, 'full_size')

    def _refine_hypotheses(
        self, query: QueryImage, stage: str
    ) -> Iterator[RefinedHypothesis | None]:
        for hypothesis in self._hypotheses():
            refined = self.refiner.refine(query, hypothesis, self.config)
            self.timer.lap(stage)
            yield refined

    def _keep(self, query: QueryImage) -> QueryImage:
        self.keypoints = len(query.keypoints.pixels)
        self.last_query = query
        return query

    def _hypotheses(self) -> Iterator[FloatArray]:
        """Yield the expected pose, the regressed pose, then poses of similar views."""
        if self.expected_pose is not None:
            yield self.expected_pose
        regressed = self.regress()
        if not self._regress_novelty():
            yield regressed.map_from_camera
            yield from self.regressor.retrieve(regressed, self.config.hypotheses)

    @property
    def is_novel(self) -> bool:
        """Whether an image that was regressed is too different from all views."""
        return self.regressed is not None and self.regressed.novelty > self.config.max_novelty

    def _regress_novelty(self) -> bool:
        """Return whether the image is too different from all views that the regressor knows."""
        self.regress()
        if self.is_novel:
            self._search_roll()
        return self.is_novel

    def _search_roll(self) -> None:
        """Regress the pose anew, once, if the image resembles the views more when it is rolled."""
        if not self._is_roll_searched:
            self._is_roll_searched = True
            queries, regressed = self.queries, self.regress()
            self.regressed = self.regressor.search_roll(queries.rgb, queries.camera, regressed)
            self.timer.lap('regress')

    def regress(self) -> RegressedPose:
        """Return the regressed pose of the image; it is computed once, where it is needed."""
        if self.regressed is None:
            self.regressed = self.regressor.regress(self.queries.rgb, self.queries.camera)
            self.timer.lap('regress')
        return self.regressed
