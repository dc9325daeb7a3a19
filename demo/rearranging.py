"""Move, take away and add things in a furnished room, as people do from one day to the next."""

from collections.abc import Callable, Iterable

import numpy as np

from demo.room import Part, Room
from demo.shapes import Mesh
from demo.textures import Texture

Choice = Callable[[Part], bool]
"""Tells whether a part is meant."""


def kind(part: Part) -> str:
    """Return the name that a part was added with."""
    return part.key.rsplit('_', 1)[0]


def center(part: Part) -> np.ndarray:
    """Return the middle (3,) of the extent of a part [m]."""
    vertices = part.mesh.vertices
    middle: np.ndarray = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    return middle


def of_kinds(*names: str) -> Choice:
    """Choose parts by the names that they were added with."""
    return lambda part: kind(part) in names


def within(
    names: Iterable[str], x: tuple[float, float], y: tuple[float, float], z: float = 0.0
) -> Choice:
    """Choose parts of some names whose middle is in a range of x and of y, and above z [m]."""
    chosen = frozenset(names)

    def is_meant(part: Part) -> bool:
        if kind(part) not in chosen:
            return False
        at = center(part)
        return bool(x[0] <= at[0] <= x[1] and y[0] <= at[1] <= y[1] and at[2] >= z)

    return is_meant


def move(room: Room, choice: Choice, x: float, y: float, yaw_deg: float = 0.0) -> None:
    """Move parts together by x and y [m], and turn them about the middle of all of them."""
    chosen = [part for part in room.parts if choice(part)]
    assert chosen, 'nothing to move'
    vertices = np.concatenate([part.mesh.vertices for part in chosen])
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2

    def moved(mesh: Mesh) -> Mesh:
        turned = mesh.translate(-middle[0], -middle[1]).rotate(yaw_deg)
        return turned.translate(middle[0] + x, middle[1] + y)

    room.parts = [
        part._replace(mesh=moved(part.mesh)) if choice(part) else part for part in room.parts
    ]


def take_away(room: Room, choice: Choice) -> None:
    """Remove parts."""
    assert any(map(choice, room.parts)), 'nothing to take away'
    room.parts = [part for part in room.parts if not choice(part)]


def thin_out(room: Room, choice: Choice, fraction: float, rng: np.random.Generator) -> None:
    """Remove a fraction of some parts, at random."""
    keys = [part.key for part in room.parts if choice(part)]
    gone = set(rng.choice(keys, round(fraction * len(keys)), replace=False).tolist())
    take_away(room, lambda part: part.key in gone)


def cover(room: Room, choice: Choice, material: Texture | tuple[float, ...]) -> None:
    """Give parts another material."""
    assert any(map(choice, room.parts)), 'nothing to cover'
    room.parts = [
        part._replace(material=material) if choice(part) else part for part in room.parts
    ]


def changed_parts(before: Room, after: Room) -> tuple[list[Part], list[Part]]:
    """
    Compare a room of two days.

    Returns
    -------
    list of Part, list of Part
        What is gone or was elsewhere, as it was; and what came or is now elsewhere, as it is.
        A part that only has another material is in both.
    """

    def identity(part: Part) -> tuple[object, ...]:
        material = part.material
        surface = material.tobytes() if isinstance(material, np.ndarray) else material
        return part.key, part.mesh.vertices.tobytes(), surface

    old, new = ({identity(part): part for part in room.parts} for room in (before, after))
    gone = [part for key, part in old.items() if key not in new]
    return gone, [part for key, part in new.items() if key not in old]
