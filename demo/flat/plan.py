"""
Draw the floor plan of a flat: rooms on both sides of a corridor, or two rooms with a door.

The frame of the flat: x along the corridor, y across it, z up, meters. A room is described in a
frame of its own, as in `demo.room`, with its door in the south wall and its window in the north
wall. Rooms south of the corridor are turned by 180 degrees.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import FloatArray, make_pose

WALL_M = 0.12
"""Thickness of the walls between two rooms."""
HEIGHT_M = 2.5
CORRIDOR_M = 1.7
"""Width of the corridor."""
CORRIDOR = 'corridor'
"""Name and kind of the space that is no room."""

KINDS = {
    'living': (4.4, 5.0),
    'bedroom': (4.1, 4.6),
    'study': (3.7, 4.3),
    'dining': (3.9, 4.5),
    'library': (3.7, 4.3),
    'workshop': (3.9, 4.5),
    'store': (3.5, 4.0),
}
"""Kinds of rooms, and their least and largest width."""
TWIN_KIND, TWIN_WIDTH_M = 'office', 4.0
DEPTH_M = (3.9, 4.3)
"""Least and largest depth of the rooms of a row."""
FEWEST_ROOMS = 4
"""A flat with a pair of twins and two rooms that differ."""


@dataclass(frozen=True)
class Space:
    """A room or the corridor, in its place."""

    name: str
    """Also that of its bag."""
    kind: str
    """A key of `KINDS`, `TWIN_KIND` or `CORRIDOR`."""
    low_m: tuple[float, float]
    """Lowest x and y of its floor in the flat."""
    size_m: tuple[float, float, float]
    """Extent along x, y and z; a turned room has the same."""
    seed: int
    """Seed of furniture, textures and places. Twins have the same."""
    marks_seed: int
    """Seed of the few things that differ between twins."""
    is_turned: bool = False
    """Whether the door is in the north."""
    door_m: float = 0.0
    """x of the center of the door in the room's own frame; no meaning in the corridor."""
    twin: str = ''
    """Name of the room that looks the same."""

    @property
    def high_m(self) -> tuple[float, float]:
        """Largest x and y of its floor in the flat."""
        return self.low_m[0] + self.size_m[0], self.low_m[1] + self.size_m[1]

    @property
    def flat_from_room(self) -> FloatArray:
        """Pose (4, 4) of the room's own frame in the flat."""
        if not self.is_turned:
            return make_pose(None, (*self.low_m, 0.0))
        return make_pose(Rotation.from_euler('z', 180, degrees=True), (*self.high_m, 0.0))

    @property
    def door_x_m(self) -> float:
        """The x of the center of the room's door in the flat."""
        if self.is_turned:
            return self.high_m[0] - self.door_m
        return self.low_m[0] + self.door_m

    def distance_m(self, positions: FloatArray) -> NDArray[np.float64]:
        """Return how far positions (N, 2 or more) of the flat are outside of the floor (N,)."""
        below = np.array(self.low_m) - positions[:, :2]
        above = positions[:, :2] - np.array(self.high_m)
        outside: NDArray[np.float64] = np.maximum(np.maximum(below, above), 0.0).max(axis=1)
        return outside


@dataclass(frozen=True)
class Door:
    """An opening that joins two spaces."""

    rooms: tuple[str, str]
    """The room whose door it is, and the space on the other side."""
    center_m: tuple[float, float]
    """Middle of the opening in the flat; its size is that of any `demo.building.Opening`."""


@dataclass(frozen=True)
class FloorPlan:
    """The spaces of a flat and the doors between them."""

    spaces: tuple[Space, ...]
    doors: tuple[Door, ...]
    seed: int

    @property
    def rooms(self) -> tuple[Space, ...]:
        """All spaces but the corridor."""
        return tuple(space for space in self.spaces if space.kind != CORRIDOR)

    @property
    def size_m(self) -> tuple[float, float, float]:
        """Extent of the flat along x, y and z; the lowest corner is the origin."""
        x, y = (max(space.high_m[axis] for space in self.spaces) for axis in (0, 1))
        return x, y, HEIGHT_M

    def space(self, name: str) -> Space:
        """Return a space by its name."""
        return next(space for space in self.spaces if space.name == name)

    def names_at(self, positions: FloatArray) -> list[str]:
        """Return the name of the nearest space of each position (N, 3) in the flat."""
        distances = np.stack([space.distance_m(positions) for space in self.spaces])
        return [self.spaces[index].name for index in distances.argmin(axis=0)]


def plan_flat(count: int, seed: int) -> FloorPlan:
    """
    Draw a flat of ``count`` rooms on a corridor; two of them are twins.

    Raises
    ------
    ValueError
        If there are fewer than `FEWEST_ROOMS`.
    """
    if count < FEWEST_ROOMS:
        raise ValueError(f'a flat has {FEWEST_ROOMS} rooms or more, not {count}')
    rng = np.random.default_rng([seed, count])
    kinds: list[str] = []
    while len(kinds) < count - 2:
        kinds += rng.permutation(list(KINDS)).tolist()
    kinds = kinds[: count - 2]
    south = count // 2
    row = int(rng.integers(2))  # of the twins
    begin, end = ((0, south), (south, count))[row]
    for _ in range(2):
        kinds.insert(int(rng.integers(begin, end - 1)), TWIN_KIND)
    rows = [kinds[:south], kinds[south:]]
    widths = [[_width(rng, kind) for kind in kinds] for kinds in rows]
    length = max(sum(row) + WALL_M * (len(row) - 1) for row in widths)
    depths = [round(float(depth), 2) for depth in rng.uniform(*DEPTH_M, 2)]
    corridor = (0.0, depths[0] + WALL_M), (length, CORRIDOR_M, HEIGHT_M)
    spaces = [Space(CORRIDOR, CORRIDOR, *corridor, *_seeds(rng))]
    for side, (row_kinds, row_widths) in enumerate(zip(rows, widths, strict=True)):
        free = [index for index, kind in enumerate(row_kinds) if kind != TWIN_KIND]
        spare = length - sum(row_widths) - WALL_M * (len(row_kinds) - 1)
        for index in free:
            row_widths[index] = round(row_widths[index] + spare / len(free), 2)
        x, y = 0.0, (0.0, depths[0] + CORRIDOR_M + 2 * WALL_M)[side]
        for kind, width in zip(row_kinds, row_widths, strict=True):
            name = f'room_{len(spaces)}'
            size = (width, depths[side], HEIGHT_M)
            door = _door(rng, width)
            spaces.append(Space(name, kind, (x, y), size, *_seeds(rng), side == 0, door))
            x += width + WALL_M
    spaces = _with_twins(spaces)
    doors = [_door_of(space, CORRIDOR) for space in spaces[1:]]
    return FloorPlan(tuple(spaces), tuple(doors), seed)


def plan_pair(seed: int) -> FloorPlan:
    """Draw two small rooms, ``room_a`` and ``room_b``, with a door between them."""
    rng = np.random.default_rng([seed, 2])
    width, depth = 3.9, 3.6
    spaces = []
    for name, kind, y, is_turned, door in (
        ('room_a', 'study', 0.0, True, width - 0.8),
        ('room_b', 'library', depth + WALL_M, False, 0.8),
    ):
        size = (width, depth, HEIGHT_M)
        spaces.append(Space(name, kind, (0.0, y), size, *_seeds(rng), is_turned, door))
    return FloorPlan(tuple(spaces), (_door_of(spaces[0], 'room_b'),), seed)


def _width(rng: np.random.Generator, kind: str) -> float:
    return TWIN_WIDTH_M if kind == TWIN_KIND else round(float(rng.uniform(*KINDS[kind])), 2)


def _seeds(rng: np.random.Generator) -> tuple[int, int]:
    first, second = rng.integers(1, 2**31, 2)
    return int(first), int(second)


def _door(rng: np.random.Generator, width: float) -> float:
    """Return where the door is: near either end of the wall."""
    margin = round(float(rng.uniform(0.72, 1.0)), 2)
    return margin if rng.random() < 0.5 else round(width - margin, 2)


def _with_twins(spaces: list[Space]) -> list[Space]:
    """Make the second office a twin of the first: only its place and its marks differ."""
    first, second = (space for space in spaces if space.kind == TWIN_KIND)
    twins = {
        first.name: Space(**{**vars(first), 'twin': second.name}),
        second.name: Space(
            **{**vars(second), 'seed': first.seed, 'door_m': first.door_m, 'twin': first.name}
        ),
    }
    return [twins.get(space.name, space) for space in spaces]


def _door_of(space: Space, other: str) -> Door:
    """Return the door of a room: in the wall that its own frame calls south."""
    y = space.high_m[1] + WALL_M / 2 if space.is_turned else space.low_m[1] - WALL_M / 2
    return Door((space.name, other), (space.door_x_m, y))
