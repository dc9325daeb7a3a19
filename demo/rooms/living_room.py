"""
A large living room with wide windows, bare walls and few posters.

Much of an image is white wall, floor or sky. This room is left out of all fitting.
"""

import numpy as np

from demo import building, fixtures, furniture, shapes, surfaces, textures
from demo.room import Lighting, Room
from demo.sensors import ColorSensor, DepthSensor
from demo.shapes import box, flat, tube
from demo.specification import make_camera, Recording, RoomSpec
from demo.trackers import Tracker
from demo.trajectories import EllipsePath

NOON: Lighting = {
    'window_north': (1.6, 1.7, 1.8),
    'window_west': (1.4, 1.5, 1.6),
    'lamp_ceiling': (16.0, 15.5, 14.5),
    'lamp_floor': (0.0, 0.0, 0.0),
}
DUSK: Lighting = {
    'window_north': (0.25, 0.28, 0.4),
    'window_west': (0.4, 0.34, 0.34),
    'lamp_ceiling': (9.0, 8.2, 7.0),
    'lamp_floor': (9.0, 7.0, 4.6),
}

CENTER_M, RADII_M = np.array([3.1, 2.3]), np.array([1.65, 0.95])

MAPPING_KEYS = (
    (0.45, -90, 0, -12, 1.45),
    (0.50, 80, 5, -8, 1.52),
    (0.45, 260, -5, -14, 1.40),
    (1.00, 330, 182, -12, 1.50),
    (1.05, 510, 176, -16, 1.42),
    (1.00, 690, 184, -10, 1.55),
    (0.85, 780, 75, -20, 1.40),
    (0.80, 900, 50, -10, 1.50),
    (0.80, 1020, 60, -16, 1.45),
)
QUERY_KEYS = (
    (0.65, 50, 10, -10, 1.60),
    (0.62, -60, -8, -14, 1.34),
    (0.65, -170, 12, -8, 1.58),
    (0.85, -290, 130, -14, 1.36),
    (0.88, -400, 186, -12, 1.58),
    (0.88, -520, 176, -16, 1.40),
)


def furnish(room: Room) -> None:
    """Add everything to an empty room."""
    rng, (wide, deep, high) = room.rng, room.size_m
    white = building.painted(room, (0.88, 0.88, 0.86), wide, high)
    sand = building.painted(room, (0.80, 0.75, 0.67), deep, high)
    walls = {'south': white, 'north': white, 'west': white, 'east': sand}
    floor = textures.planks(rng, int(deep * 240), int(wide * 240), 48, 420)
    building.add_shell(room, floor, walls, floor_gloss=0.5, skirting=building.WHITE, cell_m=0.08)
    for x in (1.7, 4.3):
        building.add_window(room, 'north', x, 0.5, 2.0, 1.8)
    building.add_window(room, 'west', 2.6, 0.9, 1.6, 1.4)
    for x, seed in ((0.45, 6), (3.0, 7), (5.55, 8)):
        drape = shapes.curtain(0.4, 2.4, 5, seed)
        cloth = surfaces.folds(rng, 500, 260, (0.62, 0.62, 0.58))
        room.hang('curtain', drape, cloth, 'north', x, 1.25, gap=0.13)
    building.add_ceiling_lamps(room, [(1.8, 2.3), (4.3, 2.3)], (0.5, 0.5, 0.1))
    _add_furniture(room)
    _add_walls(room)


def _add_furniture(room: Room) -> None:
    """Add sofa, low table, cupboard, dining table with chairs, plant and lamp."""
    rng, (wide, deep, _) = room.rng, room.size_m
    with room.placed(1.3, 0.0):
        furniture.add_sofa(room)
    with room.placed(1.2, 0.1):
        furniture.add_coffee_table(room)
    with room.placed(wide - 4.5, 0.5):
        furniture.add_cupboard(room)
    with room.placed(2.2, deep, -90):
        furniture.add_plant(room)
    top = textures.wood(rng, 400, 700, (1.05, 0.95, 0.85))
    fixtures.add_table(room, 1.35, 3.4, (1.5, 0.85, 0.75), top, (0.7, 0.69, 0.66))
    for x, y, yaw in ((0.95, 2.8, 176), (1.75, 2.82, 188), (0.95, 4.0, 3), (1.8, 3.98, -8)):
        furniture.add_chair(room, x, y, yaw)
    fixtures.scatter(room, (0.8, 3.15, 1.9, 3.65), 0.75, 7, 0.9)
    room.add(
        'runner',
        flat(0.4, 1.3).rotate(90).translate(1.35, 3.4, 0.753),
        textures.rug(rng, 400, 500),
    )
    room.add('stand', tube(0.14, 0.14, 0.02).translate(4.9, 0.4), (0.06, 0.06, 0.06))
    room.add('stand', tube(0.012, 0.012, 1.5).translate(4.9, 0.4), (0.06, 0.06, 0.06))
    shade = tube(0.2, 0.14, 0.28).translate(4.9, 0.4, 1.45)
    room.add('lamp_floor', shade, (0.4, 0.36, 0.28), light=True)
    side = textures.wood(rng, 200, 300, (0.7, 0.62, 0.55))
    fixtures.add_table(room, 0.5, 0.5, (0.5, 0.5, 0.5), side, (0.12, 0.1, 0.08))
    fixtures.scatter(room, (0.35, 0.35, 0.65, 0.65), 0.5, 3)


def _add_walls(room: Room) -> None:
    """Add a door and the few posters."""
    rng, hang = room.rng, room.poster
    building.add_door(room, 'south', 5.5, textures.paint(rng, (0.82, 0.82, 0.8), 300, 300))
    hang(
        textures.add_frame(textures.strokes(rng, 500, 720), 20, (26, 26, 28)),
        'south',
        2.6,
        1.7,
        1.1,
    )
    hang(
        textures.add_frame(textures.landscape(rng, 520, 380), 18, (150, 116, 76)),
        'east',
        3.7,
        1.65,
        0.5,
    )
    hang(textures.city_map(rng, 460, 340), 'west', 0.9, 1.6, 0.45)
    sill = room.size_m[1] - 0.09
    for x in (1.7, 4.3):
        room.add('sill', box(2.2, 0.18, 0.03).translate(x, sill, 0.43), building.WHITE)
        fixtures.scatter(room, (x - 0.9, sill - 0.03, x + 0.9, sill + 0.03), 0.46, 4, 0.9)
    plates = box(0.08, 0.012, 0.08)
    for wall, along, up in (('south', 4.75, 1.1), ('east', 0.8, 0.3), ('west', 1.4, 0.3)):
        room.hang('switch', plates, (0.72, 0.72, 0.7), wall, along, up, gap=0.006)


SPEC = RoomSpec(
    size_m=(6.0, 4.5, 2.7),
    seed=81,
    furnish=furnish,
    camera=make_camera(480, 360, 60.0, (-3.6, 2.7)),
    depth_size_px=(256, 192),
    recordings={
        'walk': Recording(
            path=EllipsePath(MAPPING_KEYS, CENTER_M, RADII_M),
            frame_count=150,
            blurred_fraction=0.03,
            path_seed=81,
            sensor_seed=811,
            lighting=NOON,
            color=ColorSensor(gray=0.25, white_balance=(1.0, 1.0, 1.0), noise=1.5),
            tracker=Tracker(slow_m=0.004, slow_deg=0.12),
        ),
        'test': Recording(
            path=EllipsePath(QUERY_KEYS, CENTER_M, RADII_M),
            frame_count=44,
            blurred_fraction=0.2,
            path_seed=82,
            sensor_seed=812,
            lighting=DUSK,
            color=ColorSensor(gray=0.18, white_balance=(0.97, 1.0, 1.04), noise=3.0),
        ),
    },
    depth=DepthSensor(std_m=0.003, std_per_m=0.001, white=0.05),
)
"""A bright room with bare walls."""
