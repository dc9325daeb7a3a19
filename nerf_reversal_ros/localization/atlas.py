"""
The atlas: landmarks of the room, found in renders of the field when the map is built.

A landmark is a point of the map with the descriptor that pictures show it by. Views of the field
are rendered once, their keypoints are lifted by the rendered depth, and those that several views
agree on become landmarks. A query is then matched with the landmarks that a camera at its coarse
pose would see, so that localizing needs no full render.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
import safetensors.numpy
from scipy.sparse import coo_matrix
from scipy.spatial import cKDTree

from nerf_reversal_ros.capture.keypoints import DESCRIPTOR_DIM, KeypointDetector
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.files import read_point_arrays
from nerf_reversal_ros.core.geometry import FloatArray, transform_points
from nerf_reversal_ros.fields.base import Rendering

VIEW_SPACING_M, VIEW_SPACING_DEG = 0.3, 20.0
"""Views are rendered this far apart: keypoints are found again from anywhere between."""
MAX_MERGE_DISTANCE_M = 0.015
"""Observations of one landmark lie within this distance [m]."""
MIN_DESCRIPTOR_SIMILARITY = 0.8
"""And their descriptors are at least this similar (cosine)."""
MAX_SIZE_RATIO = 1.6
"""And what was looked at differs in size by at most this factor."""
MIN_VIEWS = 2
"""A landmark is found in at least so many views."""
MAX_VIEW_ANGLE_DEG = 65.0
"""A landmark is looked for from directions that differ from those it was found from by less."""
MAX_DISTANCE_RATIO = 2.5
"""And from distances that differ by less than this factor."""
MIN_DEPTH_M = 0.1
"""And not closer to the camera than this along its optical axis."""
IMAGE_MARGIN = 0.25
"""A coarse pose may be off: landmarks this share of a picture beside it are looked for too."""
DESCRIPTOR_STEP = 1 / 400
"""Descriptors are stored in steps of this, up to 255 of them."""
MAX_DEPTH_JUMP = 0.05
"""Keypoints where the depth varies by more than this share are not lifted."""


@dataclass(frozen=True)
class Atlas:
    """L landmarks."""

    origin_m: FloatArray
    """(3,) of ``points`` in the map: with it, they are exact however far from zero the map is."""
    points: NDArray[np.float32]
    """(L, 3) where they are, from the origin [m]."""
    directions: NDArray[np.float32]
    """(L, 3) mean direction, of length one, to where they were seen from."""
    distances: NDArray[np.float32]
    """(L,) mean distance that they were seen from [m]."""
    views: NDArray[np.uint8]
    """(L,) how many views agree on them."""
    descriptors: NDArray[np.float32]
    """(L, 128) RootSIFT of length one."""

    def __len__(self) -> int:
        """Return the number of landmarks."""
        return len(self.points)

    def visible_indices(
        self, map_from_camera: FloatArray, camera: Camera, max_count: int
    ) -> NDArray[np.intp]:
        """
        Return indices of the landmarks that a camera near a pose may see.

        Parameters
        ----------
        map_from_camera : (4, 4) array
            Coarse pose.
        camera : Camera
            Of the query.
        max_count : int
            If there are more, those that most views agree on.
        """
        rotation = map_from_camera[:3, :3].astype(np.float32)
        centre = (map_from_camera[:3, 3] - self.origin_m).astype(np.float32)
        x, y, depth = (self.points @ rotation - centre @ rotation).T
        ahead = np.flatnonzero(depth > MIN_DEPTH_M)
        depth = depth[ahead]
        column = x[ahead] * np.float32(camera.fx) / depth + np.float32(camera.cx)
        row = y[ahead] * np.float32(camera.fy) / depth + np.float32(camera.cy)
        near = (column > -IMAGE_MARGIN * camera.width) & (
            column < (1 + IMAGE_MARGIN) * camera.width
        )
        near &= (row > -IMAGE_MARGIN * camera.height) & (row < (1 + IMAGE_MARGIN) * camera.height)
        indices = ahead[near]
        arm = self.points[indices] - centre
        range_m = np.sqrt(np.einsum('ij,ij->i', arm, arm))
        towards = -np.einsum('ij,ij->i', arm, self.directions[indices])
        closer = range_m / self.distances[indices]
        seen = towards > np.float32(np.cos(np.radians(MAX_VIEW_ANGLE_DEG))) * range_m
        seen &= (closer < MAX_DISTANCE_RATIO) & (closer > 1 / MAX_DISTANCE_RATIO)
        indices = indices[seen]
        if len(indices) > max_count:
            order = np.argsort(-self.views[indices].astype(np.int16), kind='stable')[:max_count]
            indices = np.sort(indices[order])
        return indices

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
            If the file is missing or damaged.
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
    """N keypoints of rendered views, lifted to the map."""

    points: FloatArray
    """(N, 3) [m]."""
    centers: FloatArray
    """(N, 3) where the camera was [m]."""
    sizes_m: FloatArray
    """(N,) diameter of what was looked at [m]."""
    descriptors: NDArray[np.float32]
    """(N, 128)."""


def build_atlas(views: Iterable[tuple[Rendering, FloatArray]], camera: Camera) -> Atlas:
    """
    Find the landmarks of a field.

    Parameters
    ----------
    views : iterable of (Rendering, (4, 4) array)
        Renders of the field and the ``map_from_camera`` that they were made at; see
        `select_farthest_poses`.
    camera : Camera
        Of the renders.
    """
    detector = KeypointDetector(1500, 0.01)
    seen = [_lift_keypoints(detector, view, pose, camera) for view, pose in views]
    numbers = np.repeat(np.arange(len(seen)), [len(one.points) for one in seen])
    return merge_observations(
        LandmarkObservations(*(np.concatenate(p) for p in zip(*seen, strict=True))), numbers
    )


def _lift_keypoints(
    detector: KeypointDetector, view: Rendering, map_from_camera: FloatArray, camera: Camera
) -> LandmarkObservations:
    """Find the keypoints of a rendered view and take those of known depth to the map."""
    found = detector(view.rgb)
    depth = _depth_at(view.depth, found.pixels)
    kept = depth > 0
    rays = np.column_stack([found.pixels[kept], np.ones(kept.sum())])
    rays = rays @ np.linalg.inv(camera.matrix).T
    points = transform_points(map_from_camera, rays * depth[kept, None])
    return LandmarkObservations(
        points,
        np.broadcast_to(map_from_camera[:3, 3], points.shape),
        found.sizes[kept] * depth[kept] / camera.fx,
        found.descriptors[kept],
    )


def merge_observations(observations: LandmarkObservations, views: NDArray[np.intp]) -> Atlas:
    """
    Merge observations to landmarks, given the number (N,) of the view of each.

    Taken in order of how many others agree with it, an observation and those that agree with it
    and are not taken yet become one landmark.
    """
    points, centres, sizes_m, descriptors = observations
    pairs = cKDTree(points).query_pairs(MAX_MERGE_DISTANCE_M, output_type='ndarray')
    first, second = pairs.T
    ratio = sizes_m[first] / sizes_m[second]
    alike = (
        (views[first] != views[second]) & (ratio < MAX_SIZE_RATIO) & (ratio > 1 / MAX_SIZE_RATIO)
    )
    first, second = first[alike], second[alike]
    look = np.concatenate(
        [
            np.einsum('ij,ij->i', descriptors[a], descriptors[b])
            for a, b in zip(_chunks(first), _chunks(second), strict=True)
        ]
        or [np.empty(0)]
    )
    first, second = (
        first[look > MIN_DESCRIPTOR_SIMILARITY],
        second[look > MIN_DESCRIPTOR_SIMILARITY],
    )
    count = len(points)
    ones = np.ones(2 * len(first), np.int8)
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    agree = coo_matrix((ones, (rows, columns)), shape=(count, count)).tocsr()
    agreeing = np.diff(agree.indptr)
    landmark_of = np.full(count, -1)
    landmarks = 0
    for seed in np.argsort(-agreeing, kind='stable'):
        if agreeing[seed] + 1 < MIN_VIEWS:
            break
        if landmark_of[seed] >= 0:
            continue
        others = agree.indices[agree.indptr[seed] : agree.indptr[seed + 1]]
        members = np.append(others[landmark_of[others] < 0], seed)
        if len(np.unique(views[members])) >= MIN_VIEWS:
            landmark_of[members] = landmarks
            landmarks += 1
    kept = landmark_of >= 0
    of = landmark_of[kept]
    size = np.bincount(of, minlength=landmarks)[:, None].astype(np.float64)

    added = (np.ones(len(of)), (of, np.arange(len(of))))
    sums = coo_matrix(added, shape=(landmarks, len(of))).tocsr()

    def mean(values: NDArray[np.floating]) -> FloatArray:
        averaged: FloatArray = (sums @ values[kept].astype(np.float64)) / size
        return averaged

    numbers = int(views.max(initial=0)) + 1
    found_in = np.unique(of * numbers + views[kept]) // numbers
    towards = centres - points
    distance = np.linalg.norm(towards, axis=1, keepdims=True)
    where = mean(points)
    origin_m = where.mean(0) if landmarks else np.zeros(3)
    return Atlas(
        origin_m,
        (where - origin_m).astype(np.float32),
        _normalize(mean(towards / distance).astype(np.float32)),
        mean(distance)[:, 0].astype(np.float32),
        np.minimum(np.bincount(found_in, minlength=landmarks), 255).astype(np.uint8),
        _normalize(mean(descriptors).astype(np.float32)),
    )


def select_farthest_poses(candidates: FloatArray, max_count: int) -> NDArray[np.intp]:
    """
    Choose poses (N, 4, 4) that are far from each other: indices, farthest first.

    It ends at ``max_count`` poses or when all others are near one, which is when the distance by
    `VIEW_SPACING_M` and the angle between the optical axes by `VIEW_SPACING_DEG` make less than 1 together.
    """
    position = candidates[:, :3, 3] / VIEW_SPACING_M
    axis = candidates[:, :3, 2]
    chosen = [0]
    far = np.full(len(candidates), np.inf)
    while len(chosen) < min(max_count, len(candidates)):
        last = chosen[-1]
        turn = np.degrees(np.arccos(np.clip(axis @ axis[last], -1, 1))) / VIEW_SPACING_DEG
        far = np.minimum(far, np.hypot(np.linalg.norm(position - position[last], axis=1), turn))
        farthest = int(far.argmax())
        if far[farthest] < 1.0:
            break
        chosen.append(farthest)
    return np.array(chosen)


def _depth_at(depth: NDArray[np.float32], pixels: FloatArray) -> FloatArray:
    """Return depths (N,) at sub-pixel positions (N, 2); 0 at edges and where it is unknown."""
    if not len(pixels):
        return np.zeros(0)
    kernel = np.ones((3, 3), np.uint8)
    far, near = cv2.dilate(depth, kernel), cv2.erode(depth, kernel)
    steady = np.where((near > 0) & (far - near < MAX_DEPTH_JUMP * far), depth, 0).astype(
        np.float32
    )
    height, width = steady.shape
    column = np.clip(np.round(pixels[:, 0]).astype(int), 0, width - 1)
    row = np.clip(np.round(pixels[:, 1]).astype(int), 0, height - 1)
    u, v = pixels.T.astype(np.float32)[:, None]
    found = cv2.remap(depth, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
    return np.where(steady[row, column] > 0, found, 0.0).astype(np.float64)


def _normalize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    unit: NDArray[np.float32] = (vectors / length).astype(np.float32)
    return unit


def _chunks(indices: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return [indices[start : start + 100_000] for start in range(0, len(indices), 100_000)]
