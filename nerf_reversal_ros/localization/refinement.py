"""
Refine a pose hypothesis to centimeters: match landmarks, then estimate the pose by PnP.

`estimate_pose` needs a hypothesis only to choose landmarks: it matches descriptors and solves PnP
by LO-RANSAC. `refine_pose` then matches near the projected landmarks and refits the pose.
"""

from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.localization.matching import (
    CandidateLandmarks,
    match_guided,
    match_landmarks,
    QueryImage,
)
from nerf_reversal_ros.localization.pnp import (
    MAX_ERROR_PX,
    MIN_MATCHES,
    PnpSolution,
    RansacOptions,
    refit_pnp,
    reprojection_errors_px,
    solve_pnp_ransac,
)

SEARCH_RADII_PX = (6.0, 1.5)
"""Radius [px] of guided matching in each round, at `matching.REFERENCE_SIZE_PX`: the first covers
the error of the RANSAC pose, the second removes wrong matches."""


def estimate_pose(
    query: QueryImage, landmarks: CandidateLandmarks, apart_from: FloatArray | None = None
) -> PnpSolution | None:
    """
    Estimate a pose from descriptor matches alone, by LO-RANSAC PnP.

    Parameters
    ----------
    query : QueryImage
        From `make_query`.
    landmarks : CandidateLandmarks
        Up to a few thousand landmarks that the image may show.
    apart_from : (4, 4) array, optional
        Matches that agree with this pose are left out, to find another one.

    Returns
    -------
    PnpSolution or None
        None if fewer than `MIN_MATCHES` landmarks match, or no pose has as many inliers.
    """
    pairs = match_landmarks(query, landmarks)
    points, pixels = landmarks.points[pairs[:, 1]], query.keypoints.pixels[pairs[:, 0]]
    max_error_px = query.scaled_px(MAX_ERROR_PX)
    if apart_from is not None:
        is_other = reprojection_errors_px(points, pixels, query.camera, apart_from) > max_error_px
        points, pixels = points[is_other], pixels[is_other]
    if len(points) < MIN_MATCHES:
        return None
    return solve_pnp_ransac(points, pixels, query.camera, RansacOptions(max_error_px=max_error_px))


def refine_pose(
    query: QueryImage, landmarks: CandidateLandmarks, solution: PnpSolution
) -> PnpSolution | None:
    """
    Refine a pose: match landmarks near their projections, then refit PnP to the inliers.

    Parameters
    ----------
    query : QueryImage
        From `make_query`.
    landmarks : CandidateLandmarks
        Landmarks that are visible at the pose.
    solution : PnpSolution
        Pose to refine, from `estimate_pose`.

    Returns
    -------
    PnpSolution or None
        None if fewer than `MIN_MATCHES` landmarks match in one of the rounds.
    """
    refined: PnpSolution | None = solution
    for radius_px in SEARCH_RADII_PX:
        if refined is None:
            return None
        pose = refined.map_from_camera
        pairs = match_guided(query, landmarks, pose, query.scaled_px(radius_px))
        refined = refit_pnp(
            landmarks.points[pairs[:, 1]],
            query.keypoints.pixels[pairs[:, 0]],
            query.camera,
            pose,
            query.scaled_px(radius_px / 2),
        )
    return refined
