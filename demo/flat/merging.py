"""
Join the parts of a room into few: the renderer's effort grows with the number of shapes.

Parts of one material become one mesh. Parts with textures that do not repeat share an atlas, and
so do parts of one color. Lights stay as they are.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from demo import shapes
from demo.room import Part, Room, SHINY
from demo.textures import Texture

PADDING_PX = 2
ATLAS_WIDTH_PX = 2048
LARGEST_PX = 700
"""Larger textures stay alone."""
DULL, BRIGHT = 'thing', SHINY[2]
"""Names of joined parts: a depth sensor sees the first, and hardly the second."""


def merge(room: Room) -> Room:
    """Return a room of the same look with fewer parts."""
    groups: dict[tuple[object, ...], list[Part]] = defaultdict(list)
    lights, out = [], Room(room.size_m, 0)
    for part in room.parts:
        if part.is_light:
            lights.append(part)
            continue
        name = BRIGHT if part.key.startswith(SHINY) else DULL
        if _fits_atlas(part):
            groups[name, part.gloss, 'atlas'].append(part)
        else:
            groups[name, part.gloss, id(part.material)].append(part)
    for (name, _, kind), parts in groups.items():
        mesh = shapes.join(*(part.mesh for part in parts))
        material = parts[0].material
        if kind == 'atlas':
            material, uv = _atlas(parts)
            mesh = mesh._replace(uv=uv)
        out.add(str(name), mesh, material, gloss=parts[0].gloss)
    for part in lights:
        out.add(part.key.rsplit('_', 1)[0], part.mesh, part.material, gloss=part.gloss, light=True)
    return out


def _fits_atlas(part: Part) -> bool:
    """Return whether a part has one color, or a texture that is not large and not repeated."""
    if not isinstance(part.material, np.ndarray):
        return True
    uv = part.mesh.uv
    within = uv.min() > -1e-6 and uv.max() < 1 + 1e-6
    return bool(within and max(part.material.shape[:2]) <= LARGEST_PX)


def _atlas(parts: Sequence[Part]) -> tuple[Texture, NDArray[np.float64]]:
    """Pack the materials of parts into one texture; return it and the coordinates in it (N, 2)."""
    tiles: dict[int, Texture] = {}
    for part in parts:
        if id(part.material) not in tiles:
            tiles[id(part.material)] = _tile(part)
    corners: dict[int, tuple[int, int]] = {}
    x = y = row = 0
    for key in sorted(tiles, key=lambda key: -tiles[key].shape[0]):
        height, width = tiles[key].shape[:2]
        if x + width > ATLAS_WIDTH_PX:
            x, y, row = 0, y + row, 0
        corners[key] = x, y
        x, row = x + width, max(row, height)
    image = np.zeros((y + row, ATLAS_WIDTH_PX, 3), np.uint8)
    for key, (left, top) in corners.items():
        height, width = tiles[key].shape[:2]
        image[top : top + height, left : left + width] = tiles[key]
    uv = []
    for part in parts:
        left, top = corners[id(part.material)]
        height, width = (size - 2 * PADDING_PX for size in tiles[id(part.material)].shape[:2])
        bottom = len(image) - top - PADDING_PX - height
        inside = np.clip(part.mesh.uv, 0, 1) * (width, height) + (left + PADDING_PX, bottom)
        uv.append(inside / (ATLAS_WIDTH_PX, len(image)))
    return image, np.concatenate(uv)


def _tile(part: Part) -> Texture:
    """Return the texture or the color of a part with a margin of its own edge."""
    material = part.material
    if not isinstance(material, np.ndarray):
        linear = np.clip(np.array(material), 0, 1)
        bent = 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
        srgb = np.where(linear < 0.0031308, 12.92 * linear, bent)
        material = np.full((4, 4, 3), np.rint(255 * srgb), np.uint8)
    margin = (PADDING_PX, PADDING_PX)
    padded: Texture = np.pad(material, (margin, margin, (0, 0)), mode='edge')
    return padded
