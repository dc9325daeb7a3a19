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
from nerf_reversal_ros.core.geometry import Array
from nerf_reversal_ros.core.progress import Progress, ProgressCallback, silent
from nerf_reversal_ros.core.sampling import evenly
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.refinement import Landmarks, look_for, make_query

FRAMES = 200
"""In so many frames, spread over the walk, landmarks are looked for."""
SIZE_PX = 480
"""Longer side that pictures are shrunk to."""
LOOK_WITHIN_PX = 6.0
"""Radius around where a landmark should be, at a query's size."""
PRIOR_M = 0.015
"""How well renders place a landmark, each axis (standard deviation)."""
PIXEL = 1 / 640
"""How well a keypoint is placed, as a share of the longer side, and where outliers begin."""
INDEPENDENT = 4
"""More sightings of a landmark than this count as so many: those of neighbouring frames share the
errors of their poses."""
ROUNDS = 10


def adjust_atlas(
    atlas: Atlas,
    capture: Capture,
    frames: NDArray[np.int64],
    progress: ProgressCallback = silent,
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
    chosen = frames[evenly(len(frames), FRAMES)]
    seen = []
    for done, index in enumerate(chosen, start=1):
        frame = capture.frame(int(index))
        pose = frame.map_from_camera
        query = make_query(frame.rgb, frame.camera, SIZE_PX, detector)
        camera = query.camera
        visible = atlas.visible(pose, camera, len(atlas))
        landmarks = Landmarks(atlas.origin_m + atlas.points[visible], atlas.descriptors[visible])
        pairs = look_for(query, landmarks, pose, query.px(LOOK_WITHIN_PX))
        pixels = query.keypoints.pixels[pairs[:, 0]]
        where = (pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
        accuracy = PIXEL * max(camera.width, camera.height) / camera.fx
        seen.append((visible[pairs[:, 1]], where, np.full(len(pairs), accuracy), pose))
        progress(Progress('landmarks', done, len(chosen), 'looked for in pictures'))
    counts = [len(one[0]) for one in seen]
    points = adjusted(
        atlas.origin_m + atlas.points,
        np.concatenate([one[0] for one in seen]),
        np.concatenate([one[1] for one in seen]),
        np.concatenate([one[2] for one in seen]),
        np.repeat([one[3] for one in seen], counts, axis=0),
    )
    return replace(atlas, points=(points - atlas.origin_m).astype(np.float32))


def adjusted(
    points: Array,
    seen: NDArray[np.integer],
    where: Array,
    accuracy: Array,
    map_from_camera: Array,
    prior_m: float = PRIOR_M,
) -> Array:
    """
    Move points to where cameras of known pose see them: Gauss-Newton with a Cauchy loss.

    Parameters
    ----------
    points : (L, 3) array
        Where they are thought to be [m], each axis to within ``prior_m``.
    seen : (N,) array
        Which point each of N observations is of.
    where : (N, 2) array
        Where it was seen: x / z and y / z in the axes of the camera.
    accuracy : (N,) array
        Of ``where``.
    map_from_camera : (N, 4, 4) array
        Where the cameras were.

    Returns
    -------
    (L, 3) array
        [m].
    """
    sightings = np.bincount(seen, minlength=len(points))[seen]
    accuracy = accuracy * np.sqrt(np.maximum(1.0, sightings / INDEPENDENT))
    rotation, centre = map_from_camera[:, :3, :3], map_from_camera[:, :3, 3]
    moved = points.copy()
    for _ in range(ROUNDS):
        local = np.einsum('nij,ni->nj', rotation, moved[seen] - centre)
        x, y, z = local[:, 0], local[:, 1], np.maximum(local[:, 2], 1e-3)
        residual = (np.column_stack([x / z, y / z]) - where) / accuracy[:, None]
        weight = 1 / (1 + (residual**2).sum(1))
        by_local = np.zeros((len(seen), 2, 3))
        by_local[:, 0, 0] = by_local[:, 1, 1] = 1 / z
        by_local[:, 0, 2], by_local[:, 1, 2] = -x / z**2, -y / z**2
        by_local /= accuracy[:, None, None]
        jacobian = by_local @ np.swapaxes(rotation, 1, 2)
        transposed = np.swapaxes(jacobian, 1, 2) * weight[:, None, None]
        normal = _summed(seen, transposed @ jacobian, len(points)) + np.eye(3) / prior_m**2
        gradient = _summed(seen, transposed @ residual[..., None], len(points))
        gradient += (moved - points)[..., None] / prior_m**2
        moved -= np.linalg.solve(normal, gradient)[..., 0]
    return moved


def _summed(group: NDArray[np.integer], values: Array, groups: int) -> Array:
    """Add up values (N, ...) of the same group (N,)."""
    shape = values.shape[1:]
    flat = values.reshape(len(values), int(np.prod(shape))).T
    sums: list[Array] = [np.bincount(group, one, groups).astype(np.float64) for one in flat]
    return np.stack(sums, axis=1).reshape(groups, *shape)
