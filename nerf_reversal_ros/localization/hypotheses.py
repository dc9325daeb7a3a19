"""
Generate pose hypotheses for a query image, refine each, and select the best by the gate.

The first hypothesis is the regressed pose (absolute pose regression). Further hypotheses are the
poses of the most similar known views (retrieval), used only while the gate rejects those before.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, pose_distance
from nerf_reversal_ros.core.outcome import RejectionReason
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.localization.camera_check import CameraCheck
from nerf_reversal_ros.localization.gate import (
    correctness_probability,
    find_rejection,
    GateEvidence,
    inlier_coverage,
    ncc_similarity,
)
from nerf_reversal_ros.localization.matching import QueryImage, visible_landmarks
from nerf_reversal_ros.localization.pnp import PnpSolution, pose_covariance
from nerf_reversal_ros.localization.refinement import estimate_pose, refine_pose
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.regressor.regressor import PoseRegressor, RegressedPose

SAME_VIEW_M, SAME_VIEW_DEG = 0.2, 5.0
"""Maximum distance [m] and angle [deg] between two poses that have the same visible landmarks."""
MIN_EXTENT_M = 0.05
"""Minimum extent [m] of the mapping trajectory: smaller ones would inflate the covariance."""
EXTENT_RADIUS_M = 2.0
"""Radius [m] around a mapping position in which the extent of the trajectory is measured."""
REASONS_OF_WRONG_CAMERA = (
    RejectionReason.UNSTABLE_REFINEMENT,
    RejectionReason.HIGH_COVARIANCE,
    RejectionReason.LOW_PROBABILITY,
)
"""Reasons of the gate that a wrong focal length of another camera causes: it is looked for, so
that odometry cannot confirm a pose of low probability whose camera is wrong."""
VERIFY_SIZE_PX = 96
"""Maximum longer side [px] of the rendering that verifies a pose: `Surface` is coarse."""


@dataclass(frozen=True)
class RefinedHypothesis:
    """Refined pose of one hypothesis, with the result of the gate."""

    solution: PnpSolution
    covariance: FloatArray
    """(6, 6) calibrated, as in `PoseEstimate.covariance`."""
    evidence: GateEvidence
    probability: float | None
    """That the pose is correct; None if the gate rejected it before the surface was rendered."""
    rejection: tuple[RejectionReason, str] | None
    """Reason and detail of the gate; None if the gate accepted the pose."""

    def is_better_than(self, other: 'RefinedHypothesis') -> bool:
        """Compare by acceptance, then by probability, then by the number of inliers."""
        return self._rank() > other._rank()

    def _rank(self) -> tuple[bool, float, int]:
        known = -1.0 if self.probability is None else np.nan_to_num(self.probability, nan=-1.0)
        return self.rejection is None, float(known), self.solution.inliers


def pose_hypotheses(
    regressor: PoseRegressor, regressed: RegressedPose, max_retrieved: int
) -> Iterator[FloatArray]:
    """Yield the regressed pose (4, 4), then up to ``max_retrieved`` poses of similar views."""
    yield regressed.map_from_camera
    yield from regressor.retrieve(regressed, max_retrieved)


@dataclass(frozen=True)
class HypothesisRefiner:
    """
    Refines pose hypotheses of query images in one map and verifies the refined poses.

    Parameters
    ----------
    atlas, surface : Atlas, Surface
        Landmarks to match, and surface cloud to verify poses.
    mapping_positions : (N, 3) array
        Camera positions of the mapping capture [m, map frame].
    calibration : Calibration
        Calibration of covariances and of the gate.
    camera_check : CameraCheck or None
        Check of the intrinsics of the images; None: they are taken as exact.
    """

    atlas: Atlas
    surface: Surface
    mapping_positions: FloatArray
    calibration: Calibration
    camera_check: CameraCheck | None = None

    def best(
        self, query: QueryImage, hypotheses: Iterable[FloatArray], config: LocalizerConfig
    ) -> RefinedHypothesis | None:
        """
        Refine hypotheses (4, 4) until the gate accepts one; return it, else the best.

        None if no pose explains the matches of any hypothesis.
        """
        best: RefinedHypothesis | None = None
        for hypothesis in hypotheses:
            refined = self.refine(query, hypothesis, config)
            if refined is not None and (best is None or refined.is_better_than(best)):
                best = refined
                if best.rejection is None:
                    break
        return best

    def refine(
        self, query: QueryImage, hypothesis: FloatArray, config: LocalizerConfig
    ) -> RefinedHypothesis | None:
        """Refine and verify one hypothesis (4, 4); None if no pose explains the matches."""
        camera = query.camera
        landmarks = visible_landmarks(self.atlas, hypothesis, camera)
        initial = estimate_pose(query, landmarks)
        if initial is None:
            return None
        moved_m, moved_deg = pose_distance(hypothesis, initial.map_from_camera)
        if moved_m > SAME_VIEW_M or moved_deg > SAME_VIEW_DEG:
            landmarks = visible_landmarks(self.atlas, initial.map_from_camera, camera)
        refined = refine_pose(query, landmarks, initial)
        if refined is None:
            return None
        return self._verify(query, initial, refined, config)

    def _verify(
        self,
        query: QueryImage,
        initial: PnpSolution,
        refined: PnpSolution,
        config: LocalizerConfig,
    ) -> RefinedHypothesis:
        """Gate a refined pose; render the surface only if the geometry is accepted."""
        pose = refined.map_from_camera
        distance_m, extent_m = distance_and_extent(self.mapping_positions, pose[:3, 3])
        covariance = self.calibration.covariance(
            pose_covariance(refined, query.camera), distance_m / extent_m
        )
        evidence = _geometric_evidence(query, initial, refined, covariance, distance_m)
        probability = None
        rejection = find_rejection(evidence, probability, config)
        if rejection is None:
            evidence = replace(evidence, similarity=self._similarity(query, pose))
            probability = correctness_probability(
                evidence, self.calibration.gate_bias, self.calibration.gate_weights
            )
            rejection = find_rejection(evidence, probability, config)
        verified = RefinedHypothesis(refined, covariance, evidence, probability, rejection)
        return self._check_camera(query, verified, config)

    def _check_camera(
        self, query: QueryImage, verified: RefinedHypothesis, config: LocalizerConfig
    ) -> RefinedHypothesis:
        """Gate a pose again with the evidence on its camera, and widen its covariance by it."""
        check, reason = self.camera_check, verified.rejection and verified.rejection[0]
        if check is None:
            return verified
        if reason is not None and (
            reason not in REASONS_OF_WRONG_CAMERA or check.is_capture_camera(query.camera)
        ):
            return verified
        scale = self.calibration.covariance_scale
        examined = check.examine(query, verified.solution, scale)
        if reason is None and examined.view is not None:
            check.remember(query.camera, examined.view)
        covariance = verified.covariance + examined.covariance
        evidence = replace(
            verified.evidence, camera=examined.evidence, std_m=largest_std_m(covariance)
        )
        rejection = find_rejection(evidence, verified.probability, config)
        deviation = examined.evidence.deviation_text(config.max_camera_deviation)
        if reason is not None and deviation:
            rejection = RejectionReason.IMPLAUSIBLE_CAMERA, deviation
        return replace(verified, covariance=covariance, evidence=evidence, rejection=rejection)

    def _similarity(self, query: QueryImage, map_from_camera: FloatArray) -> float:
        """Return the NCC of the query image and the surface rendered at a pose."""
        small = query.camera.downscaled_to(VERIFY_SIZE_PX)
        size = (small.width, small.height)
        image = cv2.resize(query.rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        return ncc_similarity(image, self.surface.render(map_from_camera, small))


def distance_and_extent(
    mapping_positions: FloatArray, position: FloatArray
) -> tuple[float, float]:
    """
    Return the distance of a position from the mapping trajectory, and its extent there [m].

    The extent is the root mean square distance from their centroid of the mapping positions
    within `EXTENT_RADIUS_M` of the nearest one.
    """
    distances = np.linalg.norm(mapping_positions - position, axis=1)
    nearest = mapping_positions[distances.argmin()]
    local = mapping_positions[
        np.linalg.norm(mapping_positions - nearest, axis=1) < EXTENT_RADIUS_M
    ]
    extent_m = float(np.sqrt(np.square(local - local.mean(0)).sum(1).mean()))
    return float(distances.min()), max(MIN_EXTENT_M, extent_m)


def largest_std_m(covariance: FloatArray) -> float:
    """Return the largest standard deviation of the position of a pose covariance (6, 6) [m]."""
    return float(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1]))


def _geometric_evidence(
    query: QueryImage,
    initial: PnpSolution,
    refined: PnpSolution,
    covariance: FloatArray,
    distance_m: float,
) -> GateEvidence:
    """Collect the evidence that needs no rendering."""
    pose, camera = refined.map_from_camera, query.camera
    disagreement_m, disagreement_deg = pose_distance(initial.map_from_camera, pose)
    return GateEvidence(
        matched=initial.inliers,
        inlier_ratio=initial.inlier_ratio,
        inliers=refined.inliers,
        spread=inlier_coverage(refined.pixels, camera.width, camera.height),
        disagreement_m=disagreement_m,
        disagreement_deg=disagreement_deg,
        std_m=largest_std_m(covariance),
        distance_m=distance_m,
    )
