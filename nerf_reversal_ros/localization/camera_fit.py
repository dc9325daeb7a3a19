"""
Fit the intrinsics of a query image together with its pose, by robust nonlinear least squares.

A pose fitted with wrong intrinsics keeps the landmarks that the wrong model happens to explain.
Landmarks are therefore matched again near their projections by the freed camera, in a radius that
is wide enough for those that the given camera displaces.

References
----------
Hartley and Zisserman, "Multiple View Geometry", 2nd edition, 7.4 (restricted camera estimation).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.matching import (
    CandidateLandmarks,
    match_guided,
    match_landmarks,
    QueryImage,
    visible_landmarks,
)
from nerf_reversal_ros.localization.pnp import (
    LOSS_SCALE_PX,
    MAX_ERROR_PX,
    MIN_MATCHES,
    PnpSolution,
    RansacOptions,
    reprojection_jacobian,
    solve_pnp_ransac,
    sufficient_iterations,
)
from nerf_reversal_ros.localization.refinement import refine_pose

SEARCH_RADIUS_PX = 6.0
"""Radius [px] of guided matching, at `matching.REFERENCE_SIZE_PX`: matches within 1.5 px favor the
given focal length, and hide one half of an error of 3 %."""
FOCAL_SCALES = (0.8, 0.63, 0.5), (1.25, 1.6, 2.0)
"""Factors on the given focal length that `search_camera` tries besides 1, from there on. The fit
converges from a focal length that is wrong by 12 %, so steps of 1.26 leave no gap."""
MIN_RIVAL_INLIERS = 0.95
"""RANSAC inliers of a focal length, over those of the given one, from which it may explain more
landmarks, and the next one is tried. In five rooms, all factors up to the best one had at least as
many inliers as the given focal length wherever another one explained clearly more."""
REFIT_DEVIATION = 0.005
"""Deviation of a parameter of the first fit from which landmarks are matched again with it."""
MIN_FOCAL_GAIN, MIN_FOCAL_GAIN_STD = 1.05, 2.5
"""How many times more landmarks another focal length must explain, and by how many standard
deviations. In four rooms, the correct one explained the most in all images; one that is wrong by
0.8 explained 1.9 times fewer in half of them."""
MAX_ITERATIONS = 6
"""Gauss-Newton steps of one fit; it converges in four where the focal length is 10 % wrong."""
CONVERGED_STD = 0.05
"""Largest step of the fit that ends it, in standard deviations: a smaller one changes nothing."""
PARAMETER_STD = (0.7, 0.1, 0.1, 0.1)
"""Standard deviations of a prior at the given camera, by parameter: so weak that it only bounds
what the image does not observe."""
MAX_LOG_FOCAL = 1.5
"""Largest logarithm of the focal scale; beyond it the fit has diverged."""


@dataclass(frozen=True)
class CameraFit:
    """Intrinsics and pose that fit the matches of one image best."""

    solution: PnpSolution
    """Pose of the freed camera, and all guided matches in place of its inliers."""
    deviation: FloatArray
    """
    (4,) freed camera minus given camera: logarithm of the focal scale, shift of the principal
    point along x and y as fractions of the longer side, logarithm of fx / fy.
    """
    covariance: FloatArray
    """(10, 10) of the pose, in the order of `pose_covariance`, and of the deviation."""
    other_focal_scale: float | None = None
    """Focal scale that explains clearly more landmarks than the given focal length, if any."""

    @property
    def deviation_covariance(self) -> FloatArray:
        """(4, 4) covariance of the deviation."""
        return self.covariance[6:, 6:]

    @property
    def pose_by_deviation(self) -> FloatArray:
        """(6, 4) change of the pose for a change of the given camera, to first order."""
        cross, own = self.covariance[:6, 6:], self.deviation_covariance
        shift: FloatArray = cross @ np.linalg.inv(own)
        return shift


def fit_camera(
    query: QueryImage,
    landmarks: CandidateLandmarks,
    solution: PnpSolution,
    start: FloatArray | None = None,
    prior_std: Sequence[float] = PARAMETER_STD,
) -> CameraFit | None:
    """
    Match the landmarks near their projections, then fit pose and intrinsics to the matches.

    Parameters
    ----------
    query : QueryImage
        Image with the given camera.
    landmarks : CandidateLandmarks
        Landmarks that are visible at the pose.
    solution : PnpSolution
        Pose to start from.
    start : (4,) array, optional
        Deviation of the camera to start from, see `CameraFit.deviation`; default: none.
    prior_std : (4,) sequence, optional
        Standard deviations of a prior at the given camera, by parameter.

    Returns
    -------
    CameraFit or None
        None if there are fewer than twice `MIN_MATCHES` matches, or the fit diverges.
    """
    initial: FloatArray = np.zeros(4) if start is None else start
    freed = replace(query, camera=deviate(query.camera, initial))
    pose = solution.map_from_camera
    pairs = match_guided(freed, landmarks, pose, query.scaled_px(SEARCH_RADIUS_PX))
    if len(pairs) < 2 * MIN_MATCHES:
        return None
    points, pixels = landmarks.points[pairs[:, 1]], query.keypoints.pixels[pairs[:, 0]]
    matched = PnpSolution(pose, points, pixels, len(points))
    loss_scale_px = query.scaled_px(LOSS_SCALE_PX)
    return free_intrinsics(matched, query.camera, loss_scale_px, initial, prior_std)


def search_camera(query: QueryImage, atlas: Atlas, solution: PnpSolution) -> CameraFit | None:
    """
    Fit pose and intrinsics from the focal scale that explains the most landmarks.

    Finds errors of the focal length that leave only a corner of the image to `fit_camera`, or that
    its matches hide: they are near landmarks that the wrong camera projects. The landmarks are
    those of ``atlas``; the rest is as in `fit_camera`.
    """
    landmarks = visible_landmarks(atlas, solution.map_from_camera, query.camera)
    pairs = match_landmarks(query, landmarks)
    points, pixels = landmarks.points[pairs[:, 1]], query.keypoints.pixels[pairs[:, 0]]
    found = _ransac_by_focal_scale(query, points, pixels)
    if not found:
        return fit_camera(query, landmarks, solution)
    most = max(found, key=lambda scale: found[scale].inliers)
    rivals = {most, *(next_scale for next_scale, *_ in FOCAL_SCALES)} & found.keys()
    refined = {1.0: solution}
    if rivals - {1.0}:
        refined |= {
            scale: _refine_with(query, atlas, found[scale], scale)
            for scale in {1.0, *rivals} & found.keys()
        }
        if refined[1.0].inliers < solution.inliers:
            refined[1.0] = solution
    best = max(sorted(refined, key=lambda s: s != 1.0), key=lambda scale: refined[scale].inliers)
    start = _focal_deviation(best)
    fit = _fit_at(query, atlas, refined[best], start)
    if fit is not None and np.abs(fit.deviation - start).max() > REFIT_DEVIATION:
        fit = _fit_at(query, atlas, fit.solution, fit.deviation)
    is_other = _explains_more(refined[best], refined[1.0])
    return replace(fit, other_focal_scale=best) if fit is not None and is_other else fit


def _explains_more(pose: PnpSolution, other: PnpSolution) -> bool:
    """Return whether a pose has clearly more inliers than another one, by McNemar's test."""
    pixels, other_pixels = ({tuple(p) for p in one.pixels.tolist()} for one in (pose, other))
    gain, differing = len(pixels) - len(other_pixels), len(pixels ^ other_pixels)
    return gain > max(
        (MIN_FOCAL_GAIN - 1) * len(other_pixels), MIN_FOCAL_GAIN_STD * np.sqrt(differing)
    )


def _fit_at(
    query: QueryImage, atlas: Atlas, solution: PnpSolution, start: FloatArray
) -> CameraFit | None:
    """Fit with the landmarks that are visible with a deviation (4,) of the camera."""
    camera = deviate(query.camera, start)
    landmarks = visible_landmarks(atlas, solution.map_from_camera, camera)
    return fit_camera(query, landmarks, solution, start)


def _ransac_by_focal_scale(
    query: QueryImage, points: FloatArray, pixels: FloatArray
) -> dict[float, PnpSolution]:
    """Return the poses that RANSAC finds by focal scale, without those of too few inliers."""
    found: dict[float, PnpSolution] = {}
    if len(points) < MIN_MATCHES:
        return found
    options = RansacOptions(max_error_px=query.scaled_px(MAX_ERROR_PX))
    needed = 0.0
    for scales in ((1.0,), *FOCAL_SCALES):
        for scale in scales:
            camera = deviate(query.camera, _focal_deviation(scale))
            pose = solve_pnp_ransac(points, pixels, camera, options)
            if (0 if pose is None else pose.inliers) < needed:
                break
            if pose is not None:
                found[scale] = pose
        if scales == (1.0,) and 1.0 in found:
            needed = MIN_RIVAL_INLIERS * found[1.0].inliers
            # A pose with fewer inliers need not be found.
            sufficient = sufficient_iterations(MIN_RIVAL_INLIERS * found[1.0].inlier_ratio)
            options = replace(options, max_iterations=min(options.max_iterations, sufficient))
    return found


def _refine_with(
    query: QueryImage, atlas: Atlas, solution: PnpSolution, scale: float
) -> PnpSolution:
    """Refine a pose with another focal length; without a result it keeps its few inliers."""
    scaled = replace(query, camera=deviate(query.camera, _focal_deviation(scale)))
    landmarks = visible_landmarks(atlas, solution.map_from_camera, scaled.camera)
    refined = refine_pose(scaled, landmarks, solution)
    if refined is not None:
        return refined
    return replace(solution, points=solution.points[:0], pixels=solution.pixels[:0])


def _focal_deviation(scale: float) -> FloatArray:
    return np.array([np.log(scale), 0.0, 0.0, 0.0])


def free_intrinsics(
    solution: PnpSolution,
    given: Camera,
    loss_scale_px: float,
    start: FloatArray,
    prior_std: Sequence[float] = PARAMETER_STD,
) -> CameraFit | None:
    """
    Refine a pose and four intrinsic parameters by Gauss-Newton steps with a Cauchy loss.

    Parameters
    ----------
    solution : PnpSolution
        Initial pose, and the matches to fit.
    given : Camera
        Camera that the deviation is measured from.
    loss_scale_px : float
        Scale of the Cauchy loss [px].
    start : (4,) array
        Initial deviation, see `CameraFit.deviation`.
    prior_std : (4,) sequence, optional
        Standard deviations of a prior at the given camera, by parameter.

    Returns
    -------
    CameraFit or None
        None if the fit diverges.
    """
    prior = 1.0 / np.square(prior_std)
    deviation = np.array(start, dtype=np.float64)
    for _ in range(MAX_ITERATIONS):
        camera = deviate(given, deviation)
        in_camera, by_pose = reprojection_jacobian(solution, camera)
        projected = camera.project(in_camera)
        residual = projected - solution.pixels
        jacobian = np.concatenate([by_pose, _pixels_by_deviation(projected, camera)], axis=1)
        weight = np.repeat(
            1 / (1 + np.einsum('ij,ij->i', residual, residual) / loss_scale_px**2), 2
        )
        weighted = jacobian * weight[:, None]
        flat = residual.reshape(-1)
        variance = weight @ flat**2 / max(1.0, weight.sum() - jacobian.shape[1])
        information = weighted.T @ jacobian
        information[range(6, 10), range(6, 10)] += variance * prior
        # As in `pose_covariance`: what the matches do not observe stays uncertain.
        information += 1e-12 * np.trace(information) * np.eye(10)
        gradient = weighted.T @ flat
        gradient[6:] += variance * prior * deviation
        if not np.isfinite(information).all() or not np.isfinite(gradient).all():
            return None
        inverse = np.linalg.inv(information)
        step = -inverse @ gradient
        solution = replace(solution, map_from_camera=_move(solution.map_from_camera, step[:6]))
        deviation = deviation + step[6:]
        if not abs(deviation[0]) < MAX_LOG_FOCAL:
            return None
        if np.all(np.square(step) <= CONVERGED_STD**2 * variance * np.diag(inverse)):
            break
    return CameraFit(solution, deviation, variance * inverse)


def deviate(camera: Camera, deviation: FloatArray) -> Camera:
    """Return a camera changed by a deviation (4,), see `CameraFit.deviation`."""
    log_focal, shift_x, shift_y, log_ratio = deviation
    side = max(camera.width, camera.height)
    return replace(
        camera,
        fx=float(camera.fx * np.exp(log_focal + log_ratio / 2)),
        fy=float(camera.fy * np.exp(log_focal - log_ratio / 2)),
        cx=float(camera.cx + shift_x * side),
        cy=float(camera.cy + shift_y * side),
    )


def _pixels_by_deviation(projected: FloatArray, camera: Camera) -> FloatArray:
    """Return d pixels / d deviation (2 M, 4) at projected pixels (M, 2)."""
    x, y = (projected - (camera.cx, camera.cy)).T
    jacobian = np.zeros((len(projected), 2, 4))
    jacobian[:, 0, 0], jacobian[:, 1, 0] = x, y
    jacobian[:, 0, 1] = jacobian[:, 1, 2] = max(camera.width, camera.height)
    jacobian[:, 0, 3], jacobian[:, 1, 3] = x / 2, -y / 2
    return jacobian.reshape(-1, 4)


def _move(map_from_camera: FloatArray, step: FloatArray) -> FloatArray:
    """Return a pose moved by x, y, z [m] and rotated about the fixed map axes [rad]."""
    moved = map_from_camera.copy()
    moved[:3, :3] = cv2.Rodrigues(step[3:])[0] @ moved[:3, :3]
    moved[:3, 3] += step[:3]
    return moved
