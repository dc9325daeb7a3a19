"""
Draw the pieces of furniture of a flat, each in a color of its own, with its back to a wall.

The shapes are those of the other rooms of the demo; wood, cloth and steel are dyed.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from demo import fixtures, furniture, textures
from demo.flat.layout import FOOTPRINTS, GAP_M, Placed
from demo.room import Part, Room
from demo.rooms import bedroom
from demo.shapes import Array, Mesh
from demo.textures import Texture

DYED = (
    'bed',
    'bedside',
    'chair',
    'chest',
    'cupboard',
    'desk',
    'drawer',
    'rack',
    'shelf',
    'sofa',
    'table',
    'wardrobe',
)
"""Parts that take the color of their piece."""
WOODS = (
    (0.62, 0.44, 0.28),
    (0.36, 0.23, 0.14),
    (0.72, 0.60, 0.44),
    (0.78, 0.77, 0.72),
    (0.46, 0.20, 0.12),
    (0.22, 0.22, 0.24),
    (0.34, 0.44, 0.50),
    (0.40, 0.48, 0.36),
)
"""Mean colors of wood, varnished or painted."""
RUG_M = 0.03
"""What is lower may lie under other furniture, and the camera goes over it."""
STUDIO_M = (4.5, 3.4, 2.5)
"""A room in which each piece stands where its own script puts it."""


class Drawing(NamedTuple):
    """How a piece is drawn."""

    draw: Callable[[Room], None]
    """Adds it to an empty room."""
    yaw_deg: float
    """Rotation that takes its front toward -y."""


def _add_coffee_corner(room: Room) -> None:
    """Add a sofa with a table and a rug before it."""
    furniture.add_sofa(room)
    with room.placed(-0.28, 0.0):
        furniture.add_coffee_table(room)


def _add_chest(room: Room) -> None:
    """Add a chest with a few things on it."""
    front = textures.wood(room.rng, 400, 700)
    fixtures.add_chest(room, front, 'north', 2.0)
    y = room.size_m[1] - 0.2
    fixtures.scatter(room, (1.55, y - 0.08, 2.45, y + 0.05), 0.78, 4, 1.1)


def _add_wardrobe(room: Room) -> None:
    fixtures.add_wardrobe(room, textures.wood(room.rng, 500, 900), 'north', 2.0)


def _add_dining_table(room: Room) -> None:
    """Add a table with three chairs and what is left of a meal."""
    top = textures.wood(room.rng, 400, 700)
    fixtures.add_table(room, 2.0, 2.9, (1.6, 0.8, 0.75), top, textures.wood(room.rng, 100, 300))
    for x, yaw in ((1.5, 174), (2.0, 183), (2.5, 190)):
        furniture.add_chair(room, x, 2.36, yaw)
    fixtures.scatter(room, (1.3, 2.65, 2.7, 3.15), 0.75, 9)


def _add_rack(room: Room) -> None:
    fixtures.add_rack(room, 2.0, 3.0, (1.7, 0.45, 1.9), (0.1, 0.5, 0.95, 1.4), 0)


def _add_workbench(room: Room) -> None:
    """Add a bench full of things with parcels below it."""
    oak = textures.wood(room.rng, 400, 900)
    fixtures.add_table(room, 2.0, 3.0, (2.2, 0.7, 0.9), oak, (0.12, 0.2, 0.3))
    fixtures.scatter(room, (1.05, 2.78, 2.95, 3.22), 0.9, 26, 1.1)
    fixtures.add_parcels(
        room,
        (
            (1.3, 3.0, 0.0, 0.5, 0.4, 0.4, 5),
            (1.95, 3.05, 0.0, 0.55, 0.45, 0.5, -8),
            (2.6, 3.0, 0.0, 0.45, 0.4, 0.34, 12),
        ),
    )


def _add_parcels(room: Room) -> None:
    rng = room.rng
    fixtures.add_parcels(
        room,
        (
            (1.7, 3.1, 0.0, 0.5, 0.42, 0.42, float(rng.uniform(-8, 8))),
            (1.7, 3.1, 0.42, 0.38, 0.34, 0.28, float(rng.uniform(-20, 20))),
            (2.25, 3.12, 0.0, 0.44, 0.38, 0.32, float(rng.uniform(-10, 10))),
        ),
    )


DRAWINGS = {
    'bed': Drawing(bedroom.add_bed, 0),
    'bookshelf': Drawing(furniture.add_bookshelf, -90),
    'chest': Drawing(_add_chest, 0),
    'coffee_corner': Drawing(_add_coffee_corner, 180),
    'cupboard': Drawing(furniture.add_cupboard, 90),
    'desk': Drawing(furniture.add_desk, 0),
    'dining_table': Drawing(_add_dining_table, 0),
    'parcels': Drawing(_add_parcels, 0),
    'plant': Drawing(furniture.add_plant, 0),
    'rack': Drawing(_add_rack, 0),
    'sofa': Drawing(furniture.add_sofa, 180),
    'wardrobe': Drawing(_add_wardrobe, 0),
    'workbench': Drawing(_add_workbench, 0),
}
"""Of each piece in `FOOTPRINTS`."""


def add_piece(room: Room, placed: Placed) -> None:
    """Draw a piece of furniture and put it in its place at a wall."""
    drawing, size = DRAWINGS[placed.piece], FOOTPRINTS[placed.piece]
    studio = Room(STUDIO_M, 0)
    studio.rng = room.rng
    drawing.draw(studio)
    color = _color(room.rng)
    turned = [part.mesh.rotate(drawing.yaw_deg) for part in studio.parts]
    low, high = _bounds(turned)
    if (high - low > size).any():
        raise ValueError(f'{placed.piece} is {high - low} m, larger than its footprint {size}')
    materials: dict[int, Any] = {}  # what shares a material shares the dyed one
    for part, mesh in zip(studio.parts, turned, strict=True):
        centered = mesh.translate(-(low[0] + high[0]) / 2, -high[1])
        name = name_of(part)
        if name in DYED and id(part.material) not in materials:
            materials[id(part.material)] = dyed(part.material, color)
        room.hang(
            name,
            centered,
            materials[id(part.material)] if name in DYED else part.material,
            placed.wall,
            placed.along,
            0.0,
            gap=GAP_M,
            gloss=part.gloss,
            light=part.is_light,
        )


def name_of(part: Part) -> str:
    """Return the kind of a part: its key without the number."""
    return part.key.rsplit('_', 1)[0]


def dyed(material: Texture | tuple[float, ...], color: Sequence[float]) -> Any:
    """Give a material another mean color (sRGB, 0 to 1); a texture keeps its pattern."""
    if not isinstance(material, np.ndarray):
        return [value**2.2 for value in color]
    mean = np.maximum(material.reshape(-1, 3).mean(axis=0) / 255, 0.02)
    return textures.to_uint8(material / 255.0 * (np.asarray(color) / mean))


def _color(rng: np.random.Generator) -> Sequence[float]:
    """Draw a color: of wood, or bright."""
    if rng.random() < 0.6:
        return WOODS[int(rng.integers(len(WOODS)))]
    bright = textures.bright(rng, float(rng.uniform(0.3, 0.6)), float(rng.uniform(0.4, 0.75)))
    return [value / 255 for value in bright]


def _bounds(meshes: Sequence[Mesh]) -> tuple[Array, Array]:
    """Return the lowest and the highest corner (3,) of what is higher than a rug."""
    points = np.concatenate([m.vertices for m in meshes if m.vertices[:, 2].max() > RUG_M])
    return points.min(axis=0), points.max(axis=0)
