"""
Landmark map (atlas): 3-D points with descriptors, found in renderings of the radiance field.

When a map is built, views of the field are rendered and their keypoints are back-projected with
the rendered depth. Keypoints confirmed by at least two views become landmarks. Localization
matches a query image with the landmarks that are visible at a pose hypothesis, so it renders no
field.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
import safetensors.numpy
from scipy.sparse import coo_matrix, csr_matrix
from scipy.spatial import cKDTree

from nerf_reversal_ros.capture.keypoints import DESCRIPTOR_DIM, KeypointDetector
from nerf_reversal_ros.core.array_files import read_point_arrays
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, transform_points
from nerf_reversal_ros.fields.base import Rendering

VIEW_SPACING_M, VIEW_SPACING_DEG = 0.3, 20.0
"""Spacing of the rendered views [m], [deg]: keypoints are detected again from any pose between."""
MAX_MERGE_DISTANCE_M = 0.015
"""Maximum distance [m] between two observations of one landmark."""
MIN_DESCRIPTOR_SIMILARITY = 0.8
"""Minimum cosine similarity of the descriptors of two observations of one landmark."""
MAX_SIZE_RATIO = 1.6
"""Maximum ratio of the metric keypoint sizes of two observations of one landmark."""
MIN_VIEWS = 2
"""Minimum number of views that confirm a landmark."""
MAX_VIEW_ANGLE_DEG = 65.0
"""Maximum angle [deg] between the viewing direction of a query and those of the landmark."""
MAX_DISTANCE_RATIO = 2.5
"""Maximum ratio of the viewing distance of a query and that of the landmark."""
MIN_DEPTH_M = 0.1
"""Minimum depth [m] of a visible landmark along the optical axis."""
IMAGE_MARGIN = 0.25
"""Margin around the image, as a fraction of its size, in which landmarks count as visible: a pose
hypothesis is imprecise."""
DESCRIPTOR_STEP = 1 / 400
"""Quantization step of stored descriptors (uint8): entries above 255 steps are clipped."""
MAX_DEPTH_JUMP = 0.05
"""Maximum depth variation around a keypoint, as a fraction of the depth: edges are discarded."""
PAIRS_PER_CHUNK = 100_000
"""Number of descriptor pairs that are compared at once, to bound memory."""


@dataclass(frozen=True)
class Atlas:
    """Landmark map of L landmarks."""

    origin_m: FloatArray
    """(3,) origin of ``points`` in the map [m]: float32 stays precise far from the map origin."""
    points: NDArray[np.float32]
    """(L, 3) positions relative to ``origin_m`` [m]."""
    directions: NDArray[np.float32]
    """(L, 3) unit vectors: mean direction from the landmark to the cameras that observed it."""
    distances: NDArray[np.float32]
    """(L,) mean distance to those cameras [m]."""
    views: NDArray[np.uint8]
    """(L,) number of views that confirm the landmark, at most 255."""
    descriptors: NDArray[np.float32]
    """(L, 128) RootSIFT of unit length."""

    def __len__(self) -> int:
        """Return the number of landmarks."""
        return len(self.points)

    def visible_indices(
        self, map_from_camera: FloatArray, camera: Camera, max_count: int
    ) -> NDArray[np.intp]:
        """
        Return the indices of the landmarks that a camera near a pose may observe.

        Parameters
        ----------
        map_from_camera : (4, 4) array
            Pose hypothesis.
        camera : Camera
            Intrinsics of the query image.
        max_count : int
            Maximum number of landmarks; those confirmed by most views are kept.

        Returns
        -------
        (N,) array
            Ascending.
        """
        rotation = map_from_camera[:3, :3].astype(np.float32)
        center = (map_from_camera[:3, 3] - self.origin_m).astype(np.float32)
        x, y, depth = (self.points @ rotation - center @ rotation).T
        in_front = np.flatnonzero(depth > MIN_DEPTH_M)
        depth = depth[in_front]
        column = x[in_front] * np.float32(camera.fx) / depth + np.float32(camera.cx)
        row = y[in_front] * np.float32(camera.fy) / depth + np.float32(camera.cy)
        in_image = (column > -IMAGE_MARGIN * camera.width) & (
            column < (1 + IMAGE_MARGIN) * camera.width
        )
        in_image &= (row > -IMAGE_MARGIN * camera.height) & (
            row < (1 + IMAGE_MARGIN) * camera.height
        )
        indices = in_front[in_image]
        indices = indices[self._is_similar_view(indices, center)]
        if len(indices) > max_count:
            order = np.argsort(-self.views[indices].astype(np.int16), kind='stable')[:max_count]
            indices = np.sort(indices[order])
        return indices

    def _is_similar_view(
        self, indices: NDArray[np.intp], center: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Return whether a camera center (3,) observes landmarks from a similar viewpoint."""
        ray = self.points[indices] - center
        distance = np.sqrt(np.einsum('ij,ij->i', ray, ray))
        along_direction = -np.einsum('ij,ij->i', ray, self.directions[indices])
        ratio = distance / self.distances[indices]
        is_similar = (
            along_direction > np.float32(np.cos(np.radians(MAX_VIEW_ANGLE_DEG))) * distance
        )
        is_similar &= (ratio < MAX_DISTANCE_RATIO) & (ratio > 1 / MAX_DISTANCE_RATIO)
        return np.asarray(is_similar)

    def save(self, path: Path) -> None:
        """Write one safetensors file; `load` reads it."""
        steps = np.clip(np.round(self.descriptors / DESCRIPTOR_STEP), 0, 255).astype(np.uint8)
        safetensors.numpy.save_file(
            {
                'origin_m': self.origin_m[None],
                'points': self.points,
                'directions': self.directions,
                'distances': self.distances,
                'views': self.views,
                'descriptors': steps,
            },
            path,
        )

    @classmethod
    def load(cls, path: Path) -> 'Atlas':
        """
        Read what `save` wrote.

        Raises
        ------
        MapError
            If the file is missing or malformed.
        """
        rows: dict[str, tuple[tuple[int, ...], str]] = {
            'points': ((3,), 'float32'),
            'directions': ((3,), 'float32'),
            'distances': ((), 'float32'),
            'views': ((), 'uint8'),
            'descriptors': ((DESCRIPTOR_DIM,), 'uint8'),
        }
        stored = read_point_arrays(path, 'atlas', rows)
        descriptors = _normalize(stored.pop('descriptors').astype(np.float32))
        return cls(**stored, descriptors=descriptors)


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


def build_atlas(views: Iterable[tuple[Rendering, FloatArray]], camera: Camera) -> Atlas:
    """
    Detect keypoints in renderings, back-project them and merge them to landmarks.

    Parameters
    ----------
    views : iterable of (Rendering, (4, 4) array)
        Renderings of the field with their ``map_from_camera``; see `select_farthest_poses`.
    camera : Camera
        Intrinsics of the renderings.
    """
    detector = KeypointDetector(1500, 0.01)
    per_view = [_back_project_keypoints(detector, view, pose, camera) for view, pose in views]
    view_of = np.repeat(np.arange(len(per_view)), [len(one.points) for one in per_view])
    observations = LandmarkObservations(
        *(np.concatenate(parts) for parts in zip(*per_view, strict=True))
    )
    return merge_observations(observations, view_of)


def _back_project_keypoints(
    detector: KeypointDetector, view: Rendering, map_from_camera: FloatArray, camera: Camera
) -> LandmarkObservations:
    """Detect the keypoints of a rendering and back-project those of known depth."""
    keypoints = detector(view.rgb)
    depth = _depth_at(view.depth, keypoints.pixels)
    known = depth > 0
    in_camera = camera.unproject(keypoints.pixels[known], depth[known])
    points = transform_points(map_from_camera, in_camera)
    return LandmarkObservations(
        points,
        np.broadcast_to(map_from_camera[:3, 3], points.shape),
        keypoints.sizes[known] * depth[known] / camera.fx,
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
    points, _, sizes_m, descriptors = observations
    pairs = cKDTree(points).query_pairs(MAX_MERGE_DISTANCE_M, output_type='ndarray')
    first, second = pairs.T
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
    points, centers, _, descriptors = observations
    merged = landmark_of >= 0
    group = landmark_of[merged]
    size = np.bincount(group, minlength=count)[:, None].astype(np.float64)
    membership = (np.ones(len(group)), (group, np.arange(len(group))))
    sums = coo_matrix(membership, shape=(count, len(group))).tocsr()

    def mean(values: NDArray[np.floating]) -> FloatArray:
        averaged: FloatArray = (sums @ values[merged].astype(np.float64)) / size
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
        _normalize(mean(to_camera / distance).astype(np.float32)),
        mean(distance)[:, 0].astype(np.float32),
        np.minimum(np.bincount(landmark_of_view, minlength=count), 255).astype(np.uint8),
        _normalize(mean(descriptors).astype(np.float32)),
    )


def select_farthest_poses(candidates: FloatArray, max_count: int) -> NDArray[np.intp]:
    """
    Select poses by farthest-point sampling, starting with the first.

    The distance of two poses combines their distance by `VIEW_SPACING_M` and the angle between
    their optical axes by `VIEW_SPACING_DEG`. Sampling ends when all others are nearer than 1.

    Parameters
    ----------
    candidates : (N, 4, 4) array
        Poses to select from.
    max_count : int
        Maximum number of poses.

    Returns
    -------
    (K,) array
        Indices, in the order of selection.
    """
    position = candidates[:, :3, 3] / VIEW_SPACING_M
    axis = candidates[:, :3, 2]
    selected = [0]
    distance = np.full(len(candidates), np.inf)
    while len(selected) < min(max_count, len(candidates)):
        last = selected[-1]
        angle = np.degrees(np.arccos(np.clip(axis @ axis[last], -1, 1))) / VIEW_SPACING_DEG
        shift = np.linalg.norm(position - position[last], axis=1)
        distance = np.minimum(distance, np.hypot(shift, angle))
        farthest = int(distance.argmax())
        if distance[farthest] < 1.0:
            break
        selected.append(farthest)
    return np.array(selected)


def _depth_at(depth: NDArray[np.float32], pixels: FloatArray) -> FloatArray:
    """Return interpolated depths (N,) at pixels (N, 2); 0 at depth edges and unknown depth."""
    if not len(pixels):
        return np.zeros(0)
    kernel = np.ones((3, 3), np.uint8)
    far, near = cv2.dilate(depth, kernel), cv2.erode(depth, kernel)
    is_smooth = (near > 0) & (far - near < MAX_DEPTH_JUMP * far)
    smooth = np.where(is_smooth, depth, 0).astype(np.float32)
    height, width = smooth.shape
    column = np.clip(np.round(pixels[:, 0]).astype(int), 0, width - 1)
    row = np.clip(np.round(pixels[:, 1]).astype(int), 0, height - 1)
    u, v = pixels.T.astype(np.float32)[:, None]
    values = cv2.remap(depth, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
    return np.where(smooth[row, column] > 0, values, 0.0).astype(np.float64)


def _normalize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    unit: NDArray[np.float32] = (vectors / length).astype(np.float32)
    return unit


def _chunks(indices: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    starts = range(0, len(indices), PAIRS_PER_CHUNK)
    return [indices[start : start + PAIRS_PER_CHUNK] for start in starts]
