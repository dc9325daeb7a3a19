"""Add the shell of a room, and windows, doors and ceiling lamps in it; meters throughout."""

from collections.abc import Mapping, Sequence

from demo import shapes, textures
from demo.room import Room
from demo.shapes import box, CELL_M, flat, panel, tube
from demo.textures import Texture

WHITE = (0.80, 0.80, 0.78)
PIXELS_PER_M = 260
"""Resolution of paint: it has no sharp detail."""


def add_shell(
    room: Room,
    floor: Texture,
    walls: Mapping[str, Texture],
    *,
    floor_gloss: float = 0.0,
    skirting: Sequence[float] | None = None,
    cell_m: float = CELL_M,
) -> None:
    """Add floor, white ceiling and the four walls; ``cell_m`` as `demo.shapes.CELL_M`."""
    wide, deep, high = room.size_m
    middle = wide / 2, deep / 2
    room.add('floor', flat(wide, deep, cell_m).translate(*middle), floor, gloss=floor_gloss)
    ceiling = flat(wide, deep, cell_m).rotate(0, 180).translate(*middle, high)
    room.add('ceiling', ceiling, painted(room, (0.88, 0.88, 0.86), wide, deep))
    for wall, texture in walls.items():
        length, along = wall_length(room, wall), wall_length(room, wall) / 2
        room.hang('wall', panel(length, high, cell_m), texture, wall, along, high / 2)
        if skirting is not None:
            strip = box(length, 0.016, 0.09)
            room.hang('skirting', strip, skirting, wall, along, 0.0, gap=0.008)


def wall_length(room: Room, wall: str) -> float:
    """Return the length of a wall [m]."""
    return room.size_m[0] if wall in ('south', 'north') else room.size_m[1]


def painted(room: Room, color: Sequence[float], width: float, height: float) -> Texture:
    """Paint a wall of that size [m], at most 4 m of it: paint may be stretched."""
    size = (int(PIXELS_PER_M * min(length, 4.0)) for length in (height, width))
    return textures.paint(room.rng, color, *size)


def add_window(
    room: Room, wall: str, along: float, sill: float, width: float, height: float
) -> None:
    """Add a window as a light named ``window_`` and the wall, with its frame."""
    pane = panel(width, height).translate(0, 0, height / 2)
    room.hang(f'window_{wall}', pane, WHITE, wall, along, sill, gap=0.02, light=True)
    bars = [box(width + 0.12, 0.06, 0.06).translate(0, 0, z) for z in (-0.06, height)]
    bars += [box(0.06, 0.06, height).translate(x, 0) for x in (-width / 2, width / 2)]
    bars += [box(0.04, 0.06, height)]
    room.hang('frame', shapes.join(*bars), WHITE, wall, along, sill, gap=0.03, gloss=0.5)


def add_door(
    room: Room, wall: str, along: float, leaf: Texture, *, width: float = 0.86, seed: int = 5
) -> None:
    """Add a closed door with jambs and a knob."""
    door = box(width, 0.04, 2.02, 1.6, seed)
    room.hang('door', door, leaf, wall, along, 0.0, gap=0.02, gloss=0.5)
    half = width / 2 + 0.035
    jambs = [box(0.07, 0.06, 2.09).translate(x, 0) for x in (-half, half)]
    jambs += [box(width + 0.14, 0.06, 0.07).translate(0, 0, 2.04)]
    room.hang('jamb', shapes.join(*jambs), WHITE, wall, along, 0.0, gap=0.03)
    knob = tube(0.011, 0.011, 0.12).rotate(0, 90).translate(-width / 2 + 0.07, -0.07)
    room.hang('knob', knob, (0.5, 0.5, 0.52), wall, along, 1.02, gap=0.02, gloss=1.0)


def add_ceiling_lamps(
    room: Room, centers: Sequence[tuple[float, float]], size: tuple[float, float, float]
) -> None:
    """
    Hang equal lamps, one light ``lamp_ceiling``: x, y of each, and width, depth and drop.

    They shine down only: a bright spot of ceiling above a lamp would make the baked light uneven.
    """
    width, depth, drop = size
    panes, bodies = [], []
    for x, y in centers:
        z = room.size_m[2] - drop
        panes.append(flat(width, depth).rotate(0, 180).translate(x, y, z))
        bodies.append(box(width + 0.02, depth + 0.02, 0.06).translate(x, y, z + 0.002))
    room.add('lamp_ceiling', shapes.join(*panes), (0.1, 0.1, 0.1), light=True)
    room.add('fitting', shapes.join(*bodies), WHITE)
