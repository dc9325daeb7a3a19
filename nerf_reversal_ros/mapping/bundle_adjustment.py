"""
Bundle adjustment of poses and points to feature tracks, by GTSAM.

Variables are the poses, the points, and one focal scale and radial distortion for all images.
Factors are reprojection errors, measured depth, the given poses, and the given motions between
consecutive frames. All have a Cauchy loss, because matches, depth and poses contain outliers.

References
----------
Triggs et al., "Bundle Adjustment - A Modern Synthesis", 1999. Dellaert and Kaess, "Factor Graphs
for Robot Perception", 2017.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.geometry import FloatArray, inverse
from nerf_reversal_ros.core.grouping import sum_by_label
from nerf_reversal_ros.mapping.feature_tracks import FeatureTracks

KEYPOINT_STD_PX = 0.7
"""Standard deviation of a keypoint in the reduced image."""
KEYPOINT_CAUCHY = 2.0
"""Scale of the loss of a keypoint, in standard deviations."""
POSE_STD_M, POSE_STD_DEG = 0.05, 1.0
"""Standard deviation of a given pose: it fixes the frame, and drift is much smaller."""
STEP_STD_M, STEP_STD_DEG = 0.01, 0.5
"""Standard deviation of a given motion between consecutive frames: it holds frames without
tracks, and is weak beside tracks."""
DEPTH_STD_M, DEPTH_STD_PER_M2 = 0.03, 0.01
"""Standard deviation of depth: a constant, and a part that grows with its square. Depth holds the
points of tracks without parallax; elsewhere it weighs little."""
FOCAL_STD, FIXED_STD = 0.1, 1e-6
"""Standard deviation of the focal scale where it is free, and of what is held fixed."""
DISTORTION_STD = 0.1
"""Standard deviation of both radial coefficients: what a camera_info without distortion leaves."""
NOMINAL_INTRINSICS: FloatArray = np.array([1.0, 0.0, 0.0])
"""Intrinsics of a camera_info that is right: see `BundleSolution.intrinsics`."""
MIN_PARALLAX_DEG = 1.0
"""Angle of a ray to the mean ray of its track, from which on the distance is determined."""
MIN_POINT_DEPTH_M = 0.05
"""Smallest depth of a point; nearer ones come of wrong matches."""
ERROR_CAP_PX = 1e3
"""Error of a point behind the camera."""


@dataclass(frozen=True)
class BundleSolution:
    """Result of `solve_bundle`."""

    map_from_camera: FloatArray
    """(K, 4, 4) poses of the frames of the tracks."""
    points: FloatArray
    """(T, 3) [m]."""
    intrinsics: FloatArray
    """(3,) focal scale, and radial distortion of degrees 2 and 4 (Cal3Bundler)."""

    @property
    def focal_scale(self) -> float:
        """Focal length over the given one."""
        return float(self.intrinsics[0])


def solve_bundle(
    gtsam: Any,
    tracks: FeatureTracks,
    given: FloatArray,
    start: BundleSolution,
    *,
    free_focal: bool = False,
    iterations: int = 8,
) -> BundleSolution:
    """
    Adjust poses, points and intrinsics by Levenberg-Marquardt.

    Parameters
    ----------
    gtsam : module
        From `pose_chain.import_gtsam`.
    tracks : FeatureTracks
        N observations of T points in K frames.
    given : (K, 4, 4) array
        Poses of the capture, which are priors.
    start : BundleSolution
        Initial values.
    free_focal : bool
        Estimate the focal scale as well.
    iterations : int
        Limit of the iterations.
    """
    pose_key, point_key, camera_key = _keys(gtsam)
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    _add_priors(gtsam, graph, given, FOCAL_STD if free_focal else FIXED_STD)
    _add_observations(gtsam, graph, tracks)
    for i, pose in enumerate(start.map_from_camera):
        values.insert(pose_key(i), gtsam.Pose3(pose))
    for j, point in enumerate(start.points):
        values.insert(point_key(j), point)
    values.insert(camera_key, gtsam.Cal3Bundler(*start.intrinsics, 0.0, 0.0))
    params = gtsam.LevenbergMarquardtParams()
    params.setMaxIterations(iterations)
    params.setRelativeErrorTol(1e-3)
    params.setOrderingType('METIS')  # the same solution as with COLAMD, sooner
    result = gtsam.LevenbergMarquardtOptimizer(graph, values, params).optimize()
    camera = result.atCal3Bundler(camera_key)
    return BundleSolution(
        np.array([result.atPose3(pose_key(i)).matrix() for i in range(len(given))]),
        np.array([result.atPoint3(point_key(j)) for j in range(tracks.count)]),
        np.array([camera.fx(), camera.k1(), camera.k2()]),
    )


def _keys(gtsam: Any) -> tuple[Any, Any, int]:
    """Return the functions that make the keys of poses and points, and the key of the camera."""
    shorthand = gtsam.symbol_shorthand
    return shorthand.X, shorthand.L, shorthand.C(0)


def _add_observations(gtsam: Any, graph: Any, tracks: FeatureTracks) -> None:
    """Add reprojection errors and measured depth."""
    pose_key, point_key, camera_key = _keys(gtsam)
    noises = {
        focal_px: _robust(gtsam, np.full(2, KEYPOINT_STD_PX / focal_px), KEYPOINT_CAUCHY)
        for focal_px in np.unique(tracks.focal_px)
    }
    frames, points = tracks.frame.tolist(), tracks.track.tolist()
    for i, j, ray in zip(frames, points, tracks.rays, strict=True):
        noise = noises[tracks.focal_px[i]]
        graph.add(
            gtsam.GeneralSFMFactor2Cal3Bundler(ray, noise, pose_key(i), point_key(j), camera_key)
        )
    for n in np.flatnonzero(tracks.depth_m).tolist():
        depth_m = float(tracks.depth_m[n])
        noise = _robust(gtsam, np.array([DEPTH_STD_M + DEPTH_STD_PER_M2 * depth_m**2]), 1.0)
        range_m = depth_m * float(np.sqrt(1 + tracks.rays[n] @ tracks.rays[n]))
        graph.add(gtsam.RangeFactor3D(pose_key(frames[n]), point_key(points[n]), range_m, noise))


def _add_priors(gtsam: Any, graph: Any, given: FloatArray, focal_std: float) -> None:
    """Add the given poses, the motions between them, and the intrinsics."""
    key, _, camera_key = _keys(gtsam)
    stds = np.array([focal_std, DISTORTION_STD, DISTORTION_STD])
    nominal = gtsam.Cal3Bundler(*NOMINAL_INTRINSICS, 0.0, 0.0)
    graph.add(
        gtsam.PriorFactorCal3Bundler(camera_key, nominal, gtsam.noiseModel.Diagonal.Sigmas(stds))
    )
    pose_noise = _robust(gtsam, _pose_stds(POSE_STD_M, POSE_STD_DEG), 1.0)
    step_noise = _robust(gtsam, _pose_stds(STEP_STD_M, STEP_STD_DEG), 1.0)
    for i, pose in enumerate(given):
        graph.add(gtsam.PriorFactorPose3(key(i), gtsam.Pose3(pose), pose_noise))
    for i, (before, after) in enumerate(pairwise(given)):
        step = gtsam.Pose3(inverse(before) @ after)
        graph.add(gtsam.BetweenFactorPose3(key(i), key(i + 1), step, step_noise))


def _pose_stds(std_m: float, std_deg: float) -> FloatArray:
    """Return the standard deviations (6,) of a Pose3: rotation first."""
    return np.repeat([np.radians(std_deg), std_m], 3)


def _robust(gtsam: Any, stds: FloatArray, scale: float) -> Any:
    """Return a diagonal noise model with a Cauchy loss of a scale in standard deviations."""
    model = gtsam.noiseModel
    return model.Robust.Create(model.mEstimator.Cauchy.Create(scale), model.Diagonal.Sigmas(stds))


def triangulate_tracks(tracks: FeatureTracks, map_from_camera: FloatArray) -> FloatArray:
    """
    Triangulate each track as the point (T, 3) nearest to its rays, by linear least squares.

    Measured depth counts a little, so that tracks without parallax have a finite distance.
    """
    poses = map_from_camera[tracks.frame]
    rotation, center = poses[:, :3, :3], poses[:, :3, 3]
    rays = np.einsum(
        'nij,nj->ni', rotation, np.column_stack([tracks.rays, np.ones(len(tracks.rays))])
    )
    unit = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    across = np.eye(3) - unit[:, :, None] * unit[:, None, :]
    # A depth of 1 m with a weight of 1e-6 where none is measured.
    weight = np.where(tracks.depth_m > 0, 1e-3, 1e-6)
    depth_m = np.where(tracks.depth_m > 0, tracks.depth_m, 1.0)
    measured = center + rays * depth_m[:, None]
    normal = across + weight[:, None, None] * np.eye(3)
    right = np.einsum('nij,nj->ni', across, center) + weight[:, None] * measured
    normals = sum_by_label(tracks.track, normal, tracks.count)
    rights = sum_by_label(tracks.track, right, tracks.count)
    return np.asarray(np.linalg.solve(normals, rights[..., None])[..., 0], np.float64)


def well_posed_tracks(
    tracks: FeatureTracks, map_from_camera: FloatArray, points: FloatArray, max_error_px: float
) -> NDArray[np.bool_]:
    """
    Select the tracks whose point has a place, as a mask (T,).

    Its rays have parallax, or its depth is measured. It is in front of all its cameras, and its
    median reprojection error is within ``max_error_px``.
    """
    count = tracks.count
    local = points_in_cameras(tracks, map_from_camera, points)
    error_px = reprojection_errors_px(tracks, map_from_camera, points, NOMINAL_INTRINSICS)
    poses = map_from_camera[tracks.frame]
    away = np.einsum('nij,nj->ni', poses[:, :3, :3], local)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    total = sum_by_label(tracks.track, away, count)
    mean = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)
    cosine = np.clip(np.einsum('ni,ni->n', away, mean[tracks.track]), -1, 1)
    has_parallax = _any_in_track(tracks, np.arccos(cosine) > np.radians(MIN_PARALLAX_DEG))
    behind = _any_in_track(tracks, local[:, 2] < MIN_POINT_DEPTH_M)
    wrong = np.bincount(tracks.track, error_px > max_error_px, count)
    length = np.bincount(tracks.track, minlength=count)
    measured = _any_in_track(tracks, tracks.depth_m > 0)
    selected: NDArray[np.bool_] = (has_parallax | measured) & ~behind & (2 * wrong < length)
    return selected


def _any_in_track(tracks: FeatureTracks, condition: NDArray[np.bool_]) -> NDArray[np.bool_]:
    any_of: NDArray[np.bool_] = np.bincount(tracks.track, condition, tracks.count) > 0
    return any_of


def points_in_cameras(
    tracks: FeatureTracks, map_from_camera: FloatArray, points: FloatArray
) -> FloatArray:
    """Return the point of each observation in the optical frame of its camera (N, 3) [m]."""
    poses = map_from_camera[tracks.frame]
    offset = points[tracks.track] - poses[:, :3, 3]
    local: FloatArray = np.einsum('nji,nj->ni', poses[:, :3, :3], offset)
    return local


def reprojection_errors_px(
    tracks: FeatureTracks,
    map_from_camera: FloatArray,
    points: FloatArray,
    intrinsics: FloatArray,
) -> FloatArray:
    """Return the reprojection error (N,) of each observation, in pixels of the reduced image."""
    local = points_in_cameras(tracks, map_from_camera, points)
    in_front = local[:, 2] > 0
    local[~in_front] = 1.0
    projected = distort(local[:, :2] / local[:, 2:], intrinsics)
    error = np.linalg.norm(projected - tracks.rays, axis=1) * tracks.focal_px[tracks.frame]
    return np.where(in_front, error, ERROR_CAP_PX)


def distort(rays: FloatArray, intrinsics: FloatArray) -> FloatArray:
    """Apply focal scale and radial distortion to rays (N, 2), as Cal3Bundler does."""
    focal, k1, k2 = intrinsics
    radius2 = (rays**2).sum(1, keepdims=True)
    distorted: FloatArray = focal * rays * (1 + k1 * radius2 + k2 * radius2**2)
    return distorted


def undistort_tracks(tracks: FeatureTracks, intrinsics: FloatArray) -> FeatureTracks:
    """Remove focal scale and distortion from the rays of tracks, by fixed-point iteration."""
    rays = tracks.rays.copy()
    for _ in range(5):
        rays += tracks.rays - distort(rays, intrinsics)
    return FeatureTracks(
        tracks.frames, tracks.frame, tracks.track, rays, tracks.depth_m, tracks.focal_px
    )
