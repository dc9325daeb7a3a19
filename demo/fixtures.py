"""Add things that several rooms share: tables, racks, small objects; meters throughout."""

from collections.abc import Sequence

import numpy as np

from demo import shapes, surfaces, textures
from demo.room import Room
from demo.shapes import box, cushion, disc, tube
from demo.textures import Texture

Area = tuple[float, float, float, float]
"""Rectangle of a level surface: lowest x and y, highest x and y [m]."""


def add_table(
    room: Room,
    x: float,
    y: float,
    size: tuple[float, float, float],
    top: Texture,
    leg: Sequence[float] | Texture,
    yaw_deg: float = 0.0,
) -> None:
    """Add a table of a width, depth and height with four legs."""
    width, depth, height = size
    plate = box(width, depth, 0.04, 1.4, int(100 * x)).translate(0, 0, height - 0.04)
    legs = [
        box(0.05, 0.05, height - 0.04).translate(a * (width / 2 - 0.05), b * (depth / 2 - 0.05))
        for a in (-1, 1)
        for b in (-1, 1)
    ]
    with room.placed(x, y, yaw_deg):
        room.add('table', plate, top, gloss=0.3)
        room.add('table', shapes.join(*legs), leg)


def add_rack(
    room: Room,
    x: float,
    y: float,
    size: tuple[float, float, float],
    levels: Sequence[float],
    yaw_deg: float,
    goods: float = 1.0,
) -> None:
    """Add a rack of steel with its front toward -y, full of goods of a size times ``goods``."""
    width, depth, height = size
    steel = surfaces.metal(room.rng, 200, 300, (0.30, 0.34, 0.38))
    posts = [
        box(0.04, 0.04, height).translate(a * (width / 2), b * (depth / 2))
        for a in (-1, 1)
        for b in (-1, 1)
    ]
    shelves = [box(width, depth, 0.03, 0.8, i).translate(0, 0, z) for i, z in enumerate(levels)]
    with room.placed(x, y, yaw_deg):
        room.add('rack', shapes.join(*posts, *shelves), steel)
        for z in levels:
            _add_row(room, (-width / 2 + 0.04, width / 2 - 0.04), z + 0.03, depth, goods)


def _add_row(
    room: Room, extent: tuple[float, float], z: float, depth: float, goods: float
) -> None:
    """Put boxes, cans and cases side by side."""
    rng, (x, end) = room.rng, extent
    while True:
        width, height = goods * rng.uniform(0.12, 0.34), goods * rng.uniform(0.10, 0.26)
        if x + width > end:
            return
        center, front = x + width / 2, rng.uniform(-0.1, 0.05) * depth
        kind = rng.integers(4)
        if kind == 0:
            radius = min(width, 0.8 * depth) / 2
            can = shapes.join(tube(radius, radius, height), disc(radius).translate(0, 0, height))
            label = textures.concert(rng, 120, 380)
            room.add('can', can.translate(center, front, z), label, gloss=0.5)
        else:
            pick = (textures.cardboard, textures.shapes, textures.cardboard)[kind - 1]
            side = pick(rng, int(500 * height) + 60, int(500 * width) + 60)
            body = box(width, 0.75 * depth, height).rotate(rng.normal(0, 4))
            room.add('box', body.translate(center, front, z), side)
        x += width + rng.uniform(0.01, 0.06) * goods


def add_wardrobe(room: Room, front: Texture, wall: str, along: float) -> None:
    """Add a wardrobe of 1.5 m with two doors at a wall; ``along`` is x or y of its center."""
    body = box(1.5, 0.56, 2.05, 1.6, 7)
    room.hang('wardrobe', body, front, wall, along, 0.0, gap=0.28, gloss=0.2)
    for offset in (-0.37, 0.37):
        door = box(0.72, 0.02, 1.9, 1.6, int(20 + 10 * offset))
        room.hang('wardrobe', door, front, wall, along + offset, 0.08, gap=0.57, gloss=0.2)
        knob = cushion(0.035, 0.035, 0.035, 1.0)
        room.hang('knob', knob, (0.3, 0.25, 0.2), wall, along + 0.12 * offset, 1.0, gap=0.6)


def add_chest(room: Room, front: Texture, wall: str, along: float) -> None:
    """Add a chest of 1.1 m with three drawers at a wall; ``along`` is x or y of its center."""
    body = box(1.1, 0.42, 0.78, 1.2, 9)
    room.hang('chest', body, front, wall, along, 0.0, gap=0.21, gloss=0.2)
    for z in (0.06, 0.30, 0.54):
        drawer = box(1.04, 0.02, 0.21, 1.2, int(50 * z))
        room.hang('drawer', drawer, front, wall, along, z, gap=0.43, gloss=0.2)


def scatter(room: Room, area: Area, z: float, count: int, size: float = 1.0) -> None:
    """Lay small things on a surface: tins, cases, papers, tools, balls; they may touch."""
    rng = room.rng
    low, high = np.array(area[:2]), np.array(area[2:])
    for _ in range(count):
        (x, y), yaw = rng.uniform(low, high), rng.uniform(0, 360)
        kind, scale = rng.integers(5), size * rng.uniform(0.7, 1.3)
        color = [c / 300 for c in textures.bright(rng, 0.7, 0.8)]
        if kind == 0:
            body = shapes.join(tube(0.05, 0.05, 0.12), disc(0.05).translate(0, 0, 0.12))
            label = textures.stained_glass(rng, 60, 200, 20)
            tin = body._replace(vertices=body.vertices * scale)
            room.add('tin', tin.translate(x, y, z), label, gloss=0.5)
        elif kind == 1:
            case = box(0.22 * scale, 0.14 * scale, 0.10 * scale).rotate(yaw).translate(x, y, z)
            room.add('case', case, textures.patterned(rng, 100, 160, 18))
        elif kind == 2:
            paper = shapes.flat(0.21 * scale, 0.297 * scale).rotate(yaw)
            lift = rng.uniform(0.002, 0.006)
            room.add('paper', paper.translate(x, y, z + lift), textures.science(rng, 300, 210))
        elif kind == 3:
            grip = cushion(0.12 * scale, 0.035, 0.03, 0.4).translate(0.06 * scale, 0, 0.017)
            blade = box(0.16 * scale, 0.014, 0.008).translate(-0.08 * scale, 0, 0.012)
            room.add('tool', grip.rotate(yaw).translate(x, y, z), color, gloss=0.5)
            steel = (0.35, 0.35, 0.36)
            room.add('tool', blade.rotate(yaw).translate(x, y, z), steel, gloss=1.0)
        else:
            ball = cushion(0.09 * scale, 0.09 * scale, 0.09 * scale, 1.0)
            room.add('ball', ball.translate(x, y, z + 0.045 * scale), color, gloss=0.3)


def add_parcels(room: Room, spots: Sequence[tuple[float, ...]]) -> None:
    """Stack parcels: x, y, z, width, depth, height and yaw of each."""
    for x, y, z, width, depth, height, yaw in spots:
        side = textures.cardboard(room.rng, 300, 380)
        room.add('parcel', box(width, depth, height).rotate(yaw).translate(x, y, z), side)
