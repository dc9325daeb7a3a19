"""
Match the keypoints of a query image with landmarks of the map.

Descriptor matching finds correspondences without a precise pose: nearest neighbors, Lowe's ratio
test. Guided matching needs a pose and searches near the projected landmarks, which finds more.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.image_resampling import downscale_image
from nerf_reversal_ros.capture.keypoints import KeypointDetector, match_descriptors
from nerf_reversal_ros.capture.sift import Keypoints
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, inverse, transform_points
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.localization_kernels import similar_neighbors

REFERENCE_SIZE_PX = 256
"""Longer side [px] of the query images that lengths in pixels are stated for."""
MAX_LANDMARKS = 2000
"""Maximum number of visible landmarks that a query image is matched with."""
MAX_LANDMARKS_OF_MAP = 20_000
"""Maximum number of landmarks that are matched without a pose hypothesis, as a bound on time."""
RATIO_THRESHOLD = 0.85
"""Maximum distance of the best descriptor, as a fraction of the second best (Lowe)."""
RATIO_TEST_EXCLUSION = 0.025
"""Landmarks within this distance, as a fraction of the viewing distance, do not compete in the
ratio test: one surface point may have several landmarks with similar descriptors."""
MAX_NEIGHBORS = 4
"""Maximum number of keypoints that are compared with one projected landmark."""
MIN_SIMILARITY = 0.75
"""Minimum cosine similarity of descriptors in guided matching."""
MIN_DEPTH_RATIO = 0.025
"""Minimum depth of a landmark in guided matching, over its viewing distance; closer projections
are unstable."""


@dataclass(frozen=True)
class QueryImage:
    """Image being localized, downscaled, with its keypoints."""

    rgb: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    camera: Camera
    """Intrinsics of ``rgb``."""
    keypoints: Keypoints
    """In pixels of ``rgb``."""
    full_camera: Camera | None = None
    """Intrinsics at the size before it was downscaled; None if they are unknown."""

    def scaled_px(self, pixels: float) -> float:
        """Scale a length [px] that is stated for `REFERENCE_SIZE_PX` to the size of this image."""
        return pixels * max(self.camera.width, self.camera.height) / REFERENCE_SIZE_PX


@dataclass(frozen=True)
class CandidateLandmarks:
    """L landmarks that the query image may show."""

    points: FloatArray
    """(L, 3) in the map [m]."""
    distances: NDArray[np.float32]
    """(L,) mean distance to the cameras that observed them [m]."""
    descriptors: NDArray[np.float32]
    """(L, 128) RootSIFT of unit length."""


QUERY_DETECTOR = KeypointDetector(400, 0.02)
"""Detector of the first attempt on an image."""
RETRY_DETECTOR = KeypointDetector(1500, 0.01)
"""Detector of retries: more keypoints, and fainter ones."""


def make_query(
    rgb: NDArray[np.uint8],
    camera: Camera,
    longer_side: int = REFERENCE_SIZE_PX,
    detector: KeypointDetector = QUERY_DETECTOR,
) -> QueryImage:
    """Downscale an image (H, W, 3) to at most ``longer_side`` [px] and detect its keypoints."""
    small = camera.downscaled_to(longer_side)
    rgb = downscale_image(rgb, small)
    return QueryImage(rgb, small, detector(rgb), camera)


def visible_landmarks(
    atlas: Atlas, map_from_camera: FloatArray, camera: Camera
) -> CandidateLandmarks:
    """Return the landmarks that a camera near a pose (4, 4) may see, at most `MAX_LANDMARKS`."""
    return select_landmarks(atlas, atlas.visible_indices(map_from_camera, camera, MAX_LANDMARKS))


def landmarks_of_map(atlas: Atlas) -> CandidateLandmarks:
    """Return all landmarks, at most the `MAX_LANDMARKS_OF_MAP` that most views confirm."""
    return select_landmarks(
        atlas, atlas.most_confirmed(np.arange(len(atlas)), MAX_LANDMARKS_OF_MAP)
    )


def select_landmarks(atlas: Atlas, indices: NDArray[np.intp]) -> CandidateLandmarks:
    """Return the landmarks (N,) of an atlas with these indices."""
    return CandidateLandmarks(
        atlas.origin_m + atlas.points[indices],
        atlas.distances[indices],
        atlas.descriptors[indices],
    )


def match_landmarks(query: QueryImage, landmarks: CandidateLandmarks) -> NDArray[np.int64]:
    """
    Match keypoints with landmarks by mutual nearest descriptors and Lowe's ratio test.

    Returns
    -------
    (M, 2) array
        Indices of keypoints and of landmarks, one to one.
    """
    return match_descriptors(
        query.keypoints.descriptors,
        landmarks.descriptors,
        RATIO_THRESHOLD,
        landmarks.points,
        RATIO_TEST_EXCLUSION * landmarks.distances.astype(np.float64),
    )


def match_guided(
    query: QueryImage, landmarks: CandidateLandmarks, map_from_camera: FloatArray, radius_px: float
) -> NDArray[np.int64]:
    """
    Match keypoints with the landmarks that a pose projects near them.

    Parameters
    ----------
    query : QueryImage
        From `make_query`.
    landmarks : CandidateLandmarks
        Landmarks to project.
    map_from_camera : (4, 4) array
        Pose of the query camera, precise to about ``radius_px``.
    radius_px : float
        Search radius [px] around each projected landmark.

    Returns
    -------
    (M, 2) array
        Indices of keypoints and of landmarks, one to one, most similar first.
    """
    projected, pixels = project_landmarks(landmarks, map_from_camera, query.camera)
    pairs, similarity = similar_neighbors(
        query.keypoints.pixels,
        query.keypoints.descriptors,
        pixels,
        landmarks.descriptors,
        projected,
        radius_px,
        MAX_NEIGHBORS,
        np.float32(MIN_SIMILARITY),
    )
    order = np.argsort(-similarity, kind='stable')
    keypoint, landmark = pairs[order].T
    # A pair is one to one if it is the most similar pair of its keypoint and of its landmark.
    is_best = np.ones(len(order), dtype=bool)
    for side, count in (
        (keypoint, len(query.keypoints.pixels)),
        (landmark, len(landmarks.points)),
    ):
        first = np.empty(count, dtype=np.intp)
        first[side[::-1]] = np.arange(len(order))[::-1]
        is_best &= first[side] == np.arange(len(order))
    return np.column_stack([keypoint[is_best], landmark[is_best]])


def project_landmarks(
    landmarks: CandidateLandmarks, map_from_camera: FloatArray, camera: Camera
) -> tuple[NDArray[np.intp], FloatArray]:
    """Return the indices (P,) of the landmarks inside the image, and their pixels (P, 2)."""
    in_camera = transform_points(inverse(map_from_camera), landmarks.points)
    indices = np.flatnonzero(in_camera[:, 2] > MIN_DEPTH_RATIO * landmarks.distances)
    pixels = camera.project(in_camera[indices])
    inside = np.all((pixels > -0.5) & (pixels < (camera.width, camera.height)), axis=1)
    return indices[inside], pixels[inside]
