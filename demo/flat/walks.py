"""
Lead the camera through a flat: a mapping walk of each space, and test walks through several rooms.

A mapping walk starts in the room, looks out all around, looks across, goes out of the door, looks
to both sides and back in, so that neighbors overlap. Positions stay in the free floor of the
layout and go straight through the doors.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from demo.flat.layout import lay_out
from demo.flat.plan import CORRIDOR, FloorPlan, Space, WALL_M
from demo.trajectories import KeyPath

MARGIN_M = 0.42
"""From the edge of the free floor."""
LARGEST_RADIUS_M = 0.8
"""Of a ring through a room."""
SWAY = 0.5
"""Of the hand: a doorway is narrow."""
STEP_OUT_M = 0.75
"""How far a mapping walk goes out of its room."""


class Route:
    """Key views in the flat; each heading is taken the short way round from the one before."""

    def __init__(self) -> None:
        """Start without a view."""
        self.keys: list[tuple[float, ...]] = []

    def go(self, x: float, y: float, z: float, heading_deg: float, pitch_deg: float) -> None:
        """Append a view in the frame of the flat."""
        if self.keys:
            turn = (heading_deg - self.keys[-1][3] + 180) % 360 - 180
            heading_deg = self.keys[-1][3] + turn
        self.keys.append((x, y, z, heading_deg, pitch_deg))

    def path(self) -> KeyPath:
        """Return the path through the views."""
        return KeyPath(tuple(self.keys), sway=SWAY)


class RoomRoute:
    """Adds views in a room's own frame to a route."""

    def __init__(self, route: Route, space: Space, rng: np.random.Generator) -> None:
        """Take the room; its layout says where the floor is free."""
        self.route, self.space, self._rng = route, space, rng
        self._x0, _, self._x1, top = lay_out(space).free
        low, high = np.array([self._x0, 0.1]) + MARGIN_M, np.array([self._x1, top]) - MARGIN_M
        self.center = (low + high) / 2
        self.radii = np.minimum((high - low) / 2, LARGEST_RADIUS_M)

    def go(self, x: float, y: float, heading_deg: float, *, up: float = 0.0) -> None:
        """Append a view at a height and a pitch that vary."""
        z, pitch = float(self._rng.uniform(1.32, 1.55)), float(self._rng.uniform(-18, -4))
        turned = self.space.is_turned
        x, y = (
            (self.space.high_m[0] - x, self.space.high_m[1] - y)
            if turned
            else (self.space.low_m[0] + x, self.space.low_m[1] + y)
        )
        self.route.go(x, y, z, heading_deg + 180 * turned, pitch + up)

    def ring(self, fraction: float, start_deg: float, turn_deg: float, look_deg: float) -> None:
        """Go around the center; ``look_deg`` is relative to outward."""
        count = max(2, round(abs(turn_deg) / 52))
        for angle in np.linspace(start_deg, start_deg + turn_deg, count + 1):
            azimuth = np.radians(angle)
            x, y = self.center + fraction * self.radii * (np.cos(azimuth), np.sin(azimuth))
            self.go(float(x), float(y), angle + look_deg)

    def to_door(self, heading_deg: float) -> None:
        """Go before the door and into its opening."""
        for y in (0.65, -WALL_M / 2):
            self.go(self.space.door_m, y, heading_deg)

    def from_door(self) -> None:
        """Come in through the door."""
        for y in (-WALL_M / 2, 0.65):
            self.go(self.space.door_m, y, 90)


def map_room(plan: FloorPlan, space: Space, seed: int, *, across_deg: float = 270.0) -> KeyPath:
    """
    Return the mapping walk of a room.

    It goes around once and looks outward, on by ``across_deg`` and looks across, then out of the
    door, where it looks toward the middle of the flat and back.
    """
    route, rng = Route(), np.random.default_rng(seed)
    room = RoomRoute(route, space, rng)
    start = 90.0 + float(rng.uniform(-20, 20))
    room.ring(0.5, start, 360, 0)
    room.ring(0.9, start, across_deg, 178)
    room.to_door(-90)
    is_left = space.door_x_m < plan.size_m[0] / 2
    side = 1 if is_left != space.is_turned else -1  # toward the middle of the flat
    for turn in (0, 50, 115, 180):
        x = space.door_m + float(rng.uniform(-0.05, 0.05))
        room.go(x, -WALL_M - STEP_OUT_M, -90 + side * turn)
    room.from_door()
    return route.path()


def map_corridor(plan: FloorPlan, space: Space, seed: int) -> KeyPath:
    """Return the mapping walk of the corridor: there and back, with a look into each room."""
    route, rng = Route(), np.random.default_rng(seed)
    low, high = space.low_m[0] + 0.6, space.high_m[0] - 0.6
    middle = (space.low_m[1] + space.high_m[1]) / 2

    def go(x: float, heading_deg: float) -> None:
        y = middle + float(rng.uniform(-0.08, 0.08))
        z, pitch = float(rng.uniform(1.35, 1.55)), float(rng.uniform(-14, -4))
        route.go(min(max(x, low), high), y, z, heading_deg, pitch)

    def side(is_turned: bool) -> list[float]:
        return sorted(room.door_x_m for room in plan.rooms if room.is_turned == is_turned)

    go(low, 0)
    for x in side(False):
        go(x - 0.75, 12)
        go(x - 0.1, 78)
        go(x + 0.5, 25)
    for heading in (0, 80, 160):
        go(high, heading)
    for x in reversed(side(True)):
        go(x + 0.75, 192)
        go(x + 0.1, 258)
        go(x - 0.5, 205)
    for heading in (180, 260, 340):
        go(low, heading)
    return route.path()


def visit_rooms(plan: FloorPlan, names: Sequence[str], seed: int) -> KeyPath:
    """Return a walk through rooms in that order; it begins and ends in a room."""
    route, rng = Route(), np.random.default_rng(seed)
    spaces = [plan.space(name) for name in names]
    for number, space in enumerate(spaces):
        room = RoomRoute(route, space, rng)
        if number > 0:
            _approach(room, spaces[number - 1], plan)
            room.from_door()
        begin = float(rng.uniform(-110, -60)) if number else float(rng.uniform(0, 360))
        turn, is_outward = float(rng.uniform(250, 300)), number % 2 == 0
        fraction = float(rng.uniform(0.2, 0.45) if is_outward else rng.uniform(0.65, 0.9))
        look = 0.0 if is_outward else float(rng.choice([165, 195]))
        room.ring(fraction, begin, turn * float(rng.choice([-1, 1])), look)
        if number < len(spaces) - 1:
            room.to_door(-90)
    return route.path()


def _approach(room: RoomRoute, before: Space, plan: FloorPlan) -> None:
    """Go along the corridor from the door of one room to that of another."""
    corridor = [space for space in plan.spaces if space.kind == CORRIDOR]
    if not corridor:
        return
    route, (low, high) = room.route, (corridor[0].low_m[1], corridor[0].high_m[1])
    middle = (low + high) / 2
    start, end = before.door_x_m, room.space.door_x_m
    along = 0 if end > start else 180
    for x, heading in ((start, along), (end, along), (end, -90 if room.space.is_turned else 90)):
        route.go(x, middle, 1.45, heading, -9)


def split_rooms(rooms: Iterable[Space], walks: int) -> list[list[str]]:
    """Deal the rooms to the test walks, along the corridor; each walk gets two or more."""
    order = sorted(rooms, key=lambda space: space.door_x_m)
    dealt = [[space.name for space in order[first::walks]] for first in range(walks)]
    everything = [space.name for space in order]
    return [names if len(names) > 1 else [*names, everything[0]] for names in dealt]
