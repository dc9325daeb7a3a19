"""
How wrong the depth of a capture is, found from its own pictures.

Depth sensors are off by a centimetre or two, more or less with the distance, and a map that is
built from such depth moves every camera that is localized in it. Pictures and poses tell:
keypoints seen from two poses are triangulated, and the depth measured there is compared. What is
found is the scale and the offset that make the depth consistent with the poses, and it is applied
only where it explains other frames than those that it was fitted to.

References
----------
Khoshelham & Elberink, "Accuracy and Resolution of Kinect Depth Data", Sensors 2012. Hartley &
Zisserman, "Multiple View Geometry", 2004, chapter 12 (triangulation).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.capture import Capture, DepthCorrection, Frame
from nerf_reversal_ros.capture.keypoints import KeypointDetector, Keypoints, match_descriptors
from nerf_reversal_ros.core.geometry import FloatArray, inverse, transform_points
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices

MAX_FRAMES = 60
"""So many frames, spread over the walk, are compared."""
MAX_PAIRS = 200
"""So many pairs of every second one of them, at most, and of the others."""
MIN_BASELINE_M, MAX_VIEW_ANGLE_DEG = 0.12, 37.0
"""Frames of a pair are this far apart and look into nearly the same direction."""
RATIO = 0.75
MAX_ERROR_PX = 1.0
"""A triangulated point must be seen where both frames show it, at 640 pixels."""
MIN_PARALLAX_DEG = 5.0
MAX_DEPTH_STEP_M = 0.03
"""Depth that varies by more around a keypoint is not compared."""
MIN_POINTS = 150
"""Triangulated points in each half of the frames, at least."""
MIN_GAIN = 0.05
"""Share of the error on other frames that a correction must remove, or there is none."""
MAX_SCALE, MAX_OFFSET_M = 0.1, 0.1
"""A correction beyond these is not believed."""
OUTLIER_MARGIN_M = 0.05
"""Depth that is off by more than the largest correction and this is a wrong match."""


def estimate_depth_correction(
    capture: Capture, frames: NDArray[np.int64], progress: ProgressCallback = no_progress
) -> DepthCorrection:
    """
    Compare the depth of a capture with what its pictures and poses say.

    Parameters
    ----------
    capture : Capture
        As it is in the bag: without a correction yet.
    frames : (N,) array
        Indices of the frames that may be looked at.

    Returns
    -------
    DepthCorrection
        Without a correction where the capture has no depth, too few points can be triangulated,
        or no scale and offset makes the depth of other frames clearly better.
    """
    if not capture.has_depth or not len(frames):
        return DepthCorrection()
    chosen = frames[evenly_spaced_indices(len(frames), MAX_FRAMES)]
    detector = KeypointDetector(1500, 0.02)
    looks = []
    for done, index in enumerate(chosen, start=1):
        frame = capture.frame(int(index))
        looks.append((frame, detector(frame.rgb)))
        progress(Progress('depth', done, len(chosen)))
    halves = [_depth_samples(looks[start::2]) for start in (0, 1)]
    points = sum(len(half) for half in halves)
    if min(len(half) for half in halves) < MIN_POINTS:
        return DepthCorrection(points=points)
    # Each half is judged by what was fitted to the other.
    before = np.concatenate([_abs_errors(half, (1.0, 0.0)) for half in halves])
    after = np.concatenate(
        [
            _abs_errors(half, _fit_scale_offset(other))
            for half, other in zip(halves, halves[::-1], strict=True)
        ]
    )
    error_m, corrected_m = float(np.median(before)), float(np.median(after))
    scale, offset_m = _fit_scale_offset(np.concatenate(halves))
    plausible = abs(scale - 1) < MAX_SCALE and abs(offset_m) < MAX_OFFSET_M
    if not plausible or corrected_m > (1 - MIN_GAIN) * error_m:
        return DepthCorrection(points=points, error_m=error_m, corrected_error_m=error_m)
    return DepthCorrection(scale, offset_m, points, error_m, corrected_m)


def _depth_samples(looks: list[tuple[Frame, Keypoints]]) -> FloatArray:
    """Return measured and triangulated depth, and the latter's accuracy [m], (M, 3)."""
    poses = np.array([frame.map_from_camera for frame, _ in looks]).reshape(-1, 4, 4)
    found = [_triangulate_pair(*looks[i], *looks[j]) for i, j in _baseline_pairs(poses)]
    return np.concatenate([np.empty((0, 3)), *found])


def _baseline_pairs(map_from_camera: FloatArray) -> list[tuple[int, int]]:
    """Choose pairs of frames with a baseline that look into nearly the same direction."""
    position, axis = map_from_camera[:, :3, 3], map_from_camera[:, :3, 2]
    apart_m = np.linalg.norm(position[:, None] - position, axis=2)
    alike = (apart_m > MIN_BASELINE_M) & (axis @ axis.T > np.cos(np.radians(MAX_VIEW_ANGLE_DEG)))
    first, second = np.nonzero(np.triu(alike))
    step = max(1, -(-len(first) // MAX_PAIRS))
    return [(int(i), int(j)) for i, j in zip(first[::step], second[::step], strict=True)]


def _triangulate_pair(one: Frame, mine: Keypoints, other: Frame, theirs: Keypoints) -> FloatArray:
    """Return measured and triangulated depth, and the latter's accuracy [m], (M, 3)."""
    pairs = match_descriptors(mine.descriptors, theirs.descriptors, RATIO)
    if len(pairs) < 8:
        return np.empty((0, 3))
    pixels = mine.pixels[pairs[:, 0]], theirs.pixels[pairs[:, 1]]
    frames = one, other
    projections = [f.camera.matrix @ inverse(f.map_from_camera)[:3] for f in frames]
    points = cv2.triangulatePoints(projections[0], projections[1], pixels[0].T, pixels[1].T)
    with np.errstate(divide='ignore', invalid='ignore'):
        points = (points[:3] / points[3]).T
        arms = [points - f.map_from_camera[:3, 3] for f in frames]
        lengths = [np.linalg.norm(arm, axis=1) for arm in arms]
        cosine = np.einsum('ij,ij->i', *arms) / (lengths[0] * lengths[1])
    parallax = np.arccos(np.clip(cosine, -1, 1))
    good = np.isfinite(parallax) & (parallax > np.radians(MIN_PARALLAX_DEG))
    local = [transform_points(inverse(f.map_from_camera), points) for f in frames]
    for frame, where, shown in zip(frames, local, pixels, strict=True):
        limit = MAX_ERROR_PX * max(frame.camera.width, frame.camera.height) / 640
        with np.errstate(divide='ignore', invalid='ignore'):
            error = np.linalg.norm(frame.camera.project(where) - shown, axis=1)
        good &= (where[:, 2] > 0.2) & (error < limit)
    found = []
    for frame, where, shown in zip(frames, local, pixels, strict=True):
        measured = _depth_at_keypoints(frame, shown[good])
        true = where[good, 2]
        # How far a pixel of error moves a triangulated point, beside the sensor's own noise.
        accuracy = 0.003 + true / frame.camera.fx * 0.5 / np.tan(parallax[good])
        most = MAX_OFFSET_M + MAX_SCALE * true + OUTLIER_MARGIN_M
        known = (measured > 0) & (np.abs(measured - true) < most)
        found.append(np.column_stack([measured, true, accuracy])[known])
    return np.concatenate(found)


def _depth_at_keypoints(frame: Frame, pixels: FloatArray) -> FloatArray:
    """Return the depth (N,) measured where a picture shows something; 0 at edges or unknown."""
    camera, depth = frame.depth_camera, frame.depth
    if camera is None or depth is None:
        return np.zeros(len(pixels))
    rays = np.column_stack([pixels, np.ones(len(pixels))]) @ np.linalg.inv(frame.camera.matrix).T
    column, row = np.rint(camera.project(rays)).astype(int).T
    kernel = np.ones((5, 5), np.uint8)
    step = cv2.dilate(depth, kernel) - cv2.erode(depth, kernel)
    steady = np.where(step < MAX_DEPTH_STEP_M, depth, np.float32(0))
    inside = (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
    found = np.zeros(len(pixels))
    found[inside] = steady[row[inside], column[inside]]
    return found


def _fit_scale_offset(measured: FloatArray) -> tuple[float, float]:
    """Fit scale and offset by least squares with a Cauchy loss."""
    depth, true, accuracy = measured.T
    terms = np.column_stack([depth, np.ones(len(depth))])
    weight = np.ones(len(depth))
    solution = np.array([1.0, 0.0])
    for _ in range(20):
        trust = weight / accuracy**2
        normal = (terms * trust[:, None]).T @ terms + 1e-9 * np.eye(2)
        solution = np.linalg.solve(normal, (terms * trust[:, None]).T @ true)
        residual = (true - terms @ solution) / accuracy
        weight = 1 / (1 + (residual / 2) ** 2)
    return float(solution[0]), float(solution[1])


def _abs_errors(measured: FloatArray, correction: tuple[float, float]) -> FloatArray:
    depth, true, _ = measured.T
    missed: FloatArray = np.abs(correction[0] * depth + correction[1] - true)
    return missed
