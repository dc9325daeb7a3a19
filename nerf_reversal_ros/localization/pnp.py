"""
Estimate a camera pose from 2D-3D correspondences: LO-RANSAC PnP, refit and covariance.

All PnP of this package runs here, by PoseLib. PoseLib has pixel centers at half integers, as
COLMAP does; `Camera` and keypoints have them at integers. This module alone converts.

References
----------
Larsson, "PoseLib - Minimal Solvers for Camera Pose Estimation", 2020. Lebeda, Matas and Chum,
"Fixing the Locally Optimized RANSAC", BMVC 2012.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import poselib

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, inverse, transform_points

MIN_MATCHES = 6
"""Minimum number of correspondences and of inliers of the localizer's poses."""
MAX_ERROR_PX = 4.0
"""Maximum reprojection error [px] of a RANSAC inlier, at `matching.REFERENCE_SIZE_PX`."""
LOSS_SCALE_PX = 1.0
"""Scale [px] of the Cauchy loss."""
_SAMPLE_SIZE, _LOG_FAILURE, _RANSAC_MARGIN = 3, float(np.log(1e-4)), 3.0
"""Matches of a RANSAC sample, logarithm of the probability of missing a pose, and factor on the
iterations that follow from it, as in PoseLib."""
_POSELIB_OFFSET_PX = 0.5
"""Pixel coordinates of PoseLib minus those of `Camera`."""


@dataclass(frozen=True)
class RansacOptions:
    """Options of `solve_pnp_ransac`; the defaults are the localizer's."""

    max_error_px: float = MAX_ERROR_PX
    """Maximum reprojection error of an inlier."""
    min_iterations: int = 100
    max_iterations: int = 2000
    loss_scale_px: float = LOSS_SCALE_PX
    """Scale of the Cauchy loss of the final fit to the inliers."""
    min_inliers: int = MIN_MATCHES
    """A pose with fewer inliers is discarded."""
    seed: int = 0
    """Seed of the random samples: equal input and seed give an equal pose."""


LOCALIZER_RANSAC = RansacOptions()


@dataclass(frozen=True)
class PnpSolution:
    """Pose with the correspondences that agree with it."""

    map_from_camera: FloatArray
    """(4, 4)."""
    points: FloatArray
    """(M, 3) points of the inliers in the map [m]."""
    pixels: FloatArray
    """(M, 2) pixels of the inliers in the query image."""
    matches: int
    """Number of correspondences before outliers were removed."""

    @property
    def inliers(self) -> int:
        """Number of correspondences that agree with the pose."""
        return len(self.points)

    @property
    def inlier_ratio(self) -> float:
        """Fraction of the correspondences that agree with the pose."""
        return self.inliers / max(1, self.matches)


def solve_pnp_ransac(
    points: FloatArray,
    pixels: FloatArray,
    camera: Camera,
    options: RansacOptions = LOCALIZER_RANSAC,
) -> PnpSolution | None:
    """
    Estimate a pose from correspondences with outliers by LO-RANSAC.

    Parameters
    ----------
    points : (N, 3) array
        Points in the map [m].
    pixels : (N, 2) array
        Their pixels in the image.
    camera : Camera
        Intrinsics of the image.
    options : RansacOptions, optional
        Thresholds, iterations and seed.

    Returns
    -------
    PnpSolution or None
        None if no pose has ``options.min_inliers``.
    """
    pose, info = poselib.estimate_absolute_pose(
        pixels + _POSELIB_OFFSET_PX,
        points,
        _poselib_camera(camera),
        {
            'max_reproj_error': options.max_error_px,
            'seed': options.seed,
            'max_iterations': options.max_iterations,
            'min_iterations': options.min_iterations,
        },
        _poselib_loss(options.loss_scale_px),
    )
    is_inlier = np.asarray(info['inliers'], dtype=bool)
    return _make_solution(pose, points, pixels, is_inlier, options.min_inliers)


def sufficient_iterations(inlier_ratio: float) -> int:
    """Return the RANSAC iterations that find a pose of this inlier ratio, almost surely."""
    missed = np.log1p(-(min(max(inlier_ratio, 0.05), 0.95) ** _SAMPLE_SIZE))
    return max(
        LOCALIZER_RANSAC.min_iterations, int(np.ceil(_RANSAC_MARGIN * _LOG_FAILURE / missed))
    )


def refit_pnp(
    points: FloatArray,
    pixels: FloatArray,
    camera: Camera,
    map_from_camera: FloatArray,
    max_error_px: float,
) -> PnpSolution | None:
    """
    Refine a pose on correspondences by nonlinear least squares with a Cauchy loss.

    Parameters
    ----------
    points : (N, 3) array
        Points in the map [m].
    pixels : (N, 2) array
        Their pixels in the image.
    camera : Camera
        Intrinsics of the image.
    map_from_camera : (4, 4) array
        Initial pose.
    max_error_px : float
        Maximum reprojection error [px] of an inlier of the refined pose.

    Returns
    -------
    PnpSolution or None
        None if there are fewer than `MIN_MATCHES` correspondences or inliers.
    """
    if len(points) < MIN_MATCHES:
        return None
    initial = poselib.CameraPose()
    camera_from_map = inverse(map_from_camera)
    initial.R, initial.t = camera_from_map[:3, :3], camera_from_map[:3, 3]
    pose, _ = poselib.refine_absolute_pose(
        pixels + _POSELIB_OFFSET_PX,
        points,
        initial,
        _poselib_camera(camera),
        _poselib_loss(LOSS_SCALE_PX),
    )
    refined = inverse(_camera_from_map(pose))
    is_inlier = reprojection_errors_px(points, pixels, camera, refined) < max_error_px
    return _make_solution(pose, points, pixels, is_inlier, MIN_MATCHES)


def reprojection_errors_px(
    points: FloatArray, pixels: FloatArray, camera: Camera, map_from_camera: FloatArray
) -> FloatArray:
    """Return the distances (N,) of points (N, 3) seen from a pose to pixels; inf if behind."""
    in_camera = transform_points(inverse(map_from_camera), points)
    in_front = in_camera[:, 2] > 0
    in_camera[~in_front] = 1.0
    errors_px = np.linalg.norm(camera.project(in_camera) - pixels, axis=1)
    return np.where(in_front, errors_px, np.inf)


def pose_covariance(solution: PnpSolution, camera: Camera) -> FloatArray:
    """
    Return the covariance of a pose from the Jacobian and the residuals of its inliers.

    The pixel errors are taken as independent, with the variance of the residuals. Errors that the
    correspondences share, such as errors of the map, are not included: `Calibration` adds them.

    Returns
    -------
    (6, 6) array
        Of x, y, z [m] and rotations about the fixed map axes x, y, z [rad] (REP 103).
    """
    in_camera, jacobian = reprojection_jacobian(solution, camera)
    residual = (camera.project(in_camera) - solution.pixels).reshape(-1)
    variance = residual @ residual / max(1, len(residual) - 6)
    information = jacobian.T @ jacobian
    # Regularization keeps unobservable directions uncertain; a pseudo-inverse would make them
    # certain.
    regularization = 1e-12 * np.trace(information) * np.eye(6)
    covariance: FloatArray = variance * np.linalg.inv(information + regularization)
    return covariance


def largest_std_m(covariance: FloatArray) -> float:
    """Return the largest standard deviation of the position of a pose covariance (6, 6) [m]."""
    return float(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1].clip(min=0.0)))


def reprojection_jacobian(solution: PnpSolution, camera: Camera) -> tuple[FloatArray, FloatArray]:
    """
    Return the inlier points in the camera and the derivative of their pixels by the pose.

    Returns
    -------
    (M, 3) array, (2 M, 6) array
        Points in the optical frame [m]; d pixels / d pose, in the order of `pose_covariance`.
    """
    pose = solution.map_from_camera
    rotation = pose[:3, :3]
    lever_arm = solution.points - pose[:3, 3]
    in_camera = lever_arm @ rotation
    jacobian = np.empty((len(in_camera), 2, 6))
    depth = in_camera[:, 2:]
    lx, ly, lz = lever_arm.T
    for row, focal in enumerate((camera.fx, camera.fy)):
        slope = in_camera[:, row : row + 1] / depth
        by_point = focal / depth * (rotation[:, row] - slope * rotation[:, 2])
        gx, gy, gz = by_point.T
        jacobian[:, row, :3] = -by_point
        # by_point x lever_arm; np.cross takes several times longer.
        jacobian[:, row, 3] = gy * lz - gz * ly
        jacobian[:, row, 4] = gz * lx - gx * lz
        jacobian[:, row, 5] = gx * ly - gy * lx
    return in_camera, jacobian.reshape(-1, 6)


def _poselib_camera(camera: Camera) -> dict[str, object]:
    return {
        'model': 'PINHOLE',
        'width': camera.width,
        'height': camera.height,
        'params': [
            camera.fx,
            camera.fy,
            camera.cx + _POSELIB_OFFSET_PX,
            camera.cy + _POSELIB_OFFSET_PX,
        ],
    }


def _poselib_loss(scale_px: float) -> dict[str, object]:
    return {'loss_type': 'CAUCHY', 'loss_scale': scale_px}


def _camera_from_map(pose: poselib.CameraPose) -> FloatArray:
    return np.vstack([pose.Rt, [0.0, 0.0, 0.0, 1.0]])


def _make_solution(
    pose: poselib.CameraPose,
    points: FloatArray,
    pixels: FloatArray,
    is_inlier: NDArray[np.bool_],
    min_inliers: int,
) -> PnpSolution | None:
    if is_inlier.sum() < min_inliers:
        return None
    map_from_camera = inverse(_camera_from_map(pose))
    return PnpSolution(map_from_camera, points[is_inlier], pixels[is_inlier], len(points))
