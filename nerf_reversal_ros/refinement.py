"""
From a coarse pose to centimetres: match the picture against a view rendered at that pose.

Keypoints of the picture (RootSIFT) are matched with those of the rendered view, the matches are
lifted to three dimensions by the rendered depth, and the pose follows by PnP in LO-RANSAC
(PoseLib). Repeating it at the improved pose brings the render closer to the picture.

References
----------
Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004; Arandjelovic &
Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012 (RootSIFT).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
import poselib

from nerf_reversal_ros.camera import Camera
from nerf_reversal_ros.fields.base import RadianceField, Rendering
from nerf_reversal_ros.geometry import Array, inverse, transform

QUERY_SIZE_PX = 640
"""Queries are shrunk to this longer side before keypoints are found."""
RENDER_SIZE_PX = 320
"""Longer side of the rendered views."""
RATIO = 0.85
"""Best over second best descriptor distance, as Lowe."""
MAX_SHIFT = 0.5
"""A match may not move further than this share of the picture's longer side."""
MAX_ERROR_PX = 4.0
"""Reprojection error of an inlier, pixels of the query."""
DEPTH_JUMP = 0.05
"""Keypoints where the depth varies by more than this share are not lifted."""


@dataclass(frozen=True)
class Query:
    """A picture to be localized, with its keypoints."""

    rgb: NDArray[np.uint8]
    """(H, W, 3), at most `QUERY_SIZE_PX` long."""
    camera: Camera
    """Of rgb."""
    keypoints: NDArray[np.float64]
    """(N, 2) pixels."""
    descriptors: NDArray[np.float32]
    """(N, 128) RootSIFT, of length one."""


@dataclass(frozen=True)
class Alignment:
    """A pose, and the matches that speak for it."""

    map_from_camera: Array
    """(4, 4)."""
    points: Array
    """(M, 3) inliers' points in the map, metres."""
    pixels: Array
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


class _Keypoints:
    """SIFT of OpenCV with square-rooted descriptors."""

    def __init__(self, most: int, contrast: float) -> None:
        self._sift = cv2.SIFT_create(nfeatures=most, contrastThreshold=contrast)  # type: ignore[attr-defined]

    def __call__(self, rgb: NDArray[np.uint8]) -> tuple[Array, NDArray[np.float32]]:
        gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        found, descriptors = self._sift.detectAndCompute(gray, None)
        if descriptors is None or not len(found):
            return np.empty((0, 2)), np.empty((0, 128), np.float32)
        pixels = np.array([point.pt for point in found], dtype=np.float64)
        root = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-9))
        return pixels, root.astype(np.float32)


_QUERY_KEYPOINTS = _Keypoints(1500, 0.02)
_RENDER_KEYPOINTS = _Keypoints(1500, 0.01)


def make_query(rgb: NDArray[np.uint8], camera: Camera) -> Query:
    """Shrink a picture (H, W, 3) if it is large, and find its keypoints."""
    scale = QUERY_SIZE_PX / max(camera.width, camera.height)
    if scale < 1.0:
        camera = camera.scaled_to(round(camera.width * scale), round(camera.height * scale))
        shrunk = cv2.resize(rgb, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        rgb = shrunk.astype(np.uint8, copy=False)
    return Query(rgb, camera, *_QUERY_KEYPOINTS(rgb))


def render_camera(query: Query) -> Camera:
    """Return the camera that the field is rendered with for a query."""
    return query.camera.shrunk_to(RENDER_SIZE_PX)


def align(
    field: RadianceField, query: Query, map_from_camera: Array, seed: int = 0
) -> Alignment | None:
    """
    Improve one coarse pose by matching the query against a view rendered there.

    Parameters
    ----------
    field : RadianceField
        The map.
    query : Query
        From `make_query`.
    map_from_camera : (4, 4) array
        Coarse pose: within some 30 cm and 20 degrees.
    seed : int
        Of the robust estimator.

    Returns
    -------
    Alignment or None
        None when fewer than six matches were found or no pose explains them.
    """
    camera = render_camera(query)
    view = field.render(map_from_camera[None], camera)[0]
    pixels, descriptors = _RENDER_KEYPOINTS(view.rgb)
    if len(pixels) < 6:
        return None
    depth = _depth_at(view, pixels)
    known = depth > 0
    pixels, descriptors, depth = pixels[known], descriptors[known], depth[known]
    scale = query.camera.width / camera.width
    pairs = _match(query, (pixels + 0.5) * scale - 0.5, descriptors)
    if len(pairs) < 6:
        return None
    lifted = np.column_stack([pixels[pairs[:, 1]], np.ones(len(pairs))])
    rays = lifted @ np.linalg.inv(camera.matrix).T
    points = transform(map_from_camera, rays * depth[pairs[:, 1], None])
    return solve(points, query.keypoints[pairs[:, 0]], query.camera, seed)


def solve(points: Array, pixels: Array, camera: Camera, seed: int = 0) -> Alignment | None:
    """Estimate the pose from points (N, 3) of the map and their pixels (N, 2), with outliers."""
    options = {
        'max_reproj_error': MAX_ERROR_PX,
        'seed': seed,
        'max_iterations': 2000,
        'min_iterations': 100,
    }
    description = {
        'model': 'PINHOLE',
        'width': camera.width,
        'height': camera.height,
        # PoseLib, as COLMAP, has pixel centres at half integers.
        'params': [camera.fx, camera.fy, camera.cx + 0.5, camera.cy + 0.5],
    }
    found, info = poselib.estimate_absolute_pose(
        pixels + 0.5, points, description, options, {'loss_type': 'CAUCHY', 'loss_scale': 1.0}
    )
    inliers = np.asarray(info['inliers'], dtype=bool)
    if inliers.sum() < 6:
        return None
    camera_from_map = np.vstack([found.Rt, [0, 0, 0, 1]])
    return Alignment(inverse(camera_from_map), points[inliers], pixels[inliers], len(points))


def pose_covariance(alignment: Alignment, camera: Camera) -> Array:
    """
    Covariance of a pose from the Jacobian and the residuals of its inliers.

    Returns
    -------
    (6, 6) array
        Of x, y, z [m] and rotations about the fixed map axes x, y, z [rad] (REP 103), for
        independent pixel errors of the size that the residuals show. What the matches have in
        common (errors of the map) is not in it: the localizer adds what calibration found.
    """
    pose = alignment.map_from_camera
    rotation = pose[:3, :3]
    arm = alignment.points - pose[:3, 3]
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
    residual = (camera.project(local) - alignment.pixels).reshape(-1)
    variance = residual @ residual / max(1, len(residual) - 6)
    information = jacobian.T @ jacobian
    # A direction that the matches do not fix is very uncertain; a pseudo-inverse calls it sure.
    least = 1e-12 * np.trace(information) * np.eye(6)
    covariance: Array = variance * np.linalg.inv(information + least)
    return covariance


def _depth_at(view: Rendering, pixels: Array) -> Array:
    """Return depths (N,) at sub-pixel positions (N, 2); 0 at edges and where it is unknown."""
    kernel = np.ones((3, 3), np.uint8)
    far = cv2.dilate(view.depth, kernel)
    near = cv2.erode(view.depth, kernel)
    steady = np.where((near > 0) & (far - near < DEPTH_JUMP * far), view.depth, 0).astype(
        np.float32
    )
    height, width = steady.shape
    column = np.clip(np.round(pixels[:, 0]).astype(int), 0, width - 1)
    row = np.clip(np.round(pixels[:, 1]).astype(int), 0, height - 1)
    depth = cv2.remap(
        view.depth,
        pixels[:, 0].astype(np.float32)[None],
        pixels[:, 1].astype(np.float32)[None],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )[0]
    return np.where(steady[row, column] > 0, depth, 0.0).astype(np.float64)


def _match(query: Query, pixels: Array, descriptors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return mutual nearest neighbours (M, 2) that pass the ratio test and the shift limit."""
    if len(query.keypoints) < 2 or len(pixels) < 2:
        return np.empty((0, 2), dtype=np.int64)
    similarity = query.descriptors @ descriptors.T
    limit = MAX_SHIFT * max(query.camera.width, query.camera.height)
    for axis in (0, 1):
        shift = np.subtract.outer(query.keypoints[:, axis], pixels[:, axis]).astype(np.float32)
        similarity[np.abs(shift) > limit] = -1.0
    best = similarity.argmax(1)
    rows = np.arange(len(best))
    first = similarity[rows, best]
    mutual = similarity.argmax(0)[best] == rows
    similarity[rows, best] = -1.0
    second = similarity.max(1)
    distance = np.sqrt(np.maximum(2 - 2 * first, 0))
    other = np.sqrt(np.maximum(2 - 2 * second, 1e-9))
    good = mutual & (distance < RATIO * other) & (first > 0)
    return np.column_stack([rows[good], best[good]])
