"""
A wall of boards from 25 to 50 cm away, as an export of a phone: no room is in view.

The boards, their knots, screws, two battens, a hinge and a handle are all that is seen. The grain
is alike everywhere.
"""

import numpy as np

from demo import building, shapes, surfaces
from demo.room import Lighting, Room
from demo.sensors import ColorSensor, DepthSensor
from demo.shapes import box, disc, panel, tube
from demo.specification import make_camera, Recording, RoomSpec
from demo.trackers import Tracker
from demo.trajectories import KeyPath

BOARD_M = 0.12
PIXELS_PER_M = 1500
"""Resolution of the boards: a pixel of the camera covers 0.8 mm at 30 cm."""
IRON = (0.07, 0.065, 0.06)

EVENING: Lighting = {'window_south': (3.0, 3.2, 3.4), 'lamp_ceiling': (9.0, 8.0, 6.5)}
LAMP: Lighting = {'window_south': (0.6, 0.7, 0.9), 'lamp_ceiling': (12.0, 10.0, 7.0)}

# Rows along the boards and back, then closer along the handle and the battens. The wall is at
# y = 2.4 m: distances are 0.25 to 0.5 m.
MAPPING_KEYS = (
    (0.85, 2.02, 1.02, 92, -3),
    (1.25, 2.05, 1.00, 88, 3),
    (1.70, 2.00, 1.05, 95, -4),
    (1.72, 2.06, 1.28, 98, 2),
    (1.25, 2.03, 1.27, 85, -3),
    (0.86, 2.07, 1.25, 82, 4),
    (0.88, 2.05, 1.52, 88, 6),
    (1.30, 2.01, 1.50, 94, -2),
    (1.70, 2.04, 1.50, 90, 5),
    (1.62, 1.93, 1.40, 96, -6),
    (1.20, 1.92, 1.15, 90, -4),
    (0.95, 2.11, 1.12, 88, 2),
    (1.15, 2.12, 1.36, 86, 4),
    (1.50, 2.11, 1.18, 95, -3),
)
QUERY_KEYS = (
    (1.65, 2.07, 1.14, 94, 3),
    (1.05, 2.05, 1.18, 86, -4),
    (0.95, 2.01, 1.40, 84, 5),
    (1.45, 2.08, 1.38, 96, 3),
    (1.60, 1.99, 1.44, 92, -5),
    (1.10, 1.97, 1.08, 92, 2),
)


def furnish(room: Room) -> None:
    """Add everything to an empty room."""
    wide, _, high = room.size_m
    cream = building.painted(room, (0.8, 0.76, 0.68), wide, high)
    walls = {wall: cream for wall in ('south', 'west', 'east', 'north')}
    building.add_shell(room, surfaces.concrete(room.rng, 500, 500, (0.4, 0.38, 0.35)), walls)
    building.add_window(room, 'south', wide / 2, 0.9, 1.5, 1.2)
    lamp = box(0.4, 0.4, 0.06).translate(wide / 2, 1.1, high - 0.2)
    room.add('lamp_ceiling', lamp, building.WHITE, light=True)
    room.hang('gap', panel(wide, high), (0.03, 0.02, 0.015), 'north', wide / 2, high / 2, gap=0.01)
    for number in range(int(wide / BOARD_M)):
        _add_board(room, (number + 0.5) * BOARD_M)
    for z in (0.86, 1.58):
        _add_batten(room, z)
    _add_handle(room)
    _add_hinge(room, 1.22)


def _add_board(room: Room, x: float) -> None:
    """Add an upright board, with a nail above each batten or below it."""
    rng, high = room.rng, room.size_m[2]
    size = int(BOARD_M * PIXELS_PER_M), int(high * PIXELS_PER_M)
    shade = np.array([1.0, 0.97, 0.93]) * rng.uniform(0.94, 1.04)
    texture = np.rot90(surfaces.board(rng, *size, knots=int(rng.integers(3, 7)), shade=shade))
    plank = box(BOARD_M - 0.005, 0.02, high)
    room.hang('board', plank, texture.copy(), 'north', x, 0.0, gap=0.02)
    for z in (0.79, 1.75):
        _add_screw(room, x + rng.uniform(-0.03, 0.03), z + rng.uniform(-0.01, 0.01), 0.03, 0.003)


def _add_batten(room: Room, z: float) -> None:
    """Add a board across the others, with two screws in each of them."""
    rng, wide = room.rng, room.size_m[0]
    size = int(0.13 * PIXELS_PER_M), int(wide * PIXELS_PER_M)
    texture = surfaces.board(rng, *size, knots=9, shade=(0.9, 0.86, 0.8))
    beam = box(wide, 0.022, 0.13)
    room.hang('batten', beam, texture, 'north', wide / 2, z, gap=0.041)
    for number in range(int(wide / BOARD_M)):
        x = (number + 0.5) * BOARD_M
        for dx, dz in ((-0.03, 0.035), (0.03, 0.095)):
            shift = rng.uniform(-0.006, 0.006, 2)
            _add_screw(room, x + dx + shift[0], z + dz + shift[1], 0.0525, 0.0045)


def _add_screw(room: Room, x: float, z: float, out: float, radius: float) -> None:
    """Add the head of a screw that stands ``out`` from the wall."""
    head = disc(radius, 16).rotate(0, roll_deg=90)
    texture = surfaces.screw(room.rng, 24)
    room.hang('screw', head, texture, 'north', x, z, gap=out + 0.001, gloss=0.6)


def _add_handle(room: Room) -> None:
    """Add the plate with lever and keyhole."""
    x, z = 1.3, 1.16
    plate = box(0.045, 0.006, 0.24)
    brass = surfaces.metal(room.rng, 360, 70, (0.5, 0.4, 0.22))
    room.hang('plate', plate, brass, 'north', x, z, gap=0.034, gloss=1.0)
    lever = shapes.join(
        tube(0.009, 0.009, 0.05).rotate(0, roll_deg=90).translate(0, 0, 0.17),
        tube(0.008, 0.006, 0.11).rotate(0, 90).translate(0, -0.05, 0.17),
    )
    room.hang('lever', lever, (0.42, 0.33, 0.18), 'north', x, z, gap=0.034, gloss=1.0)
    hole = shapes.join(
        disc(0.006, 16).rotate(0, roll_deg=90).translate(0, 0, 0.07),
        panel(0.005, 0.018).translate(0, 0, 0.06),
    )
    room.hang('keyhole', hole, (0.01, 0.01, 0.01), 'north', x, z, gap=0.039)
    for dz in (0.015, 0.225):
        _add_screw(room, x, z + dz, 0.038, 0.004)


def _add_hinge(room: Room, z: float) -> None:
    """Add a long iron hinge with its screws."""
    strap = box(0.42, 0.005, 0.04)
    iron = surfaces.metal(room.rng, 60, 630, (0.16, 0.15, 0.145))
    room.hang('hinge', strap, iron, 'north', 0.78, z, gap=0.034, gloss=0.5)
    pin = tube(0.012, 0.012, 0.07)
    room.hang('hinge', pin, IRON, 'north', 0.57, z - 0.015, gap=0.04, gloss=0.5)
    for x in (0.64, 0.74, 0.86, 0.96):
        _add_screw(room, x, z + 0.02, 0.038, 0.005)


SPEC = RoomSpec(
    size_m=(2.64, 2.4, 2.5),
    seed=31,
    furnish=furnish,
    camera=make_camera(360, 480, 65.0, (2.1, -3.4)),
    depth_size_px=(192, 256),
    recordings={
        'walk': Recording(
            path=KeyPath(MAPPING_KEYS, sway=0.35),
            frame_count=200,
            blurred_fraction=0.03,
            path_seed=31,
            sensor_seed=311,
            lighting=EVENING,
            color=ColorSensor(gray=0.20, white_balance=(1.0, 1.0, 1.0), noise=1.5),
            tracker=Tracker(slow_m=0.002),
        ),
        'test': Recording(
            path=KeyPath(QUERY_KEYS, sway=0.35),
            frame_count=48,
            blurred_fraction=0.2,
            path_seed=32,
            sensor_seed=312,
            lighting=LAMP,
            color=ColorSensor(gray=0.14, white_balance=(0.96, 1.0, 1.06), noise=2.5),
        ),
    },
    depth=DepthSensor(std_m=0.0015, white=0.1),
)
"""Boards at arm's length."""
