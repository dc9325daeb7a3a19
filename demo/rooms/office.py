"""
An open office: rows of equal desks, monitors and chairs on a floor of equal tiles.

What differs is little: a mug, papers or a plant here and there, and the walls. The poses of the
mapping capture drift by 2 % of each relative pose. This room is left out of all fitting.
"""

from collections.abc import Mapping

import numpy as np

from demo import building, fixtures, furniture, shapes, surfaces, textures
from demo.room import Lighting, Room
from demo.sensors import ColorSensor, DepthSensor
from demo.shapes import box, cushion, flat, panel, tube
from demo.specification import make_camera, Recording, RoomSpec
from demo.textures import Texture
from demo.trackers import Tracker
from demo.trajectories import KeyPath

DESK_M = (1.5, 0.75, 0.73)
COLUMNS_M = (1.7, 3.4, 5.1)
ROWS_M = (1.35, 3.05, 4.75)
"""Centers of the desks along x and y."""

MORNING: Lighting = {'window_north': (2.2, 2.4, 2.6), 'lamp_ceiling': (9.0, 9.2, 9.4)}
NIGHT: Lighting = {'window_north': (0.1, 0.12, 0.2), 'lamp_ceiling': (9.0, 8.6, 7.8)}

# Along the aisle in the south, up the east side, back between the rows, and home along the west.
MAPPING_KEYS = (
    (0.8, 0.65, 1.45, 50, -12),
    (2.6, 0.60, 1.50, 75, -16),
    (4.6, 0.62, 1.45, 95, -14),
    (6.9, 0.75, 1.50, 130, -10),
    (7.0, 2.20, 1.45, 175, -14),
    (6.9, 3.90, 1.50, 200, -10),
    (5.2, 3.95, 1.45, 250, -16),
    (3.4, 3.90, 1.50, 280, -12),
    (2.2, 3.92, 1.45, 235, -14),
    (0.8, 3.90, 1.50, 320, -8),
    (0.95, 5.40, 1.45, 355, -12),
    (2.6, 5.50, 1.50, 290, -16),
    (4.8, 5.48, 1.45, 255, -12),
    (7.0, 5.40, 1.50, 215, -10),
    (7.1, 3.50, 1.45, 190, -6),
    (6.2, 2.22, 1.50, 165, -14),
    (4.2, 2.20, 1.45, 110, -12),
    (2.4, 2.22, 1.50, 60, -14),
    (0.7, 2.10, 1.45, 20, -8),
)
QUERY_KEYS = (
    (0.9, 0.75, 1.60, 35, -8),
    (3.4, 0.70, 1.36, 85, -12),
    (6.6, 0.70, 1.62, 120, -14),
    (7.1, 3.00, 1.38, 180, -10),
    (6.3, 3.85, 1.60, 215, -12),
    (4.2, 3.95, 1.36, 265, -10),
    (0.9, 3.95, 1.58, 310, -14),
    (0.85, 5.30, 1.38, 345, -10),
    (3.6, 5.45, 1.60, 270, -14),
    (6.4, 5.45, 1.40, 230, -10),
)


def furnish(room: Room) -> None:
    """Add everything to an empty room."""
    rng, (wide, deep, high) = room.rng, room.size_m
    gray = building.painted(room, (0.82, 0.83, 0.83), wide, high)
    blue = building.painted(room, (0.42, 0.55, 0.64), deep, high)
    walls = {'south': gray, 'north': gray, 'west': blue, 'east': gray}
    floor = surfaces.tiles(rng, int(deep * 200), int(wide * 200), 100, (0.52, 0.53, 0.54), 0.025)
    building.add_shell(
        room, floor, walls, floor_gloss=0.4, skirting=(0.25, 0.26, 0.27), cell_m=0.08
    )
    for x in (1.6, 4.0, 6.4):
        building.add_window(room, 'north', x, 0.95, 1.6, 1.3)
    lamps = [(x, y) for x in (1.6, 4.0, 6.4) for y in (1.2, 3.0, 4.8)]
    building.add_ceiling_lamps(room, lamps, (1.2, 0.3, 0.05))
    _add_desks(room)
    _add_walls(room)


def _add_desks(room: Room) -> None:
    """Add three rows of three desks, all made of the same parts."""
    rng = room.rng
    skins = {
        'top': textures.wood(rng, 300, 600, (1.15, 1.2, 1.25)),
        'screen': textures.screen(rng, 260, 460),
        'keys': surfaces.tiles(rng, 60, 168, 12, (0.14, 0.14, 0.15), 0.2),
        'seat': textures.cloth(rng, (0.12, 0.14, 0.18), 240, 240),
    }
    for y in ROWS_M:
        for x in COLUMNS_M:
            with room.placed(x, y):
                _add_desk(room, skins)
            _add_traces(room, x, y)


def _add_desk(room: Room, skins: Mapping[str, Texture]) -> None:
    """Add a desk at the origin with two monitors, a keyboard and a chair south of it."""
    width, depth, top = DESK_M
    black, gray = (0.03, 0.03, 0.035), (0.35, 0.35, 0.36)
    room.add('desk', box(width, depth, 0.03).translate(0, 0, top - 0.03), skins['top'], gloss=0.3)
    for x in (-0.7, 0.7):
        legs = box(0.05, depth - 0.1, top - 0.03).translate(x, 0)
        room.add('desk', legs, gray)
    for x, yaw in ((-0.31, 8), (0.31, -8)):
        case = box(0.56, 0.03, 0.34).translate(0, 0, 0.12)
        foot = shapes.join(box(0.05, 0.04, 0.14).translate(0, 0.03), box(0.22, 0.16, 0.012))
        body = shapes.join(case, foot).rotate(yaw).translate(x, 0.2, top)
        room.add('monitor', body, black, gloss=0.3)
        glass = panel(0.53, 0.31).translate(0, -0.018, 0.29).rotate(yaw).translate(x, 0.2, top)
        room.add('screen', glass, skins['screen'], gloss=0.5)
    keys = box(0.42, 0.14, 0.018).translate(0, -0.12, top)
    room.add('keyboard', keys, skins['keys'])
    seat = shapes.join(
        cushion(0.48, 0.46, 0.09, 0.4).translate(0, 0, 0.47),
        cushion(0.44, 0.08, 0.56, 0.4).translate(0, -0.24, 0.82),
    )
    room.add('chair', seat.translate(0, -0.62), skins['seat'])
    star = [box(0.3, 0.05, 0.05).translate(0.15, 0).rotate(72 * k) for k in range(5)]
    base = shapes.join(tube(0.025, 0.025, 0.4).translate(0, 0, 0.05), *star)
    room.add('chair', base.translate(0, -0.62, 0.02), black)


def _add_traces(room: Room, x: float, y: float) -> None:
    """Add what tells one desk from another: papers, a mug, a note, or nothing."""
    rng, top = room.rng, DESK_M[2]
    if rng.random() < 0.75:
        area = (x - 0.65, y - 0.3, x + 0.65, y)
        fixtures.scatter(room, area, top, int(rng.integers(1, 5)), 0.8)
    if rng.random() < 0.5:
        mug = tube(0.038, 0.04, 0.1).translate(x + rng.uniform(-0.6, 0.6), y - 0.05, top)
        room.add('mug', mug, [c / 350 for c in textures.bright(rng)], gloss=1.0)
    if rng.random() < 0.4:
        note = flat(0.076, 0.076).rotate(rng.uniform(0, 90))
        spot = note.translate(x + rng.uniform(-0.3, 0.3), y - 0.25, top + 0.002)
        room.add('note', spot, [c / 300 for c in textures.bright(rng, 0.6, 1.0)])


def _add_walls(room: Room) -> None:
    """Add doors, boards and cabinets along the walls."""
    rng, hang, wide = room.rng, room.poster, room.size_m[0]
    leaf = textures.wood(rng, 400, 600, (1.1, 1.05, 1.0))
    for x in (1.3, 6.6):
        building.add_door(room, 'south', x, leaf)
    white = np.array(textures.paint(rng, (0.93, 0.93, 0.92), 500, 800))
    hang(textures.add_frame(white, 12, (120, 122, 126)), 'south', 4.0, 1.55, 1.8)
    hang(textures.science(rng, 640, 460), 'west', 1.3, 1.6, 0.7)
    hang(textures.city_map(rng, 520, 760), 'west', 3.0, 1.6, 1.1)
    hang(textures.pinboard(rng, 520, 820), 'east', 2.2, 1.6, 1.1)
    hang(
        textures.add_frame(textures.strokes(rng, 420, 600), 16, (30, 30, 32)),
        'east',
        4.4,
        1.7,
        0.9,
    )
    cabinet = surfaces.metal(rng, 500, 400, (0.62, 0.63, 0.64))
    for y in (0.5, 1.35, 3.1):
        body = box(0.8, 0.42, 1.25)
        room.hang('cabinet', body, cabinet, 'east', y, 0.0, gap=0.22, gloss=0.3)
    room.hang('cabinet', box(0.8, 0.42, 1.25), cabinet, 'west', 4.9, 0.0, gap=0.22, gloss=0.3)
    fixtures.scatter(room, (wide - 0.4, 0.2, wide - 0.1, 1.6), 1.25, 7)
    with room.placed(0.05, 2.25):
        furniture.add_plant(room)
    face = panel(0.34, 0.2)
    for x, text in ((1.3, '2.04'), (6.6, '2.06')):
        plate = surfaces.sign(text, (40, 70, 120), 150, 255)
        room.hang('sign', face, plate, 'south', x + 0.75, 1.55, gap=0.01)


SPEC = RoomSpec(
    size_m=(7.8, 6.2, 2.7),
    seed=71,
    furnish=furnish,
    camera=make_camera(480, 360, 65.0, (4.3, -2.2)),
    depth_size_px=(256, 192),
    recordings={
        'walk': Recording(
            path=KeyPath(MAPPING_KEYS),
            frame_count=200,
            blurred_fraction=0.03,
            path_seed=71,
            sensor_seed=711,
            lighting=MORNING,
            color=ColorSensor(gray=0.21, white_balance=(1.0, 1.0, 1.0), noise=1.5),
            tracker=Tracker(drift_fraction=0.02),
        ),
        'test': Recording(
            path=KeyPath(QUERY_KEYS),
            frame_count=56,
            blurred_fraction=0.2,
            path_seed=72,
            sensor_seed=712,
            lighting=NIGHT,
            color=ColorSensor(gray=0.16, white_balance=(1.04, 1.0, 0.94), noise=2.5),
        ),
    },
    depth=DepthSensor(std_m=0.002, std_per_m=0.0015),
)
"""A room that repeats itself."""
