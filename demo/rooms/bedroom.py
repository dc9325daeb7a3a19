"""
A bedroom in dim, warm light, filmed with a narrow camera: soft cloth, weak texture, much noise.

There are few sharp edges: bedding, curtains, a rug, a wardrobe, two pictures.
"""

import numpy as np

from demo import building, fixtures, furniture, shapes, surfaces, textures
from demo.room import Lighting, Room
from demo.sensors import ColorSensor, DepthSensor
from demo.shapes import box, cushion, flat, panel, tube
from demo.specification import make_camera, Recording, RoomSpec
from demo.trackers import Tracker
from demo.trajectories import EllipsePath

EVENING: Lighting = {
    'lamp_bed': (7.0, 4.6, 2.4),
    'lamp_floor': (5.0, 3.4, 1.9),
    'window_east': (0.06, 0.06, 0.09),
}
READING: Lighting = {
    'lamp_bed': (8.0, 5.0, 2.4),
    'lamp_floor': (0.0, 0.0, 0.0),
    'window_east': (0.5, 0.6, 0.8),
}

CENTER_M, RADII_M = np.array([2.15, 1.40]), np.array([0.85, 0.55])

MAPPING_KEYS = (
    (0.60, 90, 0, -22, 1.50),
    (0.60, 250, 5, -10, 1.45),
    (0.60, 450, -5, -16, 1.40),
    (1.00, 560, 175, -18, 1.55),
    (1.00, 690, 185, -12, 1.45),
    (1.00, 900, 178, -20, 1.50),
    (0.90, 1010, 60, -14, 1.40),
    (0.80, 1120, 40, -26, 1.50),
)
QUERY_KEYS = (
    (0.75, 110, 8, -18, 1.60),
    (0.70, 10, -10, -12, 1.36),
    (0.75, -110, 10, -10, 1.58),
    (0.90, -250, 10, -24, 1.38),
    (0.85, -380, 160, -14, 1.58),
    (0.85, -500, 182, -20, 1.42),
)


def furnish(room: Room) -> None:
    """Add everything to an empty room."""
    rng, (wide, deep, high) = room.rng, room.size_m
    rose = building.painted(room, (0.70, 0.58, 0.53), wide, high)
    cream = building.painted(room, (0.80, 0.74, 0.64), deep, high)
    paper = textures.stripes(rng, 620, 900)
    walls = {'south': rose, 'north': paper, 'west': cream, 'east': cream}
    floor = textures.planks(rng, int(deep * 260), int(wide * 260), 40, 380)
    building.add_shell(room, floor, walls, skirting=(0.7, 0.68, 0.64))
    building.add_window(room, 'east', 1.3, 0.9, 1.0, 1.2)
    for y, seed in ((0.66, 3), (1.94, 4)):
        drape = shapes.curtain(0.6, 2.0, 6, seed)
        cloth = surfaces.folds(rng, 500, 300, (0.48, 0.36, 0.34))
        room.hang('curtain', drape, cloth, 'east', y, 1.25, gap=0.14)
    add_bed(room)
    _add_wardrobe(room)
    _add_small_things(room)


def add_bed(room: Room) -> None:
    """Add the bed with its head at the north wall, and a table and lamp on either side."""
    rng, deep = room.rng, room.size_m[1]
    x, y = 2.0, deep - 1.05
    oak = textures.wood(rng, 300, 600, (0.75, 0.66, 0.6))
    room.add('bed', box(1.66, 2.0, 0.26, 1.4, 2).translate(x, y), oak)
    room.add('bed', box(1.7, 0.06, 1.05, 1.4, 3).translate(x, deep - 0.04), oak, gloss=0.2)
    linen = surfaces.folds(rng, 500, 500, (0.72, 0.68, 0.62))
    room.add('mattress', cushion(1.6, 1.94, 0.26, 0.2).translate(x, y, 0.38), linen)
    rows, columns = np.meshgrid(np.linspace(0, 1, 40), np.linspace(-0.5, 0.5, 60), indexing='ij')
    swell = 0.03 * np.sin(7 * rows + 3 * columns) + 0.03 * np.sin(11 * columns + 4 * rows)
    edge = np.maximum(np.abs(columns) - 0.44, 0.0) * 4.0
    quilt = np.stack([x + 1.72 * columns, y - 1.02 + 1.35 * rows, 0.585 + swell - edge], -1)
    room.add('quilt', shapes.sheet(quilt), textures.patterned(rng, 500, 640, 70))
    for dx, yaw in ((-0.4, 4), (0.4, -6)):
        pillow = cushion(0.68, 0.44, 0.17, 0.5).rotate(yaw).translate(x + dx, deep - 0.4, 0.58)
        room.add('pillow', pillow, surfaces.folds(rng, 240, 340, (0.78, 0.75, 0.70)))
    small = cushion(0.42, 0.16, 0.40, 0.55).rotate(10, roll_deg=24)
    room.add(
        'pillow', small.translate(x, deep - 0.68, 0.74), textures.patterned(rng, 200, 200, 16)
    )
    shades = []
    for side in (-1, 1):
        tx = x + side * 1.14
        room.add('bedside', box(0.42, 0.38, 0.48, 1.0, 4 + side).translate(tx, deep - 0.22), oak)
        room.add('stand', tube(0.05, 0.03, 0.16).translate(tx, deep - 0.22, 0.48), (0.3, 0.2, 0.1))
        shades.append(tube(0.13, 0.09, 0.18).translate(tx, deep - 0.22, 0.66))
        cover_art = textures.landscape(rng, 180, 130)
        book = box(0.13, 0.19, 0.03).rotate(20 * side).translate(tx - 0.1 * side, deep - 0.3, 0.48)
        room.add('book', book, cover_art)
    room.add('lamp_bed', shapes.join(*shades), (0.4, 0.33, 0.22), light=True)


def _add_wardrobe(room: Room) -> None:
    """Add the wardrobe at the west wall and a chest at the south wall."""
    rng = room.rng
    front = textures.wood(rng, 500, 900, (0.95, 0.9, 0.85))
    fixtures.add_wardrobe(room, front, 'west', 1.0)
    fixtures.add_chest(room, front, 'south', 2.5)
    room.add(
        'basket',
        tube(0.15, 0.2, 0.34).translate(1.3, 0.3),
        textures.cloth(rng, (0.5, 0.42, 0.3), 200, 500),
    )
    room.add(
        'throw',
        cushion(0.36, 0.3, 0.16, 0.5).translate(1.3, 0.3, 0.38),
        surfaces.folds(rng, 200, 200, (0.5, 0.3, 0.28)),
    )


def _add_small_things(room: Room) -> None:
    """Add rug, pictures, the floor lamp and what stands on the chest."""
    rng, hang = room.rng, room.poster
    soft = textures.patterned(rng, 300, 600, 40)
    room.add('rug', flat(2.1, 1.0).translate(2.2, 1.1, 0.01), soft)
    hang(
        textures.add_frame(textures.landscape(rng, 360, 520), 14, (150, 120, 80)),
        'north',
        2.0,
        1.65,
        0.8,
    )
    hang(
        textures.add_frame(textures.strokes(rng, 420, 300), 14, (60, 44, 34)),
        'south',
        1.6,
        1.6,
        0.42,
    )
    hang(textures.rug(rng, 420, 340), 'west', 2.4, 1.45, 0.5)
    hang(
        textures.add_frame(textures.landscape(rng, 300, 220), 12, (150, 120, 80)),
        'west',
        3.0,
        1.6,
        0.3,
    )
    hang(
        textures.add_frame(textures.shapes(rng, 300, 220), 12, (60, 44, 34)),
        'south',
        0.9,
        1.65,
        0.3,
    )
    hang(
        textures.add_frame(textures.landscape(rng, 260, 340), 12, (60, 44, 34)),
        'south',
        3.1,
        1.6,
        0.4,
    )
    hang(
        textures.add_frame(textures.strokes(rng, 300, 240), 12, (150, 120, 80)),
        'east',
        2.75,
        1.6,
        0.34,
    )
    glass = textures.add_frame(textures.paint(rng, (0.5, 0.48, 0.45), 300, 260), 16, (110, 80, 50))
    hang(glass, 'south', 2.3, 1.5, 0.5)
    for x, tall in ((2.15, 0.2), (2.3, 0.12), (2.85, 0.16)):
        vase = tube(0.05, 0.04, tall).translate(x, 0.2, 0.78)
        room.add('vase', vase, [c / 450 for c in textures.bright(rng, 0.4, 0.7)], gloss=0.6)
    room.add('stand', tube(0.012, 0.012, 1.3).translate(3.4, 0.25), (0.06, 0.055, 0.05))
    shade = tube(0.18, 0.12, 0.26).translate(3.4, 0.25, 1.26)
    room.add('lamp_floor', shade, (0.4, 0.33, 0.22), light=True)
    with room.placed(3.3, 2.6, -60):
        furniture.add_chair(room, 0.0, 0.0, 0)
    room.hang('switch', panel(0.08, 0.08), (0.8, 0.8, 0.78), 'west', 2.1, 1.1, gap=0.005)


SPEC = RoomSpec(
    size_m=(3.8, 3.4, 2.4),
    seed=61,
    furnish=furnish,
    camera=make_camera(360, 480, 50.0, (-2.4, 3.3)),
    depth_size_px=(192, 256),
    recordings={
        'walk': Recording(
            path=EllipsePath(MAPPING_KEYS, CENTER_M, RADII_M),
            frame_count=140,
            blurred_fraction=0.05,
            path_seed=61,
            sensor_seed=611,
            lighting=EVENING,
            color=ColorSensor(gray=0.14, white_balance=(0.90, 1.0, 1.20), noise=5.0),
            tracker=Tracker(),
        ),
        'test': Recording(
            path=EllipsePath(QUERY_KEYS, CENTER_M, RADII_M),
            frame_count=42,
            blurred_fraction=0.25,
            path_seed=62,
            sensor_seed=612,
            lighting=READING,
            color=ColorSensor(gray=0.11, white_balance=(0.95, 1.0, 1.12), noise=7.0),
        ),
    },
    depth=DepthSensor(std_m=0.003, std_per_m=0.0015, white=0.1),
)
"""A room with little to hold on to."""
