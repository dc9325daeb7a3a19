"""Rooms are placed by links; a link that a loop contradicts, or space does, is refused."""

from collections.abc import Sequence
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.building.placement import link_sentences, room_sentences, solve_placement
from nerf_reversal_ros.building.placement_graph import RoomGraph
from nerf_reversal_ros.building.room_link import Link
from nerf_reversal_ros.core.geometry import FloatArray, inverse, make_pose, pose_distance
from nerf_reversal_ros.odometry.pose_chain import import_gtsam

NAMES = ('hall', 'lab', 'attic', 'bath', 'den')
TRUE = {
    name: make_pose(Rotation.from_euler('z', 70 * k, degrees=True), np.array([4.0 * k, k % 2, 0]))
    for k, name in enumerate(NAMES)
}
"""building_from_room; the hall's frame is the building's."""
STD_M, STD_RAD = 0.01, np.radians(0.3)


def link(a: str, b: str, seed: int = 0, wrong: FloatArray | None = None, **fields: object) -> Link:
    """Return a link with an error of its covariance, taken at a door two meters from a."""
    rng = np.random.default_rng([seed, *map(ord, a + b)])
    error = make_pose(
        Rotation.from_rotvec(rng.normal(0, STD_RAD / 4, 3)), rng.normal(0, STD_M / 4, 3)
    )
    center = np.array([2.0, 0.5, 1.4])
    at_door = make_pose(None, center)
    b_from_a = inverse(TRUE[b]) @ TRUE[a]
    b_from_a = b_from_a @ at_door @ error @ inverse(at_door)
    if wrong is not None:
        b_from_a = wrong @ b_from_a
    covariance = np.diag(np.repeat(np.square([STD_M, STD_RAD]), 3))
    values = {'tried': 20, 'accepted': (6, 6), 'agreeing': (6, 6), 'reason': '', **fields}
    values.setdefault('residual_m', 0.008)
    values.setdefault('residual_deg', 0.2)
    return Link(a, b, b_from_a=b_from_a, center=center, covariance=covariance, **values)


def graph(
    names: Sequence[str] = NAMES, known: dict[str, FloatArray] | None = None, *, gtsam: bool = True
) -> RoomGraph:
    return RoomGraph(names, known or {}, names, import_gtsam('the test') if gtsam else None)


def anywhere(*_: object) -> tuple[str, dict[str, object]]:
    """Judge that all rooms can lie everywhere."""
    return '', {}


def assert_right(placed: dict[str, FloatArray], names: Sequence[str]) -> None:
    assert sorted(placed) == sorted(names)
    for name in names:
        distance_m, angle_deg = pose_distance(placed[name], TRUE[name])
        assert distance_m < 0.05 and angle_deg < 1.0, name


@pytest.mark.parametrize('gtsam', [True, False])
def test_rooms_of_a_chain_lie_in_the_frame_of_the_first(gtsam: bool) -> None:
    links = [link('lab', 'hall'), link('lab', 'attic')]
    solved = solve_placement(graph(NAMES[:3], gtsam=gtsam), links, anywhere)
    assert_right(solved.building_from_room, NAMES[:3])
    np.testing.assert_allclose(solved.building_from_room['hall'], np.eye(4), atol=1e-9)
    assert room_sentences(solved) == ['3 rooms lie in one frame: hall, lab, attic']


def test_a_loop_is_averaged_and_told() -> None:
    links = [link('hall', 'lab'), link('lab', 'attic'), link('hall', 'attic')]
    solved = solve_placement(graph(NAMES[:3]), links, anywhere)
    assert_right(solved.building_from_room, NAMES[:3])
    tree = solve_placement(graph(NAMES[:3], gtsam=False), links, anywhere)
    moved = pose_distance(solved.building_from_room['attic'], tree.building_from_room['attic'])
    assert 1e-4 < moved[0] < 0.05
    assert all(0 < found.figures['loop_m'] < 0.05 for found in links)
    assert 'its loop closes to' in link_sentences(links)[0]


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('shift_m', [0.3, 3.0])
def test_one_wrong_link_among_several_loops_is_refused_and_no_other(
    seed: int, shift_m: float
) -> None:
    wrong = make_pose(Rotation.from_euler('z', 10, degrees=True), np.array([shift_m, 0, 0]))
    pairs = [(0, 1), (1, 2), (2, 3), (3, 4), (0, 2), (1, 3), (0, 4)]
    links = [link(NAMES[i], NAMES[j], seed) for i, j in pairs]
    links[1] = link(*NAMES[1:3], seed, wrong)
    solved = solve_placement(graph(), links, anywhere)
    assert [found.is_taken for found in links] == [True, False, True, True, True, True, True]
    assert 'the loop does not close' in links[1].reason
    assert_right(solved.building_from_room, NAMES)


def test_of_a_single_loop_the_least_certain_link_is_refused() -> None:
    wrong = make_pose(None, np.array([0.5, 0, 0]))
    links = [
        link('hall', 'lab'),
        link('lab', 'attic', wrong=wrong, agreeing=(5, 0)),
        link('hall', 'attic'),
    ]
    solved = solve_placement(graph(NAMES[:3]), links, anywhere)
    assert [found.is_taken for found in links] == [True, False, True]
    assert_right(solved.building_from_room, NAMES[:3])


def test_without_gtsam_a_link_that_closes_no_loop_is_refused_too() -> None:
    wrong = make_pose(None, np.array([0.5, 0, 0]))
    links = [
        link('hall', 'lab'),
        link('lab', 'attic', wrong=wrong, agreeing=(5, 0)),
        link('hall', 'attic'),
    ]
    solved = solve_placement(graph(NAMES[:3], gtsam=False), links, anywhere)
    assert [found.is_taken for found in links] == [True, False, True]
    assert_right(solved.building_from_room, NAMES[:3])


def test_rooms_that_nothing_links_keep_their_own_frame() -> None:
    links = [link('lab', 'attic'), link('bath', 'den'), link('hall', 'bath', reason='tilted')]
    solved = solve_placement(graph(), links, anywhere)
    assert list(solved.building_from_room) == ['lab', 'attic']
    assert room_sentences(solved) == [
        '2 rooms lie in one frame: lab, attic',
        'bath, den are linked with each other alone: their poses stay in their own frames',
        'hall is not linked: its poses stay in its own frame',
    ]
    assert link_sentences(links)[2] == 'link hall - bath refused: tilted'


def test_without_any_link_no_room_has_the_frame_of_the_building() -> None:
    assert solve_placement(graph(), [], anywhere).building_from_room == {}
    alone = solve_placement(graph(['hall']), [], anywhere).building_from_room
    np.testing.assert_array_equal(alone['hall'], np.eye(4))


def test_known_placements_are_kept_and_place_the_others() -> None:
    shifted = make_pose(Rotation.from_euler('z', 30, degrees=True), np.array([100.0, 50.0, 2.0]))
    known = {name: shifted @ TRUE[name] for name in ('lab', 'bath')}
    links = [link('hall', 'lab'), link('lab', 'attic'), link('attic', 'bath')]
    solved = solve_placement(graph(known=known), links, anywhere)
    placed = solved.building_from_room
    for name, pose in known.items():
        np.testing.assert_array_equal(placed[name], pose)
    assert_right({name: inverse(shifted) @ placed[name] for name in placed}, NAMES[:4])
    assert room_sentences(solved)[-1].startswith('den is not linked')


def test_a_link_that_contradicts_known_placements_is_refused() -> None:
    known = {name: TRUE[name] for name in ('hall', 'lab')}
    links = [link('hall', 'lab', wrong=make_pose(None, np.array([0.4, 0, 0])))]
    solved = solve_placement(graph(['hall', 'lab'], known), links, anywhere)
    assert '0.40 m' in links[0].reason and len(solved.building_from_room) == 2


def test_rooms_that_would_lie_in_each_other_lose_the_less_certain_link() -> None:
    """The den is taken for the lab, in the view from the hall; lab and den were never compared."""
    onto_lab = TRUE['den'] @ inverse(TRUE['lab'])
    links = [link('hall', 'lab'), link('hall', 'den', wrong=None, agreeing=(5, 0))]
    assert links[1].b_from_a is not None
    links[1].b_from_a = inverse(onto_lab @ TRUE['lab']) @ onto_lab @ TRUE['hall']
    links[1].b_from_a = inverse(TRUE['lab']) @ TRUE['hall']

    def judge(a: str, b: str, b_from_a: FloatArray) -> tuple[str, dict[str, object]]:
        is_same = {a, b} == {'lab', 'den'} and pose_distance(b_from_a, np.eye(4))[0] < 0.1
        return ('the rooms would be one place' if is_same else ''), {}

    links[0].covariance /= 4.0
    solved = solve_placement(graph(['hall', 'lab', 'den']), links, judge)
    assert [found.is_taken for found in links] == [True, False]
    assert 'lab and den cannot lie where they are: the rooms would be' in links[1].reason
    assert_right(solved.building_from_room, ['hall', 'lab'])


def test_of_two_equally_certain_links_neither_is_believed() -> None:
    links = [link('hall', 'lab'), link('hall', 'den')]

    def judge(a: str, b: str, _: FloatArray) -> tuple[str, dict[str, object]]:
        return ('one place' if {a, b} == {'lab', 'den'} else ''), {}

    solved = solve_placement(graph(['hall', 'lab', 'den']), links, judge)
    assert not any(found.is_taken for found in links) and solved.building_from_room == {}


def test_gtsam_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from nerf_reversal_ros.building.placement import open_gtsam

    monkeypatch.setitem(sys.modules, 'gtsam', None)
    links = [link('hall', 'lab'), link('lab', 'attic')]
    warnings: list[str] = []
    assert open_gtsam(links, warnings) is None
    assert 'needs gtsam' in warnings[0] and 'along the most certain links' in warnings[0]
    assert open_gtsam(links[:1], warnings) is None and len(warnings) == 1
