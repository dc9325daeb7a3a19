"""Add the furniture of the demo room; positions and sizes in meters, in the frame of the room."""

import numpy as np

from demo import shapes, textures
from demo.room import Room
from demo.shapes import box, cushion, disc, flat, panel, tube

DESK_HEIGHT_M = 0.74


def add_sofa(room: Room) -> None:
    """Add the sofa, cushions and a throw, below the posters."""
    rng = room.rng
    cloth = textures.cloth(rng, (0.27, 0.37, 0.47), 500, 700)
    room.add('sofa', box(1.9, 0.8, 0.22, 0.9, 1).translate(1.4, 0.46, 0.12), cloth)
    room.add('sofa', cushion(1.9, 0.24, 0.62, 0.25).translate(1.4, 0.16, 0.55), cloth)
    for x in (0.5, 2.3):
        room.add('sofa', cushion(0.2, 0.86, 0.5, 0.3).translate(x, 0.45, 0.38), cloth)
    for x in (1.0, 1.8):
        room.add('sofa', cushion(0.78, 0.64, 0.2, 0.25).translate(x, 0.53, 0.42), cloth)
        room.add(
            'sofa',
            cushion(0.76, 0.2, 0.46, 0.35).rotate(0, roll_deg=14).translate(x, 0.31, 0.68),
            cloth,
        )
    for x, y, yaw, tilt in ((0.75, 0.5, 24, 24), (1.5, 0.5, -12, 30), (2.05, 0.5, -28, 22)):
        pillow = cushion(0.44, 0.15, 0.42, 0.55).rotate(0, roll_deg=tilt).rotate(yaw)
        room.add('pillow', pillow.translate(x, y, 0.71), textures.patterned(rng, 260, 260, 34))
    rows, columns = np.meshgrid(np.linspace(0, 1, 24), np.linspace(0, 0.5, 10), indexing='ij')
    over = np.stack([1.13 + columns, 0.72 + 0.22 * np.cos(3 * rows), 0.545 + 0 * rows], -1)
    over[..., 1] = np.clip(0.46 + rows * 0.5, 0, 0.885)
    over[..., 2] = np.where(rows < 0.85, 0.535, 0.535 - (rows - 0.85) * 1.6)
    over[..., 2] += 0.006 * np.sin(columns * 40)
    room.add('throw', shapes.sheet(over), textures.patterned(rng, 420, 260, 50))


def add_bookshelf(room: Room) -> None:
    """Add the bookshelf with books and ornaments."""
    rng = room.rng
    board = textures.wood(rng, 500, 800, (0.75, 0.7, 0.66))
    x, y0, y1, depth, top = 0.16, 1.05, 2.35, 0.30, 1.95
    for y in (y0, y1):
        room.add('shelf', box(depth, 0.025, top, 1.2, int(y * 9)).translate(x, y), board)
    room.add('shelf', box(0.012, y1 - y0, top, 1.2, 4).translate(0.012, (y0 + y1) / 2), board)
    levels = (0.06, 0.43, 0.80, 1.17, 1.54, 1.93)
    for z in levels:
        width = y1 - y0
        room.add(
            'shelf',
            box(depth, width, 0.025, 1.2, int(z * 9)).translate(x, (y0 + y1) / 2, z),
            board,
        )
    for z in levels[:-1]:
        y = y0 + 0.03
        while y < y1 - 0.07:
            if rng.random() < 0.06 and y < y1 - 0.3:
                y = _add_ornament(room, x, y, z + 0.025)
                continue
            thick, tall = rng.uniform(0.02, 0.05), rng.uniform(0.20, 0.31)
            tilt = -9 if rng.random() < 0.05 else 0
            book = box(thick, rng.uniform(0.15, 0.22), tall).rotate(90).rotate(0, roll_deg=tilt)
            back = textures.spine(rng, int(tall * 900), max(18, int(thick * 900)))
            room.add('book', book.translate(x + 0.02, y + thick / 2, z + 0.025), back, gloss=0.3)
            y += thick + (0.004 if not tilt else 0.04)
    for y, tall, color in ((1.2, 0.2, (0.5, 0.2, 0.1)), (1.38, 0.13, (0.1, 0.3, 0.35))):
        pot = shapes.join(tube(0.05, 0.08, tall), disc(0.05))
        room.add('vase', pot.translate(0.17, y, top + 0.006), color, gloss=1.0)
    room.add(
        'box',
        box(0.24, 0.34, 0.17).rotate(90).translate(0.17, 1.75, top + 0.006),
        textures.cardboard(rng, 200, 380),
    )
    room.add(
        'globe',
        cushion(0.24, 0.24, 0.24, 1.0).translate(0.17, 2.15, top + 0.16),
        textures.city_map(rng, 300, 500),
        gloss=0.8,
    )
    room.add('globe', tube(0.07, 0.02, 0.05).translate(0.17, 2.15, top + 0.006), (0.2, 0.12, 0.06))


def _add_ornament(room: Room, x: float, y: float, z: float) -> float:
    """Put a vase or a photo on a shelf; return the y where the next object may start [m]."""
    rng = room.rng
    if rng.random() < 0.5:
        pot = shapes.join(tube(0.05, 0.065, 0.16), disc(0.05))
        room.add(
            'vase',
            pot.translate(x, y + 0.08, z),
            [c / 400 for c in textures.bright(rng)],
            gloss=1.0,
        )
        return y + 0.17
    photo = textures.add_frame(textures.landscape(rng, 200, 150), 8, (200, 190, 170))
    frame = box(0.16, 0.015, 0.21).rotate(0, roll_deg=-8).rotate(84)
    room.add('photo', frame.translate(x + 0.06, y + 0.1, z), photo)
    return y + 0.2


def add_desk(room: Room) -> None:
    """Add the desk under the window: monitor, keyboard, papers, chairs."""
    rng = room.rng
    oak = textures.wood(rng, 600, 900, (1.2, 1.15, 1.05))
    x, y, top = 3.62, 3.44, DESK_HEIGHT_M
    room.add('desk', box(1.5, 0.68, 0.035, 1.2, 1).translate(x, y, top - 0.035), oak, gloss=0.5)
    for offset in (-0.7, 0.7):
        room.add('desk', box(0.04, 0.62, top - 0.035, 1.2, 2).translate(x + offset, y), oak)
    room.add('desk', box(0.4, 0.5, 0.5, 1.2, 3).translate(x + 0.47, y, 0.2), oak)
    for z in (0.22, 0.38, 0.54):
        room.add(
            'drawer',
            box(0.38, 0.02, 0.14, 1.2, int(z * 50)).translate(x + 0.47, y - 0.255, z),
            textures.wood(rng, 200, 400, (0.95, 0.9, 0.85)),
        )
        room.add(
            'drawer', box(0.1, 0.015, 0.012).translate(x + 0.47, y - 0.27, z + 0.07), (0.1,) * 3
        )
    _add_computer(room)
    _add_desk_objects(room)
    add_chair(room, 3.5, 2.86, 200)
    add_chair(room, 2.62, 3.36, 65)


def _add_computer(room: Room) -> None:
    rng, top = room.rng, DESK_HEIGHT_M
    room.add(
        'monitor',
        box(0.62, 0.035, 0.37).rotate(-8).translate(3.66, 3.62, top + 0.1),
        (0.03, 0.03, 0.035),
        gloss=0.5,
    )
    room.add(
        'screen',
        panel(0.59, 0.34).translate(0, -0.02, 0.185).rotate(-8).translate(3.66, 3.62, top + 0.1),
        textures.screen(rng, 460, 800),
        gloss=1.0,
    )
    room.add('monitor', tube(0.02, 0.02, 0.14).translate(3.66, 3.65, top), (0.04,) * 3)
    room.add('monitor', box(0.24, 0.18, 0.012).translate(3.66, 3.63, top), (0.04,) * 3)
    keys = textures.stained_glass(rng, 160, 460, 5) // 6 + 22
    for row in range(5):
        for column in range(14):
            shade = int(rng.integers(60, 200))
            keys[10 + 30 * row : 34 + 30 * row, 8 + 32 * column : 34 + 32 * column] = shade
    room.add('keyboard', box(0.42, 0.14, 0.02).rotate(-3).translate(3.6, 3.3, top), keys)


def _add_desk_objects(room: Room) -> None:
    rng, top = room.rng, DESK_HEIGHT_M
    for px, py, yaw in ((3.1, 3.34, 17), (3.18, 3.28, -12), (4.12, 3.4, 33), (3.28, 3.5, 80)):
        sheet = textures.science(rng, 420, 300)
        room.add(
            'paper', flat(0.21, 0.297).rotate(yaw).translate(px, py, top + 0.003 + px / 900), sheet
        )
    for level, yaw in enumerate((5, -14, 22)):
        cover = textures.add_frame(textures.shapes(rng, 260, 190), 6, textures.bright(rng))
        room.add(
            'book',
            box(0.17, 0.24, 0.03).rotate(yaw).translate(3.02, 3.6, top + 0.03 * level),
            cover,
            gloss=0.3,
        )
    room.add(
        'mug', tube(0.038, 0.04, 0.1).translate(3.34, 3.38, top), (0.55, 0.1, 0.08), gloss=1.0
    )
    room.add('desklamp', tube(0.08, 0.08, 0.02).translate(4.18, 3.6, top), (0.1, 0.3, 0.3))
    room.add('desklamp', disc(0.08).translate(4.18, 3.6, top + 0.02), (0.1, 0.3, 0.3))
    room.add('desklamp', tube(0.012, 0.012, 0.42).translate(4.18, 3.6, top), (0.1, 0.3, 0.3))
    room.add('desklamp', tube(0.1, 0.04, 0.14).translate(4.12, 3.55, top + 0.36), (0.1, 0.3, 0.3))
    room.add(
        'lamp_desk',
        disc(0.075).rotate(0, 180).translate(4.12, 3.55, top + 0.39),
        (0.8,) * 3,
        light=True,
    )


def add_chair(room: Room, x: float, y: float, yaw: float) -> None:
    """Add a wooden chair with a patterned seat; at yaw 0 its back is toward +y."""
    rng = room.rng
    board = textures.wood(rng, 300, 500, (0.8, 0.55, 0.42))
    legs = [
        box(0.04, 0.04, 0.44, 0.9, i).translate(0.18 * a, 0.18 * b)
        for i, (a, b) in enumerate(((-1, -1), (-1, 1), (1, -1), (1, 1)))
    ]
    posts = [
        box(0.04, 0.03, 0.48, 0.9, i).translate(0.18 * a, 0.19, 0.44)
        for i, a in enumerate((-1, 1))
    ]
    slats = [
        box(0.36, 0.02, 0.07, 0.9, i).translate(0, 0.19, z) for i, z in enumerate((0.58, 0.82))
    ]
    wooden = shapes.join(
        *legs, *posts, *slats, box(0.42, 0.42, 0.03, 0.9, 9).translate(0, 0, 0.44)
    )
    room.add('chair', wooden.rotate(yaw).translate(x, y), board)
    seat = cushion(0.4, 0.4, 0.06, 0.4).rotate(yaw)
    room.add('seat', seat.translate(x, y, 0.49), textures.patterned(rng, 240, 240, 26))


def add_coffee_table(room: Room) -> None:
    """Add the rug and coffee table in the middle."""
    rng = room.rng
    room.add(
        'rug', flat(2.1, 1.45).rotate(4).translate(1.75, 1.72, 0.008), textures.rug(rng, 500, 720)
    )
    board = textures.wood(rng, 500, 800, (0.62, 0.55, 0.5))
    x, y = 1.6, 1.68
    legs = [
        box(0.05, 0.05, 0.4, 0.9, i).translate(0.42 * a, 0.22 * b)
        for i, (a, b) in enumerate(((-1, -1), (-1, 1), (1, -1), (1, 1)))
    ]
    table = shapes.join(
        *legs,
        box(1.0, 0.56, 0.03, 1.2, 8).translate(0, 0, 0.4),
        box(0.9, 0.46, 0.02, 1.2, 7).translate(0, 0, 0.14),
    )
    room.add('table', table.rotate(-6).translate(x, y), board, gloss=0.8)
    for px, py, yaw in ((1.35, 1.75, 20), (1.48, 1.6, -35), (1.82, 1.55, 75)):
        cover = textures.concert(rng, 300, 220)
        room.add(
            'magazine',
            box(0.21, 0.28, 0.008).rotate(yaw).translate(px, py, 0.43),
            cover,
            gloss=0.5,
        )
    bowl = shapes.join(tube(0.06, 0.14, 0.08), disc(0.06).translate(0, 0, 0.002))
    room.add('bowl', bowl.translate(1.88, 1.8, 0.43), (0.62, 0.58, 0.5), gloss=0.5)
    for px, py, color in (
        (1.86, 1.79, (0.6, 0.09, 0.05)),
        (1.93, 1.82, (0.65, 0.4, 0.04)),
        (1.88, 1.86, (0.25, 0.42, 0.06)),
    ):
        room.add('fruit', cushion(0.08, 0.08, 0.08, 1.0).translate(px, py, 0.49), color, gloss=0.5)
    room.add(
        'box',
        box(0.34, 0.26, 0.11).rotate(15).translate(1.5, 1.7, 0.16),
        textures.cardboard(rng, 160, 420),
    )


def add_cupboard(room: Room) -> None:
    """Add the cupboard with a television and boxes."""
    rng = room.rng
    front = textures.planks(rng, 700, 900, 116, 500)
    room.add(
        'cupboard',
        box(1.3, 0.46, 0.86, 1.5, 3).rotate(-90).translate(4.27, 1.45),
        front,
        gloss=0.5,
    )
    white = textures.paint(rng, (0.86, 0.84, 0.8), 300, 300)
    for offset in (-0.43, 0.0, 0.43):
        door = box(0.41, 0.02, 0.74, 0.8, int(offset * 10) + 9).rotate(-90)
        room.add('cupboard', door.translate(4.03, 1.45 + offset, 0.08), white, gloss=0.5)
        room.add(
            'handle',
            box(0.012, 0.03, 0.14).rotate(-90).translate(4.01, 1.45 + offset + 0.15, 0.42),
            (0.15, 0.13, 0.1),
        )
    room.add(
        'tv',
        box(1.0, 0.04, 0.58).rotate(-96).translate(4.32, 1.42, 0.95),
        (0.012, 0.012, 0.014),
        gloss=1.0,
    )
    room.add('tv', box(0.4, 0.2, 0.09).rotate(-90).translate(4.3, 1.42, 0.86), (0.03,) * 3)
    for y, z, size, yaw in (
        (2.0, 0.86, (0.22, 0.16, 0.2), -80),
        (0.9, 0.86, (0.2, 0.16, 0.13), -98),
    ):
        room.add(
            'box', box(*size).rotate(yaw).translate(4.24, y, z), textures.cardboard(rng, 220, 300)
        )
    room.add(
        'box',
        box(0.16, 0.14, 0.1).rotate(-70).translate(4.22, 0.92, 0.99),
        textures.patterned(rng, 140, 220, 20),
    )


def add_corner_objects(room: Room) -> None:
    """Add parcels, radiator, plant, bag, basket."""
    rng = room.rng
    for x, y, z, size, yaw in (
        (4.18, 0.52, 0.0, (0.5, 0.4, 0.36), 84),
        (4.2, 0.5, 0.36, (0.4, 0.32, 0.26), 70),
        (2.62, 0.24, 0.0, (0.3, 0.3, 0.34), 10),
    ):
        room.add(
            'box', box(*size).rotate(yaw).translate(x, y, z), textures.cardboard(rng, 300, 380)
        )
    room.add(
        'radiator',
        shapes.join(
            *(box(0.07, 0.09, 0.56).translate(1.0 + 0.085 * i, 3.72, 0.12) for i in range(14))
        ),
        (0.78, 0.78, 0.76),
        gloss=0.5,
    )
    add_plant(room)
    room.add(
        'bag',
        cushion(0.36, 0.22, 0.44, 0.45).rotate(30).translate(0.32, 0.6, 0.22),
        textures.patterned(rng, 300, 300, 24),
    )
    room.add(
        'basket',
        tube(0.13, 0.17, 0.32).translate(0.26, 2.62),
        textures.stained_glass(rng, 200, 700, 160),
    )


def add_plant(room: Room) -> None:
    """Add the plant in its corner."""
    rng = room.rng
    room.add(
        'pot', tube(0.15, 0.2, 0.36).translate(0.4, 3.4), textures.patterned(rng, 220, 700, 90)
    )
    room.add('soil', disc(0.19).translate(0.4, 3.4, 0.33), (0.06, 0.04, 0.03))
    green = textures.cloth(rng, (0.22, 0.42, 0.16), 120, 200)
    for index in range(34):
        blade = shapes.leaf(rng.uniform(0.3, 0.62), rng.uniform(0.07, 0.13), rng.uniform(0.3, 1.3))
        blade = blade.rotate(0, rng.uniform(-55, 0)).rotate(index * 137.5 % 360)
        height = rng.uniform(0.34, 0.6)
        shade = np.clip(green * rng.uniform(0.6, 1.25), 0, 255).astype(np.uint8)
        # The plant stands in a corner: leaves that would intersect a wall are skipped.
        placed = blade.translate(0.4, 3.4, height)
        if placed.vertices[:, 0].min() > 0.02 and placed.vertices[:, 1].max() < 3.78:
            room.add('leaf', placed, shade)
    room.add('stem', tube(0.015, 0.012, 0.3).translate(0.4, 3.4, 0.32), (0.15, 0.1, 0.05))
