"""Describe the recordings of a flat: who walks where, in which light, and in which world."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from demo import sensors
from demo.flat.furnishing import furnish
from demo.flat.layout import lay_out
from demo.flat.plan import CORRIDOR, FloorPlan, plan_flat, plan_pair
from demo.flat.walks import map_corridor, map_room, split_rooms, visit_rooms
from demo.room import Baking, Lighting
from demo.sensors import ColorSensor
from demo.specification import make_camera, Recording, RoomSpec
from demo.trackers import Tracker
from demo.trajectories import Trajectory
from nerf_reversal_ros.core.geometry import FloatArray, inverse, Z_UP_FROM_Y_UP

DAY: Lighting = {
    'lamp_ceiling': (9.0, 8.8, 8.3),
    'window_north': (2.2, 2.4, 2.7),
    'window_south': (3.2, 3.1, 2.9),
    'window_east': (2.6, 2.8, 3.0),
    'lamp_desk': (0.0, 0.0, 0.0),
    'lamp_bed': (0.0, 0.0, 0.0),
}
"""Light of the mapping walks."""
EVENING: Lighting = {
    'lamp_ceiling': (9.0, 8.2, 6.9),
    'window_north': (0.4, 0.45, 0.65),
    'window_south': (0.6, 0.55, 0.6),
    'window_east': (0.5, 0.55, 0.75),
    'lamp_desk': (8.0, 6.8, 5.0),
    'lamp_bed': (5.0, 3.4, 1.9),
}
"""Light of the test walks."""
LAMP_OF = {'desk': 'lamp_desk', 'bed': 'lamp_bed'}
"""Lights that come with a piece of furniture."""

MAP_COLOR = ColorSensor(gray=0.21, white_balance=(1.0, 1.0, 1.0), noise=1.5)
TEST_COLOR = ColorSensor(gray=0.17, white_balance=(0.97, 1.0, 1.04), noise=2.5)
MAP_FRAMES, CORRIDOR_FRAMES, TEST_FRAMES, TEST_WALKS = 110, 180, 260, 3
PAIR_MAP_FRAMES, PAIR_TEST_FRAMES = 60, 24
BAKING = Baking(light_samples=16, directions=32, reach_m=7.0)
PAIR = 2
"""Number of rooms of the plan without a corridor."""


def plan(rooms: int, seed: int) -> FloorPlan:
    """Return the plan of a flat; 2 rooms are a pair with a door and no corridor."""
    return plan_pair(seed) if rooms == PAIR else plan_flat(rooms, seed)


def specify(plan: FloorPlan) -> RoomSpec:
    """Return what the renderer needs: the flat as one room, and all its recordings."""
    pair = len(plan.rooms) == PAIR
    lights = _lights(plan)
    recordings = {
        space.name: _mapping(plan, number, {name: DAY[name] for name in lights})
        for number, space in enumerate(plan.spaces)
    }
    walks = [['room_a', 'room_b']] if pair else split_rooms(plan.rooms, TEST_WALKS)
    for number, names in enumerate(walks):
        seed = 1000 * plan.seed + 900 + number
        recordings['test' if pair else f'test_{number + 1}'] = Recording(
            path=visit_rooms(plan, names, seed),
            frame_count=PAIR_TEST_FRAMES if pair else TEST_FRAMES,
            blurred_fraction=0.1,
            path_seed=seed,
            sensor_seed=seed + 50,
            lighting={name: EVENING[name] for name in lights},
            color=TEST_COLOR,
        )
    width, height = (256, 192) if pair else (320, 240)
    return RoomSpec(
        size_m=plan.size_m,
        seed=plan.seed,
        furnish=partial(furnish, plan=plan),
        camera=make_camera(width, height, 72.0, (-1.7, 2.2)),
        depth_size_px=(96, 72) if pair else (160, 120),
        recordings=recordings,
        baking=BAKING,
    )


def _mapping(plan: FloorPlan, number: int, lighting: Lighting) -> Recording:
    """Return the mapping walk of a space."""
    space, seed = plan.spaces[number], 1000 * plan.seed + number
    pair, is_corridor = len(plan.rooms) == PAIR, space.kind == CORRIDOR
    frames = PAIR_MAP_FRAMES if pair else CORRIDOR_FRAMES if is_corridor else MAP_FRAMES
    if is_corridor:
        path = map_corridor(plan, space, seed)
    else:
        path = map_room(plan, space, seed, across_deg=90.0 if pair else 270.0)
    return Recording(
        path=path,
        frame_count=frames,
        blurred_fraction=0.03,
        path_seed=seed,
        sensor_seed=seed + 50,
        lighting=lighting,
        color=MAP_COLOR,
        tracker=Tracker(),
    )


def _lights(plan: FloorPlan) -> list[str]:
    """Return the names of the lights that are in a flat."""
    lights = ['lamp_ceiling']
    lights += [f'window_{"south" if room.is_turned else "north"}' for room in plan.rooms]
    lights += ['window_east'] * (len(plan.spaces) > len(plan.rooms))
    pieces = [placed.piece for room in plan.rooms for placed in lay_out(room).furniture]
    lights += [LAMP_OF[piece] for piece in pieces if piece in LAMP_OF]
    return sorted(set(lights))


def worlds(plan: FloorPlan, walks: Mapping[str, Trajectory]) -> dict[str, FloatArray]:
    """
    Return world_from_flat (4, 4) of each recording, y up as ARKit has it.

    A mapping walk has a world of its own: the origin is its first camera, the heading any. The
    world of all test walks is the flat itself.
    """
    rng = np.random.default_rng([plan.seed, 11])
    names = {space.name for space in plan.spaces}
    return {
        name: sensors.arkit_from_room(
            walk.room_from_camera[0, :3, 3], float(rng.uniform(-180, 180))
        )
        if name in names
        else inverse(Z_UP_FROM_Y_UP)
        for name, walk in walks.items()
    }
