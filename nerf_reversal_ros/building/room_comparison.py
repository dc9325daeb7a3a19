"""
Tell look-alike rooms apart: which of two poses in two rooms explains an image better.

Rooms with the same furniture agree in most of what an image shows. So only the differences count:
keypoints that fit the landmarks of one room alone, and the parts of the image in which the
surfaces of the rooms, rendered at the two poses, differ.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.image_resampling import downscale_image
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.localization.gate import window_correlation
from nerf_reversal_ros.localization.hypotheses import (
    HypothesisRefiner,
    RefinedHypothesis,
    VERIFY_SIZE_PX,
)
from nerf_reversal_ros.localization.matching import match_guided, QueryImage, visible_landmarks
from nerf_reversal_ros.localization.pnp import MAX_ERROR_PX

MIN_DEVIATIONS = 3.0
"""Lead in keypoints that one room alone explains, in standard deviations of equal chances."""
MIN_SIMILARITY_GAP = 0.15
"""Lead in similarity where the renderings of the rooms differ."""
MIN_DIFFERENCE = 0.02
"""Share of the image in which renderings have to differ for that lead to count."""


@dataclass(frozen=True)
class RoomPose:
    """A pose of an image in one room."""

    name: str
    """The room."""
    refiner: HypothesisRefiner
    """Of the room."""
    found: RefinedHypothesis
    """The pose."""


@dataclass(frozen=True)
class RoomComparison:
    """What speaks for the first and for the second of two rooms, in one image."""

    only_first: int
    """Keypoints that fit landmarks of the first room alone."""
    only_second: int
    """Keypoints that fit landmarks of the second room alone."""
    similarities: tuple[float, float]
    """NCC of the image with each rendering, weighted by how much the renderings differ."""
    difference: float
    """Share of the image in which the renderings differ, 0 to 1."""

    @property
    def deviations(self) -> float:
        """Lead of the first room in keypoints [standard deviations of equal chances]."""
        total = self.only_first + self.only_second
        return (self.only_first - self.only_second) / max(1.0, total) ** 0.5

    @property
    def similarity_gap(self) -> float:
        """Lead of the first room in similarity; 0 where the renderings hardly differ."""
        first, second = self.similarities
        gap = first - second
        return gap if self.difference >= MIN_DIFFERENCE and np.isfinite(gap) else 0.0

    @property
    def lead(self) -> float:
        """Lead of the first room: from 1 on it has won, from -1 down the second has."""
        keypoints = self.deviations / MIN_DEVIATIONS
        similarity = self.similarity_gap / MIN_SIMILARITY_GAP
        if keypoints * similarity < 0:  # they contradict each other
            return float(keypoints + similarity) / 2
        return float(max(keypoints, similarity, key=abs))

    def describe(self, first: str, second: str) -> str:
        """Return the evidence with the names of the rooms."""
        return (
            f'{first} and {second} explain it alike: {self.only_first} and {self.only_second}'
            f' keypoints fit one of them alone, similarity {self.similarities[0]:.2f} and'
            f' {self.similarities[1]:.2f} where they differ'
        )


def compare_rooms(query: QueryImage, first: RoomPose, second: RoomPose) -> RoomComparison:
    """Compare two poses of an image in two rooms."""
    in_first, in_second = _explained(query, first), _explained(query, second)
    small = query.camera.downscaled_to(VERIFY_SIZE_PX)
    image = downscale_image(query.rgb, small)
    renderings = [
        room.refiner.surface.render(room.found.solution.map_from_camera, small)
        for room in (first, second)
    ]
    differs = _difference(*renderings)
    correlations = [window_correlation(image, rendering) for rendering in renderings]
    weight = np.minimum(correlations[0][1], correlations[1][1]) * differs
    total = float(weight.sum())
    similarities = [
        float((weight * correlation).sum()) / total if total > 0 else float('nan')
        for correlation, _ in correlations
    ]
    return RoomComparison(
        int((in_first & ~in_second).sum()),
        int((in_second & ~in_first).sum()),
        (similarities[0], similarities[1]),
        float((differs > 0.5).mean()),
    )


def _explained(query: QueryImage, room: RoomPose) -> NDArray[np.bool_]:
    """Return whether each keypoint of an image fits a landmark at a pose in a room."""
    pose = room.found.solution.map_from_camera
    landmarks = visible_landmarks(room.refiner.atlas, pose, query.camera)
    pairs = match_guided(query, landmarks, pose, query.scaled_px(MAX_ERROR_PX))
    explained = np.zeros(len(query.keypoints.pixels), bool)
    explained[pairs[:, 0]] = True
    return explained


def _difference(first: Rendering, second: Rendering) -> NDArray[np.float32]:
    """Return how much two renderings differ around each pixel (H, W), 0 to 1."""
    correlation, weight = window_correlation(first.rgb, second)
    return np.where(weight > 0, np.clip((1 - correlation) / 2, 0, 1), 0).astype(np.float32)
