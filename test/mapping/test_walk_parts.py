"""Jumps of the poses split a walk; its parts are joined by matches, or left out."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from track_scenes import circling_poses, make_tracks, shake

from nerf_reversal_ros.core.geometry import make_pose, pose_errors
from nerf_reversal_ros.mapping.feature_tracks import MatchedFrames, TrackFrame
from nerf_reversal_ros.mapping.walk_parts import find_jumps, join_walk

POSES = circling_poses(24)
STAMPS_NS = np.arange(24) * 100_000_000
ELSEWHERE = make_pose(Rotation.from_euler('z', 25, degrees=True), (0.5, 0.0, 0.1))


def match(poses, *, revisits=(), broken_after=None, depth=True):
    """Return the matches of a cloud of points between neighbors and other pairs of frames."""
    tracks = make_tracks(poses)
    features, ids = [], []
    for i in range(len(poses)):
        seen = tracks.frame == i
        depth_m = tracks.depth_m[seen] if depth else np.zeros(seen.sum())
        features.append(TrackFrame(tracks.rays[seen], depth_m, np.empty((0, 128)), 400.0))
        ids.append(tracks.track[seen])
    pairs, matches = [], []
    neighbors = [(i, i + s) for i in range(len(poses)) for s in (1, 2, 4) if i + s < len(poses)]
    for i, j in sorted({*neighbors, *revisits}):
        rows = np.column_stack(np.intersect1d(ids[i], ids[j], return_indices=True)[1:])
        if broken_after is not None and i <= broken_after < j and (i, j) not in revisits:
            rows = rows[:0]
        pairs.append((i, j))
        matches.append(rows)
    return MatchedFrames(np.arange(len(poses)), features, pairs, matches)


def jumped(poses, *starts):
    """Return poses that are elsewhere from each start on."""
    given = poses.copy()
    for start in starts:
        given[start:] = ELSEWHERE @ given[start:]
    return given


def test_a_walk_without_jumps_is_not_changed():
    given = shake(POSES, 0.01, 0.5)
    walk = join_walk(match(POSES), given, STAMPS_NS)
    assert walk.jumps == [] and walk.joined.all()
    np.testing.assert_array_equal(walk.map_from_camera, given)


def test_a_jump_is_found_with_its_size():
    matched, given = match(POSES), jumped(POSES, 14)
    (jump,) = find_jumps(matched, given, STAMPS_NS)
    assert jump.after == 13 and jump.angle_deg == pytest.approx(25, abs=1)


def test_parts_are_joined_in_the_frame_of_the_largest():
    walk = join_walk(match(POSES), jumped(POSES, 14), STAMPS_NS)
    assert walk.joined.all() and [jump.after for jump in walk.jumps] == [13]
    errors = pose_errors(walk.map_from_camera, POSES)
    assert errors.translation.max() < 0.03 and np.degrees(errors.rotation).max() < 1
    np.testing.assert_array_equal(walk.map_from_camera[:14], POSES[:14])


def test_three_parts_are_joined():
    walk = join_walk(match(POSES), jumped(POSES, 6, 18), STAMPS_NS)
    assert walk.joined.all() and [jump.after for jump in walk.jumps] == [5, 17]
    relative = np.linalg.inv(walk.map_from_camera[0]) @ walk.map_from_camera
    errors = pose_errors(relative, np.linalg.inv(POSES[0]) @ POSES)
    assert errors.translation.max() < 0.05


def test_without_depth_no_jump_is_found():
    assert join_walk(match(POSES, depth=False), jumped(POSES, 14), STAMPS_NS).jumps == []


def test_poses_that_fit_nowhere_are_not_split():
    given = shake(POSES, 0.5, 30)
    walk = join_walk(match(POSES), given, STAMPS_NS)
    assert walk.jumps == [] and walk.joined.all()


def test_parts_that_only_a_revisit_connects_are_joined_by_it():
    revisits = [(2, 20), (3, 21), (4, 22), (5, 23)]
    poses = np.concatenate([POSES[:12], POSES[:12][::-1]])
    matched = match(poses, revisits=revisits, broken_after=11)
    far = make_pose(Rotation.from_euler('z', 40, degrees=True), (3.0, 0.0, 0.0))
    given = poses.copy()
    given[12:] = far @ given[12:]
    walk = join_walk(matched, given, STAMPS_NS)
    assert walk.joined.all() and [jump.after for jump in walk.jumps] == [11]
    assert pose_errors(walk.map_from_camera, poses).translation.max() < 0.05


def test_a_part_without_matches_is_left_out():
    matched = match(POSES, broken_after=15)
    given = POSES.copy()
    given[16:, :3, 3] += [4.0, 0.0, 0.0]
    walk = join_walk(matched, given, STAMPS_NS)
    assert walk.joined.tolist() == [True] * 16 + [False] * 8
    assert walk.jumps[0].distance_m == pytest.approx(4, abs=0.3)
