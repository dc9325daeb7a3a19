"""
Find places for the furniture of a room: along the walls, clear of door and window.

All coordinates are of the room's own frame, in meters: the door in the south, the window in the
north. What is left free is where the camera goes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from demo.flat.plan import Space, TWIN_KIND
from demo.room import YAW_DEG

GAP_M = 0.02
"""Between a piece and its wall."""
TALL_M = 1.25
"""Pieces above this height hide a window and leave no room for pictures."""
DOOR_ZONE_M = (0.6, 1.0)
"""Half width and depth of what stays free behind a door; it also holds the open leaf."""
LANE_M = 0.45
"""Half width of the way through a door."""
TRIES = 120
"""Layouts that are drawn; the one with most space for the camera is taken."""
POSTERS = 6


class Footprint(NamedTuple):
    """What a piece of furniture covers, with its back to a wall."""

    width: float
    depth: float
    height: float


FOOTPRINTS = {
    'bed': Footprint(2.72, 2.08, 1.1),
    'bookshelf': Footprint(1.36, 0.36, 2.25),
    'chest': Footprint(1.14, 0.48, 1.0),
    'coffee_corner': Footprint(2.24, 2.12, 0.95),
    'cupboard': Footprint(1.36, 0.54, 1.55),
    'desk': Footprint(2.06, 1.22, 1.26),
    'dining_table': Footprint(1.64, 1.36, 1.0),
    'parcels': Footprint(1.1, 0.56, 0.9),
    'plant': Footprint(1.05, 0.95, 1.15),
    'rack': Footprint(1.76, 0.56, 2.0),
    'sofa': Footprint(2.04, 0.9, 0.95),
    'wardrobe': Footprint(1.54, 0.64, 2.1),
    'workbench': Footprint(2.24, 0.74, 1.2),
}
"""Pieces of furniture by name; `demo.flat.pieces` draws them."""

CONTENTS = {
    'living': ('coffee_corner', 'cupboard', 'bookshelf', 'plant'),
    'bedroom': ('bed', 'wardrobe', 'chest', 'plant'),
    'study': ('desk', 'bookshelf', 'chest', 'parcels'),
    'dining': ('dining_table', 'cupboard', 'chest', 'plant'),
    'library': ('bookshelf', 'sofa', 'bookshelf', 'plant'),
    'workshop': ('workbench', 'rack', 'parcels', 'chest'),
    'store': ('rack', 'wardrobe', 'parcels', 'rack'),
    TWIN_KIND: ('desk', 'wardrobe', 'chest', 'plant'),
}
"""What stands in a room of each kind, the most important first; the last may be left out."""
REQUIRED = 3

Rectangle = tuple[float, float, float, float]
"""Lowest x and y, highest x and y."""


class Placed(NamedTuple):
    """A piece of furniture in its place."""

    piece: str
    wall: str
    along: float
    """x or y of its center."""
    covers: Rectangle


class Hung(NamedTuple):
    """A place for a picture."""

    wall: str
    along: float
    width: float


class Window(NamedTuple):
    """The window in the north wall."""

    along: float
    width: float
    sill: float = 1.0
    height: float = 1.15


@dataclass(frozen=True)
class Layout:
    """Where everything is in a room."""

    window: Window
    furniture: tuple[Placed, ...]
    pictures: tuple[Hung, ...]
    free: Rectangle
    """Free floor that begins at the door."""


@cache
def lay_out(space: Space) -> Layout:
    """
    Return the layout of a room; its seed decides.

    Raises
    ------
    ValueError
        If the furniture of its kind finds no place.
    """
    rng = np.random.default_rng([space.seed, 7])
    wide, deep, _ = space.size_m
    window = Window(float(rng.uniform(0.42, 0.58) * wide), float(rng.uniform(1.2, 1.6)))
    best: tuple[float, tuple[Placed, ...], Rectangle] | None = None
    for _ in range(TRIES):
        placed = _place_all(rng, space, window)
        if placed is None:
            continue
        free = _free_floor(space, [piece.covers for piece in placed])
        score = min(free[2] - free[0], 2.4) * min(free[3], 3.0) + 0.6 * len(placed)
        if best is None or score > best[0]:
            best = score, tuple(placed), free
    if best is None:
        raise ValueError(f'the furniture of a {space.kind} finds no place in {wide} x {deep} m')
    _, furniture, free = best
    return Layout(window, furniture, tuple(_hang(rng, space, window, furniture)), free)


def wall_rectangle(space: Space, wall: str, along: float, size: Footprint) -> Rectangle:
    """Return what a piece of furniture covers at a wall."""
    wide, deep, _ = space.size_m
    half, out = size.width / 2, size.depth + GAP_M
    if wall in ('south', 'north'):
        low = 0.0 if wall == 'south' else deep - out
        return along - half, low, along + half, low + out
    low = 0.0 if wall == 'west' else wide - out
    return low, along - half, low + out, along + half


def _place_all(rng: np.random.Generator, space: Space, window: Window) -> list[Placed] | None:
    """Draw places for the furniture of a room; None if a required piece finds none."""
    (half, zone), door = DOOR_ZONE_M, space.door_m
    taken: list[Rectangle] = [(door - half, 0.0, door + half, zone)]
    placed: list[Placed] = []
    for number, piece in enumerate(CONTENTS[space.kind]):
        size = FOOTPRINTS[piece]
        for wall in rng.permutation(list(YAW_DEG)).tolist():
            length = space.size_m[0] if wall in ('south', 'north') else space.size_m[1]
            if length < size.width:
                continue
            corner = float(rng.choice([-1, 1])) * (length - size.width) / 2 + length / 2
            along = corner if rng.random() < 0.6 else _between(rng, size.width, length)
            covers = wall_rectangle(space, wall, along, size)
            hides = wall == 'north' and size.height > window.sill + 0.3
            hides = hides and abs(along - window.along) < (size.width + window.width) / 2
            if not hides and not any(overlap(covers, other) for other in taken):
                taken.append(covers)
                placed.append(Placed(piece, wall, along, covers))
                break
        else:
            if number < REQUIRED:
                return None
    return placed


def _between(rng: np.random.Generator, width: float, length: float) -> float:
    return float(rng.uniform(width / 2, length - width / 2))


def overlap(a: Rectangle, b: Rectangle) -> bool:
    """Return whether two rectangles have more than a border in common."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _free_floor(space: Space, taken: Sequence[Rectangle]) -> Rectangle:
    """Return the free rectangle from the south wall that holds the way through the door."""
    wide, deep, _ = space.size_m
    lane = space.door_m - LANE_M, space.door_m + LANE_M
    lows = [0.0, *(r[2] for r in taken if r[2] <= lane[0])]
    highs = [wide, *(r[0] for r in taken if r[0] >= lane[1])]
    best = (*lane[:1], 0.0, *lane[1:], 0.0)
    for low in lows:
        for high in highs:
            within = [r[1] for r in taken if r[0] < high and low < r[2]]
            top = min([deep, *within])
            if (high - low - 0.7) * (top - 0.7) > (best[2] - best[0] - 0.7) * (best[3] - 0.7):
                best = low, 0.0, high, top
    return best


def _hang(
    rng: np.random.Generator, space: Space, window: Window, furniture: Sequence[Placed]
) -> Iterator[Hung]:
    """Yield places for pictures: beside door, window and tall furniture, and each other."""
    taken: dict[str, list[tuple[float, float]]] = {wall: [] for wall in YAW_DEG}
    taken['south'].append((space.door_m - 0.62, space.door_m + 0.62))
    taken['north'].append((window.along - window.width / 2, window.along + window.width / 2))
    side = 'west' if space.door_m < space.size_m[0] / 2 else 'east'
    taken[side].append((0.0, 1.0))  # the open leaf
    for piece, wall, along, _ in furniture:
        width, _, height = FOOTPRINTS[piece]
        if height > TALL_M:
            taken[wall].append((along - width / 2, along + width / 2))
    for wall, (start, end) in _beside_tall(space, furniture):
        taken[wall].append((start, end))
    found = 0
    for _ in range(400):
        wall = str(rng.choice(list(YAW_DEG)))
        length = space.size_m[0] if wall in ('south', 'north') else space.size_m[1]
        width = float(rng.uniform(0.45, 0.95))
        along = float(rng.uniform(0.15 + width / 2, length - 0.15 - width / 2))
        reach = along - width / 2 - 0.12, along + width / 2 + 0.12
        if all(reach[1] < start or reach[0] > end for start, end in taken[wall]):
            taken[wall].append(reach)
            yield Hung(wall, along, width)
            found += 1
        if found == POSTERS:
            return


def _beside_tall(
    space: Space, furniture: Sequence[Placed]
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield what the ends of tall pieces cover of the walls that they touch with a side."""
    wide, deep, _ = space.size_m
    for piece, _, _, (x0, y0, x1, y1) in furniture:
        if FOOTPRINTS[piece].height > TALL_M:
            for wall, touches, span in (
                ('west', x0 < 0.3, (y0, y1)),
                ('east', x1 > wide - 0.3, (y0, y1)),
                ('south', y0 < 0.3, (x0, x1)),
                ('north', y1 > deep - 0.3, (x0, x1)),
            ):
                if touches:
                    yield wall, span
