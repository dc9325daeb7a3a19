"""
Depth calibration of a capture: scale and offset from triangulated keypoints.

Depth sensors have errors of a centimeter or two that vary with distance. A map built from such
depth shifts every pose that is localized in it. Keypoints matched between two frames are
triangulated, and the measured depth there is compared. A robust linear fit makes the depth
consistent with the poses; it is applied only if it also reduces the error on other frames.

References
----------
Khoshelham & Elberink, "Accuracy and Resolution of Kinect Depth Data", Sensors 2012. Hartley &
Zisserman, "Multiple View Geometry", 2004, chapter 12 (triangulation).
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.capture import Capture, DepthCorrection, Frame
from nerf_reversal_ros.capture.keypoints import KeypointDetector, match_descriptors
from nerf_reversal_ros.capture.sift import Keypoints
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, inverse, transform_points
from nerf_reversal_ros.core.parallel import parallel_map, parallel_stream
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices

MAX_PARALLEL_PIXELS = 2_000_000
"""Pixels of an image up to which several are searched for keypoints at once, as a bound on memory:
each takes some 130 bytes a pixel."""
MAX_FRAMES = 60
"""Largest number of frames, evenly spaced, as a bound on time."""
MAX_PAIRS = 200
"""Largest number of frame pairs in each half of the frames, as a bound on time."""
MIN_BASELINE_M, MAX_VIEW_ANGLE_DEG = 0.12, 37.0
"""Smallest baseline [m] and largest angle of the optical axes [deg] of a frame pair."""
RATIO = 0.75
"""Ratio test of the matches."""
MAX_ERROR_PX = 1.0
"""Largest reprojection error in both frames, at 640 pixels along the longer side."""
MIN_DEPTH_M = 0.2
"""Smallest depth of a triangulated point; nearer points are blurred."""
MIN_PARALLAX_DEG = 5.0
"""Smallest angle between the rays of a triangulated point, which bounds its depth error."""
MAX_DEPTH_STEP_M = 0.03
"""Largest range of depth around a keypoint; more is an edge."""
MIN_POINTS = 150
"""Smallest number of triangulated points in each half of the frames."""
MIN_GAIN = 0.05
"""Smallest fraction of the error on other frames that a correction must remove."""
MAX_SCALE, MAX_OFFSET_M = 0.1, 0.1
"""Largest plausible correction: deviation of the scale from 1, and offset [m]."""
OUTLIER_MARGIN_M = 0.05
"""Largest depth error beyond that correction; more means an incorrect match."""


class _View(NamedTuple):
    """Keypoints of one frame."""

    camera: Camera
    map_from_camera: FloatArray
    """(4, 4)."""
    keypoints: Keypoints
    depth_m: FloatArray
    """(N,) measured depth of the keypoints [m], 0 at edges or unknown."""


def estimate_depth_correction(
    capture: Capture, frames: NDArray[np.int64], progress: ProgressCallback = no_progress
) -> DepthCorrection:
    """
    Estimate scale and offset of the depth of a capture by triangulation, with cross-validation.

    Parameters
    ----------
    capture : Capture
        A capture without a depth correction.
    frames : (N,) array
        Indices of the frames that may be used.
    progress : callback
        Receives one report per frame.

    Returns
    -------
    DepthCorrection
        The identity if the capture has no depth, too few points can be triangulated, or no scale
        and offset reduces the error on other frames clearly.
    """
    if not capture.has_depth or not len(frames):
        return DepthCorrection()
    chosen = frames[evenly_spaced_indices(len(frames), MAX_FRAMES)]
    detector = KeypointDetector(1500, 0.02)
    views: list[_View] = []
    pixels = capture.camera.width * capture.camera.height
    views_of = parallel_stream if pixels <= MAX_PARALLEL_PIXELS else map
    for view in views_of(lambda i: _view(capture.frame(int(i)), detector), chosen):
        views.append(view)
        progress(Progress('depth', len(views), len(chosen)))
    halves = [_depth_samples(views[start::2]) for start in (0, 1)]
    points = sum(len(half) for half in halves)
    if min(len(half) for half in halves) < MIN_POINTS:
        return DepthCorrection(points=points)
    # Cross-validation: the fit to one half is evaluated on the other one.
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


def _view(frame: Frame, detector: KeypointDetector) -> _View:
    """Detect the keypoints of a frame, and look up their depth."""
    keypoints = detector(frame.rgb)
    depth_m = depth_at_keypoints(frame, keypoints.pixels)
    return _View(frame.camera, frame.map_from_camera, keypoints, depth_m)


def _depth_samples(views: list[_View]) -> FloatArray:
    """Return samples (M, 3): measured depth, triangulated depth and its accuracy [m]."""
    pairs = _baseline_pairs(np.array([view.map_from_camera for view in views]).reshape(-1, 4, 4))
    samples = parallel_map(lambda pair: _triangulate_pair(views[pair[0]], views[pair[1]]), pairs)
    return np.concatenate([np.empty((0, 3)), *samples])


def _baseline_pairs(map_from_camera: FloatArray) -> list[tuple[int, int]]:
    """Select frame pairs with a baseline and nearly parallel optical axes."""
    position, axis = map_from_camera[:, :3, 3], map_from_camera[:, :3, 2]
    baseline_m = np.linalg.norm(position[:, None] - position, axis=2)
    parallel = axis @ axis.T > np.cos(np.radians(MAX_VIEW_ANGLE_DEG))
    first, second = np.nonzero(np.triu((baseline_m > MIN_BASELINE_M) & parallel))
    step = max(1, -(-len(first) // MAX_PAIRS))
    return [(int(i), int(j)) for i, j in zip(first[::step], second[::step], strict=True)]


def _triangulate_pair(first: _View, second: _View) -> FloatArray:
    """Triangulate the matches of two frames to samples (M, 3) as in `_depth_samples`."""
    matches = match_descriptors(first.keypoints.descriptors, second.keypoints.descriptors, RATIO)
    if len(matches) < 8:
        return np.empty((0, 3))
    views = first, second
    pixels = [v.keypoints.pixels[rows] for v, rows in zip(views, matches.T, strict=True)]
    projections = [v.camera.matrix @ inverse(v.map_from_camera)[:3] for v in views]
    points = cv2.triangulatePoints(projections[0], projections[1], pixels[0].T, pixels[1].T)
    with np.errstate(divide='ignore', invalid='ignore'):
        points = (points[:3] / points[3]).T
        rays = [points - v.map_from_camera[:3, 3] for v in views]
        lengths = [np.linalg.norm(ray, axis=1) for ray in rays]
        cosine = np.einsum('ij,ij->i', *rays) / (lengths[0] * lengths[1])
    parallax = np.arccos(np.clip(cosine, -1, 1))
    valid = np.isfinite(parallax) & (parallax > np.radians(MIN_PARALLAX_DEG))
    in_camera = [transform_points(inverse(v.map_from_camera), points) for v in views]
    for view, points_in_camera, observed in zip(views, in_camera, pixels, strict=True):
        max_error_px = MAX_ERROR_PX * max(view.camera.width, view.camera.height) / 640
        with np.errstate(divide='ignore', invalid='ignore'):
            error_px = np.linalg.norm(view.camera.project(points_in_camera) - observed, axis=1)
        valid &= (points_in_camera[:, 2] > MIN_DEPTH_M) & (error_px < max_error_px)
    samples = []
    for view, rows, points_in_camera in zip(views, matches.T, in_camera, strict=True):
        measured = view.depth_m[rows[valid]]
        triangulated = points_in_camera[valid, 2]
        # Sensor noise of 3 mm, plus the depth error of half a pixel in the triangulation.
        accuracy = 0.003 + triangulated / view.camera.fx * 0.5 / np.tan(parallax[valid])
        max_error_m = MAX_OFFSET_M + MAX_SCALE * triangulated + OUTLIER_MARGIN_M
        known = (measured > 0) & (np.abs(measured - triangulated) < max_error_m)
        samples.append(np.column_stack([measured, triangulated, accuracy])[known])
    return np.concatenate(samples)


def depth_at_keypoints(frame: Frame, pixels: FloatArray) -> FloatArray:
    """Look up the measured depth (N,) at pixels (N, 2) of the image; 0 at edges or unknown."""
    camera, depth = frame.depth_camera, frame.depth
    if camera is None or depth is None:
        return np.zeros(len(pixels))
    rays = frame.camera.unproject(pixels)
    column, row = np.rint(camera.project(rays)).astype(int).T
    kernel = np.ones((5, 5), np.uint8)
    local_range = cv2.dilate(depth, kernel) - cv2.erode(depth, kernel)
    smooth = np.where(local_range < MAX_DEPTH_STEP_M, depth, np.float32(0))
    inside = (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
    sampled = np.zeros(len(pixels))
    sampled[inside] = smooth[row[inside], column[inside]]
    return sampled


def _fit_scale_offset(samples: FloatArray) -> tuple[float, float]:
    """Fit scale and offset [m] by iteratively reweighted least squares with a Cauchy loss."""
    depth, triangulated, accuracy = samples.T
    terms = np.column_stack([depth, np.ones(len(depth))])
    weight = np.ones(len(depth))
    solution = np.array([1.0, 0.0])
    for _ in range(20):
        information = weight / accuracy**2
        normal = (terms * information[:, None]).T @ terms + 1e-9 * np.eye(2)
        solution = np.linalg.solve(normal, (terms * information[:, None]).T @ triangulated)
        residual = (triangulated - terms @ solution) / accuracy
        weight = 1 / (1 + (residual / 2) ** 2)
    return float(solution[0]), float(solution[1])


def _abs_errors(samples: FloatArray, correction: tuple[float, float]) -> FloatArray:
    depth, triangulated, _ = samples.T
    errors: FloatArray = np.abs(correction[0] * depth + correction[1] - triangulated)
    return errors
