"""
Refine pose hypotheses of a query image, and verify each refined pose by the gate.

`pose_search` decides which hypotheses are tried, and in which order.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nerf_reversal_ros.capture.image_resampling import downscale_image
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, pose_distance
from nerf_reversal_ros.core.outcome import RejectionReason
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.calibration import Calibration, match_weakness
from nerf_reversal_ros.localization.camera_check import CameraCheck, CameraExamination
from nerf_reversal_ros.localization.gate import (
    correctness_probability,
    find_rejection,
    GateEvidence,
    inlier_coverage,
    ncc_similarity,
)
from nerf_reversal_ros.localization.matching import (
    CandidateLandmarks,
    landmarks_of_map,
    project_landmarks,
    QueryImage,
    visible_landmarks,
)
from nerf_reversal_ros.localization.pnp import (
    largest_std_m,
    MAX_ERROR_PX,
    PnpSolution,
    pose_covariance,
    refit_pnp,
)
from nerf_reversal_ros.localization.refinement import estimate_pose, refine_pose
from nerf_reversal_ros.localization.surface import Surface

SAME_VIEW, SAME_VIEW_DEG = 0.1, 5.0
"""Maximum distance between two poses that have the same visible landmarks, as a fraction of the
viewing distance, and maximum angle [deg]."""
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
UNKNOWN_DISTANCE = 1.0, 30.0
"""Distance [m] and angle [deg] of halves of the inliers that give no pose."""
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
    query_camera: Camera
    """Camera of the reduced image that the pixels of ``solution`` are of."""
    camera: CameraExamination | None = None
    """What the image tells of its camera; None if that was not examined."""

    def inlier_pixels(self, camera: Camera) -> FloatArray:
        """Return the pixels (M, 2) of ``solution`` in the image of a camera, at its full size."""
        found = self.query_camera
        scale = np.array([camera.width / found.width, camera.height / found.height])
        pixels: FloatArray = (self.solution.pixels + 0.5) * scale - 0.5
        return pixels

    def is_better_than(self, other: 'RefinedHypothesis') -> bool:
        """
        Compare two results on one image.

        An accepted pose is better than a rejected one. Of two accepted poses the more certain one
        is better, of two rejected ones the more probable one, then that with more inliers.
        """
        return self._rank() > other._rank()

    def _rank(self) -> tuple[bool, float, int]:
        if self.rejection is None:
            return True, -self.evidence.std_m, self.solution.inliers
        known = -1.0 if self.probability is None else np.nan_to_num(self.probability, nan=-1.0)
        return False, float(known), self.solution.inliers


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

    def refine(
        self, query: QueryImage, hypothesis: FloatArray, config: LocalizerConfig
    ) -> RefinedHypothesis | None:
        """Refine and verify one hypothesis (4, 4); None if no pose explains the matches."""
        landmarks = visible_landmarks(self.atlas, hypothesis, query.camera)
        initial = estimate_pose(query, landmarks)
        if initial is None:
            return None
        if _is_same_view(hypothesis, initial.map_from_camera, landmarks):
            return self._refine_initial(query, initial, config, landmarks)
        return self._refine_initial(query, initial, config)

    def search(
        self,
        query: QueryImage,
        config: LocalizerConfig,
        apart_from: FloatArray | None = None,
    ) -> RefinedHypothesis | None:
        """
        Refine and verify the pose that most matches with the whole map agree with, if any.

        Matches that agree with the pose ``apart_from`` (4, 4) are left out.
        """
        initial = estimate_pose(query, self.landmarks_of_map, apart_from)
        return None if initial is None else self._refine_initial(query, initial, config)

    def remember(self, camera: Camera, result: RefinedHypothesis) -> None:
        """Count what the final result of an image tells of its camera, for later images."""
        if self.camera_check is not None and result.camera is not None:
            self.camera_check.remember(camera, result.camera)

    @cached_property
    def landmarks_of_map(self) -> CandidateLandmarks:
        """Landmarks that an image is matched with if nothing tells where it was taken."""
        return landmarks_of_map(self.atlas)

    def _refine_initial(
        self,
        query: QueryImage,
        initial: PnpSolution,
        config: LocalizerConfig,
        landmarks: CandidateLandmarks | None = None,
    ) -> RefinedHypothesis | None:
        """Refine a pose with the landmarks that are visible at it; verify the result."""
        if landmarks is None:
            landmarks = visible_landmarks(self.atlas, initial.map_from_camera, query.camera)
        refined = refine_pose(query, landmarks, initial)
        if refined is None:
            return None
        return self._verify(query, landmarks, initial, refined, config)

    def _verify(
        self,
        query: QueryImage,
        landmarks: CandidateLandmarks,
        initial: PnpSolution,
        refined: PnpSolution,
        config: LocalizerConfig,
    ) -> RefinedHypothesis:
        """Gate a refined pose; render the surface only if the geometry is accepted."""
        pose = refined.map_from_camera
        distance_m, extent_m = distance_and_extent(self.mapping_positions, pose[:3, 3])
        geometry = _geometric_evidence(query, landmarks, initial, refined)
        covariance = self.calibration.covariance(
            pose_covariance(refined, query.camera),
            distance_m / extent_m,
            match_weakness(geometry.explained, geometry.inlier_ratio),
        )
        evidence = replace(geometry, std_m=largest_std_m(covariance), distance_m=distance_m)
        probability = None
        rejection = find_rejection(evidence, probability, config)
        if rejection is None:
            evidence = replace(evidence, similarity=self._similarity(query, pose))
            probability = correctness_probability(
                evidence, self.calibration.gate_bias, self.calibration.gate_weights
            )
            rejection = find_rejection(evidence, probability, config)
        verified = RefinedHypothesis(
            refined, covariance, evidence, probability, rejection, query.camera
        )
        checked = self._check_camera(query, landmarks, verified, config)
        return replace(checked, covariance=checked.covariance + self.calibration.noise_covariance)

    def _check_camera(
        self,
        query: QueryImage,
        landmarks: CandidateLandmarks,
        verified: RefinedHypothesis,
        config: LocalizerConfig,
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
        examined = check.examine(query, landmarks, verified.solution, scale)
        if reason is not None:
            examined = examined._replace(view=None)
        covariance = verified.covariance + examined.covariance
        evidence = replace(
            verified.evidence, camera=examined.evidence, std_m=largest_std_m(covariance)
        )
        rejection = find_rejection(evidence, verified.probability, config)
        deviation = examined.evidence.deviation_text(config.max_camera_deviation)
        if reason is not None and deviation:
            rejection = RejectionReason.IMPLAUSIBLE_CAMERA, deviation
        return replace(
            verified,
            covariance=covariance,
            evidence=evidence,
            rejection=rejection,
            camera=examined,
        )

    def _similarity(self, query: QueryImage, map_from_camera: FloatArray) -> float:
        """Return the NCC of the query image and the surface rendered at a pose."""
        small = query.camera.downscaled_to(VERIFY_SIZE_PX)
        image = downscale_image(query.rgb, small)
        return ncc_similarity(image, self.surface.render(map_from_camera, small))


def _is_same_view(a: FloatArray, b: FloatArray, landmarks: CandidateLandmarks) -> bool:
    """Return whether two poses (4, 4) have about the same visible landmarks."""
    moved_m, moved_deg = pose_distance(a, b)
    return bool(moved_m < SAME_VIEW * np.median(landmarks.distances) and moved_deg < SAME_VIEW_DEG)


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


def _geometric_evidence(
    query: QueryImage,
    landmarks: CandidateLandmarks,
    initial: PnpSolution,
    refined: PnpSolution,
) -> GateEvidence:
    """Collect the evidence of the matches; the uncertainty of the pose is not known yet."""
    pose, camera = refined.map_from_camera, query.camera
    disagreement_m, disagreement_deg = pose_distance(initial.map_from_camera, pose)
    halves_m, halves_deg = _distance_of_halves(query, refined)
    in_image = len(project_landmarks(landmarks, pose, camera)[0])
    return GateEvidence(
        matched=initial.inliers,
        inlier_ratio=initial.inlier_ratio,
        inliers=refined.inliers,
        spread=inlier_coverage(refined.pixels, camera.width, camera.height),
        disagreement_m=disagreement_m,
        disagreement_deg=disagreement_deg,
        explained=refined.inliers / max(1, in_image),
        halves_m=halves_m,
        halves_deg=halves_deg,
        std_m=float('nan'),
        distance_m=float('nan'),
    )


def _distance_of_halves(query: QueryImage, solution: PnpSolution) -> tuple[float, float]:
    """Return distance [m] and angle [deg] of the poses that two halves of the inliers give."""
    poses = []
    for half in (slice(0, None, 2), slice(1, None, 2)):
        points, pixels = solution.points[half], solution.pixels[half]
        error_px = query.scaled_px(MAX_ERROR_PX)
        fitted = refit_pnp(points, pixels, query.camera, solution.map_from_camera, error_px)
        if fitted is None:
            return UNKNOWN_DISTANCE
        poses.append(fitted.map_from_camera)
    return pose_distance(*poses)
