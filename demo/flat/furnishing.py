"""
Furnish a flat: shells with doorways, furniture, pictures, and the marks that tell twins apart.

Each space is built in its own frame, with its own generator, and then moved to its place. Twins
are built from the same seed, in the same order: all but their marks is equal.
"""

from collections.abc import Callable

import numpy as np

from demo import building, fixtures, shapes, surfaces, textures
from demo.building import Opening
from demo.flat.layout import Hung, lay_out, Layout, Window
from demo.flat.merging import merge
from demo.flat.pieces import add_piece, dyed, name_of, WOODS
from demo.flat.plan import CORRIDOR, FloorPlan, Space, WALL_M
from demo.room import Room
from demo.shapes import box, flat, panel, tube
from demo.textures import Generator, Texture

CELL_M = 0.1
"""Distance of the vertices of walls and floors: light is smooth there."""
PIXELS_PER_M = 200
"""Of floors: finer detail than that of the camera is lost."""
OPPOSITE = {'window_north': 'window_south', 'window_south': 'window_north'}
"""Names of the lights of a turned room."""

PAINTS = (
    (0.82, 0.80, 0.74),
    (0.62, 0.70, 0.74),
    (0.72, 0.62, 0.54),
    (0.66, 0.72, 0.60),
    (0.80, 0.70, 0.50),
    (0.60, 0.56, 0.66),
    (0.76, 0.78, 0.80),
)
PICTURES: tuple[Callable[[Generator, int, int], Texture], ...] = (
    textures.landscape,
    textures.strokes,
    textures.shapes,
    textures.city_map,
    textures.concert,
    textures.science,
    textures.pinboard,
    textures.rug,
)


def furnish(room: Room, plan: FloorPlan) -> None:
    """Add all spaces of a plan to an empty room of the size of the flat."""
    for space in plan.spaces:
        own = Room(space.size_m, space.seed)
        if space.kind == CORRIDOR:
            furnish_corridor(own, plan, space)
        else:
            furnish_room(own, space, has_leaf=space.name in {door.rooms[0] for door in plan.doors})
        for part in merge(own).parts:
            name = name_of(part)
            mesh = part.mesh.rotate(180) if space.is_turned else part.mesh
            room.add(
                OPPOSITE.get(name, name) if space.is_turned else name,
                mesh.translate(*(space.high_m if space.is_turned else space.low_m)),
                part.material,
                gloss=part.gloss,
                light=part.is_light,
            )


def furnish_room(room: Room, space: Space, *, has_leaf: bool = True) -> None:
    """Add everything to a room in its own frame; its doorway may have a door, which is open."""
    layout = lay_out(space)
    opening = Opening(space.door_m)
    _add_shell(room, opening)
    leaf = dyed(textures.wood(room.rng, 400, 600), WOODS[int(room.rng.integers(len(WOODS)))])
    building.add_doorway(
        room,
        'south',
        opening,
        np.asarray(leaf) if has_leaf else None,
        thickness_m=WALL_M,
        hinge='low' if space.door_m < space.size_m[0] / 2 else 'high',
    )
    _add_window(room, layout.window)
    wide, deep, _ = room.size_m
    building.add_ceiling_lamps(room, [(wide / 2, deep / 2)], (0.6, 0.6, 0.08))
    for placed in layout.furniture:
        add_piece(room, placed)
    for picture in layout.pictures[1:]:
        _add_picture(room, room.rng, picture)
    _add_marks(room, layout, np.random.default_rng(space.marks_seed))


def _add_shell(room: Room, opening: Opening) -> None:
    """Add floor, ceiling and walls: paint, one wall papered, plastered or of bricks."""
    rng, (wide, deep, high) = room.rng, room.size_m
    color, other = (PAINTS[index] for index in rng.permutation(len(PAINTS))[:2])
    walls = {
        'south': building.painted(room, color, wide, high),
        'north': building.painted(room, color, wide, high),
        'west': building.painted(room, other, deep, high),
        'east': building.painted(room, color, deep, high),
    }
    special = str(rng.choice(['west', 'east', 'north']))
    length = building.wall_length(room, special)
    kind = int(rng.integers(3))
    if kind == 0:
        walls[special] = textures.stripes(rng, int(high * 220), int(length * 220))
    elif kind == 1:
        walls[special] = surfaces.bricks(rng, int(high * 220), int(length * 220), 55)
    building.add_shell(
        room,
        _floor(rng, wide, deep),
        walls,
        floor_gloss=float(rng.choice([0.0, 0.3, 0.5])),
        skirting=PAINTS[int(rng.integers(len(PAINTS)))],
        cell_m=CELL_M,
        openings={'south': [opening]},
    )


def _floor(rng: Generator, wide: float, deep: float) -> Texture:
    """Draw a floor: planks of any wood, tiles, or a carpet."""
    rows, columns = int(deep * PIXELS_PER_M), int(wide * PIXELS_PER_M)
    kind = int(rng.integers(4))
    if kind < 2:
        planks = textures.planks(
            rng, rows, columns, int(rng.integers(18, 44)), int(rng.integers(160, 420))
        )
        return np.asarray(dyed(planks, WOODS[int(rng.integers(len(WOODS)))]))
    if kind == 2:
        color = PAINTS[int(rng.integers(len(PAINTS)))]
        dark = [0.7 * value for value in color]
        return surfaces.tiles(rng, rows, columns, int(rng.integers(50, 90)), dark, 0.07)
    color = [value / 255 for value in textures.bright(rng, 0.35, 0.5)]
    return textures.cloth(rng, color, rows, columns)


def _add_window(room: Room, window: Window) -> None:
    """Add the window with its sill, things on it, and curtains beside it."""
    rng, deep = room.rng, room.size_m[1]
    building.add_window(room, 'north', window.along, window.sill, window.width, window.height)
    sill = box(window.width + 0.2, 0.16, 0.03).translate(window.along, deep - 0.08, window.sill)
    room.add('sill', sill.translate(0, 0, -0.09), building.WHITE)
    if rng.random() < 0.6:
        cloth = textures.patterned(rng, 420, 220, 24)
        for side in (-1, 1):
            drape = shapes.curtain(0.34, 1.7, 4, int(rng.integers(100)))
            along = window.along + side * (window.width / 2 + 0.16)
            room.hang('curtain', drape, cloth, 'north', along, 1.5, gap=0.2)


def _add_picture(room: Room, rng: Generator, place: Hung) -> None:
    """Hang a picture of any kind and shape, framed or not."""
    draw = PICTURES[int(rng.integers(len(PICTURES)))]
    portrait = place.width < 0.7 and rng.random() < 0.7
    width = place.width if not portrait else 0.8 * place.width
    height = width * (1.35 if portrait else float(rng.uniform(0.62, 0.8)))
    height = min(height, 0.75)
    image = draw(rng, int(height * 560), int(width * 560))
    if rng.random() < 0.6:
        image = textures.add_frame(
            image, 14, textures.bright(rng, 0.3, float(rng.uniform(0.1, 0.7)))
        )
    room.poster(image, place.wall, place.along, float(rng.uniform(1.55, 1.75)), width)


def _add_marks(room: Room, layout: Layout, rng: Generator) -> None:
    """Add what twins differ in: a picture, vases on the sill, a box and a ball on the floor."""
    if layout.pictures:
        place = layout.pictures[0]
        image = PICTURES[int(rng.integers(len(PICTURES)))](rng, 300, 400)
        room.poster(image, place.wall, place.along, 1.65, min(place.width, 0.8))
    window, y = layout.window, room.size_m[1] - 0.09
    for side in (-1, 1)[: int(rng.integers(1, 3))]:
        x = window.along + side * float(rng.uniform(0.15, 0.45)) * window.width
        tall = float(rng.uniform(0.16, 0.3))
        vase = tube(float(rng.uniform(0.03, 0.06)), float(rng.uniform(0.03, 0.07)), tall)
        color = [value / 350 for value in textures.bright(rng, 0.6, 0.8)]
        room.add('vase', vase.translate(x, y, window.sill - 0.06), color, gloss=1.0)
    x0, _, x1, top = layout.free
    x = x0 + 0.3 if rng.random() < 0.5 else x1 - 0.3
    side, yaw = float(rng.uniform(0.28, 0.4)), float(rng.uniform(-30, 30))
    fixtures.add_parcels(room, ((x, top - 0.3, 0.0, side, 0.8 * side, 0.7 * side, yaw),))


def furnish_corridor(room: Room, plan: FloorPlan, space: Space) -> None:
    """Add everything to the corridor: lamps, entrance, pictures and things between the doors."""
    rng, (long, wide, high) = room.rng, room.size_m
    openings: dict[str, list[Opening]] = {'south': [], 'north': []}
    for door in plan.doors:
        wall = 'south' if plan.space(door.rooms[0]).is_turned else 'north'
        openings[wall].append(Opening(door.center_m[0] - space.low_m[0]))
    paint = building.painted(room, PAINTS[0], 4.0, high)
    end = building.painted(room, PAINTS[4], wide, high)
    tiles = surfaces.tiles(
        rng, int(wide * PIXELS_PER_M), int(long * PIXELS_PER_M), 65, (0.50, 0.45, 0.40), 0.08
    )
    building.add_shell(
        room,
        tiles,
        {'south': paint, 'north': paint, 'west': end, 'east': end},
        floor_gloss=0.4,
        skirting=(0.30, 0.26, 0.22),
        cell_m=CELL_M,
        openings=openings,
    )
    for wall, gaps in openings.items():
        for gap in gaps:
            building.add_doorway(room, wall, gap, thickness_m=WALL_M)
    lamps = max(2, round(long / 3.5))
    for number in range(lamps):
        x = long * (number + 0.5) / lamps
        building.add_ceiling_lamps(room, [(x, wide / 2)], (0.6, 0.25, 0.06))
    building.add_window(room, 'east', wide / 2, 1.0, 0.9, 1.1)
    building.add_door(room, 'west', wide / 2, textures.planks(rng, 400, 600, 60, 500))
    _add_corridor_things(room, openings)


def _add_corridor_things(room: Room, openings: dict[str, list[Opening]]) -> None:
    """Add pictures, mats before the doors, and a bench and boxes where no door is near."""
    rng, (long, wide, _) = room.rng, room.size_m
    for wall, gaps in openings.items():
        for start, end in _between_doors(gaps, long):
            count = int((end - start) // 1.0)
            for number in range(count):
                along = start + (end - start) * (number + 0.5) / count
                _add_picture(room, rng, Hung(wall, along, float(rng.uniform(0.45, 0.75))))
            if end - start > 1.8:
                y = 0.2 if wall == 'south' else wide - 0.2
                x = (start + end) / 2 + float(rng.uniform(-0.3, 0.3))
                _add_low_thing(room, x, y)
        for gap in gaps:
            y = 0.3 if wall == 'south' else wide - 0.3
            mat = flat(0.8, 0.5).translate(gap.along, y, 0.006)
            room.add('mat', mat, textures.rug(rng, 200, 320))
    number = panel(0.3, 0.2)
    plate = surfaces.sign('EXIT', (20, 130, 60), 120, 180)
    room.hang('sign', number, plate, 'west', wide / 2, 2.25, gap=0.01)


def _between_doors(gaps: list[Opening], long: float) -> list[tuple[float, float]]:
    """Return the stretches of a wall that are free of doors, with a margin."""
    ends = [0.1]
    for gap in sorted(gaps):
        ends += [gap.along - 0.6, gap.along + 0.6]
    ends.append(long - 0.1)
    return [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True) if b - a > 0.9]


def _add_low_thing(room: Room, x: float, y: float) -> None:
    """Add a bench or boxes, no deeper than the camera can pass."""
    rng = room.rng
    if rng.random() < 0.5:
        top = np.asarray(dyed(textures.wood(rng, 200, 400), WOODS[int(rng.integers(len(WOODS)))]))
        fixtures.add_table(room, x, y, (0.9, 0.32, 0.44), top, (0.1, 0.1, 0.1))
        fixtures.scatter(room, (x - 0.35, y - 0.08, x + 0.35, y + 0.08), 0.44, 3)
    else:
        height = float(rng.uniform(0.3, 0.45))
        fixtures.add_parcels(
            room,
            (
                (x, y, 0.0, 0.42, 0.3, height, float(rng.uniform(-6, 6))),
                (x, y, height, 0.3, 0.24, 0.2, float(rng.uniform(-12, 12))),
            ),
        )
