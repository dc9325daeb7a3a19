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

from nerf_reversal_ros.building.seen_sides import render_seen_sides
from nerf_reversal_ros.building.shown_landmarks import shown_landmarks
from nerf_reversal_ros.capture.image_resampling import downscale_image
from nerf_reversal_ros.core.geometry import FloatArray
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
CHANCE = 0.5
"""How often landmarks of a wrong room are found, over those of the right one: textures resemble
each other."""
DEPENDENCE = 4.0
"""Landmarks that tell as much as one that is independent: one object has many."""
RIGHT_STD, WRONG_MEAN, WRONG_STD = 0.12, 0.25, 0.2
"""NCC of image and rendering where the rooms differ: standard deviation from that of the rest of
the image in the right room; mean and standard deviation in the wrong one."""
MAX_SIMILARITY_ODDS = 6.0
"""Largest logarithm of the odds by similarity."""
MIN_PIXELS = 150
"""Pixels of a rendering, with texture, in which the similarity counts fully."""
MIN_LOG_ODDS = 4.0
"""Least logarithm of the odds of the better room against the other one."""
MAX_FOUND, MAX_FOUND_MORE = 1.5, 2
"""Landmarks found where the rooms differ, at most: over those that the rest of the image lets
expect, and so many more. A room that explains its own part alone is not the one in the image."""
CLEAR_ODDS = 1.0
"""Logarithm of odds from which one kind of evidence tells something of its own."""


@dataclass(frozen=True)
class RoomPose:
    """A pose of an image in one room."""

    refiner: HypothesisRefiner
    """Of the room."""
    seen_sides: FloatArray
    """(S, 3) of the surface of the room."""
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
    similarity_elsewhere: float
    """NCC in the rest of the image."""
    pixels: int
    """Pixels of the rendering that ``similarity`` is of."""

    @property
    def log_odds(self) -> float:
        """Logarithm of the odds that the image shows this room rather than another one."""
        return self.landmark_odds + self._similarity_odds()

    def _similarity_odds(self) -> float:
        right, value = self.similarity_elsewhere, self.similarity
        if not math.isfinite(right - value) or right <= WRONG_MEAN:
            return 0.0
        odds = ((value - WRONG_MEAN) / WRONG_STD) ** 2 / 2 + math.log(WRONG_STD / RIGHT_STD)
        odds -= (min(value - right, 0.0) / RIGHT_STD) ** 2 / 2
        if value < WRONG_MEAN:  # more unlike than usual
            odds = -MAX_SIMILARITY_ODDS
        limited = max(-MAX_SIMILARITY_ODDS, min(MAX_SIMILARITY_ODDS, odds))
        return limited * min(1.0, self.pixels / MIN_PIXELS)

    @property
    def is_consistent(self) -> bool:
        """Whether neither landmarks, similarity nor the rest of the image speak against it."""
        if self.found > MAX_FOUND * self.rate * self.shown + MAX_FOUND_MORE:
            return False
        return min(self.landmark_odds, self._similarity_odds()) >= -CLEAR_ODDS

    @property
    def landmark_odds(self) -> float:
        """Logarithm of the odds by the landmarks alone."""
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
        """
        Lead of the first room: from 1 on it has won, from -1 down the second has.

        There is none if anything speaks against the better room, nor if the worse one explains
        its part as well. Landmarks must tell it: a similarity alone is too coarse.
        """
        lead = (self.first.log_odds - self.second.log_odds) / MIN_LOG_ODDS
        better, worse = (self.first, self.second)[:: 1 if lead > 0 else -1]
        is_refuted = worse.log_odds < -CLEAR_ODDS
        is_refuted &= better.landmark_odds - worse.landmark_odds >= CLEAR_ODDS
        is_shown = better.landmark_odds >= MIN_LOG_ODDS and worse.landmark_odds < CLEAR_ODDS
        return lead if better.is_consistent and (is_refuted or is_shown) else 0.0

    def describe(self, first: str, second: str) -> str:
        """Return the evidence with the names of the rooms."""
        counts = (
            f'{self.first.found} of {self.first.shown} and {self.second.found} of'
            f' {self.second.shown} landmarks are found, similarity {self.first.similarity:.2f} and'
            f' {self.second.similarity:.2f},'
        )
        where = f'where they differ, in {self.difference:.0%} of the image'
        return f'{first} and {second} explain it alike: {counts} {where}'


def compare_rooms(query: QueryImage, first: RoomPose, second: RoomPose) -> RoomComparison:
    """Compare two poses of an image in two rooms."""
    camera = query.camera.downscaled_to(VERIFY_SIZE_PX)
    renderings = [
        render_seen_sides(
            room.refiner.surface, room.seen_sides, room.found.solution.map_from_camera, camera
        )
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
    return RoomEvidence(
        int(is_found[is_there].sum()),
        int(is_there.sum()),
        float(elsewhere.sum() + 1) / (len(elsewhere) + 2),
        _mean(correlation, np.where(differs, weight, np.float32(0))),
        _mean(correlation, np.where(differs, np.float32(0), weight)),
        int(np.count_nonzero(differs & (weight > 0))),
    )


def _mean(values: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    """Return the weighted mean of values; NaN without weight."""
    total = float(weight.sum())
    return float((weight * values).sum()) / total if total > 0 else math.nan


def _difference(first: Rendering, second: Rendering) -> NDArray[np.bool_]:
    """
    Return where two renderings (H, W) differ, in depth or in texture.

    What one map does not cover tells nothing: the walk did not look there.
    """
    covered = (first.opacity > 0) & (second.opacity > 0)
    nearer = np.minimum(first.depth, second.depth)
    depth = np.abs(first.depth - second.depth) > MAX_DEPTH_DIFFERENCE * nearer
    correlation, weight = window_correlation(first.rgb, second)
    texture = (weight > 0) & (correlation < MIN_AGREEMENT)
    differs = covered & (depth | texture)
    # Points of the surface are coarse: single pixels differ at edges.
    opened = cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return cv2.dilate(opened, np.ones((3, 3), np.uint8)).astype(bool)
