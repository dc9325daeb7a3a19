"""
The demo room on other days: other light, moved furniture, things that came and went, people.

What does not change has the same textures, to the pixel: a day furnishes the room as ever, and
rearranges it then. Each day has a test walk, and a mapping walk to bring a map up to date with.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from demo import fixtures, shapes, textures
from demo.rearranging import cover, move, of_kinds, thin_out, within
from demo.room import Baking, Lighting, Room
from demo.rooms import demo_room
from demo.rooms.demo_room import CENTER_M, MAPPING_KEYS, OVERCAST, QUERY_KEYS, RADII_M
from demo.sensors import ColorSensor
from demo.shapes import cushion, panel, tube
from demo.specification import Recording, RoomSpec
from demo.trackers import Tracker
from demo.trajectories import EllipsePath

NIGHT: Lighting = {
    'window': (0.01, 0.012, 0.02),
    'lamp_ceiling': (0.0, 0.0, 0.0),
    'lamp_floor': (9.0, 6.6, 4.2),
    'lamp_desk': (26.0, 20.0, 13.0),
}
"""No light from outside, the ceiling lamp off."""
SUNSHINE: Lighting = {
    'window': (2.6, 2.7, 2.8),
    'lamp_ceiling': (0.0, 0.0, 0.0),
    'lamp_floor': (0.0, 0.0, 0.0),
    'lamp_desk': (0.0, 0.0, 0.0),
    'sun': (9.0, 8.4, 7.2),
}
"""The sun shines into the room, all lamps are off."""
COLORED: Lighting = {
    'window': (0.05, 0.06, 0.1),
    'lamp_ceiling': (8.0, 12.0, 24.0),
    'lamp_floor': (14.0, 4.5, 2.0),
    'lamp_desk': (4.0, 14.0, 6.0),
}
"""Evening, with lamps of other colors: blue above, red beside the sofa, green on the desk."""
PHONE = ColorSensor(gray=0.16, white_balance=(0.95, 1.0, 1.05), noise=2.5)
"""The camera of days that state no other."""
TOWARD_SUN = (-0.35, 0.72, 0.6)
"""Direction of the sun, in the frame of the room: high, outside of the window."""
SMALL = (
    *('book', 'mug', 'paper', 'magazine', 'fruit', 'bowl', 'vase', 'photo', 'box', 'pillow'),
    *('bag', 'basket', 'keyboard'),
)
"""Names of small things."""
ON_COFFEE_TABLE = ((1.0, 2.2), (1.3, 2.1))
"""Ranges of x and y [m] of the coffee table and what is on it."""


@dataclass(frozen=True)
class Day:
    """What differs from the day of the mapping capture."""

    rearrange: tuple[Callable[[Room], None], ...] = ()
    """Done one after the other."""
    lighting: Lighting | None = None
    """None: that of the test capture."""
    color: ColorSensor = PHONE
    """Of the camera of that day."""


def move_chairs_and_boxes(room: Room) -> None:
    """Move chairs, boxes, cushions and the bag, up to 0.8 m."""
    chair = 'chair', 'seat'
    move(room, within(chair, (3.1, 3.9), (2.4, 3.2)), -0.35, -0.3, 70)
    move(room, within(chair, (2.3, 2.9), (3.0, 3.7)), -0.55, 0.05, -40)
    move(room, within(('box',), (3.9, 4.5), (0.2, 0.8)), -0.55, 0.0, 25)
    move(room, within(('box',), (2.4, 2.9), (0.1, 0.5)), 0.0, 0.25, 35)
    move(room, within(('box',), (4.0, 4.5), (0.8, 1.1)), 0.0, 0.25, 20)
    move(room, within(('pillow',), (0.4, 1.1), (0.2, 0.8)), 0.42, 0.02, 40)
    move(room, within(('pillow',), (1.8, 2.4), (0.2, 0.8)), -0.18, 0.05, -30)
    move(room, of_kinds('bag'), 0.25, 0.2, 80)
    move(room, of_kinds('basket'), 0.05, 0.35)


def replace_small_things(room: Room) -> None:
    """Take a third of the small things away, and lay others about."""
    rng = np.random.default_rng(3)
    thin_out(room, of_kinds(*SMALL), 1 / 3, rng)
    kept, room.rng = room.rng, rng
    try:
        fixtures.scatter(room, (1.25, 1.5, 1.95, 1.85), 0.43, 6)
        fixtures.scatter(room, (3.0, 3.2, 4.1, 3.5), 0.74, 8)
        fixtures.scatter(room, (4.15, 0.95, 4.35, 1.95), 0.86, 3)
        fixtures.add_parcels(room, ((0.45, 2.45, 0.0, 0.36, 0.3, 0.32, 15),))
        room.poster(textures.landscape(rng, 420, 600), 'west', 2.62, 1.05, 0.5)
        room.poster(textures.concert(rng, 520, 380), 'south', 3.02, 1.75, 0.4)
    finally:
        room.rng = kept


def open_the_door(room: Room) -> None:
    """Swing the door into the room; the hall behind it is dark."""
    hinge_x, leaf_y = 3.29, 0.02
    is_leaf = of_kinds('door', 'inset', 'knob')

    def swung(mesh: shapes.Mesh) -> shapes.Mesh:
        return mesh.translate(-hinge_x, -leaf_y).rotate(65).translate(hinge_x, leaf_y + 0.03)

    room.parts = [
        part._replace(mesh=swung(part.mesh)) if is_leaf(part) else part for part in room.parts
    ]
    hall = textures.planks(np.random.default_rng(5), 500, 220, 60, 240) // 4
    opening = panel(0.86, 2.02).rotate(180).translate(3.72, 0.004, 1.01)
    room.add('doorway', opening, hall)


def move_the_sofa(room: Room) -> None:
    """Move the sofa along its wall by 0.3 m, with everything on it."""
    move(room, of_kinds('sofa', 'pillow', 'throw'), 0.3, 0.05)


def move_the_table(room: Room) -> None:
    """Move the coffee table by 0.3 m and turn it, with everything on it."""
    things = ('table', 'magazine', 'bowl', 'fruit', 'box')
    move(room, within(things, *ON_COFFEE_TABLE), 0.22, 0.2, 18)


def switch_screens(room: Room) -> None:
    """Switch the screen on the desk off, and the television on."""
    cover(room, of_kinds('screen'), (0.01, 0.01, 0.012))
    picture = textures.landscape(np.random.default_rng(8), 340, 580)
    face = panel(0.96, 0.54).translate(0, -0.022, 0.29).rotate(-96).translate(4.32, 1.42, 0.95)
    room.add('tv', face, picture, gloss=0.5)


def let_people_in(room: Room) -> None:
    """Add two people: one beside the cupboard, one between shelf and plant."""
    _add_person(room, 4.0, 2.5, 1.72, np.random.default_rng(11))
    _add_person(room, 0.62, 2.75, 1.60, np.random.default_rng(12))


def _add_person(room: Room, x: float, y: float, tall: float, rng: np.random.Generator) -> None:
    """Add a simple body that stands."""
    skin, trousers = (0.45, 0.28, 0.2), textures.cloth(rng, (0.12, 0.14, 0.22), 200, 200)
    shirt = textures.patterned(rng, 300, 300, 30)
    legs = [tube(0.07, 0.09, 0.48 * tall).translate(side, 0) for side in (-0.1, 0.1)]
    trunk = cushion(0.42, 0.26, 0.40 * tall, 0.6).translate(0, 0, 0.65 * tall)
    arms = [
        tube(0.045, 0.05, 0.36 * tall).translate(side, 0, 0.44 * tall) for side in (-0.25, 0.25)
    ]
    head = cushion(0.17, 0.2, 0.24, 1.0).translate(0, 0, tall - 0.12)
    hair = cushion(0.185, 0.21, 0.18, 1.0).translate(0, 0.015, tall - 0.07)
    with room.placed(x, y, float(rng.uniform(0, 360))):
        room.add('person', shapes.join(*legs), trousers)
        room.add('person', shapes.join(trunk, *arms), shirt)
        room.add('person', head, skin)
        room.add('person', hair, (0.05, 0.035, 0.03))


DAYS: dict[str, Day] = {
    'same': Day(),
    'night': Day(lighting=NIGHT, color=ColorSensor(0.13, (0.86, 1.0, 1.2), 5.0)),
    'sun': Day(lighting=SUNSHINE, color=ColorSensor(0.17, (1.0, 1.0, 1.0), 1.5)),
    'colored': Day(lighting=COLORED, color=ColorSensor(0.15, (1.0, 1.0, 1.0), 3.5)),
    'moved': Day((move_chairs_and_boxes, open_the_door)),
    'things': Day((replace_small_things, switch_screens)),
    'sofa': Day((move_the_sofa, move_the_table)),
    'people': Day((let_people_in,)),
    'moved_at_night': Day((move_chairs_and_boxes, switch_screens), NIGHT),
    'all': Day(
        (
            move_chairs_and_boxes,
            move_the_sofa,
            move_the_table,
            replace_small_things,
            switch_screens,
            open_the_door,
            let_people_in,
        ),
        SUNSHINE,
    ),
}
"""By name; `same` is the day of the test capture, with another walk."""
COMBINED = 'moved_at_night', 'all'
"""Days with several changes."""


def furnish_day(name: str) -> Callable[[Room], None]:
    """Return what furnishes the room as on a day."""

    def furnish(room: Room) -> None:
        demo_room.furnish(room)
        room.toward_sun = TOWARD_SUN
        for change in DAYS[name].rearrange:
            change(room)

    return furnish


def day_spec(name: str) -> RoomSpec:
    """Return the room of a day with its walks; the test walk is another one each day."""
    day, number = DAYS[name], list(DAYS).index(name)
    lighting = {'sun': (0.0, 0.0, 0.0), **(day.lighting or OVERCAST)}
    test = Recording(
        path=EllipsePath(QUERY_KEYS, CENTER_M, RADII_M),
        frame_count=60,
        blurred_fraction=0.15,
        path_seed=100 + number,
        sensor_seed=200 + number,
        lighting=lighting,
        color=day.color,
    )
    walk = replace(
        test,
        path=EllipsePath(MAPPING_KEYS, CENTER_M, RADII_M),
        frame_count=150,
        blurred_fraction=0.03,
        path_seed=300 + number,
        sensor_seed=400 + number,
        tracker=Tracker(),
    )
    recordings = {'walk': walk, 'test': test}
    spec = replace(demo_room.SPEC, furnish=furnish_day(name), recordings=recordings)
    if lighting['sun'][0] > 0:  # its small bright patches light the room
        return replace(spec, baking=Baking(directions=256))
    return spec
