"""What a judge of maps of a flat needs: the truth, as one JSON file beside the bags."""

from collections.abc import Mapping
from typing import Any

from demo.flat.plan import FloorPlan
from demo.trajectories import Trajectory
from nerf_reversal_ros.core.geometry import FloatArray

FILE_NAME = 'truth.json'
FRAMES = (
    'flat: meters, z up, x along the corridor. world: the frame of the poses in a bag, y up.'
    ' world_from_flat takes a point of the flat there. A room of a test frame is the one that the'
    ' camera is in.'
)


def describe(
    plan: FloorPlan,
    walks: Mapping[str, Trajectory],
    worlds: Mapping[str, FloatArray],
    every: int,
) -> dict[str, Any]:
    """
    Return the truth of a flat and its recordings.

    Parameters
    ----------
    plan : FloorPlan
        The flat.
    walks : dict of Trajectory
        True poses of each recording.
    worlds : dict of (4, 4) arrays
        world_from_flat of each recording.
    every : int
        Only every so many frames are in the bags.
    """
    rooms = {
        space.name: {
            'kind': space.kind,
            'twin': space.twin or None,
            'low_m': [float(value) for value in space.low_m],
            'high_m': [float(value) for value in space.high_m],
            'world_from_flat': worlds[space.name].tolist(),
        }
        for space in plan.spaces
    }
    doors = [
        {'rooms': list(door.rooms), 'center_m': [float(value) for value in door.center_m]}
        for door in plan.doors
    ]
    tests = {}
    for name, walk in walks.items():
        if name not in rooms:
            places = plan.names_at(walk.room_from_camera[::every, :3, 3])
            stamps = walk.stamps_ns[::every].tolist()
            tests[name] = {
                'world_from_flat': worlds[name].tolist(),
                'frames': [
                    {'stamp_ns': stamp, 'room': room}
                    for stamp, room in zip(stamps, places, strict=True)
                ],
            }
    return {
        'frames': FRAMES,
        'seed': plan.seed,
        'every': every,
        'rooms': rooms,
        'doors': doors,
        'tests': tests,
    }
