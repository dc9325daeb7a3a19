"""
The demo room: 4.5 x 3.8 x 2.5 m, furnished, filmed with a phone.

Axes: x along the wall of the sofa, y from the sofa toward the window, z up; the origin is a corner
of the floor. The room is procedural: no model and no image is read.
"""

import numpy as np

from demo import furniture, shapes, textures
from demo.room import Lighting, Room
from demo.sensors import ColorSensor
from demo.shapes import box, cushion, disc, flat, panel, tube
from demo.specification import Recording, RoomSpec
from demo.trackers import Tracker
from demo.trajectories import EllipsePath
from nerf_reversal_ros.core.camera import Camera

DAY: Lighting = {
    'window': (2.3, 2.5, 2.7),
    'lamp_ceiling': (20.0, 18.0, 15.0),
    'lamp_floor': (6.0, 4.6, 3.2),
    'lamp_desk': (0.0, 0.0, 0.0),
}
"""A bright day, ceiling and floor lamp on."""

OVERCAST: Lighting = {
    'window': (1.2, 1.4, 1.7),
    'lamp_ceiling': (18.0, 16.0, 13.0),
    'lamp_floor': (0.0, 0.0, 0.0),
    'lamp_desk': (20.0, 15.5, 10.0),
}
"""Less light through the window, the floor lamp off, the desk lamp on."""


def furnish(room: Room) -> None:
    """Add everything to an empty room."""
    _shell(room)
    _posters(room)
    furniture.add_sofa(room)
    furniture.add_bookshelf(room)
    furniture.add_desk(room)
    furniture.add_coffee_table(room)
    furniture.add_cupboard(room)
    furniture.add_corner_objects(room)
    _lamps(room)


def _shell(room: Room) -> None:
    rng, (wide, deep, high) = room.rng, room.size_m
    floor = textures.planks(rng, int(deep * 330), int(wide * 330), 44, 400)
    room.add('floor', flat(wide, deep).translate(wide / 2, deep / 2), floor, gloss=0.5)
    ceiling = textures.paint(rng, (0.90, 0.90, 0.88), 700, 800)
    room.add(
        'ceiling', flat(wide, deep).rotate(0, 180).translate(wide / 2, deep / 2, high), ceiling
    )
    white = textures.paint(rng, (0.89, 0.88, 0.85), 800, 1400)
    room.add('wall', panel(wide, high).rotate(180).translate(wide / 2, 0, high / 2), white)
    sage = textures.paint(rng, (0.62, 0.70, 0.66), 800, 1200)
    room.add('wall', panel(deep, high).rotate(-90).translate(wide, deep / 2, high / 2), sage)
    cream = textures.paint(rng, (0.88, 0.85, 0.78), 800, 1200)
    room.add('wall', panel(deep, high).rotate(90).translate(0, deep / 2, high / 2), cream)
    paper = textures.stripes(rng, 820, 1480)
    room.add('wall', panel(wide, high).translate(wide / 2, deep, high / 2), paper)
    skirting = (0.75, 0.74, 0.71)
    for width, yaw, x, y in (
        (wide, 0, wide / 2, 0.008),
        (wide, 0, wide / 2, deep - 0.008),
        (deep, 90, 0.008, deep / 2),
        (deep, 90, wide - 0.008, deep / 2),
    ):
        room.add('skirting', box(width, 0.016, 0.09).rotate(yaw).translate(x, y), skirting)

    room.add(
        'window', panel(1.34, 1.24).translate(2.2, deep - 0.02, 1.52), (0.8, 0.8, 0.8), light=True
    )
    frame = (0.82, 0.82, 0.80)
    for width, height, x, z in (
        (1.46, 0.07, 2.2, 0.86),
        (1.46, 0.07, 2.2, 2.12),
        (0.05, 1.24, 2.2, 0.9),
        (0.07, 1.33, 1.5, 0.86),
        (0.07, 1.33, 2.9, 0.86),
        (1.34, 0.04, 2.2, 1.66),
    ):
        room.add('frame', box(width, 0.06, height).translate(x, deep - 0.03, z), frame, gloss=0.5)
    room.add('sill', box(1.6, 0.18, 0.03).translate(2.2, deep - 0.09, 0.83), frame, gloss=0.5)
    room.add(
        'rod',
        tube(0.012, 0.012, 2.2).rotate(0, 90).translate(1.1, deep - 0.12, 2.27),
        (0.12, 0.1, 0.09),
    )
    for x, seed in ((1.33, 1), (3.07, 2)):
        cloth = textures.patterned(rng, 900, 360, 90)
        drape = shapes.curtain(0.46, 1.95, 5, seed).translate(x, deep - 0.12, 1.29)
        room.add('curtain', drape, cloth)

    leaf = textures.wood(rng, 600, 600, (1.15, 1.12, 1.05))
    room.add(
        'door', box(0.86, 0.04, 2.02, 1.6, 5).rotate(180).translate(3.72, 0.02), leaf, gloss=0.5
    )
    for x, width in ((3.26, 0.07), (4.18, 0.07)):
        room.add('jamb', box(width, 0.06, 2.09).translate(x, 0.03), frame)
    room.add('jamb', box(0.99, 0.06, 0.07).translate(3.72, 0.03, 2.04), frame)
    for z in (0.25, 1.15):
        room.add('inset', box(0.56, 0.01, 0.7, 1.6, int(z * 9)).translate(3.72, 0.045, z), leaf)
    knob = tube(0.011, 0.011, 0.12).rotate(0, 90).translate(3.36, 0.09, 1.02)
    room.add('knob', knob, (0.5, 0.5, 0.52), gloss=1.0)


def _posters(room: Room) -> None:
    rng = room.rng
    black, oak, white = (24, 22, 22), (150, 112, 70), (226, 224, 218)
    hang = room.poster
    hang(textures.add_frame(textures.strokes(rng, 480, 640), 22, black), 'south', 1.02, 1.66, 0.86)
    hang(textures.concert(rng, 640, 450), 'south', 1.84, 1.62, 0.52)
    hang(textures.add_frame(textures.landscape(rng, 420, 420), 16, oak), 'south', 2.43, 1.82, 0.44)
    hang(textures.stained_glass(rng, 300, 380, 46), 'south', 2.46, 1.33, 0.36)
    hang(textures.city_map(rng, 560, 800), 'east', 2.65, 1.62, 1.05)
    hang(textures.add_frame(textures.shapes(rng, 600, 430), 18, white), 'east', 3.42, 1.65, 0.46)
    hang(textures.science(rng, 640, 460), 'west', 3.02, 1.60, 0.56)
    hang(
        textures.add_frame(textures.landscape(rng, 500, 360), 18, black), 'west', 0.72, 1.72, 0.40
    )
    hang(textures.pinboard(rng, 560, 840), 'north', 3.82, 1.62, 1.0)
    hang(textures.add_frame(textures.shapes(rng, 440, 360), 14, oak), 'north', 0.62, 1.75, 0.44)
    hang(textures.concert(rng, 420, 300), 'north', 0.25, 1.35, 0.26)
    hang(textures.add_frame(textures.strokes(rng, 300, 300), 12, oak), 'east', 0.45, 1.72, 0.36)
    face = disc(0.15).rotate(0, roll_deg=90).rotate(90).translate(0.03, 1.55, 2.17)
    room.add('clock', face, textures.clock(rng, 300))


def _lamps(room: Room) -> None:
    dark = (0.06, 0.055, 0.05)
    room.add(
        'lamp_ceiling',
        cushion(0.34, 0.34, 0.2, 0.8).translate(2.2, 1.9, 2.24),
        (0.8, 0.78, 0.72),
        light=True,
    )
    room.add('cord', tube(0.006, 0.006, 0.16).translate(2.2, 1.9, 2.34), dark)
    room.add('stand', tube(0.13, 0.13, 0.02).translate(2.98, 0.3), dark)
    room.add('stand', disc(0.13).translate(2.98, 0.3, 0.02), dark)
    room.add('stand', tube(0.012, 0.012, 1.36).translate(2.98, 0.3), dark)
    room.add(
        'lamp_floor',
        tube(0.2, 0.13, 0.28).translate(2.98, 0.3, 1.3),
        (0.75, 0.66, 0.5),
        light=True,
    )


CENTER_M, RADII_M = np.array([2.15, 1.85]), np.array([1.25, 0.85])

# Each row: fraction of the radii, angle on the ellipse [deg], viewing direction relative to
# outward [deg], pitch [deg], height [m].
MAPPING_KEYS = (
    (0.45, -90, 0, -8, 1.45),
    (0.50, 90, 5, -12, 1.50),
    (0.45, 270, 0, -8, 1.42),
    (1.00, 325, 180, -16, 1.38),
    (1.05, 510, 185, -12, 1.55),
    (1.00, 690, 175, -18, 1.45),
    (0.85, 750, 85, -24, 1.40),
    (0.75, 860, 50, -28, 1.30),
    (0.70, 960, 70, 6, 1.50),
    (0.85, 1090, 30, -22, 1.42),
)

QUERY_KEYS = (
    (0.65, 75, 12, -6, 1.58),
    (0.60, -40, -8, -16, 1.36),
    (0.62, -150, 12, -10, 1.56),
    (0.85, -290, 120, -20, 1.36),
    (0.88, -390, 185, -10, 1.50),
    (0.88, -480, 188, -16, 1.40),
    (0.88, -570, 180, -12, 1.56),
    (0.80, -620, 172, -18, 1.45),
)

SPEC = RoomSpec(
    size_m=(4.5, 3.8, 2.5),
    seed=7,
    furnish=furnish,
    camera=Camera(360, 480, 358.0, 358.0, 177.3, 242.1),
    depth_size_px=(192, 256),
    recordings={
        # three rounds: outward, inward and along
        'walk': Recording(
            path=EllipsePath(MAPPING_KEYS, CENTER_M, RADII_M),
            frame_count=190,
            blurred_fraction=0.03,
            path_seed=1,
            sensor_seed=11,
            lighting=DAY,
            color=ColorSensor(gray=0.20, white_balance=(1.0, 1.0, 1.0), noise=1.5),
            tracker=Tracker(),
        ),
        # other positions, heights and directions
        'test': Recording(
            path=EllipsePath(QUERY_KEYS, CENTER_M, RADII_M),
            frame_count=90,
            blurred_fraction=0.25,
            path_seed=2,
            sensor_seed=12,
            lighting=OVERCAST,
            color=ColorSensor(gray=0.15, white_balance=(0.92, 1.0, 1.10), noise=2.5),
        ),
    },
)
"""The room of `make demo`, whose captures are in the repository."""
