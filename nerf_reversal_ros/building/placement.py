"""
Place the rooms of a building: links between rooms, checked alone and together, solved as a graph.

A link is refused if too few images agree, if both directions contradict each other, if it tilts a
room against gravity, if what one room shows would stand in the free space of the other, or if a
loop of links does not close. No wrong placement is worth more than a missing one: a room that no
link holds keeps a frame of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from nerf_reversal_ros.building.link_search import (
    Direction,
    RoomRanking,
    search_shared_views,
    ViewSearch,
)
from nerf_reversal_ros.building.placement_graph import (
    CHI2_LIMIT,
    RoomGraph,
    uncertainty,
)
from nerf_reversal_ros.building.room_link import find_link, Link
from nerf_reversal_ros.building.room_overlap import (
    measure_overlap,
    overlap_fault,
    overlap_figures,
    RoomShape,
)
from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.geometry import FloatArray, inverse
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.maps.map_folder import Map
from nerf_reversal_ros.odometry.pose_chain import import_gtsam

PURPOSE = 'averaging the loops of a building'
MAX_DOUBT_RATIO = 2.0
"""Ratio of the variances of two links up to which nothing tells which of them is false."""
SUSPECT_RATIO = 0.8
"""Smallest ratio to the largest contradiction with a loop at which a link may be the false one: in
a single loop all links contradict the others by the same."""
UNKNOWN_UP = 'average camera up'
"""Source of the up direction of a map that tells gravity too roughly to test a link."""


@dataclass(frozen=True)
class Placement:
    """Where the rooms of a building lie, and why."""

    building_from_room: dict[str, FloatArray | None]
    """(4, 4) of each room, in the order of the plan; None if nothing links it."""
    links: list[dict[str, Any]]
    """Plain JSON, an entry for each pair of rooms that was tried: `Link.as_dict`."""
    sentences: list[str] = field(default_factory=list)
    """The same in words, for the console."""


def place_rooms(
    rooms: Mapping[str, Map],
    captures: Mapping[str, Capture],
    index: RoomRanking,
    known: Mapping[str, FloatArray],
    *,
    progress: ProgressCallback = no_progress,
) -> Placement:
    """
    Find how rooms lie to each other.

    Parameters
    ----------
    rooms : mapping of Map
        Maps by name of the room, in the order of the plan.
    captures : mapping of Capture
        The walk through each room, with poses in the frame of its map. A room may lack one.
    index : RoomRanking
        Ranks the rooms for an image, such as `ViewIndex`.
    known : mapping of (4, 4) arrays
        Known placements, ``building_from_room``; they are kept as they are.
    progress : callback
        Receives reports of the stage ``placement``.

    Returns
    -------
    Placement
        The frame of the building is that of the known placements; without any, it is that of the
        first room of the largest group of linked rooms.

    Raises
    ------
    MapError, CaptureError
        If a map or a bag cannot be read.
    """
    searches = search_shared_views(rooms, captures, index, progress) if len(rooms) > 1 else {}
    links = find_links(rooms, searches)
    warnings: list[str] = []
    upright = [name for name, map_ in rooms.items() if is_upright(map_)]
    graph = RoomGraph(list(rooms), known, upright, open_gtsam(links, warnings))
    solved = solve_placement(graph, links, RoomOverlaps(rooms))
    return Placement(
        {name: solved.building_from_room.get(name) for name in rooms},
        [link.as_dict() for link in links],
        [*link_sentences(links), *room_sentences(solved), *warnings],
    )


def find_links(rooms: Mapping[str, Map], searches: Mapping[Direction, ViewSearch]) -> list[Link]:
    """Return what was found between each pair of rooms that was tried, in their order."""
    nothing = ViewSearch()
    links = []
    for a, b in combinations(rooms, 2):
        if (a, b) in searches or (b, a) in searches:
            a_in_b, b_in_a = searches.get((a, b), nothing), searches.get((b, a), nothing)
            knows_gravity = is_upright(rooms[a]) and is_upright(rooms[b])
            links.append(find_link(a, b, a_in_b, b_in_a, knows_gravity=knows_gravity))
    return links


class RoomOverlaps:
    """
    Judges whether rooms can lie as they are placed, by their maps; shapes are loaded once.

    Parameters
    ----------
    rooms : mapping of Map
        Maps by name of the room.
    """

    def __init__(self, rooms: Mapping[str, Map]) -> None:
        self._rooms = rooms
        self._shapes: dict[str, RoomShape] = {}

    def __call__(self, a: str, b: str, b_from_a: FloatArray) -> tuple[str, dict[str, Any]]:
        """Return why ``b_from_a`` (4, 4) cannot be, empty if it can, and figures in JSON."""
        shape_a, shape_b = self._shape(a), self._shape(b)
        of_a = measure_overlap(shape_a, shape_b, b_from_a)
        of_b = measure_overlap(shape_b, shape_a, inverse(b_from_a))
        return overlap_fault(of_a, of_b), overlap_figures(of_a, of_b)

    def _shape(self, name: str) -> RoomShape:
        if name not in self._shapes:
            self._shapes[name] = RoomShape.of_map(self._rooms[name])
        return self._shapes[name]


OverlapJudge = Callable[[str, str, FloatArray], tuple[str, dict[str, Any]]]
"""`RoomOverlaps`, or what judges instead of it."""


@dataclass(frozen=True)
class SolvedGraph:
    """Rooms that are placed, and the groups of those that are not."""

    building_from_room: dict[str, FloatArray]
    """(4, 4) of the rooms of the building's group."""
    groups: list[list[str]]
    """Rooms that are linked with each other, those of the building first."""


def solve_placement(graph: RoomGraph, links: Sequence[Link], judge: OverlapJudge) -> SolvedGraph:
    """
    Place rooms by links; refuse those that cannot be, one after another, until all fit.

    Parameters
    ----------
    graph : RoomGraph
        Of all rooms.
    links : sequence of Link
        Refused ones get their reason, others their loop and overlap in ``figures``.
    judge : callable
        Says whether two rooms can lie so.
    """
    for link in links:
        if link.is_taken and link.b_from_a is not None:
            link.reason, figures = judge(link.a, link.b, link.b_from_a)
            link.figures.update(figures)
    cleared: set[tuple[str, ...]] = set()
    while True:
        taken = [link for link in links if link.is_taken]
        if _refuse_by_loop(graph, taken):
            continue
        groups = graph.groups(taken)
        solved = [graph.solve(group, taken) for group in groups]
        if any(_refuse_by_overlap(graph, taken, poses, judge, cleared) for poses in solved):
            continue
        is_building = len(groups[0]) > 1 or bool(graph.known) or len(graph.names) == 1
        return SolvedGraph(solved[0] if is_building else {}, groups)


def _refuse_by_loop(graph: RoomGraph, taken: Sequence[Link]) -> bool:
    """Refuse the link that differs most from the others, if any does; return whether it did."""
    errors = graph.loop_errors(taken)
    for link, error in zip(taken, errors, strict=True):
        if error is not None:
            link.figures['loop_m'] = round(error.distance_m, 5)
            link.figures['loop_deg'] = round(error.angle_deg, 4)
    open_loops = [
        (link, error)
        for link, error in zip(taken, errors, strict=True)
        if error is not None and error.chi2 > CHI2_LIMIT
    ]
    if not open_loops:
        return False
    suspect = SUSPECT_RATIO * max(error.chi2 for _, error in open_loops)
    link, error = max(
        ((link, error) for link, error in open_loops if error.chi2 >= suspect),
        key=lambda item: (uncertainty(item[0]), item[1].chi2),
    )
    link.reason = (
        f'the loop does not close: it is {error.distance_m:.2f} m, {error.angle_deg:.1f} deg from'
        ' what the other links say'
    )
    return True


def _refuse_by_overlap(
    graph: RoomGraph,
    taken: Sequence[Link],
    poses: Mapping[str, FloatArray],
    judge: OverlapJudge,
    cleared: set[tuple[str, ...]],
) -> bool:
    """
    Refuse the least certain link between two rooms that cannot lie as they are placed.

    So is the other end of the chain between them, if it is hardly more certain: nothing tells
    which of both is false. Pairs that can lie so are ``cleared`` until a link of them is refused.
    """
    for a, b in combinations(poses, 2):
        path = graph.tree_path(a, b, taken)
        key = (a, b, *(f'{link.a}/{link.b}' for link in path))
        if key in cleared or not path:
            continue
        fault, _ = judge(a, b, inverse(poses[b]) @ poses[a])
        if not fault:
            cleared.add(key)
            continue
        weakest = max(uncertainty(link) for link in path)
        ends = {id(path[0]), id(path[-1])}
        for link in path:
            doubt = uncertainty(link)
            if doubt == weakest or (id(link) in ends and MAX_DOUBT_RATIO * doubt > weakest):
                link.reason = f'with it, {a} and {b} cannot lie where they are: {fault}'
        return True
    return False


def link_sentences(links: Sequence[Link]) -> list[str]:
    """Return a sentence on each link that was found: how certain it is, or why it is refused."""
    sentences = []
    for link in links:
        if not any(link.accepted):
            continue
        images = f'{sum(link.agreeing)} of {sum(link.accepted)} localized images agree'
        if link.b_from_a is not None and link.residual_m is not None:
            images += f' ({100 * link.residual_m:.1f} cm, {link.residual_deg:.1f} deg)'
        if not link.is_taken:
            sentences.append(f'link {link.a} - {link.b} refused: {link.reason}')
            continue
        loop = ''
        if 'loop_m' in link.figures:
            loop = (
                f'; its loop closes to {100 * link.figures["loop_m"]:.1f} cm,'
                f' {link.figures["loop_deg"]:.1f} deg'
            )
        sentences.append(f'link {link.a} - {link.b}: {images}{loop}')
    return sentences


def room_sentences(solved: SolvedGraph) -> list[str]:
    """Return a sentence on the rooms that are placed, and on each that is not."""
    placed, sentences = solved.building_from_room, []
    if len(placed) > 1:
        sentences.append(f'{len(placed)} rooms lie in one frame: {", ".join(placed)}')
    for group in solved.groups:
        unplaced = [name for name in group if name not in placed]
        if len(unplaced) == 1:
            sentences.append(f'{unplaced[0]} is not linked: its poses stay in its own frame')
        elif unplaced:
            sentences.append(
                f'{", ".join(unplaced)} are linked with each other alone: their poses stay in'
                ' their own frames'
            )
    return sentences


def is_upright(map_: Map) -> bool:
    """Return whether z of a map is up by more than the average camera."""
    convention = map_.convention
    return convention.of_bag and convention.up_source != UNKNOWN_UP


def open_gtsam(links: Sequence[Link], warnings: list[str]) -> Any | None:
    """Return gtsam; add a warning if it is missing, and links may form a loop."""
    try:
        return import_gtsam(PURPOSE)
    except ConfigError as error:
        if sum(link.is_taken for link in links) > 1:
            warnings.append(f'warning: {error}; rooms are placed along the most certain links')
        return None
