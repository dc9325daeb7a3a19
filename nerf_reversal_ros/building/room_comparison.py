"""
Tell look-alike rooms apart: which of two poses in two rooms explains an image better.

Rooms with the same furniture agree in most of what an image shows. So only the parts count in
which the two maps differ, rendered at the two poses. In the room that the image shows, the
landmarks there are found as often as elsewhere in the image; in the other room few are found.
"""

from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.building.shown_landmarks import shown_landmarks
from nerf_reversal_ros.capture.image_resampling import downscale_image
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.localization.gate import window_correlation
from nerf_reversal_ros.localization.hypotheses import (
    HypothesisRefiner,
    RefinedHypothesis,
    VERIFY_SIZE_PX,
)
from nerf_reversal_ros.localization.matching import (
    match_guided,
    MAX_LANDMARKS,
    QueryImage,
    select_landmarks,
)
from nerf_reversal_ros.localization.pnp import MAX_ERROR_PX

MAX_DEPTH_DIFFERENCE = 0.06
"""Depths of two renderings that agree differ by less, as a fraction."""
MIN_AGREEMENT = 0.4
"""NCC of two renderings where they agree, at least."""
CHANCE = 0.3
"""How often landmarks of a wrong room are found, over those of the right one: textures resemble
each other."""
DEPENDENCE = 4.0
"""Landmarks that tell as much as one that is independent: one object has many."""
MIN_LOG_ODDS = 4.0
"""Least logarithm of the odds of the better room against the other one."""


@dataclass(frozen=True)
class RoomPose:
    """A pose of an image in one room."""

    refiner: HypothesisRefiner
    """Of the room."""
    found: RefinedHypothesis
    """The pose."""


@dataclass(frozen=True)
class RoomEvidence:
    """How well the landmarks of one room are found in an image."""

    found: int
    """Landmarks found where the rooms differ."""
    shown: int
    """Landmarks shown there."""
    rate: float
    """Share of the landmarks that are found elsewhere in the image."""
    similarity: float
    """NCC of image and rendering where the rooms differ; NaN if it is not known."""

    @property
    def log_odds(self) -> float:
        """Logarithm of the odds that the image shows this room, by its landmarks."""
        rate, chance = self.rate, CHANCE * self.rate
        missed = self.shown - self.found
        odds = self.found * math.log(rate / chance)
        odds += missed * math.log((1 - rate) / (1 - chance))
        return odds / DEPENDENCE


@dataclass(frozen=True)
class RoomComparison:
    """What speaks for the first and for the second of two rooms, in one image."""

    first: RoomEvidence
    second: RoomEvidence
    difference: float
    """Share of the image in which the maps differ, 0 to 1."""

    @property
    def lead(self) -> float:
        """Lead of the first room: from 1 on it has won, from -1 down the second has."""
        return (self.first.log_odds - self.second.log_odds) / MIN_LOG_ODDS

    def describe(self, first: str, second: str) -> str:
        """Return the evidence with the names of the rooms."""
        counts = (
            f'{self.first.found} of {self.first.shown} and {self.second.found} of'
            f' {self.second.shown} landmarks are found'
        )
        where = f'where they differ, in {self.difference:.0%} of the image'
        return f'{first} and {second} explain it alike: {counts} {where}'


def compare_rooms(query: QueryImage, first: RoomPose, second: RoomPose) -> RoomComparison:
    """Compare two poses of an image in two rooms."""
    camera = query.camera.downscaled_to(VERIFY_SIZE_PX)
    renderings = [
        room.refiner.surface.render(room.found.solution.map_from_camera, camera)
        for room in (first, second)
    ]
    differs = _difference(*renderings)
    evidence = [
        _evidence(query, room, rendering, differs)
        for room, rendering in zip((first, second), renderings, strict=True)
    ]
    return RoomComparison(evidence[0], evidence[1], float(differs.mean()))


def _evidence(
    query: QueryImage, room: RoomPose, rendering: Rendering, differs: NDArray[np.bool_]
) -> RoomEvidence:
    """Count the landmarks of a room in an image, where the rooms differ and elsewhere."""
    atlas, pose = room.refiner.atlas, room.found.solution.map_from_camera
    camera = query.camera.downscaled_to(VERIFY_SIZE_PX)
    indices, pixels = shown_landmarks(atlas, pose, query.camera, rendering, camera, MAX_LANDMARKS)
    landmarks = select_landmarks(atlas, indices)
    pairs = match_guided(query, landmarks, pose, query.scaled_px(MAX_ERROR_PX))
    is_found = np.zeros(len(indices), bool)
    is_found[pairs[:, 1]] = True
    is_there = differs[pixels[:, 1], pixels[:, 0]]
    elsewhere = is_found[~is_there]
    correlation, weight = window_correlation(downscale_image(query.rgb, camera), rendering)
    weight = np.where(differs, weight, np.float32(0))
    total = float(weight.sum())
    return RoomEvidence(
        int(is_found[is_there].sum()),
        int(is_there.sum()),
        (elsewhere.sum() + 1) / (len(elsewhere) + 2),
        float((weight * correlation).sum()) / total if total > 0 else math.nan,
    )


def _difference(first: Rendering, second: Rendering) -> NDArray[np.bool_]:
    """Return where two renderings (H, W) differ: in what is covered, in depth, or in texture."""
    covered = first.opacity > 0, second.opacity > 0
    nearer = np.minimum(first.depth, second.depth)
    depth = np.abs(first.depth - second.depth) > MAX_DEPTH_DIFFERENCE * nearer
    correlation, weight = window_correlation(first.rgb, second)
    texture = (weight > 0) & (correlation < MIN_AGREEMENT)
    differs = np.where(covered[0] & covered[1], depth | texture, covered[0] != covered[1])
    # Points of the surface are coarse: single pixels differ at edges.
    opened = cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return cv2.dilate(opened, np.ones((3, 3), np.uint8)).astype(bool)
