"""
A hall of 15 x 9 x 5 m with pillars and high shelves, where depth ends at 5 m.

Much of an image is farther than the depth sensor reaches.
"""

from demo import building, fixtures, shapes, surfaces, textures
from demo.room import Lighting, Room
from demo.sensors import ColorSensor, DepthSensor
from demo.shapes import box, flat, panel, tube
from demo.specification import make_camera, Recording, RoomSpec
from demo.trackers import Tracker
from demo.trajectories import KeyPath

PILLARS_M = tuple((x, y) for x in (3.75, 7.5, 11.25) for y in (2.9, 6.3))
CELL_M = 0.15
"""Coarser than elsewhere: the shell alone has 500 square meters."""

DAY: Lighting = {'window_north': (4.0, 4.3, 4.6), 'lamp_ceiling': (14.0, 14.5, 14.8)}
NIGHT: Lighting = {'window_north': (0.2, 0.25, 0.4), 'lamp_ceiling': (16.0, 15.0, 13.0)}

# Along the south aisle, around the east, back in the middle, and along the north aisle.
MAPPING_KEYS = (
    (1.6, 1.9, 1.50, 20, -4),
    (3.6, 1.8, 1.45, -30, -8),
    (5.6, 2.0, 1.50, 10, 0),
    (7.6, 1.8, 1.50, -40, -6),
    (9.6, 2.0, 1.45, 15, -2),
    (11.6, 1.8, 1.50, -15, -8),
    (13.3, 2.4, 1.50, 60, -4),
    (13.4, 4.5, 1.45, 140, -2),
    (12.2, 4.7, 1.50, 200, -6),
    (10.0, 4.4, 1.50, 165, 2),
    (7.6, 4.7, 1.45, 215, -4),
    (5.2, 4.4, 1.50, 150, -2),
    (2.6, 4.7, 1.50, 190, -6),
    (1.5, 6.0, 1.45, 120, -4),
    (2.6, 7.3, 1.50, 30, -2),
    (5.4, 7.4, 1.50, -20, -6),
    (8.4, 7.2, 1.45, 40, 0),
    (11.2, 7.4, 1.50, -30, -4),
    (13.3, 6.6, 1.50, -100, -2),
)
QUERY_KEYS = (
    (1.9, 2.2, 1.62, 10, -2),
    (5.0, 1.6, 1.36, -20, -6),
    (8.6, 2.2, 1.60, 5, -2),
    (12.6, 2.1, 1.38, 20, -4),
    (13.0, 5.0, 1.62, 160, -2),
    (9.2, 4.8, 1.38, 195, -4),
    (5.8, 4.2, 1.60, 170, -2),
    (2.2, 5.4, 1.40, 130, -4),
    (4.0, 7.1, 1.60, 15, -2),
    (9.0, 7.5, 1.40, -10, -4),
)


def furnish(room: Room) -> None:
    """Add everything to an empty room."""
    rng, (wide, deep, high) = room.rng, room.size_m
    walls = {
        'south': surfaces.bricks(rng, int(high * 130), int(wide * 130), 34),
        'north': surfaces.concrete(rng, int(high * 130), int(wide * 130), (0.62, 0.61, 0.58)),
        'west': surfaces.concrete(rng, int(high * 130), int(deep * 130), (0.55, 0.57, 0.58)),
        'east': surfaces.concrete(rng, int(high * 130), int(deep * 130), (0.60, 0.57, 0.52)),
    }
    floor = surfaces.concrete(rng, int(deep * 130), int(wide * 130), (0.44, 0.44, 0.43))
    building.add_shell(room, floor, walls, floor_gloss=0.3, cell_m=CELL_M)
    for x in (2.2, 5.7, 9.3, 12.8):
        building.add_window(room, 'north', x, 3.0, 2.4, 1.4)
    lamps = [(x, y) for x in (1.9, 5.6, 9.4, 13.1) for y in (2.2, 4.6, 7.0)]
    building.add_ceiling_lamps(room, lamps, (1.2, 0.4, 0.6))
    _add_structure(room)
    _add_goods(room)
    _add_walls(room)


def _add_structure(room: Room) -> None:
    """Add pillars with their numbers, beams, and lines on the floor."""
    rng, (wide, deep, high) = room.rng, room.size_m
    for number, (x, y) in enumerate(PILLARS_M, 1):
        skin = surfaces.concrete(rng, 700, 220, (0.66, 0.65, 0.62))
        room.add('pillar', box(0.4, 0.4, high).translate(x, y), skin)
        stripes = surfaces.tiles(rng, 90, 240, 30, (0.75, 0.6, 0.06), 0.25)
        room.add('guard', box(0.44, 0.44, 0.6).translate(x, y), stripes)
        plate = surfaces.sign(f'{"ABCDEF"[number - 1]}{number}', (160, 40, 30), 200, 260)
        for yaw in (0, 90, 180, 270):
            face = panel(0.36, 0.28).translate(0, -0.206, 2.2).rotate(yaw)
            room.add('sign', face.translate(x, y), plate)
        picture = (textures.concert, textures.science, textures.shapes)[number % 3]
        face = panel(0.34, 0.5).translate(0, -0.207, 1.5).rotate(90 * number)
        room.add('poster', face.translate(x, y), picture(rng, 420, 290))
    steel = surfaces.metal(rng, 60, 600, (0.3, 0.32, 0.34))
    for x in (1.9, 5.6, 9.4, 13.1):
        room.add('beam', box(0.2, deep, 0.3).translate(x, deep / 2, high - 0.3), steel)
    for y in (3.6, 5.6):
        line = flat(wide - 2.0, 0.1, CELL_M).translate(wide / 2, y, 0.006)
        room.add('line', line, textures.paint(rng, (0.8, 0.66, 0.08), 12, 1300))


def _add_goods(room: Room) -> None:
    """Add racks along the south wall and the ends, pallets in the north, benches."""
    rng, (wide, deep, _) = room.rng, room.size_m
    levels = (0.12, 1.0, 1.9, 2.8)
    for x in (2.0, 4.7, 7.4, 10.1, 12.8):
        fixtures.add_rack(room, x, 0.55, (2.5, 0.9, 3.5), levels, 180, goods=2.4)
    fixtures.add_rack(room, wide - 0.5, 7.0, (2.5, 0.8, 2.8), levels[:3], -90, goods=2.2)
    oak = textures.planks(rng, 120, 500, 40, 500)
    for x in (3.9, 7.5, 11.0):
        fixtures.add_table(room, x, deep - 0.3, (2.0, 0.4, 0.46), oak, (0.15, 0.16, 0.17))
    spots = []
    for x in (1.2, 5.7, 9.3, 13.0):
        for layer in range(int(rng.integers(1, 4))):
            width, depth = rng.uniform(0.6, 0.9, 2)
            spots.append((x, deep - 0.6, 0.5 * layer, width, depth, 0.5, rng.uniform(-8, 8)))
    fixtures.add_parcels(room, spots)
    for x, y in ((6.1, 3.1), (9.2, 6.1), (0.5, 8.2)):
        label = textures.stained_glass(rng, 200, 500, 40)
        room.add('drum', tube(0.29, 0.29, 0.88).translate(x, y), label, gloss=0.4)
        room.add('drum', shapes.disc(0.29).translate(x, y, 0.88), (0.2, 0.22, 0.25))


def _add_walls(room: Room) -> None:
    """Add the gate, doors, banners and boards."""
    rng, hang, deep = room.rng, room.poster, room.size_m[1]
    gate = surfaces.tiles(rng, 500, 450, 50, (0.35, 0.42, 0.46), 0.08)
    room.hang('gate', box(3.2, 0.06, 3.4), gate, 'east', 3.4, 0.0, gap=0.03, gloss=0.3)
    leaf = surfaces.metal(rng, 400, 400, (0.3, 0.36, 0.4))
    for x in (7.4, 14.3):
        building.add_door(room, 'north', x, leaf)
    hang(textures.concert(rng, 700, 460), 'west', 2.0, 2.6, 1.6)
    hang(textures.city_map(rng, 560, 820), 'west', 4.6, 2.0, 2.0)
    hang(textures.strokes(rng, 560, 760), 'west', deep - 1.9, 2.3, 1.9)
    hang(textures.landscape(rng, 420, 700), 'north', 3.9, 1.9, 1.7)
    hang(textures.science(rng, 760, 540), 'north', 9.2, 1.8, 1.0)
    hang(textures.pinboard(rng, 560, 840), 'north', 11.2, 1.7, 1.7)
    hang(textures.shapes(rng, 600, 430), 'north', 6.2, 2.0, 0.8)
    hang(textures.concert(rng, 640, 430), 'east', 5.4, 2.4, 0.9)


SPEC = RoomSpec(
    size_m=(15.0, 9.0, 5.0),
    seed=91,
    furnish=furnish,
    camera=make_camera(480, 360, 75.0, (3.9, 1.8)),
    depth_size_px=(256, 192),
    recordings={
        'walk': Recording(
            path=KeyPath(MAPPING_KEYS),
            frame_count=160,
            blurred_fraction=0.03,
            path_seed=91,
            sensor_seed=911,
            lighting=DAY,
            color=ColorSensor(gray=0.19, white_balance=(1.0, 1.0, 1.0), noise=2.0),
            tracker=Tracker(slow_m=0.006, slow_deg=0.15),
        ),
        'test': Recording(
            path=KeyPath(QUERY_KEYS),
            frame_count=46,
            blurred_fraction=0.2,
            path_seed=92,
            sensor_seed=912,
            lighting=NIGHT,
            color=ColorSensor(gray=0.15, white_balance=(1.05, 1.0, 0.93), noise=3.0),
        ),
    },
    depth=DepthSensor(far_m=5.0, std_m=0.003, std_per_m=0.002, white=0.1),
)
"""A hall that is larger than depth can see."""
