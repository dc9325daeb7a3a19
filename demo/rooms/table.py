"""The rooms by name."""

from demo.rooms import bedroom, close_up, corridor, demo_room, office, workshop
from demo.specification import RoomSpec

ROOMS: dict[str, RoomSpec] = {
    'demo': demo_room.SPEC,
    'close_up': close_up.SPEC,
    'workshop': workshop.SPEC,
    'office': office.SPEC,
    'corridor': corridor.SPEC,
    'bedroom': bedroom.SPEC,
}
