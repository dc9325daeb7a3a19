"""
Compare an adjusted trajectory with the given one: frame, size, clock and held-out tracks.

Images tell neither frame nor size of a walk. The frame is that of the given poses. The size is a
weighted mean of that of the given poses and that of measured depth.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.bags.trajectory import interpolate, Trajectory
from nerf_reversal_ros.core.geometry import FloatArray, pose_errors
from nerf_reversal_ros.core.metrics import error_vectors
from nerf_reversal_ros.mapping.bundle_adjustment import (
    BundleSolution,
    NOMINAL_INTRINSICS,
    points_in_cameras,
    reprojection_errors_px,
    triangulate_tracks,
    undistort_tracks,
)
from nerf_reversal_ros.mapping.feature_tracks import FeatureTracks
from nerf_reversal_ros.mapping.sim3_alignment import fit_sim3

NORMAL_STD_OF_MEDIAN = 1.4826
"""Standard deviation of normal errors over the median of their magnitudes."""
MAX_TIME_OFFSET_S = 0.25
"""Largest time offset that is searched for."""
TIME_STEP = 5
"""Frames between the two ends of a rotation that tells the time offset."""
MIN_TIME_GAIN = 0.3
"""Smallest fraction of the difference of rotations that a time offset must remove."""
DEPTH_SCALE_STD = 0.01
"""Standard deviation of the scale of a depth sensor."""
SCALE_BLOCKS = 6
"""Blocks of the walk whose own scales tell the error of its scale: drift differs between them."""
NOISE_STEP = 3
"""Frames between the poses whose differences tell the fast noise of given poses."""
MAX_DEVIATION = 3.0
"""Largest difference that counts, in standard deviations: a single outlier is no noise."""
MIN_DEPTHS = 100
"""Fewest observations with depth that tell the size."""


def align_time(
    stamps_ns: NDArray[np.int64], given: FloatArray, adjusted: FloatArray
) -> tuple[float, FloatArray]:
    """
    Estimate the time by which given poses (K, 4, 4) are late, by the angles of rotations.

    Returns
    -------
    float, (K, 4, 4) array
        Time offset [s], 0 unless it removes `MIN_TIME_GAIN` of the difference, and the given
        poses interpolated at that much later stamps.
    """
    trajectory = Trajectory(stamps_ns, given)

    def shift(offset_s: float) -> FloatArray:
        return interpolate(trajectory, stamps_ns + round(offset_s * 1e9))[0]

    def angles(poses: FloatArray) -> FloatArray:
        return pose_errors(poses[:-TIME_STEP], poses[TIME_STEP:]).rotation

    reference = angles(adjusted)
    offsets_s = np.linspace(-MAX_TIME_OFFSET_S, MAX_TIME_OFFSET_S, 101)
    errors = [float(np.mean(np.abs(angles(shift(s)) - reference))) for s in offsets_s]
    best = int(np.argmin(errors))
    if errors[best] > (1 - MIN_TIME_GAIN) * errors[len(errors) // 2]:
        return 0.0, given
    offset_s = round(float(offsets_s[best]), 4)
    return offset_s, shift(offset_s)


def estimate_noise(given: FloatArray, adjusted: FloatArray) -> tuple[float, float]:
    """
    Estimate the noise of given poses (K, 4, 4) by those adjusted to the images.

    For each axis it is the larger of two estimates. Fast noise is that of the given poses alone.
    Of slow differences the given and the adjusted poses cause half the variance each.

    Returns
    -------
    float, float
        Standard deviation of the position [m] and of the orientation [deg], each axis; 0 for
        walks of up to `NOISE_STEP` frames.
    """
    if len(given) <= NOISE_STEP:
        return 0.0, 0.0
    errors = error_vectors(given, adjusted)
    # A fast difference is one of two errors, and of a slow one half the variance is counted.
    fast, slow = (
        _root_mean_square(differences) / np.sqrt(2)
        for differences in (
            errors[NOISE_STEP:] - errors[:-NOISE_STEP],
            errors - np.median(errors, 0),
        )
    )
    std = np.maximum(fast, slow)
    position_m, rotation_rad = (float(np.sqrt(np.mean(s**2))) for s in (std[:3], std[3:]))
    return position_m, float(np.degrees(rotation_rad))


def _root_mean_square(values: FloatArray) -> FloatArray:
    """Return the root mean square of each column of values (K, N), with clipped outliers."""
    magnitudes = np.abs(values)
    limit = MAX_DEVIATION * NORMAL_STD_OF_MEDIAN * np.median(magnitudes, axis=0)
    clipped: FloatArray = np.sqrt(np.square(np.minimum(magnitudes, limit)).mean(0))
    return clipped


def estimate_scale(tracks: FeatureTracks, solution: BundleSolution, given: FloatArray) -> float:
    """
    Estimate the size of the adjusted walk, as a factor of that of the given one.

    Images do not tell the size. Depth does, with the error of its sensor, and so do the given
    poses: how much their scale differs between blocks of the walk tells its error.
    """
    known = tracks.depth_m > 0
    if known.sum() < MIN_DEPTHS:
        return 1.0
    poses = solution.map_from_camera
    blocks = np.array_split(np.arange(len(poses)), SCALE_BLOCKS)
    logs = np.array([np.log(scale_of(given[block], poses[block])) for block in blocks])
    weights = np.array([len(block) * poses[block, :3, 3].var(0).sum() for block in blocks])
    weights /= max(weights.sum(), 1e-12)
    given_variance = float(np.sum((weights * (logs - weights @ logs)) ** 2))
    local = points_in_cameras(tracks, poses, solution.points)
    ratio = float(np.median(tracks.depth_m[known] / local[known, 2]))
    depth_weight = given_variance / (given_variance + DEPTH_SCALE_STD**2)
    return float(np.exp(depth_weight * np.log(ratio / scale_of(given, poses))))


def scale_of(target: FloatArray, source: FloatArray) -> float:
    """Return the scale of the Sim(3) that takes poses (N, 4, 4) of a source to a target."""
    sim3 = fit_sim3(target, source)
    return 1.0 if sim3 is None else float(np.cbrt(np.linalg.det(sim3[:3, :3])))


def align_to_given(adjusted: FloatArray, given: FloatArray, scale: float) -> FloatArray:
    """
    Move adjusted poses (K, 4, 4) into the frame of the given ones, by least squares.

    Their size becomes ``scale`` times that of the given poses.
    """
    rotations = given[:, :3, :3] @ np.swapaxes(adjusted[:, :3, :3], 1, 2)
    rotation = Rotation.from_matrix(rotations).mean().as_matrix()
    factor = scale * scale_of(given, adjusted)
    centers = adjusted[:, :3, 3] - adjusted[:, :3, 3].mean(0)
    out = adjusted.copy()
    out[:, :3, :3] = rotation @ adjusted[:, :3, :3]
    out[:, :3, 3] = given[:, :3, 3].mean(0) + factor * centers @ rotation.T
    return out


def held_out_error_px(
    tracks: FeatureTracks, map_from_camera: FloatArray, intrinsics: FloatArray
) -> float:
    """
    Return the median reprojection error of tracks in the observations that do not place them.

    Each track is triangulated from every other observation, and judged on the rest, both ways.
    """
    tracks = undistort_tracks(tracks, intrinsics)
    if not tracks.count:
        return float('inf')
    start = np.searchsorted(tracks.track, np.arange(tracks.count))
    number = np.arange(len(tracks.track)) - start[tracks.track]
    errors = []
    for half in (number % 2 == 0, number % 2 == 1):
        placed = tracks.observations(half, tracks.track[half])
        judged = tracks.observations(~half, tracks.track[~half])
        points = triangulate_tracks(placed, map_from_camera)
        errors.append(reprojection_errors_px(judged, map_from_camera, points, NOMINAL_INTRINSICS))
    return float(np.median(np.concatenate(errors)))
