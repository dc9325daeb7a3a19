"""
Find the landmarks of a map in renderings of the field and in images of the mapping capture.

Keypoints are back-projected with the rendered depth. Those that at least two views confirm become
landmarks. Renderings cover poses that the capture did not visit. Images of the capture show finer
texture than the field, and exactly what a camera sees.

All lengths are fractions of the viewing distance, so that rooms of any size are treated alike.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.spatial import cKDTree

from nerf_reversal_ros.capture.keypoints import KeypointDetector
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, transform_points
from nerf_reversal_ros.core.parallel import parallel_stream
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.localization.atlas import Atlas, normalize

VIEW_SPACING, VIEW_SPACING_DEG = 0.15, 20.0
"""Spacing of the rendered views, as a fraction of the depth of the scene, and [deg]: keypoints
are detected again from any pose between."""
IMAGE_SPACING, IMAGE_SPACING_DEG = 0.03, 4.0
"""Spacing of the images of the capture: close, as they alone show the finest texture."""
MAX_MERGE_DISTANCE = 0.0075
"""Maximum distance of two observations of one landmark, as a fraction of the viewing distance."""
MIN_DESCRIPTOR_SIMILARITY = 0.8
"""Minimum cosine similarity of the descriptors of two observations of one landmark."""
MAX_SIZE_RATIO = 1.6
"""Maximum ratio of the metric keypoint sizes of two observations of one landmark."""
MIN_VIEWS = 2
"""Minimum number of views that confirm a landmark."""
MAX_DEPTH_JUMP = 0.05
"""Maximum depth variation around a keypoint, as a fraction of the depth: edges are discarded."""
PAIRS_PER_CHUNK = 100_000
"""Number of descriptor pairs that are compared at once, to bound memory."""
COLUMNS_PER_CHUNK = 16
"""Numbers of a descriptor that are averaged at once, to bound memory."""


class DepthView(NamedTuple):
    """An image with the depth that the field renders at its pose."""

    rgb: NDArray[np.uint8]
    """(H, W, 3) rendering, or image of the capture."""
    camera: Camera
    """Intrinsics of ``rgb``."""
    depth_size: tuple[int, int]
    """(h, w) of the depth; same view, own size."""
    depth: Callable[[NDArray[np.bool_]], NDArray[np.float32]]
    """Returns the depth (h, w) [m], 0 unknown, at the least where a mask (h, w) is set."""
    map_from_camera: FloatArray
    """(4, 4)."""


class LandmarkObservations(NamedTuple):
    """N keypoints of rendered views, back-projected to the map."""

    points: FloatArray
    """(N, 3) [m]."""
    centers: FloatArray
    """(N, 3) camera centers [m]."""
    sizes_m: FloatArray
    """(N,) keypoint diameters at the depth of the point [m]."""
    descriptors: NDArray[np.float32]
    """(N, 128) of unit length."""


def rendered_views(
    renderings: Iterable[tuple[Rendering, FloatArray]], camera: Camera
) -> Iterator[DepthView]:
    """Yield renderings of one camera with their poses (4, 4) as views with depth."""
    for view, pose in renderings:
        yield DepthView(view.rgb, camera, view.depth.shape, partial(_all_of, view.depth), pose)


def _all_of(depth: NDArray[np.float32], _: NDArray[np.bool_]) -> NDArray[np.float32]:
    return depth


def build_atlas(views: Iterable[DepthView]) -> Atlas:
    """
    Detect the keypoints of views, back-project them and merge them to landmarks.

    The views are taken one after another, so that they may be rendered while others are searched.
    """
    detector = KeypointDetector(1500, 0.01)
    per_view = list(parallel_stream(lambda view: _back_project_keypoints(detector, view), views))
    view_of = np.repeat(np.arange(len(per_view)), [len(one.points) for one in per_view])
    observations = LandmarkObservations(
        *(np.concatenate(parts) for parts in zip(*per_view, strict=True))
    )
    return merge_observations(observations, view_of)


def _back_project_keypoints(detector: KeypointDetector, view: DepthView) -> LandmarkObservations:
    """Detect the keypoints of a view and back-project those of known depth."""
    keypoints = detector(view.rgb)
    scale = view.depth_size[1] / view.camera.width
    pixels = (keypoints.pixels + 0.5) * scale - 0.5
    depth = _depth_at(view.depth(_mask_around(pixels, view.depth_size)), pixels)
    known = depth > 0
    in_camera = view.camera.unproject(keypoints.pixels[known], depth[known])
    points = transform_points(view.map_from_camera, in_camera)
    return LandmarkObservations(
        points,
        np.broadcast_to(view.map_from_camera[:3, 3], points.shape),
        keypoints.sizes[known] * depth[known] / view.camera.fx,
        keypoints.descriptors[known],
    )


def merge_observations(observations: LandmarkObservations, views: NDArray[np.intp]) -> Atlas:
    """
    Merge consistent observations of different views to landmarks.

    Greedy clustering: in descending order of their number of consistent observations, each
    observation forms a landmark with those consistent with it that are not merged yet.

    Parameters
    ----------
    observations : LandmarkObservations
        N observations.
    views : (N,) array
        Index of the view of each observation.
    """
    agreement = _agreement_graph(observations, views)
    landmark_of, count = _cluster(agreement, views)
    return _average(observations, views, landmark_of, count)


def _agreement_graph(observations: LandmarkObservations, views: NDArray[np.intp]) -> csr_matrix:
    """Return the symmetric adjacency matrix (N, N) of the consistent observations."""
    points, centers, sizes_m, descriptors = observations
    first, second = _near_pairs(points, np.linalg.norm(centers - points, axis=1))
    ratio = sizes_m[first] / sizes_m[second]
    is_candidate = (
        (views[first] != views[second]) & (ratio < MAX_SIZE_RATIO) & (ratio > 1 / MAX_SIZE_RATIO)
    )
    first, second = first[is_candidate], second[is_candidate]
    similarity = np.concatenate(
        [
            np.einsum('ij,ij->i', descriptors[a], descriptors[b])
            for a, b in zip(_chunks(first), _chunks(second), strict=True)
        ]
        or [np.empty(0)]
    )
    is_similar = similarity > MIN_DESCRIPTOR_SIMILARITY
    first, second = first[is_similar], second[is_similar]
    ones = np.ones(2 * len(first), np.int8)
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    return coo_matrix((ones, (rows, columns)), shape=(len(points), len(points))).tocsr()


def _near_pairs(
    points: FloatArray, distance_m: FloatArray
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """
    Return all pairs of points (N, 3) that are near for their viewing distances (N,).

    Points are searched by octaves of the distance: a radius for the farthest would find far too
    many pairs among the nearest. Pairs across more than one octave have other sizes anyway.
    """
    octave = np.floor(np.log2(np.maximum(distance_m, 1e-6))).astype(int)
    found = [np.empty((0, 2), np.intp)]
    for level in np.unique(octave):
        members = np.flatnonzero((octave == level) | (octave == level + 1))
        radius_m = MAX_MERGE_DISTANCE * 2.0 ** (level + 1)
        pairs = members[cKDTree(points[members]).query_pairs(radius_m, output_type='ndarray')]
        first, second = pairs.T
        gap_m = np.linalg.norm(points[first] - points[second], axis=1)
        is_near = gap_m < MAX_MERGE_DISTANCE * np.minimum(distance_m[first], distance_m[second])
        is_near &= np.minimum(octave[first], octave[second]) == level
        found.append(pairs[is_near])
    first, second = np.concatenate(found).T
    return first, second


def _cluster(agreement: csr_matrix, views: NDArray[np.intp]) -> tuple[NDArray[np.intp], int]:
    """Return the landmark of each observation (N,), -1 for none, and the landmark count."""
    neighbor_count = np.diff(agreement.indptr)
    landmark_of = np.full(len(views), -1)
    count = 0
    for center in np.argsort(-neighbor_count, kind='stable'):
        if neighbor_count[center] + 1 < MIN_VIEWS:
            break
        if landmark_of[center] >= 0:
            continue
        neighbors = agreement.indices[agreement.indptr[center] : agreement.indptr[center + 1]]
        members = np.append(neighbors[landmark_of[neighbors] < 0], center)
        if len(np.unique(views[members])) >= MIN_VIEWS:
            landmark_of[members] = count
            count += 1
    return landmark_of, count


def _average(
    observations: LandmarkObservations,
    views: NDArray[np.intp],
    landmark_of: NDArray[np.intp],
    count: int,
) -> Atlas:
    """Average the observations of each landmark."""
    points, centers, sizes_m, descriptors = observations
    merged = landmark_of >= 0
    group = landmark_of[merged]
    size = np.bincount(group, minlength=count)[:, None].astype(np.float64)
    membership = (np.ones(len(group)), (group, np.arange(len(group))))
    sums = coo_matrix(membership, shape=(count, len(group))).tocsr()

    def mean(values: NDArray[np.floating]) -> FloatArray:
        # In float64, but only a few columns at once: there are many descriptors.
        parts = [
            sums @ values[merged, start : start + COLUMNS_PER_CHUNK].astype(np.float64)
            for start in range(0, values.shape[1], COLUMNS_PER_CHUNK)
        ]
        averaged: FloatArray = np.concatenate(parts, axis=1) / size
        return averaged

    view_count = int(views.max(initial=0)) + 1
    # One entry for each view of a landmark, also if the view has several of its observations.
    landmark_of_view = np.unique(group * view_count + views[merged]) // view_count
    to_camera = centers - points
    distance = np.linalg.norm(to_camera, axis=1, keepdims=True)
    position = mean(points)
    origin_m = position.mean(0) if count else np.zeros(3)
    return Atlas(
        origin_m,
        (position - origin_m).astype(np.float32),
        normalize(mean(to_camera / distance).astype(np.float32)),
        mean(distance)[:, 0].astype(np.float32),
        mean(sizes_m[:, None])[:, 0].astype(np.float32),
        np.minimum(np.bincount(landmark_of_view, minlength=count), 255).astype(np.uint8),
        normalize(mean(descriptors).astype(np.float32)),
    )


def _depth_at(depth: NDArray[np.float32], pixels: FloatArray) -> FloatArray:
    """Return interpolated depths (N,) at pixels (N, 2); 0 at depth edges and unknown depth."""
    if not len(pixels):
        return np.zeros(0)
    kernel = np.ones((3, 3), np.uint8)
    far, near = cv2.dilate(depth, kernel), cv2.erode(depth, kernel)
    is_smooth = (near > 0) & (far - near < MAX_DEPTH_JUMP * far)
    smooth = np.where(is_smooth, depth, 0).astype(np.float32)
    row, column = _nearest_pixels(pixels, smooth.shape)
    u, v = pixels.T.astype(np.float32)[:, None]
    values = cv2.remap(depth, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
    return np.where(smooth[row, column] > 0, values, 0.0).astype(np.float64)


def _mask_around(pixels: FloatArray, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels (h, w) that `_depth_at` reads: the nearest ones, and their neighbors."""
    mask = np.zeros(size, np.uint8)
    mask[_nearest_pixels(pixels, size)] = 1
    return cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0


def _nearest_pixels(
    pixels: FloatArray, size: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns (N,) of the pixels of an image (h, w) that are nearest to (N, 2)."""
    column, row = np.clip(np.round(pixels).astype(int), 0, np.array(size[::-1]) - 1).T
    return row, column


def _chunks(indices: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    starts = range(0, len(indices), PAIRS_PER_CHUNK)
    return [indices[start : start + PAIRS_PER_CHUNK] for start in starts]
