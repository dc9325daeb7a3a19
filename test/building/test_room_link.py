"""The relative pose of two rooms: agreement of images, both directions, gravity."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.building.link_search import SharedView, ViewSearch
from nerf_reversal_ros.building.room_link import find_link, Link
from nerf_reversal_ros.core.geometry import (
    FloatArray,
    inverse,
    look_at,
    make_pose,
    pose_distance,
)

B_FROM_A = make_pose(Rotation.from_euler('z', 130, degrees=True), np.array([6.0, -2.0, 0.1]))
ELSEWHERE = make_pose(Rotation.from_euler('z', -20, degrees=True), np.array([1.0, 3.0, 0.0]))
STD_M, STD_DEG = 0.01, 0.2


def poses_of_a(count: int) -> FloatArray:
    """Return poses (count, 4, 4) before a door of a, each clearly different."""
    eyes = [np.array([3.0 + 0.3 * (k % 4), 0.25 * k, 1.4]) for k in range(count)]
    aims = [eye + np.array([1.0, 0.1, -0.1]) for eye in eyes]
    return np.reshape([look_at(*pair) for pair in zip(eyes, aims, strict=True)], (-1, 4, 4))


def search(
    count: int,
    *,
    of_b: bool = False,
    b_from_a: FloatArray = B_FROM_A,
    seed: int = 0,
    std_m: float = STD_M,
    tried: int = 20,
) -> ViewSearch:
    """Return images of one walk, localized in the other room with errors of their covariance."""
    rng = np.random.default_rng([seed, of_b])
    covariance = np.diag([std_m**2] * 3 + [np.radians(STD_DEG) ** 2] * 3)
    views = []
    for k, a_from_camera in enumerate(poses_of_a(count)):
        own, other = a_from_camera, b_from_a @ a_from_camera
        if of_b:
            own, other = other, own
        noisy = other.copy()
        noisy[:3, 3] += rng.normal(0, std_m, 3)
        turn = Rotation.from_rotvec(np.radians(rng.normal(0, STD_DEG, 3)))
        noisy[:3, :3] = turn.as_matrix() @ other[:3, :3]
        views.append(SharedView(k, own, noisy, covariance))
    return ViewSearch(tried, views)


def joined(*searches: ViewSearch) -> ViewSearch:
    return ViewSearch(20, [view for item in searches for view in item.views])


def assert_right(link: Link, limit_m: float = 0.03, limit_deg: float = 1.0) -> None:
    assert link.b_from_a is not None
    door = make_pose(None, link.center)
    distance_m, angle_deg = pose_distance(link.b_from_a @ door, B_FROM_A @ door)
    assert distance_m < limit_m and angle_deg < limit_deg


def test_images_of_both_walks_agree() -> None:
    link = find_link('a', 'b', search(8), search(6, of_b=True))
    assert link.is_taken and link.is_two_sided
    assert (link.tried, link.accepted, link.agreeing) == (40, (8, 6), (8, 6))
    assert_right(link, 0.012, 0.2)
    assert link.residual_m is not None and 0.005 < link.residual_m < 0.03
    assert 0.01 < link.std_m < 0.03 and 0.2 < link.std_deg < 0.5
    assert link.as_dict()['taken'] and link.as_dict()['reason'] == ''


def test_images_of_one_walk_are_enough() -> None:
    link = find_link('a', 'b', ViewSearch(16), search(6, of_b=True))
    assert link.is_taken and not link.is_two_sided and link.agreeing == (0, 6)
    assert_right(link)


def test_wrong_poses_among_them_are_left_out() -> None:
    wrong = search(3, b_from_a=ELSEWHERE, seed=1)
    link = find_link('a', 'b', joined(search(8), wrong), search(6, of_b=True))
    assert link.is_taken and link.agreeing == (8, 6) and link.accepted == (11, 6)
    assert_right(link)


def test_uncertain_images_weigh_less() -> None:
    """Ten images with errors of 4 cm beside four of 3 mm: the mean of all would be 1 cm off."""
    biased = make_pose(None, np.array([0.04, 0.04, 0.0])) @ B_FROM_A
    uncertain, certain = search(10, b_from_a=biased, std_m=0.04), search(4, std_m=0.003)
    assert_right(find_link('a', 'b', joined(uncertain, certain), ViewSearch()), 0.02)


@pytest.mark.parametrize('counts', [(0, 0), (3, 0), (2, 1)])
def test_few_images_are_no_link(counts: tuple[int, int]) -> None:
    link = find_link('a', 'b', search(counts[0]), search(counts[1], of_b=True))
    assert link.b_from_a is None and 'too few images' in link.reason
    entry = link.as_dict()
    assert entry['b_from_a'] is None and entry['accepted'] == list(counts) and not entry['taken']


def test_the_same_image_many_times_is_no_link() -> None:
    still = ViewSearch(9, search(1).views * 9)
    assert 'fewer than 3 different views' in find_link('a', 'b', still, ViewSearch()).reason


def test_images_that_all_disagree_are_no_link() -> None:
    views = []
    for k in range(8):
        turned = make_pose(Rotation.from_euler('z', 40 * k, degrees=True))
        views.append(search(8, b_from_a=turned).views[k])
    link = find_link('a', 'b', ViewSearch(20, views), ViewSearch())
    assert link.reason == 'the 8 localized images disagree' and link.b_from_a is None


def test_a_majority_that_is_not_clear_is_no_link() -> None:
    halves = joined(search(6), search(5, b_from_a=ELSEWHERE))
    assert 'only 6 of 11 localized images agree (needed: 70%)' in (
        find_link('a', 'b', halves, ViewSearch()).reason
    )


def test_directions_that_contradict_each_other_are_no_link() -> None:
    other = search(6, of_b=True, b_from_a=ELSEWHERE)
    link = find_link('a', 'b', search(8), other)
    assert 'images of b in a put it elsewhere' in link.reason and not link.is_taken


def test_the_other_direction_decides_between_two_halves() -> None:
    """Images into two look-alike rooms: those from within tell which of them it is."""
    halves = joined(search(6), search(5, b_from_a=ELSEWHERE))
    link = find_link('a', 'b', halves, search(6, of_b=True))
    assert link.is_taken and link.agreeing == (6, 6)
    assert_right(link)


@pytest.mark.parametrize('tilt_deg', [2.0, 9.0])
def test_a_link_that_tilts_a_room_is_refused(tilt_deg: float) -> None:
    tilted = make_pose(Rotation.from_euler('x', tilt_deg, degrees=True)) @ B_FROM_A
    views = search(8, b_from_a=tilted)
    link = find_link('a', 'b', views, ViewSearch())
    assert link.tilt_deg == pytest.approx(tilt_deg, abs=0.4)
    assert link.is_taken == (tilt_deg < 5)
    assert link.is_taken or 'against gravity' in link.reason
    assert find_link('a', 'b', views, ViewSearch(), knows_gravity=False).is_taken


def test_a_far_origin_does_not_spoil_the_link() -> None:
    far = make_pose(Rotation.from_euler('z', 10, degrees=True), np.array([900.0, 400.0, 0.0]))
    views = []
    for view in search(8).views:
        views.append(view._replace(room_from_camera=far @ view.room_from_camera))
    link = find_link('a', 'b', ViewSearch(20, views), ViewSearch())
    door = make_pose(None, link.center)
    assert link.is_taken and link.b_from_a is not None
    expected = B_FROM_A @ inverse(far) @ door
    assert pose_distance(link.b_from_a @ door, expected)[0] < 0.02
