"""Motions between frames of a bag, measured in color and depth alone, without the given poses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.keypoints import KeypointDetector, match_descriptors
from nerf_reversal_ros.capture.sift import Keypoints
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.parallel import parallel_map
from nerf_reversal_ros.core.sampling import evenly_spaced_indices

MAX_PAIRS = 48
"""Pairs of frames over the whole capture."""
STEP_S = 0.35
"""Time between the frames of a pair: long enough to move, short enough to see the same."""
MAX_ERROR_PX = 2.0
"""Largest reprojection error of an inlier [px] in an image of 640 px."""
MIN_INLIERS, MIN_INLIER_RATIO = 20, 0.4
"""Fewest inliers of a motion, and their smallest fraction of the matches with depth."""
MAX_REVERSAL_DEG = 2.0
"""Largest difference of a motion from the inverse of the reversed one."""
RATIO = 0.8
"""Largest ratio of the distances to the nearest and the second nearest descriptor."""


@dataclass(frozen=True)
class RgbdImage:
    """An undistorted color image with depth of the same view."""

    rgb: NDArray[np.uint8]
    """(H, W, 3)."""
    camera: Camera
    depth: NDArray[np.float32]
    """(h, w) [m], 0 unknown."""
    depth_camera: Camera


@dataclass(frozen=True)
class VisualMotions:
    """Motions of M pairs of frames."""

    pairs: NDArray[np.int64]
    """(M, 2) indices of frames."""
    first_from_second: FloatArray
    """(M, 4, 4), of the optical frame, in the length unit of the depth."""
    attempts: int
    """Number of pairs that were tried."""
    depth_m: float
    """Median depth of the keypoints; 0 without keypoints."""

    def moves(self, distance_m: float) -> bool:
        """Whether the median distance between the frames of a pair is at least this."""
        distances_m = np.linalg.norm(self.first_from_second[:, :3, 3], axis=1)
        return bool(np.median(distances_m) >= distance_m)


def timed_pairs(stamps_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Select pairs (M, 2) of ascending frames, about `STEP_S` apart, over the whole capture."""
    first = evenly_spaced_indices(len(stamps_ns), MAX_PAIRS)
    second = np.searchsorted(stamps_ns, stamps_ns[first] + round(STEP_S * 1e9))
    second = np.clip(second, first + 1, first + 12)
    inside = second < len(stamps_ns)
    return np.column_stack([first[inside], second[inside]])


def measure_motions(image: Callable[[int], RgbdImage], pairs: NDArray[np.int64]) -> VisualMotions:
    """
    Measure the motion of each pair of frames (M, 2) by PnP of matched keypoints with depth.

    Where two frames see too little of the same, the first and the one after it are tried.

    Parameters
    ----------
    image : callable
        Returns color and depth of a frame; several threads call it.
    pairs : (M, 2) array
        Indices of frames.

    Returns
    -------
    VisualMotions
        Only the pairs that have enough matches which agree on a motion.
    """
    view = _cached_views(image)
    parallel_map(view, np.unique(pairs).tolist())

    def measure(pair: list[int]) -> tuple[tuple[int, int], FloatArray | None, FloatArray]:
        first, last = pair
        for second in dict.fromkeys((last, first + 1)):
            motion, depth_m = _motion(view(first), view(second))
            if motion is not None:
                break
        return (first, second), motion, depth_m

    kept, motions, depths = [], [], [np.zeros(0)]
    for found, motion, depth_m in parallel_map(measure, pairs.tolist()):
        if motion is not None:
            kept.append(found)
            motions.append(motion)
        depths.append(depth_m)
    known = np.concatenate(depths)
    return VisualMotions(
        np.array(kept, np.int64).reshape(-1, 2),
        np.array(motions, np.float64).reshape(-1, 4, 4),
        len(pairs),
        float(np.median(known)) if len(known) else 0.0,
    )


def is_reversible(image: Callable[[int], RgbdImage], first: int, second: int) -> bool:
    """Whether the motion of two frames is the same by the depth of the one and of the other."""
    view = _cached_views(image)
    forward, _ = _motion(view(first), view(second))
    backward, _ = _motion(view(second), view(first))
    if forward is None or backward is None:
        return False
    angle = Rotation.from_matrix((forward @ backward)[:3, :3]).magnitude()
    return bool(np.degrees(angle) < MAX_REVERSAL_DEG)


class _View(NamedTuple):
    """What is kept of an image."""

    camera: Camera
    keypoints: Keypoints
    depth_m: FloatArray
    """(N,) depth of the keypoints, 0 unknown."""


def _cached_views(image: Callable[[int], RgbdImage]) -> Callable[[int], _View]:
    """Return a function that detects the keypoints of a frame once."""
    detector = KeypointDetector(1000, 0.02)
    views: dict[int, _View] = {}

    def view(index: int) -> _View:
        if index not in views:
            item = image(index)
            keypoints = detector(item.rgb)
            views[index] = _View(item.camera, keypoints, _depth_at(item, keypoints.pixels))
        return views[index]

    return view


def _motion(first: _View, second: _View) -> tuple[FloatArray | None, FloatArray]:
    """Return first_from_second (4, 4), None if unknown, and the depth (K,) of the matches."""
    matches = match_descriptors(first.keypoints.descriptors, second.keypoints.descriptors, RATIO)
    pixels = first.keypoints.pixels[matches[:, 0]]
    depth_m = first.depth_m[matches[:, 0]]
    known = depth_m > 0
    if known.sum() < MIN_INLIERS:
        return None, depth_m[known]
    rays = first.camera.unproject(pixels[known])
    points = rays / rays[:, 2:] * depth_m[known, None]
    camera = second.camera
    found, rotation, translation, inliers = cv2.solvePnPRansac(
        points,
        second.keypoints.pixels[matches[known, 1]],
        camera.matrix,
        np.zeros(0),
        iterationsCount=300,
        reprojectionError=MAX_ERROR_PX * max(camera.width, camera.height) / 640,
        confidence=0.999,
    )
    too_few = inliers is None or len(inliers) < max(MIN_INLIERS, MIN_INLIER_RATIO * len(points))
    if not found or too_few:
        return None, depth_m[known]
    first_from_second = np.eye(4)
    first_from_second[:3, :3] = cv2.Rodrigues(rotation)[0].T
    first_from_second[:3, 3] = -first_from_second[:3, :3] @ translation[:, 0]
    return first_from_second, depth_m[known]


def _depth_at(image: RgbdImage, pixels: FloatArray) -> FloatArray:
    """Look up the depth (N,) at pixels (N, 2) of the color image; 0 if unknown."""
    camera, depth = image.depth_camera, image.depth
    column, row = np.rint(camera.project(image.camera.unproject(pixels))).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
    sampled = np.zeros(len(pixels))
    sampled[inside] = depth[row[inside], column[inside]]
    return sampled
