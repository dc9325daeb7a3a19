"""
Structure-only bundle adjustment of landmarks with mapping images of known pose.

Renderings place a landmark as accurately as the depth sensor did, to a centimeter or two.
Keypoints of the mapping images are more accurate. Landmarks are matched in these images near
their projections. Gauss-Newton then minimizes reprojection errors, with a prior at the rendered
position.

References
----------
Triggs et al., "Bundle Adjustment - A Modern Synthesis", 1999: the structure step, poses fixed.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.keypoints import KeypointDetector
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.grouping import sum_by_label
from nerf_reversal_ros.core.parallel import parallel_stream
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.matching import (
    make_query,
    match_guided,
    select_landmarks,
)
from nerf_reversal_ros.mapping.stages import LANDMARKS

MAX_FRAMES = 200
"""Evenly spaced mapping frames in which landmarks are matched."""
SIZE_PX = 480
"""Longer side of the mapping images; SIFT at full size costs more than it improves."""
SEARCH_RADIUS_PX = 6.0
"""Search radius around a projected landmark, at the size of a query image."""
PRIOR_STD_M = 0.015
"""Standard deviation of a rendered landmark position, each axis."""
KEYPOINT_STD = 1 / 640
"""Standard deviation of a keypoint, as a fraction of the longer side; scale of the Cauchy loss."""
MAX_EFFECTIVE_OBSERVATIONS = 4
"""Weight of all observations of a landmark together, in independent ones; neighboring frames share
the errors of their poses."""
ITERATIONS = 10
"""Gauss-Newton steps; the residuals are nearly linear, so few suffice."""


def refine_landmarks(
    atlas: Atlas,
    capture: Capture,
    frames: NDArray[np.int64],
    progress: ProgressCallback = no_progress,
) -> Atlas:
    """
    Refine the positions of landmarks with their keypoints in frames of a capture.

    Parameters
    ----------
    atlas : Atlas
        Landmarks in the map frame of the capture.
    capture : Capture
        Images with known poses; their depth is not used.
    frames : (N,) array
        Indices of the frames that may be used.
    """
    if not len(atlas) or not len(frames):
        return atlas
    chosen = frames[evenly_spaced_indices(len(frames), MAX_FRAMES)]
    detector = KeypointDetector(1500, 0.02)
    observations = []
    for found in parallel_stream(
        lambda index: _observe(atlas, capture.frame(int(index)), detector), chosen
    ):
        observations.append(found)
        done = len(observations)
        progress(Progress(LANDMARKS, done, len(chosen), 'matched in mapping images'))
    indices, normalized, stds, poses = (
        np.concatenate(arrays) for arrays in zip(*observations, strict=True)
    )
    points = optimize_structure(atlas.origin_m + atlas.points, indices, normalized, stds, poses)
    return replace(atlas, points=(points - atlas.origin_m).astype(np.float32))


def _observe(
    atlas: Atlas, frame: Frame, detector: KeypointDetector
) -> tuple[NDArray[np.intp], FloatArray, FloatArray, FloatArray]:
    """Match landmarks in a frame: their indices, and the other inputs of `optimize_structure`."""
    pose = frame.map_from_camera
    query = make_query(frame.rgb, frame.camera, SIZE_PX, detector)
    camera = query.camera
    visible = atlas.visible_indices(pose, camera, len(atlas))
    landmarks = select_landmarks(atlas, visible)
    pairs = match_guided(query, landmarks, pose, query.scaled_px(SEARCH_RADIUS_PX))
    normalized = camera.unproject(query.keypoints.pixels[pairs[:, 0]])[:, :2]
    std = KEYPOINT_STD * max(camera.width, camera.height) / camera.fx
    poses = np.broadcast_to(pose, (len(pairs), 4, 4))
    return visible[pairs[:, 1]], normalized, np.full(len(pairs), std), poses


def optimize_structure(
    points: FloatArray,
    point_indices: NDArray[np.integer],
    normalized_pixels: FloatArray,
    normalized_std: FloatArray,
    map_from_camera: FloatArray,
    prior_std_m: float = PRIOR_STD_M,
) -> FloatArray:
    """
    Minimize reprojection errors over points, poses fixed: Gauss-Newton with a Cauchy loss.

    Parameters
    ----------
    points : (L, 3) array
        Initial positions [m], with a Gaussian prior of ``prior_std_m`` on each axis.
    point_indices : (N,) array
        Index of the point of each observation.
    normalized_pixels : (N, 2) array
        Observed x / z and y / z in the optical camera frame.
    normalized_std : (N,) array
        Standard deviations of ``normalized_pixels``.
    map_from_camera : (N, 4, 4) array
        Pose of the camera of each observation.

    Returns
    -------
    (L, 3) array
        Refined positions [m]; points without observations are unchanged.
    """
    counts = np.bincount(point_indices, minlength=len(points))[point_indices]
    std = normalized_std * np.sqrt(np.maximum(1.0, counts / MAX_EFFECTIVE_OBSERVATIONS))
    rotation, center = map_from_camera[:, :3, :3], map_from_camera[:, :3, 3]
    refined = points.copy()
    for _ in range(ITERATIONS):
        local = np.einsum('nij,ni->nj', rotation, refined[point_indices] - center)
        x, y, z = local[:, 0], local[:, 1], np.maximum(local[:, 2], 1e-3)
        residual = (np.column_stack([x / z, y / z]) - normalized_pixels) / std[:, None]
        weight = 1 / (1 + (residual**2).sum(1))
        projection_jacobian = np.zeros((len(point_indices), 2, 3))
        projection_jacobian[:, 0, 0] = projection_jacobian[:, 1, 1] = 1 / z
        projection_jacobian[:, 0, 2] = -x / z**2
        projection_jacobian[:, 1, 2] = -y / z**2
        projection_jacobian /= std[:, None, None]
        jacobian = projection_jacobian @ np.swapaxes(rotation, 1, 2)
        weighted = np.swapaxes(jacobian, 1, 2) * weight[:, None, None]
        hessian = (
            sum_by_label(point_indices, weighted @ jacobian, len(points))
            + np.eye(3) / prior_std_m**2
        )
        gradient = sum_by_label(point_indices, weighted @ residual[..., None], len(points))
        gradient += (refined - points)[..., None] / prior_std_m**2
        refined -= np.linalg.solve(hessian, gradient)[..., 0]
    return refined
