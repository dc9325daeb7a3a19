"""
A workshop full of things, filmed with a depth camera whose poses come from a tracker beside it.

Texture is strong everywhere. The tracker's noise is white: 5 mm and 0.4 degrees.
"""

import numpy as np

from demo import building, fixtures, shapes, surfaces, textures
from demo.room import Lighting, Room
from demo.sensors import ColorSensor, DepthSensor
from demo.shapes import box, cushion, disc, panel, tube
from demo.specification import make_camera, Recording, RoomSpec
from demo.trackers import Tracker
from demo.trajectories import EllipsePath

BENCH_M = 0.92

TUBES: Lighting = {'lamp_ceiling': (11.0, 11.5, 11.8), 'window_east': (1.5, 1.7, 2.0)}
LATE: Lighting = {'lamp_ceiling': (10.0, 10.2, 9.8), 'window_east': (0.15, 0.2, 0.35)}

CENTER_M, RADII_M = np.array([2.45, 1.95]), np.array([1.2, 0.75])

MAPPING_KEYS = (
    (0.50, -90, 0, -12, 1.45),
    (0.55, 90, 5, -16, 1.50),
    (0.50, 270, 0, -8, 1.40),
    (1.00, 330, 182, -14, 1.50),
    (1.00, 500, 176, -10, 1.40),
    (1.00, 690, 185, -18, 1.55),
    (0.80, 780, 70, -26, 1.35),
    (0.75, 900, 60, -4, 1.50),
)
QUERY_KEYS = (
    (0.70, 60, 10, -10, 1.62),
    (0.65, -60, -10, -20, 1.30),
    (0.70, -170, 12, -6, 1.58),
    (0.85, -300, 150, -16, 1.32),
    (0.85, -430, 188, -10, 1.60),
    (0.85, -540, 176, -14, 1.36),
)


def furnish(room: Room) -> None:
    """Add everything to an empty room."""
    rng, (wide, deep, high) = room.rng, room.size_m
    walls = {
        'south': surfaces.bricks(rng, int(high * 300), int(wide * 300), 72),
        'west': building.painted(room, (0.55, 0.62, 0.66), deep, high),
        'east': building.painted(room, (0.82, 0.79, 0.70), deep, high),
        'north': building.painted(room, (0.80, 0.80, 0.78), wide, high),
    }
    floor = surfaces.concrete(rng, int(deep * 260), int(wide * 260), (0.45, 0.44, 0.42))
    building.add_shell(room, floor, walls)
    building.add_window(room, 'east', 2.9, 1.2, 1.1, 0.9)
    leaf = textures.planks(rng, 900, 500, 90, 400)
    building.add_door(room, 'south', 4.2, np.rot90(leaf).copy())
    building.add_ceiling_lamps(
        room, [(1.6, 1.3), (3.4, 1.3), (1.6, 2.8), (3.4, 2.8)], (1.2, 0.1, 0.15)
    )
    _add_bench(room)
    _add_tool_wall(room)
    fixtures.add_rack(room, 0.32, 2.0, (2.4, 0.45, 2.1), (0.1, 0.55, 1.0, 1.45, 1.9), 90)
    fixtures.add_rack(room, 1.5, 0.32, (1.6, 0.4, 1.4), (0.1, 0.5, 0.9, 1.3), 180)
    _add_machines(room)
    _add_posters(room)


def _add_bench(room: Room) -> None:
    """Add the workbench along the north wall with what lies on it."""
    rng, deep = room.rng, room.size_m[1]
    oak = textures.wood(rng, 500, 900, (0.95, 0.85, 0.72))
    steel = (0.12, 0.2, 0.3)
    fixtures.add_table(room, 2.4, deep - 0.4, (3.2, 0.7, BENCH_M), oak, steel)
    fixtures.scatter(room, (0.95, deep - 0.7, 3.85, deep - 0.15), BENCH_M, 46)
    fixtures.add_parcels(
        room,
        (
            (1.1, deep - 0.4, 0.0, 0.5, 0.4, 0.4, 5),
            (1.75, deep - 0.35, 0.0, 0.6, 0.45, 0.5, -8),
            (2.6, deep - 0.4, 0.0, 0.45, 0.4, 0.34, 12),
            (2.6, deep - 0.4, 0.34, 0.36, 0.3, 0.25, -4),
            (3.5, deep - 0.36, 0.0, 0.5, 0.5, 0.45, 2),
        ),
    )
    vise = shapes.join(
        box(0.14, 0.2, 0.09),
        box(0.18, 0.05, 0.07).translate(0, -0.08, 0.09),
        box(0.18, 0.05, 0.07).translate(0, 0.04, 0.09),
        tube(0.012, 0.012, 0.24).rotate(0, roll_deg=90).translate(0, -0.05, 0.06),
    )
    blue = surfaces.metal(rng, 100, 160, (0.1, 0.25, 0.45))
    room.add('vise', vise.translate(3.2, deep - 0.6, BENCH_M), blue, gloss=0.5)


def _add_tool_wall(room: Room) -> None:
    """Add the board with holes above the bench, and tools on it."""
    rng, board = room.rng, surfaces.pegboard(room.rng, 330, 1040, 9)
    room.hang('pegboard', box(2.6, 0.02, 0.82), board, 'north', 2.4, 1.2, gap=0.03)
    for number in range(26):
        x, z = 1.2 + 0.095 * number, rng.uniform(1.35, 1.75)
        length, tilt = rng.uniform(0.14, 0.34), rng.normal(0, 12)
        color = [c / 300 for c in textures.bright(rng, 0.8, 0.8)]
        grip = cushion(0.035, 0.03, 0.45 * length, 0.5).rotate(0, tilt)
        blade = box(rng.uniform(0.012, 0.05), 0.012, 0.6 * length)
        blade = blade.translate(0, 0, 0.2 * length).rotate(0, tilt)
        room.hang('tool', grip, color, 'north', x, z, gap=0.06, gloss=0.5)
        room.hang('tool', blade, (0.34, 0.34, 0.36), 'north', x, z, gap=0.055, gloss=1.0)


def _add_machines(room: Room) -> None:
    """Add a drill, a drum, a stool and boxes along the east wall."""
    rng, wide = room.rng, room.size_m[0]
    green = surfaces.metal(rng, 240, 240, (0.12, 0.34, 0.22))
    drill = shapes.join(
        box(0.5, 0.45, 0.06),
        box(0.14, 0.14, 1.5).translate(0, 0.12),
        box(0.4, 0.36, 0.05).translate(0, 0, 0.85),
        box(0.26, 0.46, 0.34).translate(0, -0.02, 1.4),
        tube(0.03, 0.02, 0.25).translate(0, -0.12, 1.15),
    )
    room.add('drill', drill.rotate(-80).translate(wide - 0.4, 1.25), green, gloss=0.5)
    fixtures.scatter(room, (wide - 0.5, 1.15, wide - 0.3, 1.35), 0.9, 4, 0.7)
    drum = shapes.join(tube(0.28, 0.28, 0.86), disc(0.28).translate(0, 0, 0.86))
    label = textures.concert(rng, 400, 800)
    room.add('drum', drum.translate(wide - 0.4, 1.95), label, gloss=0.5)
    fixtures.scatter(room, (wide - 0.55, 1.8, wide - 0.25, 2.1), 0.86, 5)
    fixtures.add_table(
        room,
        wide - 0.38,
        2.95,
        (1.0, 0.6, 0.8),
        textures.planks(rng, 300, 500, 60, 300),
        green,
        90,
    )
    fixtures.scatter(room, (wide - 0.6, 2.55, wide - 0.2, 3.35), 0.8, 14)
    fixtures.add_parcels(
        room,
        (
            (wide - 0.4, 2.75, 0.0, 0.5, 0.4, 0.36, 80),
            (wide - 0.35, 3.2, 0.0, 0.45, 0.4, 0.5, 95),
            (2.75, 0.3, 0.0, 0.6, 0.45, 0.45, 4),
            (2.75, 0.3, 0.45, 0.45, 0.35, 0.35, -9),
            (3.35, 0.28, 0.0, 0.4, 0.4, 0.6, 14),
        ),
    )
    tyre = cushion(0.6, 0.18, 0.6, 0.6).translate(3.45, 0.25, 0.9)
    room.add('tyre', tyre, textures.cloth(rng, (0.10, 0.10, 0.11), 200, 300))


def _add_posters(room: Room) -> None:
    rng, hang = room.rng, room.poster
    hang(textures.science(rng, 640, 460), 'south', 0.5, 1.75, 0.6)
    hang(textures.city_map(rng, 520, 760), 'south', 2.1, 1.95, 0.9)
    hang(textures.concert(rng, 560, 400), 'south', 3.1, 1.85, 0.5)
    hang(textures.pinboard(rng, 500, 800), 'east', 1.6, 1.75, 0.95)
    hang(textures.shapes(rng, 560, 400), 'east', 0.6, 1.6, 0.5)
    hang(textures.stained_glass(rng, 300, 400, 50), 'north', 4.4, 1.7, 0.5)
    hang(textures.strokes(rng, 420, 560), 'west', 3.6, 1.75, 0.5)
    hang(textures.landscape(rng, 400, 300), 'west', 0.4, 1.7, 0.4)
    face = panel(0.5, 0.16)
    room.hang(
        'sign', face, surfaces.sign('EXIT', (30, 130, 60), 120, 380), 'south', 4.2, 2.3, gap=0.01
    )


SPEC = RoomSpec(
    size_m=(5.0, 4.0, 2.8),
    seed=41,
    furnish=furnish,
    camera=make_camera(640, 480, 69.0, (-3.2, 4.1)),
    depth_size_px=(320, 240),
    recordings={
        'walk': Recording(
            path=EllipsePath(MAPPING_KEYS, CENTER_M, RADII_M),
            frame_count=140,
            blurred_fraction=0.03,
            path_seed=41,
            sensor_seed=411,
            lighting=TUBES,
            color=ColorSensor(gray=0.19, white_balance=(1.03, 1.0, 0.97), noise=2.5),
            tracker=Tracker(slow_m=0.0, slow_deg=0.0, white_m=0.005, white_deg=0.4),
        ),
        'test': Recording(
            path=EllipsePath(QUERY_KEYS, CENTER_M, RADII_M),
            frame_count=44,
            blurred_fraction=0.2,
            path_seed=42,
            sensor_seed=412,
            lighting=LATE,
            color=ColorSensor(gray=0.15, white_balance=(1.06, 1.0, 0.92), noise=3.5),
        ),
    },
    depth=DepthSensor(near_m=0.3, far_m=6.0, std_m=0.001, std_per_m=0.0025, white=0.25),
)
"""A room with more texture than any other."""
