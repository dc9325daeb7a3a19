"""Ground truth in another frame is found by one rigid motion, and never where frames agree."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import FloatArray, inverse, make_pose, pose_distance
from nerf_reversal_ros.core.metrics import MethodResults, results_from_poses
from nerf_reversal_ros.evaluation.rigid_alignment import find_rigid_alignment, RigidAlignment

OTHER_WORLD = make_pose(Rotation.from_euler('z', 34, degrees=True), (1.2, -0.2, 0.1))
"""map_from_ground_truth of a phone that was started at another place."""


def walk_of(count: int, seed: int = 0) -> FloatArray:
    """Return poses (N, 4, 4) of a walk through a room of 4 m, looking around."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 2 * np.pi, count, endpoint=False)
    turns = Rotation.from_euler('zx', np.stack([time, rng.uniform(-0.3, 0.3, count)], axis=1))
    positions = np.stack([2 * np.cos(time), 2 * np.sin(time), np.full(count, 1.4)], axis=1)
    return np.stack([make_pose(r, p) for r, p in zip(turns, positions, strict=True)])


def noisy(poses: FloatArray, std_m: float, std_deg: float, seed: int = 1) -> FloatArray:
    """Add independent errors to poses, about the cameras' own centers."""
    rng = np.random.default_rng(seed)
    out = poses.copy()
    out[:, :3, 3] += rng.normal(0, std_m, (len(poses), 3))
    turns = Rotation.from_rotvec(np.radians(rng.normal(0, std_deg, (len(poses), 3))))
    out[:, :3, :3] = turns.as_matrix() @ poses[:, :3, :3]
    return out


def random_poses(count: int, seed: int = 2) -> FloatArray:
    """Return poses anywhere in the room, upright, of any direction."""
    rng = np.random.default_rng(seed)
    turns = Rotation.from_euler('z', rng.uniform(0, 360, (count, 1)), degrees=True)
    positions = rng.uniform(-2, 2, (count, 3)) * (1, 1, 0.1) + (0, 0, 1.4)
    return np.stack([make_pose(r, p) for r, p in zip(turns, positions, strict=True)])


def results(poses: FloatArray, rejected: int = 0) -> MethodResults:
    """Return results of a localizer that rejects the first images."""
    return results_from_poses([(None if k < rejected else p, 1.0) for k, p in enumerate(poses)])


def aligned(poses: FloatArray, poses_gt: FloatArray, rejected: int = 0) -> RigidAlignment:
    found = find_rigid_alignment(results(poses, rejected), poses_gt)
    assert found is not None
    return found


# ---- another frame


def test_a_walk_of_another_session_is_explained_by_one_motion() -> None:
    poses = walk_of(40)
    found = aligned(noisy(poses, 0.01, 0.3), inverse(OTHER_WORLD) @ poses)
    distance_m, angle_deg = pose_distance(found.map_from_ground_truth, OTHER_WORLD)
    assert distance_m < 0.01 and angle_deg < 0.2
    assert found.translation_m == pytest.approx(np.sqrt(1.2**2 + 0.2**2 + 0.1**2), abs=0.01)
    assert found.rotation_deg == pytest.approx(34, abs=0.2)
    assert found.explained == 1.0


def test_a_far_away_origin_does_not_spoil_the_motion() -> None:
    """A small error of a rotation is large at a distance of a kilometer."""
    poses = walk_of(40)
    far = make_pose(Rotation.from_euler('z', 80, degrees=True), (900, 400, 0))
    found = aligned(noisy(poses, 0.01, 0.3), inverse(far) @ poses)
    assert found.explained == 1.0


def test_incorrect_poses_and_rejections_do_not_move_it() -> None:
    poses = walk_of(40)
    estimated = noisy(poses, 0.01, 0.3)
    estimated[10:20] = random_poses(10)
    found = aligned(estimated, inverse(OTHER_WORLD) @ poses, rejected=10)
    distance_m, angle_deg = pose_distance(found.map_from_ground_truth, OTHER_WORLD)
    assert distance_m < 0.02 and angle_deg < 0.3
    assert found.explained == pytest.approx(20 / 30)


def test_an_inverted_axis_of_gravity_is_found_too() -> None:
    poses = walk_of(20)
    upside_down = make_pose(Rotation.from_euler('x', 180, degrees=True))
    assert aligned(poses, upside_down @ poses).rotation_deg == pytest.approx(180)


def test_four_distinct_images_are_enough() -> None:
    poses = walk_of(4)
    assert aligned(noisy(poses, 0.01, 0.3), inverse(OTHER_WORLD) @ poses).explained == 1.0


def test_the_size_of_the_motion_does_not_depend_on_the_number_of_images() -> None:
    """More images than those that propose a motion."""
    poses = walk_of(450)
    found = aligned(noisy(poses, 0.01, 0.3), inverse(OTHER_WORLD) @ poses)
    assert pose_distance(found.map_from_ground_truth, OTHER_WORLD)[0] < 0.005


# ---- the same frame, or no evidence


@pytest.mark.parametrize(
    ('std_m', 'std_deg'), [(0, 0), (0.01, 0.3), (0.05, 2), (0.15, 6), (0.5, 20)]
)
@pytest.mark.parametrize('count', [4, 5, 40])
def test_good_and_bad_poses_in_the_same_frame_need_no_motion(
    std_m: float, std_deg: float, count: int
) -> None:
    poses = walk_of(count)
    for seed in range(5):
        assert find_rigid_alignment(results(noisy(poses, std_m, std_deg, seed)), poses) is None


@pytest.mark.parametrize('count', [4, 5, 10, 60])
def test_random_poses_are_explained_by_no_motion(count: int) -> None:
    poses = walk_of(count)
    for seed in range(10):
        assert find_rigid_alignment(results(random_poses(count, seed)), poses) is None


def test_a_majority_of_wrong_poses_is_no_other_frame_while_others_are_correct() -> None:
    """Six of ten images are taken for another, equal place of the room."""
    poses = walk_of(10)
    estimated = poses.copy()
    estimated[:6] = OTHER_WORLD @ poses[:6]
    assert find_rigid_alignment(results(estimated), poses) is None
    estimated[:9] = OTHER_WORLD @ poses[:9]
    assert aligned(estimated, poses).explained == pytest.approx(0.9)


def test_one_pose_given_for_all_images_is_no_other_frame() -> None:
    standing = np.repeat(walk_of(1), 30, axis=0)
    moved = noisy(standing, 0.03, 1.0)
    wrong = np.repeat(OTHER_WORLD[None] @ standing[:1], 30, axis=0)
    assert find_rigid_alignment(results(wrong), moved) is None
    assert find_rigid_alignment(results(wrong), walk_of(30)) is None


def test_a_small_constant_error_of_the_map_is_no_other_frame() -> None:
    poses = walk_of(30)
    for error_m, is_other_frame in ((0.12, False), (0.19, False), (0.21, True)):
        found = find_rigid_alignment(results(make_pose(None, (0, 0, error_m)) @ poses), poses)
        assert (found is not None) == is_other_frame


def test_truth_of_another_body_is_no_other_frame() -> None:
    """A tracker beside the camera turns with it, so that no motion of the world explains it."""
    poses = walk_of(30)
    mounting = make_pose(Rotation.from_euler('y', 90, degrees=True), (0.3, 0.1, 0.0))
    assert find_rigid_alignment(results(poses @ mounting), poses) is None


@pytest.mark.parametrize('accepted', [0, 1, 3])
def test_few_poses_are_no_evidence(accepted: int) -> None:
    poses = walk_of(8)
    other = results(OTHER_WORLD @ poses, rejected=8 - accepted)
    assert find_rigid_alignment(other, poses) is None
