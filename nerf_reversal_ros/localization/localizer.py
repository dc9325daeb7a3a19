"""
One picture in, a pose with its covariance or the reason why not out.

The regressor guesses, and the most similar known views offer further guesses. At one after the
other the picture is matched with the landmarks that the atlas has there, until the gate, which
also draws the map's surface at the pose that was found, believes the result. Nothing but the map
folder is needed: not the field itself, and no picture of the capture.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.devices import free_memory, resolve_device
from nerf_reversal_ros.core.errors import ImageError, MapError
from nerf_reversal_ros.core.geometry import FloatArray, pose_distance
from nerf_reversal_ros.core.outcome import (
    Diagnostics,
    Outcome,
    PoseEstimate,
    Rejection,
    RejectionReason,
)
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.localization.gate import (
    correctness_probability,
    find_rejection,
    GateEvidence,
    inlier_coverage,
    ncc_similarity,
)
from nerf_reversal_ros.localization.refinement import (
    estimate_pose,
    make_query,
    PnpSolution,
    pose_covariance,
    QueryImage,
    refine_pose,
    visible_landmarks,
)
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import Map
from nerf_reversal_ros.regressor.regressor import PoseRegressor, RegressedPose

MIN_CONTRAST = 6.0
"""Standard deviation of the grey values, 0 to 255, below which a picture shows nothing."""
SAME_VIEW_M, SAME_VIEW_DEG = 0.2, 5.0
"""A hypothesis this near to the pose found has the same landmarks in view."""
MIN_EXTENT_M, EXTENT_RADIUS_M = 0.05, 2.0
"""Extents are not told smaller than this, and are those of the part of the walk this near."""
VERIFY_SIZE_PX = 96
"""Longer side of the view that is drawn to verify a pose."""


@dataclass(frozen=True)
class _HypothesisResult:
    """What came of one hypothesis."""

    solution: PnpSolution
    covariance: FloatArray
    evidence: GateEvidence
    probability: float | None
    """That the pose is right; None when the gate refused it before anything was drawn."""
    rejection: tuple[str, str] | None
    """The gate's reason and figures against it, None when it passed."""

    def is_better_than(self, other: '_HypothesisResult') -> bool:
        """Rank by passing the gate, then by probability, then by inliers."""
        return self._rank() > other._rank()

    def _rank(self) -> tuple[bool, float, int]:
        known = -1.0 if self.probability is None else np.nan_to_num(self.probability, nan=-1.0)
        return self.rejection is None, float(known), self.solution.inliers


class Localizer:
    """
    Localizes pictures in one map; see the module's text.

    Parameters
    ----------
    atlas, surface, regressor : Atlas, Surface, PoseRegressor
        What the map holds.
    walked_positions : (N, 3) array
        Where the camera of the capture was, metres in the map.
    calibration : Calibration
        Of the covariance and of the gate.
    config : LocalizerConfig
        How hard to try and when to believe.
    """

    def __init__(
        self,
        atlas: Atlas,
        surface: Surface,
        regressor: PoseRegressor,
        mapping_positions: FloatArray,
        calibration: Calibration,
        config: LocalizerConfig,
    ) -> None:
        self.atlas = atlas
        self.surface = surface
        self.regressor = regressor
        self._mapping_positions = mapping_positions
        self._calibration = calibration
        self.config = config

    @property
    def device(self) -> str:
        """Where the regressor computes, ``cpu`` or ``cuda``; all else is done on the CPU."""
        return self.regressor.device.type

    def to(self, device: str) -> None:
        """
        Let the regressor compute there from now on, ``auto``, ``cpu`` or ``cuda``.

        A GPU that is left is freed.

        Raises
        ------
        ConfigError
            If the device asked for is not there.
        """
        self.regressor.to(resolve_device(device))
        free_memory()

    def localize(self, rgb: NDArray[np.uint8], camera: Camera) -> Outcome:
        """
        Tell where a picture was taken.

        Parameters
        ----------
        rgb : (H, W, 3) uint8 array
            The picture, without distortion.
        camera : Camera
            Its intrinsics, at its size.

        Raises
        ------
        ImageError
            If the picture is not of the camera's size or type.
        """
        if rgb.dtype != np.uint8 or rgb.shape != (camera.height, camera.width, 3):
            raise ImageError(
                f'the picture is {rgb.shape} {rgb.dtype}, and its camera_info says'
                f' {camera.width}x{camera.height}: an rgb8 picture of that size is needed'
            )
        clock, config = _StageTimer(), self.config  # the same for all of the picture
        contrast = float(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).std())
        if contrast < MIN_CONTRAST:
            return Rejection(
                RejectionReason.LOW_CONTRAST,
                f'contrast {contrast:.1f} of 255 (needed: {MIN_CONTRAST})',
                Diagnostics(None, None, {'contrast': contrast}, clock.finish()),
            )
        regression = self.regressor.regress(rgb, camera)
        clock.lap('regress')
        scores = {'contrast': contrast, 'novelty': regression.novelty}
        if regression.novelty > config.max_novelty:
            return Rejection(
                RejectionReason.NOVEL_IMAGE,
                f'novelty {regression.novelty:.1f} (allowed: {config.max_novelty})',
                self._diagnostics(regression, None, scores, clock),
            )
        query = make_query(rgb, camera)
        clock.lap('keypoints')
        best: _HypothesisResult | None = None
        for hypothesis in self._hypotheses(regression, config):
            attempt = self._try_hypothesis(query, hypothesis, config)
            if attempt is not None and (best is None or attempt.is_better_than(best)):
                best = attempt
                if best.rejection is None:
                    break
        clock.lap('refine')
        if best is None:
            scores['keypoints'] = float(len(query.keypoints.pixels))
            return Rejection(
                RejectionReason.TOO_FEW_MATCHES,
                f'{len(query.keypoints.pixels)} keypoints, and no pose explains their matches',
                self._diagnostics(regression, None, scores, clock),
            )
        scores.update(best.evidence.as_scores())
        if best.probability is not None:
            scores['probability'] = best.probability
        told = self._diagnostics(regression, best, scores, clock)
        if best.rejection is not None:
            return Rejection(*best.rejection, told)
        return PoseEstimate(best.solution.map_from_camera, best.covariance, told)

    def _hypotheses(
        self, regression: RegressedPose, config: LocalizerConfig
    ) -> Iterator[FloatArray]:
        """Yield the regressed pose, and those of similar views if it comes to that."""
        yield regression.map_from_camera
        yield from self.regressor.retrieve(regression, config.hypotheses)

    @staticmethod
    def _diagnostics(
        regression: RegressedPose,
        best: '_HypothesisResult | None',
        scores: dict[str, float],
        clock: '_StageTimer',
    ) -> Diagnostics:
        return Diagnostics(
            regression.map_from_camera,
            None if best is None else best.solution.map_from_camera,
            scores,
            clock.finish(),
            regression.covariance,
            None if best is None else best.covariance,
        )

    def _try_hypothesis(
        self, query: QueryImage, hypothesis: FloatArray, config: LocalizerConfig
    ) -> '_HypothesisResult | None':
        """Refine one hypothesis and judge it; None when no pose explains the matches."""
        camera = query.camera
        landmarks = visible_landmarks(self.atlas, hypothesis, camera)
        first = estimate_pose(query, landmarks)
        if first is None:
            return None
        moved_m, moved_deg = pose_distance(hypothesis, first.map_from_camera)
        if moved_m > SAME_VIEW_M or moved_deg > SAME_VIEW_DEG:
            landmarks = visible_landmarks(self.atlas, first.map_from_camera, camera)
        last = refine_pose(query, landmarks, first)
        if last is None:
            return None
        distance_m, extent_m = self._distance_and_extent(last.map_from_camera[:3, 3])
        covariance = self._calibration.covariance(
            pose_covariance(last, camera), distance_m / extent_m
        )
        evidence = self._evidence(query, first, last, covariance, distance_m)
        right, verdict = None, find_rejection(evidence, None, config)
        if verdict is None:  # only then is it worth a render
            similarity = self._similarity(query, last.map_from_camera)
            evidence = replace(evidence, similarity=similarity)
            known = self._calibration
            right = correctness_probability(evidence, known.gate_bias, known.gate_weights)
            verdict = find_rejection(evidence, right, config)
        return _HypothesisResult(last, covariance, evidence, right, verdict)

    def _distance_and_extent(self, position: FloatArray) -> tuple[float, float]:
        """
        Return how far a position is from the walk, and the extent of the walk there [m].

        The extent is how far the walked positions around the nearest one are from their middle
        (root mean square).
        """
        apart = np.linalg.norm(self._mapping_positions - position, axis=1)
        nearest = self._mapping_positions[apart.argmin()]
        part = self._mapping_positions[
            np.linalg.norm(self._mapping_positions - nearest, axis=1) < EXTENT_RADIUS_M
        ]
        extent_m = float(np.sqrt(np.square(part - part.mean(0)).sum(1).mean()))
        return float(apart.min()), max(MIN_EXTENT_M, extent_m)

    def _evidence(
        self,
        query: QueryImage,
        first: PnpSolution,
        last: PnpSolution,
        covariance: FloatArray,
        distance_m: float,
    ) -> GateEvidence:
        pose, camera = last.map_from_camera, query.camera
        disagreement_m, disagreement_deg = pose_distance(first.map_from_camera, pose)
        return GateEvidence(
            matched=first.inliers,
            inlier_ratio=first.inlier_ratio,
            inliers=last.inliers,
            spread=inlier_coverage(last.pixels, camera.width, camera.height),
            disagreement_m=disagreement_m,
            disagreement_deg=disagreement_deg,
            std_m=float(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])),
            distance_m=distance_m,
        )

    def _similarity(self, query: QueryImage, map_from_camera: FloatArray) -> float:
        """Compare the picture with the surface drawn at a pose."""
        small = query.camera.downscaled_to(VERIFY_SIZE_PX)
        size = (small.width, small.height)
        picture = cv2.resize(query.rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        return ncc_similarity(picture, self.surface.render(map_from_camera, small))


def open_localizer(
    map_: Map, config: LocalizerConfig, calibration: Calibration | None = None
) -> Localizer:
    """
    Load what a map holds for localizing and make a localizer of it.

    Parameters
    ----------
    map_ : Map
    config : LocalizerConfig
    calibration : Calibration, optional
        In place of the map's own.

    Raises
    ------
    MapError
        If a file of the map is damaged.
    ConfigError
        If the device asked for is not there.
    """
    device = resolve_device(config.device)
    return Localizer(
        Atlas.load(map_.file('atlas.safetensors')),
        Surface.load(map_.file('surface.safetensors')),
        PoseRegressor.load(map_.file('regressor.safetensors'), device),
        map_.mapping_poses[:, :3, 3],
        calibration or _load_calibration(map_),
        config,
    )


def _load_calibration(map_: Map) -> Calibration:
    try:
        return Calibration.from_dict(map_.manifest['calibration'])
    except (KeyError, TypeError, ValueError) as error:
        raise MapError(
            f'the map {map_.path} has no calibration that can be read ({error!r}): build it again'
        ) from error


class _StageTimer:
    """Milliseconds by stage."""

    def __init__(self) -> None:
        self._start = self._last = perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = perf_counter()
        self._laps[stage] = (now - self._last) * 1e3
        self._last = now

    def finish(self) -> dict[str, float]:
        return {**self._laps, 'total': (perf_counter() - self._start) * 1e3}
