"""
A corridor with equal doors and signs, filmed by the wide camera of a robot, 40 cm above the floor.

Doors, signs and lamps repeat every 1.8 m on both sides. The numbers on the signs differ, and so do
an extinguisher, a bench, two notice boards and a few stains.
"""

from demo import building, fixtures, shapes, surfaces, textures
from demo.room import Lighting, Room
from demo.sensors import ColorSensor, DepthSensor
from demo.shapes import box, cushion, panel, tube
from demo.specification import make_camera, Recording, RoomSpec
from demo.trackers import Tracker
from demo.trajectories import KeyPath

SPACING_M = 1.8
DOORS_M = tuple(1.0 + SPACING_M * number for number in range(5))
"""Centers of the doors along both walls."""

DAY: Lighting = {'lamp_ceiling': (9.0, 9.2, 9.2), 'window_east': (3.0, 3.3, 3.6)}
NIGHT: Lighting = {'lamp_ceiling': (7.0, 6.6, 5.6), 'window_east': (0.05, 0.06, 0.1)}

# There, around, and back; on the way it turns toward both walls.
MAPPING_KEYS = (
    (0.60, 0.80, 0.40, 0, 2),
    (1.80, 0.72, 0.40, 12, 4),
    (3.20, 0.85, 0.40, -20, 3),
    (4.60, 0.75, 0.40, 25, 5),
    (6.00, 0.82, 0.40, -12, 2),
    (7.60, 0.78, 0.40, 8, 3),
    (8.30, 0.80, 0.40, 70, 6),
    (8.35, 0.82, 0.40, 150, 5),
    (7.90, 0.84, 0.40, 185, 2),
    (6.60, 0.72, 0.40, 205, 4),
    (5.20, 0.86, 0.40, 160, 3),
    (3.80, 0.76, 0.40, 198, 5),
    (2.40, 0.84, 0.40, 168, 2),
    (1.10, 0.78, 0.40, 182, 3),
    (0.65, 0.80, 0.40, 255, 6),
    (0.60, 0.78, 0.40, 335, 4),
    (1.40, 0.84, 0.40, 372, 3),
)
QUERY_KEYS = (
    (0.90, 0.72, 0.52, 8, 4),
    (2.60, 0.88, 0.48, -14, 2),
    (4.20, 0.72, 0.53, 18, 5),
    (5.80, 0.88, 0.47, -6, 3),
    (7.40, 0.74, 0.52, 14, 4),
    (7.90, 0.86, 0.50, 110, 6),
    (7.20, 0.88, 0.48, 190, 3),
    (5.00, 0.74, 0.53, 172, 4),
    (2.90, 0.86, 0.50, 190, 3),
    (1.40, 0.74, 0.47, 176, 5),
)


def furnish(room: Room) -> None:
    """Add everything to an empty room."""
    rng, (wide, deep, high) = room.rng, room.size_m
    long_wall = textures.paint(rng, (0.84, 0.83, 0.78), 520, 1900)
    long_wall[-230:] = textures.paint(rng, (0.46, 0.56, 0.55), 230, 1900)  # the lower 1.1 m
    end = building.painted(room, (0.84, 0.83, 0.78), deep, high)
    walls = {'south': long_wall, 'north': long_wall, 'west': end, 'east': end}
    floor = surfaces.tiles(rng, int(deep * 250), int(wide * 250), 75, (0.48, 0.47, 0.44), 0.05)
    building.add_shell(room, floor, walls, floor_gloss=0.6, skirting=(0.2, 0.2, 0.21))
    building.add_window(room, 'east', deep / 2, 1.0, 0.9, 1.1)
    building.add_ceiling_lamps(
        room, [(x + SPACING_M / 2, deep / 2) for x in DOORS_M[:-1]], (0.6, 0.2, 0.03)
    )
    leaf = textures.wood(rng, 500, 500, (1.0, 0.92, 0.85))
    for side, wall in enumerate(('south', 'north')):
        for number, x in enumerate(DOORS_M):
            building.add_door(room, wall, x, leaf)
            text = f'1.{2 * number + 1 + side:02d}'
            plate = surfaces.sign(text, (30, 80, 130), 120, 190)
            room.hang('sign', panel(0.22, 0.14), plate, wall, x + 0.64, 1.5, gap=0.01)
            arrow = surfaces.sign('EXIT', (20, 130, 60), 120, 320)
            room.hang('sign', panel(0.3, 0.11), arrow, wall, x - 0.75, 0.45, gap=0.01)
    _add_differences(room)


def _add_differences(room: Room) -> None:
    """Add the few things that stand in one place only."""
    rng, hang = room.rng, room.poster
    hang(textures.pinboard(rng, 420, 500), 'north', 3.72, 1.45, 0.52)
    hang(textures.science(rng, 560, 400), 'south', 7.3, 1.4, 0.42)
    hang(textures.shapes(rng, 420, 300), 'west', 0.5, 1.5, 0.4)
    hang(textures.city_map(rng, 420, 520), 'south', 1.88, 1.0, 0.3)
    red = (0.55, 0.04, 0.03)
    bottle = shapes.join(
        tube(0.07, 0.07, 0.42), cushion(0.14, 0.14, 0.1, 0.8).translate(0, 0, 0.42)
    )
    room.hang('extinguisher', bottle, red, 'north', 5.55, 0.35, gap=0.09, gloss=0.8)
    label = textures.concert(rng, 160, 200)
    room.hang('label', panel(0.09, 0.16), label, 'north', 5.55, 0.56, gap=0.162)
    bench = textures.planks(rng, 120, 400, 40, 400)
    fixtures.add_table(room, 1.95, 1.44, (0.55, 0.26, 0.42), bench, (0.1, 0.1, 0.1))
    bin_side = surfaces.metal(rng, 200, 600, (0.4, 0.42, 0.44))
    room.add('bin', tube(0.11, 0.13, 0.5).translate(3.72, 0.15), bin_side, gloss=0.5)
    cloth = textures.rug(rng, 200, 300)
    room.add('mat', shapes.flat(0.9, 0.6).rotate(90).translate(0.42, 0.8, 0.006), cloth)
    fixtures.add_parcels(
        room, ((8.75, 1.35, 0.0, 0.34, 0.3, 0.3, 10), (8.78, 0.24, 0.0, 0.3, 0.34, 0.42, -6))
    )
    for x in (2.1, 5.7, 7.2):
        socket = box(0.09, 0.012, 0.09)
        room.hang('socket', socket, (0.75, 0.75, 0.72), 'south', x, 0.3, gap=0.006)


SPEC = RoomSpec(
    size_m=(9.0, 1.6, 2.4),
    seed=51,
    furnish=furnish,
    camera=make_camera(424, 240, 90.0, (-2.8, 3.1)),
    depth_size_px=(212, 120),
    recordings={
        'walk': Recording(
            path=KeyPath(MAPPING_KEYS, sway=0.25),
            frame_count=200,
            blurred_fraction=0.03,
            path_seed=51,
            sensor_seed=511,
            lighting=DAY,
            color=ColorSensor(gray=0.20, white_balance=(1.0, 1.0, 1.0), noise=2.0),
            tracker=Tracker(slow_m=0.005, slow_deg=0.12, drift_fraction=0.005),
        ),
        'test': Recording(
            path=KeyPath(QUERY_KEYS, sway=0.25),
            frame_count=56,
            blurred_fraction=0.2,
            path_seed=52,
            sensor_seed=512,
            lighting=NIGHT,
            color=ColorSensor(gray=0.15, white_balance=(1.05, 1.0, 0.93), noise=3.0),
        ),
    },
    depth=DepthSensor(near_m=0.2, far_m=6.0, std_m=0.002, std_per_m=0.003, white=0.2),
)
"""A corridor where every few steps look the same."""
