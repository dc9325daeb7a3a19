"""
Find where the poses of a walk jump, and join the parts.

A tracker that was lost goes on in another frame. Motions between frames are estimated from matches
and depth, without the given poses. Where motions and poses disagree, the walk is split. A part is
joined to the largest one by the motions between frames of both; a part that cannot be joined is
left out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, inverse, mean_pose, pose_errors
from nerf_reversal_ros.localization.pnp import RansacOptions, solve_pnp_ransac
from nerf_reversal_ros.mapping.feature_tracks import MatchedFrames, TrackFrame

MAX_STEP = 4
"""Largest step of the pairs that are compared with the poses: their views overlap well."""
MIN_JUMP, MIN_JUMP_DEG = 0.06, 6.0
"""Smallest jump, as a fraction of the depth of the scene, and [deg]: above the errors of poses and
of motions."""
MAX_SPEED_M_S = 5.0
"""Speed that no camera that is carried reaches: a faster step without matches is a jump."""
MIN_VOTES = 2
"""Fewest motions across a jump, and fewest that join two parts: one may be wrong."""
MAX_PARTS = 6
"""Largest number of parts; with more the poses do not fit the images anywhere."""
MAX_JOINING_PAIRS = 60
"""Largest number of pairs that join two parts, as a bound on time."""
_RANSAC = RansacOptions(max_error_px=2.0, min_iterations=50, max_iterations=500, min_inliers=20)


@dataclass(frozen=True)
class Jump:
    """A place where the poses of a walk jump."""

    after: int
    """Position of the last frame before it."""
    distance_m: float
    angle_deg: float


@dataclass(frozen=True)
class JoinedWalk:
    """Poses of a walk after its parts are joined."""

    map_from_camera: FloatArray
    """(K, 4, 4)."""
    joined: NDArray[np.bool_]
    """(K,) frames of parts that are joined to the largest one."""
    jumps: list[Jump]


def join_walk(
    matched: MatchedFrames, map_from_camera: FloatArray, stamps_ns: NDArray[np.int64]
) -> JoinedWalk:
    """
    Split a walk where its poses jump, and move each part into the frame of the largest.

    Parameters
    ----------
    matched : MatchedFrames
        Matches of K frames. Without depth no jump is found.
    map_from_camera : (K, 4, 4) array
        Given poses.
    stamps_ns : (K,) array
        Stamps of the frames [ns].
    """
    jumps = find_jumps(matched, map_from_camera, stamps_ns)
    poses, count = map_from_camera.copy(), len(map_from_camera)
    if not jumps or len(jumps) >= MAX_PARTS:
        return JoinedWalk(poses, np.ones(count, bool), [])
    part = np.zeros(count, int)
    for jump in jumps:
        part[jump.after + 1 :] += 1
    sizes = np.bincount(part)
    joined = part == sizes.argmax()
    waiting = [int(k) for k in np.argsort(-sizes) if k != sizes.argmax()]
    progress = True
    while waiting and progress:
        progress = False
        for k in list(waiting):
            moved = motion_to_joined(matched, poses, joined, part == k)
            if moved is not None:
                poses[part == k] = moved @ poses[part == k]
                joined = joined | (part == k)
                waiting.remove(k)
                progress = True
    return JoinedWalk(poses, joined, jumps)


def find_jumps(
    matched: MatchedFrames, map_from_camera: FloatArray, stamps_ns: NDArray[np.int64]
) -> list[Jump]:
    """
    Find the jumps of poses (K, 4, 4): most motions across one disagree with them.

    Only the boundary where the motions between its own two frames disagree counts, because the
    other pairs across it span several boundaries. Without matches, the speed decides.
    """
    limit_m = MIN_JUMP * matched.scene_depth_m
    votes = np.zeros((len(map_from_camera), 2), int)
    connected = np.zeros(len(map_from_camera), bool)
    steps: dict[int, tuple[float, float]] = {}
    for (i, j), rows in zip(matched.pairs, matched.matches, strict=True):
        if j - i > MAX_STEP:
            continue
        connected[i:j] |= len(rows) > 0
        motion = estimate_motion(matched.features[i], matched.features[j], rows)
        if motion is None:
            continue
        given = inverse(map_from_camera[i]) @ map_from_camera[j]
        errors = pose_errors(given[None], motion[None])
        distance_m, angle_deg = float(errors.translation[0]), float(np.degrees(errors.rotation[0]))
        disagrees = distance_m > limit_m or angle_deg > MIN_JUMP_DEG
        votes[i:j, int(disagrees)] += 1
        if disagrees and j == i + 1:
            steps[i] = distance_m, angle_deg
    disputed = (votes[:, 1] >= MIN_VOTES) & (votes[:, 1] > 2 * votes[:, 0])
    jumps = [Jump(i, *size) for i, size in sorted(steps.items()) if disputed[i]]
    given_steps = pose_errors(map_from_camera[:-1], map_from_camera[1:])
    too_fast = given_steps.translation > MAX_SPEED_M_S * np.diff(stamps_ns) * 1e-9
    for i in np.flatnonzero(too_fast & ~connected[:-1]).tolist():
        angle_deg = float(np.degrees(given_steps.rotation[i]))
        jumps.append(Jump(i, float(given_steps.translation[i]), angle_deg))
    return sorted(jumps, key=lambda jump: jump.after)


def estimate_motion(
    first: TrackFrame, second: TrackFrame, rows: NDArray[np.int64]
) -> FloatArray | None:
    """
    Estimate the motion between two frames by PnP from the depth of the first.

    Parameters
    ----------
    first, second : TrackFrame
        Keypoints of both frames.
    rows : (M, 2) array
        Rows of matching keypoints.

    Returns
    -------
    (4, 4) array or None
        first_from_second; None if too few matches with depth agree.
    """
    if not len(rows):
        return None
    depth_m = first.depth_m[rows[:, 0]]
    known = depth_m > 0
    if known.sum() < _RANSAC.min_inliers:
        return None
    rays = first.rays[rows[known, 0]]
    points = np.column_stack([rays, np.ones(len(rays))]) * depth_m[known, None]
    focal_px = second.focal_px
    camera = Camera(1, 1, focal_px, focal_px, 0.0, 0.0)
    solution = solve_pnp_ransac(points, second.rays[rows[known, 1]] * focal_px, camera, _RANSAC)
    return None if solution is None else solution.map_from_camera


def motion_to_joined(
    matched: MatchedFrames,
    poses: FloatArray,
    joined: NDArray[np.bool_],
    part: NDArray[np.bool_],
) -> FloatArray | None:
    """
    Return the motion (4, 4) of a part into the frame of the joined frames; None if unknown.

    Parameters
    ----------
    matched : MatchedFrames
        Matches of K frames, with depth.
    poses : (K, 4, 4) array
        Given poses of the part, and those of the joined frames in their common frame.
    joined, part : (K,) arrays
        Masks of the frames.
    """
    motions = []
    for (i, j), rows in zip(matched.pairs, matched.matches, strict=True):
        if not len(rows) or not ((joined[i] and part[j]) or (part[i] and joined[j])):
            continue
        motion = estimate_motion(matched.features[i], matched.features[j], rows)
        if motion is not None:
            moved = poses[i] @ motion @ inverse(poses[j])
            motions.append(moved if joined[i] else inverse(moved))
        if len(motions) == MAX_JOINING_PAIRS:
            break
    if len(motions) < MIN_VOTES:
        return None
    return _consensus(np.array(motions), poses[part], MIN_JUMP * matched.scene_depth_m)


def _consensus(motions: FloatArray, poses: FloatArray, limit_m: float) -> FloatArray | None:
    """Average the motions (M, 4, 4) that take poses to within a limit of each other."""
    center = poses[:, :3, 3].mean(0)
    places = motions[:, :3, :3] @ center + motions[:, :3, 3]
    near = np.linalg.norm(places[:, None] - places, axis=2) < limit_m
    relative = np.swapaxes(motions[:, None, :3, :3], -1, -2) @ motions[:, :3, :3]
    trace = np.trace(relative, axis1=-2, axis2=-1)
    near &= np.arccos(np.clip((trace - 1) / 2, -1, 1)) < np.radians(MIN_JUMP_DEG)
    best = near[near.sum(1).argmax()]
    if best.sum() < max(MIN_VOTES, len(motions) / 3):
        return None
    average = mean_pose(motions[best])
    average[:3, 3] = places[best].mean(0) - average[:3, :3] @ center
    return average
