"""
Adjust the poses of a capture to its images, and check its focal length.

Trackers drift, are noisy, or are late. Feature tracks tell where the camera was more accurately.
Bundle adjustment fits the poses to them. Tracks that were held out decide: each is triangulated
from half of its observations, and its reprojection error in the others must fall clearly. So
accurate poses stay as they are.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.trajectory import interpolate, Trajectory
from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import BuildError, ConfigError
from nerf_reversal_ros.core.geometry import FloatArray, inverse, pose_errors
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.mapping.bundle_adjustment import (
    BundleSolution,
    NOMINAL_INTRINSICS,
    reprojection_errors_px,
    solve_bundle,
    triangulate_tracks,
    well_posed_tracks,
)
from nerf_reversal_ros.mapping.feature_tracks import FeatureTracks, match_frames, merge_matches
from nerf_reversal_ros.mapping.trajectory_alignment import (
    align_time,
    align_to_given,
    estimate_noise,
    estimate_scale,
    held_out_error_px,
)
from nerf_reversal_ros.mapping.walk_parts import join_walk, JoinedWalk
from nerf_reversal_ros.odometry.pose_chain import import_gtsam

MAX_FRAMES = 400
"""Largest number of frames that are adjusted, evenly spaced; others follow their neighbors."""
MIN_FRAMES, MIN_TRACKS = 10, 100
"""Fewest frames and tracks that poses are adjusted to."""
HELD_OUT_SHARE = 0.15
"""Share of the tracks that decide whether the adjusted poses are kept."""
MIN_GAIN = 0.2
"""Smallest fraction of the held-out error that adjusted poses must remove. Accurate poses of
structure from motion gain a tenth, and are less accurate afterwards."""
MAX_INITIAL_ERROR_PX, MAX_ERROR_PX = 20.0, 3.0
"""Largest reprojection error of an observation under the given poses, and after the first
adjustment: drift, and wrong matches."""
MAX_FOCAL_ERROR = 0.025
"""Largest deviation of the focal scale from 1. Right cameras are within 1.7 %."""
MIN_FOCAL_GAIN = 0.1
"""Smallest fraction of the reprojection error that a wrong focal length accounts for: one that is
wrong by 3 % accounts for 17 %, by 10 % for half of the error."""


@dataclass(frozen=True)
class AdjustmentReport:
    """Figures of an adjustment, for the manifest; errors are in pixels at 480 px."""

    kept: bool = False
    """Whether the map is built from the adjusted poses."""
    reason: str = 'capture.adjust_poses is off'
    """Why they are kept, or not."""
    frames: int = 0
    tracks: int = 0
    held_out_tracks: int = 0
    error_px: float | None = None
    """Median reprojection error of held-out tracks under the given poses."""
    adjusted_error_px: float | None = None
    """The same under the adjusted poses."""
    median_change_m: float = 0.0
    max_change_m: float = 0.0
    median_change_deg: float = 0.0
    max_change_deg: float = 0.0
    focal_scale: float | None = None
    """Focal length that fits the images, over that of camera_info."""
    scale: float = 1.0
    """Size of the adjusted walk over that of the given one."""
    time_offset_s: float = 0.0
    """Time by which the given poses are late."""
    noise_m: float = 0.0
    """Standard deviation of the given position, each axis; see `estimate_noise`."""
    noise_deg: float = 0.0
    """Standard deviation of the given orientation, each axis."""
    parts: int = 1
    """Parts that jumps of the poses split the walk into."""
    left_out: int = 0
    """Frames of parts that could not be joined."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `AdjustmentReport(**d)` restores the report."""
        return asdict(self)


@dataclass(frozen=True)
class AdjustedPoses:
    """Result of `adjust_poses`."""

    frames: NDArray[np.int64]
    """(N,) frames of the capture that are left, ascending."""
    map_from_camera: FloatArray
    """(N, 4, 4) their poses, in the frame of the given ones."""
    report: AdjustmentReport
    warnings: list[str]


def adjust_poses(
    capture: Capture, *, seed: int = 0, progress: ProgressCallback = no_progress
) -> AdjustedPoses:
    """
    Adjust the poses of a capture to feature tracks, where held-out tracks confirm it.

    Parameters
    ----------
    capture : Capture
        Frames with given poses.
    seed : int
        Of the choice of held-out tracks.
    progress : callback
        Receives reports of the stage ``adjustment``.

    Raises
    ------
    BuildError
        If the images do not fit the focal length of camera_info.
    """
    frames = evenly_spaced_indices(len(capture), MAX_FRAMES)
    if len(frames) < MIN_FRAMES:
        report = AdjustmentReport(reason=f'the capture has only {len(frames)} frames')
        return AdjustedPoses(np.arange(len(capture)), capture.map_from_camera, report, [])
    matched = match_frames(capture, frames, progress)
    walk = join_walk(matched, capture.map_from_camera[frames], capture.stamps_ns[frames])
    left, poses, warnings = _join_capture(capture, frames, walk)
    report = AdjustmentReport(
        frames=int(walk.joined.sum()),
        parts=len(walk.jumps) + 1,
        left_out=len(capture) - len(left),
    )
    tracks = merge_matches(matched).of_frames(walk.joined)
    given = walk.map_from_camera[walk.joined]
    stamps_ns = capture.stamps_ns[tracks.frames]
    try:
        adjusted, report = adjust_to_tracks(tracks, given, stamps_ns, report, seed)
    except ConfigError as error:
        report = replace(report, reason='gtsam is missing')
        return AdjustedPoses(left, poses, report, [*warnings, f'warning: {error}'])
    if report.kept:
        correction = Trajectory(stamps_ns, adjusted @ inverse(given))
        poses = interpolate(correction, capture.stamps_ns[left])[0] @ poses
    return AdjustedPoses(left, poses, report, warnings)


def _join_capture(
    capture: Capture, frames: NDArray[np.int64], walk: JoinedWalk
) -> tuple[NDArray[np.int64], FloatArray, list[str]]:
    """Apply the joints of a walk to all frames: the frames that are left, poses, warnings."""
    given = capture.map_from_camera
    if not walk.jumps:
        return np.arange(len(capture)), given, []
    part_of, bounds = np.zeros(len(capture), int), []
    for jump in walk.jumps:
        # Between two matched frames the jump is at the largest step.
        first, last = int(frames[jump.after]), int(frames[jump.after + 1])
        steps = pose_errors(given[first:last], given[first + 1 : last + 1])
        bounds.append(first + int(np.argmax(steps.translation + steps.rotation)))
        part_of[bounds[-1] + 1 :] += 1
    moves = walk.map_from_camera @ inverse(given[frames])
    poses, kept = given.copy(), np.ones(len(capture), bool)
    for k in np.unique(part_of[frames]):
        member = int(np.flatnonzero(part_of[frames] == k)[0])
        poses[part_of == k] = moves[member] @ given[part_of == k]
        kept[part_of == k] = walk.joined[member]
    warnings = []
    for jump, bound in zip(walk.jumps, bounds, strict=True):
        warnings.append(
            f'warning: the poses jump at frame {bound + 1} by {jump.distance_m:.2f} m,'
            f' {jump.angle_deg:.0f} deg: tracking was lost there; '
            + _parts_in_words(kept[bound : bound + 2])
        )
    if not kept.all():
        warnings.append(
            f'warning: {int((~kept).sum())} of {len(kept)} frames are left out: record again so'
            ' that the parts of the walk see the same places'
        )
    return np.flatnonzero(kept), poses[kept], warnings


def _parts_in_words(kept: NDArray[np.bool_]) -> str:
    if kept.all():
        return 'both parts are joined by matches'
    return 'the parts cannot be joined by matches'


def adjust_to_tracks(
    tracks: FeatureTracks,
    given: FloatArray,
    stamps_ns: NDArray[np.int64],
    report: AdjustmentReport,
    seed: int,
) -> tuple[FloatArray, AdjustmentReport]:
    """
    Adjust poses to feature tracks.

    Parameters
    ----------
    tracks : FeatureTracks
        Tracks in K frames.
    given, stamps_ns : (K, 4, 4) array, (K,) array
        Given poses of these frames, and their stamps [ns].
    report : AdjustmentReport
        What is known before.
    seed : int
        Of the choice of held-out tracks.

    Returns
    -------
    (K, 4, 4) array, AdjustmentReport
        Adjusted poses, whether they are to be kept or not, and the completed report.

    Raises
    ------
    ConfigError, BuildError
        If gtsam is not installed; if the tracks do not fit the focal length.
    """
    gtsam = import_gtsam('the adjustment of poses')
    training, test = _split_tracks(tracks, given, seed)
    report = replace(report, tracks=training.count, held_out_tracks=test.count)
    if training.count < MIN_TRACKS:
        return given, replace(report, reason=f'only {training.count} feature tracks were found')
    start = BundleSolution(given, triangulate_tracks(training, given), NOMINAL_INTRINSICS)
    free = solve_bundle(gtsam, training, given, start, free_focal=True)
    training, free = _without_outliers(training, free)
    offset_s, prior = align_time(stamps_ns, given, free.map_from_camera)
    start = replace(free, intrinsics=np.array([1.0, *free.intrinsics[1:]]))
    solution = solve_bundle(gtsam, training, prior, start)
    report = replace(report, focal_scale=round(free.focal_scale, 4), time_offset_s=offset_s)
    _check_focal_length(training, free, solution)
    scale = estimate_scale(training, solution, given)
    adjusted = align_to_given(solution.map_from_camera, given, scale)
    error_px = held_out_error_px(test, given, solution.intrinsics)
    adjusted_px = held_out_error_px(test, adjusted, solution.intrinsics)
    kept = adjusted_px <= (1 - MIN_GAIN) * error_px
    noise_m, noise_deg = estimate_noise(prior, adjusted)
    return adjusted, replace(
        _with_changes(report, adjusted, given),
        kept=kept,
        reason=f'held-out tracks gain {1 - adjusted_px / error_px:.0%} (needed: {MIN_GAIN:.0%})',
        error_px=round(error_px, 3),
        adjusted_error_px=round(adjusted_px, 3),
        scale=round(scale, 5),
        noise_m=round(noise_m, 5),
        noise_deg=round(noise_deg, 4),
    )


def _split_tracks(
    tracks: FeatureTracks, given: FloatArray, seed: int
) -> tuple[FeatureTracks, FeatureTracks]:
    """Return the well-posed tracks to adjust poses to, and those that are held out."""
    points = triangulate_tracks(tracks, given)
    tracks = tracks.subset(well_posed_tracks(tracks, given, points, MAX_INITIAL_ERROR_PX))
    held_out = np.random.default_rng(seed).random(tracks.count) < HELD_OUT_SHARE
    return tracks.subset(~held_out), tracks.subset(held_out)


def _with_changes(
    report: AdjustmentReport, adjusted: FloatArray, given: FloatArray
) -> AdjustmentReport:
    """Complete a report by how far poses (K, 4, 4) moved."""
    change = pose_errors(adjusted, given)
    change_deg = np.degrees(change.rotation)
    return replace(
        report,
        median_change_m=round(float(np.median(change.translation)), 5),
        max_change_m=round(float(change.translation.max()), 5),
        median_change_deg=round(float(np.median(change_deg)), 4),
        max_change_deg=round(float(change_deg.max()), 4),
    )


def _without_outliers(
    tracks: FeatureTracks, solution: BundleSolution
) -> tuple[FeatureTracks, BundleSolution]:
    """Drop observations with large errors, and tracks that lose more than a third by it."""
    error_px = reprojection_errors_px(
        tracks, solution.map_from_camera, solution.points, solution.intrinsics
    )
    good = error_px < MAX_ERROR_PX
    length = np.bincount(tracks.track, minlength=tracks.count)
    count = np.bincount(tracks.track, good, tracks.count)
    kept = (count >= 2) & (count > length * 2 / 3)
    good &= kept[tracks.track]
    number = np.cumsum(kept) - 1
    subset = tracks.observations(good, number[tracks.track[good]])
    return subset, replace(solution, points=solution.points[kept])


def _check_focal_length(
    tracks: FeatureTracks, free: BundleSolution, fixed: BundleSolution
) -> None:
    """Raise BuildError if another focal length than the given one fits the tracks clearly."""
    if abs(free.focal_scale - 1) <= MAX_FOCAL_ERROR:
        return
    free_px, fixed_px = (
        float(np.median(reprojection_errors_px(tracks, s.map_from_camera, s.points, s.intrinsics)))
        for s in (free, fixed)
    )
    if free_px > (1 - MIN_FOCAL_GAIN) * fixed_px:
        return
    raise BuildError(
        f'the images fit a focal length of {free.focal_scale:.3f} times that of camera_info'
        f' (error {free_px:.2f} px instead of {fixed_px:.2f} px): {remedies.SKIP_ADJUSTMENT}'
    )
