"""Add the shell of a room, and windows, doors and ceiling lamps in it; meters throughout."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from demo import shapes, textures
from demo.room import Room
from demo.shapes import box, CELL_M, flat, Mesh, panel, tube
from demo.textures import Texture

WHITE = (0.80, 0.80, 0.78)
PIXELS_PER_M = 260
"""Resolution of paint: it has no sharp detail."""


class Opening(NamedTuple):
    """A doorway in a wall, from the floor up."""

    along: float
    """x or y of its center."""
    width: float = 0.9
    height: float = 2.05


def add_shell(
    room: Room,
    floor: Texture,
    walls: Mapping[str, Texture],
    *,
    floor_gloss: float = 0.0,
    skirting: Sequence[float] | None = None,
    cell_m: float = CELL_M,
    openings: Mapping[str, Sequence[Opening]] | None = None,
) -> None:
    """
    Add floor, white ceiling and the four walls; ``cell_m`` as `demo.shapes.CELL_M`.

    Walls and their skirtings are left out at the ``openings`` of each wall.
    """
    wide, deep, high = room.size_m
    middle = wide / 2, deep / 2
    room.add('floor', flat(wide, deep, cell_m).translate(*middle), floor, gloss=floor_gloss)
    ceiling = flat(wide, deep, cell_m).rotate(0, 180).translate(*middle, high)
    room.add('ceiling', ceiling, painted(room, (0.88, 0.88, 0.86), wide, deep))
    for wall, texture in walls.items():
        gaps = sorted((openings or {}).get(wall, ()))
        length = wall_length(room, wall)
        for along, up, piece in _wall_pieces(wall, length, high, gaps, cell_m):
            room.hang('wall', piece, texture, wall, along, up)
        if skirting is not None:
            for start, end in _solid_stretches(length, gaps):
                strip = box(end - start, 0.016, 0.09)
                room.hang('skirting', strip, skirting, wall, (start + end) / 2, 0.0, gap=0.008)


def _solid_stretches(length: float, openings: Sequence[Opening]) -> list[tuple[float, float]]:
    """Return from where to where a wall reaches the floor [m]; openings are in order."""
    ends = [0.0]
    for opening in openings:
        ends += [opening.along - opening.width / 2, opening.along + opening.width / 2]
    return list(zip(ends[::2], [*ends[1::2], length], strict=True))


def _wall_pieces(
    wall: str, length: float, high: float, openings: Sequence[Opening], cell_m: float
) -> Iterator[tuple[float, float, Mesh]]:
    """Cut a wall around its openings: place of each piece along the wall and up, and its mesh."""
    spans = [(*stretch, 0.0) for stretch in _solid_stretches(length, openings)]
    spans += [(o.along - o.width / 2, o.along + o.width / 2, o.height) for o in openings]
    toward = -1 if wall in ('south', 'east') else 1  # x of a panel that hangs there
    for start, end, bottom in spans:
        along, up = (start + end) / 2, (bottom + high) / 2
        piece = panel(end - start, high - bottom, cell_m)
        across = (piece.vertices[:, 0] + toward * (along - length / 2)) / length + 0.5
        uv = np.stack([across, (piece.vertices[:, 2] + up) / high], axis=1)
        yield along, up, piece._replace(uv=uv)


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


def add_doorway(
    room: Room,
    wall: str,
    opening: Opening,
    leaf: Texture | None = None,
    *,
    thickness_m: float,
    hinge: str = 'low',
) -> None:
    """
    Add the frame of an opening, and its open door where there is one.

    Parameters
    ----------
    room : Room
        The room on whose side of the wall the frame is.
    wall : str
        The wall of the opening.
    opening : Opening
        As it was given to `add_shell`.
    leaf : (H, W, 3) array, optional
        The door. With it comes the lining of the wall, once for the rooms on both sides.
    thickness_m : float
        Of the wall.
    hinge : {'low', 'high'}
        Side of the opening, along the axis of the wall, where the door opens into the room.
    """
    half, high = opening.width / 2, opening.height
    jambs = [box(0.07, 0.02, high + 0.07).translate(x, 0) for x in (-half - 0.035, half + 0.035)]
    jambs += [box(opening.width, 0.02, 0.07).translate(0, 0, high)]
    room.hang('jamb', shapes.join(*jambs), WHITE, wall, opening.along, 0.0, gap=0.01)
    if leaf is None:
        return
    lining = [box(0.02, thickness_m, high).translate(x, 0) for x in (-half + 0.01, half - 0.01)]
    lining += [box(opening.width, thickness_m, 0.02).translate(0, 0, high - 0.02)]
    lining += [box(opening.width, thickness_m, 0.02).translate(0, 0, -0.018)]
    middle = -thickness_m / 2
    room.hang('jamb', shapes.join(*lining), WHITE, wall, opening.along, 0.0, gap=middle)
    side = -1 if (hinge == 'low') == (wall in ('north', 'west')) else 1
    turn = -90 + 8 * side
    door = box(opening.width - 0.06, 0.04, high - 0.03, 1.6, 5).translate(half - 0.03, 0)
    knobs = [tube(0.011, 0.011, 0.07).rotate(0, roll_deg=roll) for roll in (90, -90)]
    knob = shapes.join(*knobs).translate(opening.width - 0.13, 0, 1.02)
    for name, mesh, material, gloss in (
        ('door', door, leaf, 0.5),
        ('knob', knob, (0.5, 0.5, 0.52), 1.0),
    ):
        swung = mesh.rotate(turn).translate(side * (half - 0.02), -0.03, 0.01)
        room.hang(name, swung, material, wall, opening.along, 0.0, gloss=gloss)


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
