"""The rooms by name."""

from demo.rooms import (
    bedroom,
    close_up,
    corridor,
    demo_room,
    hall,
    living_room,
    office,
    workshop,
)
from demo.specification import RoomSpec

ROOMS: dict[str, RoomSpec] = {
    'demo': demo_room.SPEC,
    'close_up': close_up.SPEC,
    'workshop': workshop.SPEC,
    'office': office.SPEC,
    'corridor': corridor.SPEC,
    'bedroom': bedroom.SPEC,
    'living_room': living_room.SPEC,
    'hall': hall.SPEC,
}

LEFT_OUT = ('living_room', 'office')
"""Rooms that nothing may be fitted to or chosen on: they are for tests alone."""
