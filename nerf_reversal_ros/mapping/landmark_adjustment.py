"""
Landmarks moved to where the pictures of the capture see them.

Renders of a field place a landmark as well as the depth sensor did: a centimetre or two. The
pictures that the field was trained on are sharper than that. Landmarks are looked for in them at
their known poses, and moved to where the rays of all who see them meet, as far as they are to be
believed more than the renders.

References
----------
Triggs et al., "Bundle Adjustment - A Modern Synthesis", 1999: the structure step, poses fixed.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.keypoints import KeypointDetector
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.grouping import sum_by_label
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.matching import CandidateLandmarks, make_query, match_guided

MAX_FRAMES = 200
"""In so many frames, spread over the walk, landmarks are looked for."""
SIZE_PX = 480
"""Longer side that pictures are shrunk to."""
SEARCH_RADIUS_PX = 6.0
"""Radius around where a landmark should be, at a query's size."""
PRIOR_STD_M = 0.015
"""How well renders place a landmark, each axis (standard deviation)."""
KEYPOINT_STD = 1 / 640
"""How well a keypoint is placed, as a share of the longer side, and where outliers begin."""
MAX_EFFECTIVE_OBSERVATIONS = 4
"""More sightings of a landmark than this count as so many: those of neighbouring frames share the
errors of their poses."""
ITERATIONS = 10


def refine_landmarks(
    atlas: Atlas,
    capture: Capture,
    frames: NDArray[np.int64],
    progress: ProgressCallback = no_progress,
) -> Atlas:
    """
    Move the landmarks to where frames of a capture see them.

    Parameters
    ----------
    atlas : Atlas
        In the map of the capture.
    capture : Capture
        Its depth is not looked at.
    frames : (N,) array
        Indices of the frames that may be looked at.
    """
    if not len(atlas) or not len(frames):
        return atlas
    detector = KeypointDetector(1500, 0.02)
    chosen = frames[evenly_spaced_indices(len(frames), MAX_FRAMES)]
    seen = []
    for done, index in enumerate(chosen, start=1):
        frame = capture.frame(int(index))
        pose = frame.map_from_camera
        query = make_query(frame.rgb, frame.camera, SIZE_PX, detector)
        camera = query.camera
        visible = atlas.visible_indices(pose, camera, len(atlas))
        landmarks = CandidateLandmarks(
            atlas.origin_m + atlas.points[visible], atlas.descriptors[visible]
        )
        pairs = match_guided(query, landmarks, pose, query.scaled_px(SEARCH_RADIUS_PX))
        pixels = query.keypoints.pixels[pairs[:, 0]]
        where = (pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
        accuracy = KEYPOINT_STD * max(camera.width, camera.height) / camera.fx
        seen.append((visible[pairs[:, 1]], where, np.full(len(pairs), accuracy), pose))
        progress(Progress('landmarks', done, len(chosen), 'looked for in pictures'))
    counts = [len(one[0]) for one in seen]
    points = optimize_structure(
        atlas.origin_m + atlas.points,
        np.concatenate([one[0] for one in seen]),
        np.concatenate([one[1] for one in seen]),
        np.concatenate([one[2] for one in seen]),
        np.repeat([one[3] for one in seen], counts, axis=0),
    )
    return replace(atlas, points=(points - atlas.origin_m).astype(np.float32))


def optimize_structure(
    points: FloatArray,
    point_indices: NDArray[np.integer],
    normalized_pixels: FloatArray,
    accuracy: FloatArray,
    map_from_camera: FloatArray,
    prior_std_m: float = PRIOR_STD_M,
) -> FloatArray:
    """
    Move points to where cameras of known pose see them: Gauss-Newton with a Cauchy loss.

    Parameters
    ----------
    points : (L, 3) array
        Where they are thought to be [m], each axis to within ``prior_std_m``.
    point_indices : (N,) array
        Which point each of N observations is of.
    normalized_pixels : (N, 2) array
        Where it was seen: x / z and y / z in the axes of the camera.
    accuracy : (N,) array
        Of ``normalized_pixels``.
    map_from_camera : (N, 4, 4) array
        Where the cameras were.

    Returns
    -------
    (L, 3) array
        [m].
    """
    sightings = np.bincount(point_indices, minlength=len(points))[point_indices]
    accuracy = accuracy * np.sqrt(np.maximum(1.0, sightings / MAX_EFFECTIVE_OBSERVATIONS))
    rotation, centre = map_from_camera[:, :3, :3], map_from_camera[:, :3, 3]
    moved = points.copy()
    for _ in range(ITERATIONS):
        local = np.einsum('nij,ni->nj', rotation, moved[point_indices] - centre)
        x, y, z = local[:, 0], local[:, 1], np.maximum(local[:, 2], 1e-3)
        residual = (np.column_stack([x / z, y / z]) - normalized_pixels) / accuracy[:, None]
        weight = 1 / (1 + (residual**2).sum(1))
        by_local = np.zeros((len(point_indices), 2, 3))
        by_local[:, 0, 0] = by_local[:, 1, 1] = 1 / z
        by_local[:, 0, 2], by_local[:, 1, 2] = -x / z**2, -y / z**2
        by_local /= accuracy[:, None, None]
        jacobian = by_local @ np.swapaxes(rotation, 1, 2)
        transposed = np.swapaxes(jacobian, 1, 2) * weight[:, None, None]
        normal = (
            sum_by_label(point_indices, transposed @ jacobian, len(points))
            + np.eye(3) / prior_std_m**2
        )
        gradient = sum_by_label(point_indices, transposed @ residual[..., None], len(points))
        gradient += (moved - points)[..., None] / prior_std_m**2
        moved -= np.linalg.solve(normal, gradient)[..., 0]
    return moved
