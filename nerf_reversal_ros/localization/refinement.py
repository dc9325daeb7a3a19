"""
From a coarse pose to centimetres: match the picture with landmarks of the map.

Keypoints of the picture are matched with the landmarks that a camera near the coarse pose would
see, and the pose follows by PnP in LO-RANSAC (PoseLib). From there the landmarks are looked for
where the pose says that they are, which finds many more, and the pose is fitted to them all.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
import poselib
from scipy.spatial import cKDTree

from nerf_reversal_ros.capture.keypoints import KeypointDetector, Keypoints, match_descriptors
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, inverse, transform_points
from nerf_reversal_ros.localization.atlas import Atlas

QUERY_SIZE_PX = 256
"""Queries are shrunk to this longer side before keypoints are found."""
MAX_LANDMARKS = 2000
"""So many landmarks, at most, are compared with a query."""
RATIO_THRESHOLD = 0.85
"""Best over second best descriptor distance, as Lowe."""
RATIO_TEST_EXCLUSION_M = 0.05
"""Landmarks this close are no rivals in the ratio test: one place may have several looks."""
MAX_ERROR_PX = 4.0
"""Reprojection error of an inlier of the robust estimator, at `QUERY_SIZE_PX`."""
SEARCH_RADII_PX = (6.0, 1.5)
"""Radii in which landmarks are looked for around where the pose has them, one round each."""
MAX_NEIGHBORS = 4
"""So many keypoints nearest to where a landmark should be are compared with it."""
MIN_SIMILARITY = 0.75
"""Least similarity (cosine) of a landmark that is looked for and what is found."""
MIN_MATCHES = 6


@dataclass(frozen=True)
class QueryImage:
    """A picture to be localized, with its keypoints."""

    rgb: NDArray[np.uint8]
    """(H, W, 3), shrunk."""
    camera: Camera
    """Of rgb."""
    keypoints: Keypoints
    """In pixels of rgb."""
    tree: cKDTree
    """Of the pixels of the keypoints."""

    def scaled_px(self, pixels: float) -> float:
        """Scale a length given for a picture of `QUERY_SIZE_PX` to this one."""
        return pixels * max(self.camera.width, self.camera.height) / QUERY_SIZE_PX


@dataclass(frozen=True)
class CandidateLandmarks:
    """What a query is matched with."""

    points: FloatArray
    """(L, 3) in the map, metres."""
    descriptors: NDArray[np.float32]
    """(L, 128) RootSIFT, of length one."""


@dataclass(frozen=True)
class PnpSolution:
    """A pose, and the matches that speak for it."""

    map_from_camera: FloatArray
    """(4, 4)."""
    points: FloatArray
    """(M, 3) inliers' points in the map, metres."""
    pixels: FloatArray
    """(M, 2) where the query shows them."""
    matches: int
    """Matches before the robust estimator, inliers among them."""

    @property
    def inliers(self) -> int:
        """Matches that agree with the pose."""
        return len(self.points)

    @property
    def inlier_ratio(self) -> float:
        """Share of the matches that agree with the pose."""
        return self.inliers / max(1, self.matches)


_QUERY_DETECTOR = KeypointDetector(400, 0.02)


def make_query(
    rgb: NDArray[np.uint8],
    camera: Camera,
    longer_side: int = QUERY_SIZE_PX,
    detector: KeypointDetector = _QUERY_DETECTOR,
) -> QueryImage:
    """Shrink a picture (H, W, 3) if it is large, and find its keypoints."""
    small = camera.downscaled_to(longer_side)
    if small != camera:
        size = (small.width, small.height)
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    keypoints = detector(rgb)
    return QueryImage(rgb, small, keypoints, cKDTree(keypoints.pixels))


def visible_landmarks(
    atlas: Atlas, map_from_camera: FloatArray, camera: Camera
) -> CandidateLandmarks:
    """Return the landmarks of the atlas that a camera near a pose may see."""
    seen = atlas.visible_indices(map_from_camera, camera, MAX_LANDMARKS)
    return CandidateLandmarks(atlas.origin_m + atlas.points[seen], atlas.descriptors[seen])


def estimate_pose(query: QueryImage, landmarks: CandidateLandmarks) -> PnpSolution | None:
    """
    Find the pose from landmarks alone.

    Parameters
    ----------
    query : Query
        From `make_query`.
    landmarks : Landmarks
        Those that may be in it; a few thousand.

    Returns
    -------
    Alignment or None
        None when fewer than six matches were found or no pose explains them.
    """
    looks, points = landmarks.descriptors, landmarks.points
    pairs = match_descriptors(
        query.keypoints.descriptors, looks, RATIO_THRESHOLD, points, RATIO_TEST_EXCLUSION_M
    )
    if len(pairs) < MIN_MATCHES:
        return None
    pixels = query.keypoints.pixels[pairs[:, 0]]
    return solve_pnp_ransac(
        points[pairs[:, 1]], pixels, query.camera, query.scaled_px(MAX_ERROR_PX)
    )


def refine_pose(
    query: QueryImage, landmarks: CandidateLandmarks, solution: PnpSolution
) -> PnpSolution | None:
    """
    Fit a pose that is nearly right to all landmarks that are found where it says they are.

    Returns
    -------
    Alignment or None
        None when fewer than six are found.
    """
    found: PnpSolution | None = solution
    for radius in SEARCH_RADII_PX:
        if found is None:
            return None
        pairs = match_guided(query, landmarks, found.map_from_camera, query.scaled_px(radius))
        pixels = query.keypoints.pixels[pairs[:, 0]]
        points = landmarks.points[pairs[:, 1]]
        found = refit_pnp(
            points, pixels, query.camera, found.map_from_camera, query.scaled_px(radius / 2)
        )
    return found


def solve_pnp_ransac(
    points: FloatArray,
    pixels: FloatArray,
    camera: Camera,
    max_error_px: float = MAX_ERROR_PX,
    seed: int = 0,
) -> PnpSolution | None:
    """Estimate the pose from points (N, 3) of the map and their pixels (N, 2), with outliers."""
    options = {
        'max_reproj_error': max_error_px,
        'seed': seed,
        'max_iterations': 2000,
        'min_iterations': 100,
    }
    found, info = poselib.estimate_absolute_pose(
        pixels + 0.5, points, poselib_camera(camera), options, _LOSS
    )
    inliers = np.asarray(info['inliers'], dtype=bool)
    return _make_solution(found, points, pixels, inliers)


def refit_pnp(
    points: FloatArray,
    pixels: FloatArray,
    camera: Camera,
    map_from_camera: FloatArray,
    max_error_px: float,
) -> PnpSolution | None:
    """Improve a pose on points (N, 3) of the map and their pixels (N, 2), with a robust loss."""
    if len(points) < MIN_MATCHES:
        return None
    start = poselib.CameraPose()
    camera_from_map = inverse(map_from_camera)
    start.R, start.t = camera_from_map[:3, :3], camera_from_map[:3, 3]
    found, _ = poselib.refine_absolute_pose(
        pixels + 0.5, points, start, poselib_camera(camera), _LOSS
    )
    local = transform_points(np.vstack([found.Rt, [0, 0, 0, 1]]), points)
    in_front = local[:, 2] > 0
    local[~in_front] = 1.0
    errors = np.linalg.norm(camera.project(local) - pixels, axis=1)
    return _make_solution(found, points, pixels, in_front & (errors < max_error_px))


_LOSS = {'loss_type': 'CAUCHY', 'loss_scale': 1.0}


def poselib_camera(camera: Camera) -> dict[str, object]:
    """Describe a camera as PoseLib wants it."""
    return {
        'model': 'PINHOLE',
        'width': camera.width,
        'height': camera.height,
        # PoseLib, as COLMAP, has pixel centres at half integers.
        'params': [camera.fx, camera.fy, camera.cx + 0.5, camera.cy + 0.5],
    }


def _make_solution(
    found: poselib.CameraPose, points: FloatArray, pixels: FloatArray, inliers: NDArray[np.bool_]
) -> PnpSolution | None:
    if inliers.sum() < MIN_MATCHES:
        return None
    camera_from_map = np.vstack([found.Rt, [0, 0, 0, 1]])
    return PnpSolution(inverse(camera_from_map), points[inliers], pixels[inliers], len(points))


def pose_covariance(solution: PnpSolution, camera: Camera) -> FloatArray:
    """
    Covariance of a pose from the Jacobian and the residuals of its inliers.

    Returns
    -------
    (6, 6) array
        Of x, y, z [m] and rotations about the fixed map axes x, y, z [rad] (REP 103), for
        independent pixel errors of the size that the residuals show. What the matches have in
        common (errors of the map) is not in it: the localizer adds what calibration found.
    """
    pose = solution.map_from_camera
    rotation = pose[:3, :3]
    arm = solution.points - pose[:3, 3]
    local = arm @ rotation
    x, y, z = local.T
    projection = np.zeros((len(local), 2, 3))
    projection[:, 0, 0], projection[:, 0, 2] = camera.fx / z, -camera.fx * x / z**2
    projection[:, 1, 1], projection[:, 1, 2] = camera.fy / z, -camera.fy * y / z**2
    cross = np.zeros((len(arm), 3, 3))
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -arm[:, 2], arm[:, 1], -arm[:, 0]
    cross -= np.swapaxes(cross, 1, 2)
    point_by_pose = np.concatenate(
        [np.broadcast_to(-rotation.T, (len(arm), 3, 3)), rotation.T @ cross], axis=2
    )
    jacobian = (projection @ point_by_pose).reshape(-1, 6)
    residual = (camera.project(local) - solution.pixels).reshape(-1)
    variance = residual @ residual / max(1, len(residual) - 6)
    information = jacobian.T @ jacobian
    # A direction that the matches do not fix is very uncertain; a pseudo-inverse calls it sure.
    least = 1e-12 * np.trace(information) * np.eye(6)
    covariance: FloatArray = variance * np.linalg.inv(information + least)
    return covariance


def match_guided(
    query: QueryImage, landmarks: CandidateLandmarks, map_from_camera: FloatArray, radius_px: float
) -> NDArray[np.int64]:
    """
    Look for landmarks around where a pose has them.

    Returns
    -------
    (M, 2) array
        Rows of the query's keypoints and of the landmarks, one to one, most alike first.
    """
    camera = query.camera
    local = transform_points(inverse(map_from_camera), landmarks.points)
    shown = np.flatnonzero(local[:, 2] > 0.05)
    pixels = camera.project(local[shown])
    inside = np.all((pixels > -0.5) & (pixels < (camera.width, camera.height)), axis=1)
    shown, pixels = shown[inside], pixels[inside]
    distance, near = query.tree.query(pixels, MAX_NEIGHBORS, distance_upper_bound=radius_px)
    landmark, rank = np.nonzero(np.isfinite(distance))
    keypoint, landmark = near[landmark, rank], shown[landmark]
    similarity = np.einsum(
        'ij,ij->i', query.keypoints.descriptors[keypoint], landmarks.descriptors[landmark]
    )
    order = np.argsort(-similarity, kind='stable')
    order = order[similarity[order] > MIN_SIMILARITY]
    keypoint, landmark = keypoint[order], landmark[order]
    both = np.zeros(len(order), dtype=np.int8)
    for side in (keypoint, landmark):
        both[np.unique(side, return_index=True)[1]] += 1
    return np.column_stack([keypoint[both == 2], landmark[both == 2]])
