"""
The demo room: 4.5 x 3.8 x 2.5 m, furnished, as a Mitsuba scene.

x runs along the sofa's wall, y from the sofa towards the window, z up; the origin is a corner of
the floor. All of it is made here from numbers: no model and no picture is read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np

from demo import shapes, textures
from demo.shapes import Mesh, box, cushion, disc, flat, panel, tube
from demo.textures import Picture

SIZE_M = (4.5, 3.8, 2.5)

SHINY = ('window', 'screen', 'vase', 'lamp', 'mug', 'tv')
"""Shapes whose names start like this return little or nothing to a depth sensor."""


Lighting = dict[str, tuple[float, float, float]]
"""Radiance (RGB, one arbitrary unit for all) of the lights, by name."""

DAY: Lighting = {
    'window': (4.4, 4.8, 5.2),
    'lamp_ceiling': (18.0, 16.0, 13.0),
    'lamp_floor': (6.0, 4.6, 3.2),
    'lamp_desk': (0.0, 0.0, 0.0),
}
"""A bright day, ceiling and floor lamp on."""

OVERCAST: Lighting = {
    'window': (2.4, 2.8, 3.4),
    'lamp_ceiling': (18.0, 16.0, 13.0),
    'lamp_floor': (0.0, 0.0, 0.0),
    'lamp_desk': (26.0, 20.0, 13.0),
}
"""Less light through the window, the floor lamp off, the desk lamp on."""


class Room:
    """Collects shapes; `dictionary` is what Mitsuba loads."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Meshes are written to ``folder``; all random choices come from ``seed``."""
        self.folder = folder
        self.rng = np.random.default_rng(seed)
        self.dictionary: dict[str, Any] = {'type': 'scene'}
        self.gloss: dict[str, float] = {}
        self._count = 0

    def add(
        self,
        name: str,
        mesh: Mesh,
        look: Picture | Sequence[float],
        *,
        gloss: float = 0.0,
        light: bool = False,
    ) -> None:
        """
        Add a mesh.

        ``look`` is an sRGB picture or a linear colour, ``gloss`` the share of a perfect varnish's
        reflection; with ``light`` it is a light of that name, of radiance one.
        """
        self._count += 1
        key = f'{name}_{self._count:04d}'
        path = self.folder / f'{key}.ply'
        mesh.write_ply(path)
        if isinstance(look, np.ndarray):
            bitmap = mi.Bitmap(np.ascontiguousarray(look[::-1]))
            colour: dict[str, Any] = {'type': 'bitmap', 'bitmap': bitmap}
        else:
            colour = {'type': 'rgb', 'value': [float(v) for v in look]}
        shape = {
            'type': 'ply',
            'filename': str(path),
            'bsdf': {'type': 'twosided', 'bsdf': {'type': 'diffuse', 'reflectance': colour}},
        }
        if light:
            shape['emitter'] = {'type': 'area', 'radiance': 1.0}
        self.dictionary[key] = shape
        self.gloss[key] = gloss

    def poster(self, picture: Picture, wall: str, along: float, up: float, width: float) -> None:
        """Hang a picture: ``along`` is x or y of its middle, ``up`` its height, in metres."""
        height = width * picture.shape[0] / picture.shape[1]
        yaw = {'south': 180, 'north': 0, 'west': 90, 'east': -90}[wall]
        back = box(width, 0.02, height).moved(0, 0, -height / 2)
        back = back._replace(uv=0 * back.uv)  # its edges take the colour of the picture's corner
        hung = shapes.joined(panel(width, height).moved(0, -0.012), back).turned(yaw)
        depth, far = 0.012, {'north': SIZE_M[1], 'east': SIZE_M[0]}
        if wall in ('south', 'north'):
            y = depth if wall == 'south' else far[wall] - depth
            self.add('poster', hung.moved(along, y, up), picture)
        else:
            x = depth if wall == 'west' else far[wall] - depth
            self.add('poster', hung.moved(x, along, up), picture)


def build_room(folder: Path, seed: int = 7) -> Room:
    """Make the room; its meshes are written to ``folder``."""
    room = Room(folder, seed)
    _shell(room)
    _pictures(room)
    _sofa(room)
    _bookshelf(room)
    _desk(room)
    _coffee_table(room)
    _cupboard(room)
    _corner_things(room)
    _lamps(room)
    return room


def _shell(room: Room) -> None:
    rng, (wide, deep, high) = room.rng, SIZE_M
    floor = textures.planks(rng, int(deep * 330), int(wide * 330), 44, 400)
    room.add('floor', flat(wide, deep).moved(wide / 2, deep / 2), floor, gloss=0.5)
    ceiling = textures.paint(rng, (0.90, 0.90, 0.88), 700, 800)
    room.add('ceiling', flat(wide, deep).turned(0, 180).moved(wide / 2, deep / 2, high), ceiling)
    white = textures.paint(rng, (0.89, 0.88, 0.85), 800, 1400)
    room.add('wall', panel(wide, high).turned(180).moved(wide / 2, 0, high / 2), white)
    sage = textures.paint(rng, (0.62, 0.70, 0.66), 800, 1200)
    room.add('wall', panel(deep, high).turned(-90).moved(wide, deep / 2, high / 2), sage)
    cream = textures.paint(rng, (0.88, 0.85, 0.78), 800, 1200)
    room.add('wall', panel(deep, high).turned(90).moved(0, deep / 2, high / 2), cream)
    paper = textures.stripes(rng, 820, 1480)
    room.add('wall', panel(wide, high).moved(wide / 2, deep, high / 2), paper)
    skirting = (0.75, 0.74, 0.71)
    for width, yaw, x, y in (
        (wide, 0, wide / 2, 0.008), (wide, 0, wide / 2, deep - 0.008),
        (deep, 90, 0.008, deep / 2), (deep, 90, wide - 0.008, deep / 2),
    ):
        room.add('skirting', box(width, 0.016, 0.09).turned(yaw).moved(x, y), skirting)

    room.add('window', panel(1.34, 1.24).moved(2.2, deep - 0.02, 1.52), (0.8, 0.8, 0.8),
             light=True)
    frame = (0.82, 0.82, 0.80)
    for width, height, x, z in (
        (1.46, 0.07, 2.2, 0.86), (1.46, 0.07, 2.2, 2.12), (0.05, 1.24, 2.2, 0.9),
        (0.07, 1.33, 1.5, 0.86), (0.07, 1.33, 2.9, 0.86), (1.34, 0.04, 2.2, 1.66),
    ):
        room.add('frame', box(width, 0.06, height).moved(x, deep - 0.03, z), frame, gloss=0.5)
    room.add('sill', box(1.6, 0.18, 0.03).moved(2.2, deep - 0.09, 0.83), frame, gloss=0.5)
    room.add('rod', tube(0.012, 0.012, 2.2).turned(0, 90).moved(1.1, deep - 0.12, 2.27),
             (0.12, 0.1, 0.09))
    for x, seed in ((1.33, 1), (3.07, 2)):
        cloth = textures.patterned(rng, 900, 360, 90)
        drape = shapes.curtain(0.46, 1.95, 5, seed).moved(x, deep - 0.12, 1.29)
        room.add('curtain', drape, cloth)

    leaf = textures.wood(rng, 600, 600, (1.15, 1.12, 1.05))
    room.add('door', box(0.86, 0.04, 2.02, 1.6, 5).turned(180).moved(3.72, 0.02), leaf, gloss=0.5)
    for x, width in ((3.26, 0.07), (4.18, 0.07)):
        room.add('jamb', box(width, 0.06, 2.09).moved(x, 0.03), frame)
    room.add('jamb', box(0.99, 0.06, 0.07).moved(3.72, 0.03, 2.04), frame)
    for z in (0.25, 1.15):
        room.add('inset', box(0.56, 0.01, 0.7, 1.6, int(z * 9)).moved(3.72, 0.045, z), leaf)
    knob = tube(0.011, 0.011, 0.12).turned(0, 90).moved(3.36, 0.09, 1.02)
    room.add('knob', knob, (0.5, 0.5, 0.52), gloss=1.0)


def _pictures(room: Room) -> None:
    rng = room.rng
    black, oak, white = (24, 22, 22), (150, 112, 70), (226, 224, 218)
    hang = room.poster
    hang(textures.framed(textures.strokes(rng, 480, 640), 22, black), 'south', 1.02, 1.66, 0.86)
    hang(textures.concert(rng, 640, 450), 'south', 1.84, 1.62, 0.52)
    hang(textures.framed(textures.landscape(rng, 420, 420), 16, oak), 'south', 2.43, 1.82, 0.44)
    hang(textures.stained_glass(rng, 300, 380, 46), 'south', 2.46, 1.33, 0.36)
    hang(textures.city_map(rng, 560, 800), 'east', 2.65, 1.62, 1.05)
    hang(textures.framed(textures.shapes(rng, 600, 430), 18, white), 'east', 3.42, 1.65, 0.46)
    hang(textures.science(rng, 640, 460), 'west', 3.02, 1.60, 0.56)
    hang(textures.framed(textures.landscape(rng, 500, 360), 18, black), 'west', 0.72, 1.72, 0.40)
    hang(textures.pinboard(rng, 560, 840), 'north', 3.82, 1.62, 1.0)
    hang(textures.framed(textures.shapes(rng, 440, 360), 14, oak), 'north', 0.62, 1.75, 0.44)
    hang(textures.concert(rng, 420, 300), 'north', 0.25, 1.35, 0.26)
    hang(textures.framed(textures.strokes(rng, 300, 300), 12, oak), 'east', 0.45, 1.72, 0.36)
    face = disc(0.15).turned(0, roll_deg=90).turned(90).moved(0.03, 1.55, 2.17)
    room.add('clock', face, textures.clock(rng, 300))


def _sofa(room: Room) -> None:
    rng = room.rng
    cloth = textures.cloth(rng, (0.27, 0.37, 0.47), 500, 700)
    room.add('sofa', box(1.9, 0.8, 0.22, 0.9, 1).moved(1.4, 0.46, 0.12), cloth)
    room.add('sofa', cushion(1.9, 0.24, 0.62, 0.25).moved(1.4, 0.16, 0.55), cloth)
    for x in (0.5, 2.3):
        room.add('sofa', cushion(0.2, 0.86, 0.5, 0.3).moved(x, 0.45, 0.38), cloth)
    for x in (1.0, 1.8):
        room.add('sofa', cushion(0.78, 0.64, 0.2, 0.25).moved(x, 0.53, 0.42), cloth)
        room.add('sofa', cushion(0.76, 0.2, 0.46, 0.35).turned(0, roll_deg=14).moved(
            x, 0.31, 0.68), cloth)
    for x, y, yaw, tilt in ((0.75, 0.5, 24, 24), (1.5, 0.5, -12, 30), (2.05, 0.5, -28, 22)):
        pillow = cushion(0.44, 0.15, 0.42, 0.55).turned(0, roll_deg=tilt).turned(yaw)
        room.add('pillow', pillow.moved(x, y, 0.71), textures.patterned(rng, 260, 260, 34))
    rows, columns = np.meshgrid(np.linspace(0, 1, 24), np.linspace(0, 0.5, 10), indexing='ij')
    over = np.stack([1.13 + columns, 0.72 + 0.22 * np.cos(3 * rows), 0.545 + 0 * rows], -1)
    over[..., 1] = np.clip(0.46 + rows * 0.5, 0, 0.885)
    over[..., 2] = np.where(rows < 0.85, 0.535, 0.535 - (rows - 0.85) * 1.6)
    over[..., 2] += 0.006 * np.sin(columns * 40)
    room.add('throw', shapes.sheet(over), textures.patterned(rng, 420, 260, 50))


def _bookshelf(room: Room) -> None:
    rng = room.rng
    board = textures.wood(rng, 500, 800, (0.75, 0.7, 0.66))
    x, y0, y1, depth, top = 0.16, 1.05, 2.35, 0.30, 1.95
    for y in (y0, y1):
        room.add('shelf', box(depth, 0.025, top, 1.2, int(y * 9)).moved(x, y), board)
    room.add('shelf', box(0.012, y1 - y0, top, 1.2, 4).moved(0.012, (y0 + y1) / 2), board)
    levels = (0.06, 0.43, 0.80, 1.17, 1.54, 1.93)
    for z in levels:
        width = y1 - y0
        room.add('shelf', box(depth, width, 0.025, 1.2, int(z * 9)).moved(
            x, (y0 + y1) / 2, z), board)
    for level, z in enumerate(levels[:-1]):
        y = y0 + 0.03
        while y < y1 - 0.07:
            if rng.random() < 0.06 and y < y1 - 0.3:
                y = _thing(room, x, y, z + 0.025)
                continue
            thick, tall = rng.uniform(0.02, 0.05), rng.uniform(0.20, 0.31)
            tilt = -9 if rng.random() < 0.05 else 0
            book = box(thick, rng.uniform(0.15, 0.22), tall).turned(90).turned(0, roll_deg=tilt)
            back = textures.spine(rng, int(tall * 900), max(18, int(thick * 900)))
            room.add('book', book.moved(x + 0.02, y + thick / 2, z + 0.025), back, gloss=0.3)
            y += thick + (0.004 if not tilt else 0.04)
    for y, tall, colour in ((1.2, 0.2, (0.5, 0.2, 0.1)), (1.38, 0.13, (0.1, 0.3, 0.35))):
        pot = shapes.joined(tube(0.05, 0.08, tall), disc(0.05))
        room.add('vase', pot.moved(0.17, y, top + 0.006), colour, gloss=1.0)
    room.add('box', box(0.24, 0.34, 0.17).turned(90).moved(0.17, 1.75, top + 0.006),
             textures.cardboard(rng, 200, 380))
    room.add('globe', cushion(0.24, 0.24, 0.24, 1.0).moved(0.17, 2.15, top + 0.16),
             textures.city_map(rng, 300, 500), gloss=0.8)
    room.add('globe', tube(0.07, 0.02, 0.05).moved(0.17, 2.15, top + 0.006), (0.2, 0.12, 0.06))


def _thing(room: Room, x: float, y: float, z: float) -> float:
    """Put something that is no book on a shelf; return where the next thing may start."""
    rng = room.rng
    if rng.random() < 0.5:
        pot = shapes.joined(tube(0.05, 0.065, 0.16), disc(0.05))
        room.add('vase', pot.moved(x, y + 0.08, z), [c / 400 for c in textures.bright(rng)],
                 gloss=1.0)
        return y + 0.17
    picture = textures.framed(textures.landscape(rng, 200, 150), 8, (200, 190, 170))
    frame = box(0.16, 0.015, 0.21).turned(0, roll_deg=-8).turned(84)
    room.add('photo', frame.moved(x + 0.06, y + 0.1, z), picture)
    return y + 0.2


def _desk(room: Room) -> None:
    rng = room.rng
    oak = textures.wood(rng, 600, 900, (1.2, 1.15, 1.05))
    x, y, top = 3.62, 3.44, 0.74
    room.add('desk', box(1.5, 0.68, 0.035, 1.2, 1).moved(x, y, top - 0.035), oak, gloss=0.5)
    for offset in (-0.7, 0.7):
        room.add('desk', box(0.04, 0.62, top - 0.035, 1.2, 2).moved(x + offset, y), oak)
    room.add('desk', box(0.4, 0.5, 0.5, 1.2, 3).moved(x + 0.47, y, 0.2), oak)
    for z in (0.22, 0.38, 0.54):
        room.add('drawer', box(0.38, 0.02, 0.14, 1.2, int(z * 50)).moved(x + 0.47, y - 0.255, z),
                 textures.wood(rng, 200, 400, (0.95, 0.9, 0.85)))
        room.add('drawer', box(0.1, 0.015, 0.012).moved(x + 0.47, y - 0.27, z + 0.07), (0.1,) * 3)
    room.add('monitor', box(0.62, 0.035, 0.37).turned(-8).moved(3.66, 3.62, top + 0.1),
             (0.03, 0.03, 0.035), gloss=0.5)
    room.add('screen', panel(0.59, 0.34).moved(0, -0.02, 0.185).turned(-8).moved(
        3.66, 3.62, top + 0.1), textures.screen(rng, 460, 800), gloss=1.0)
    room.add('monitor', tube(0.02, 0.02, 0.14).moved(3.66, 3.65, top), (0.04,) * 3)
    room.add('monitor', box(0.24, 0.18, 0.012).moved(3.66, 3.63, top), (0.04,) * 3)
    keys = textures.stained_glass(rng, 160, 460, 5) // 6 + 22
    for row in range(5):
        for column in range(14):
            shade = int(rng.integers(60, 200))
            keys[10 + 30 * row : 34 + 30 * row, 8 + 32 * column : 34 + 32 * column] = shade
    room.add('keyboard', box(0.42, 0.14, 0.02).turned(-3).moved(3.6, 3.3, top), keys)
    for px, py, yaw in ((3.1, 3.34, 17), (3.18, 3.28, -12), (4.12, 3.4, 33), (3.28, 3.5, 80)):
        sheet = textures.science(rng, 420, 300)
        room.add('paper', flat(0.21, 0.297).turned(yaw).moved(px, py, top + 0.003 + px / 900),
                 sheet)
    for level, yaw in enumerate((5, -14, 22)):
        cover = textures.framed(textures.shapes(rng, 260, 190), 6, textures.bright(rng))
        room.add('book', box(0.17, 0.24, 0.03).turned(yaw).moved(3.02, 3.6, top + 0.03 * level),
                 cover, gloss=0.3)
    room.add('mug', tube(0.038, 0.04, 0.1).moved(3.34, 3.38, top), (0.55, 0.1, 0.08), gloss=1.0)
    room.add('desklamp', tube(0.08, 0.08, 0.02).moved(4.18, 3.6, top), (0.1, 0.3, 0.3))
    room.add('desklamp', disc(0.08).moved(4.18, 3.6, top + 0.02), (0.1, 0.3, 0.3))
    room.add('desklamp', tube(0.012, 0.012, 0.42).moved(4.18, 3.6, top), (0.1, 0.3, 0.3))
    room.add('desklamp', tube(0.1, 0.04, 0.14).moved(4.12, 3.55, top + 0.36), (0.1, 0.3, 0.3))
    room.add('lamp_desk', disc(0.075).turned(0, 180).moved(4.12, 3.55, top + 0.39), (0.8,) * 3,
             light=True)
    _chair(room, 3.5, 2.86, 200)
    _chair(room, 2.62, 3.36, 65)


def _chair(room: Room, x: float, y: float, yaw: float) -> None:
    rng = room.rng
    board = textures.wood(rng, 300, 500, (0.8, 0.55, 0.42))
    legs = [box(0.04, 0.04, 0.44, 0.9, i).moved(0.18 * a, 0.18 * b)
            for i, (a, b) in enumerate(((-1, -1), (-1, 1), (1, -1), (1, 1)))]
    posts = [box(0.04, 0.03, 0.48, 0.9, i).moved(0.18 * a, 0.19, 0.44)
             for i, a in enumerate((-1, 1))]
    slats = [box(0.36, 0.02, 0.07, 0.9, i).moved(0, 0.19, z) for i, z in enumerate((0.58, 0.82))]
    wooden = shapes.joined(*legs, *posts, *slats, box(0.42, 0.42, 0.03, 0.9, 9).moved(0, 0, 0.44))
    room.add('chair', wooden.turned(yaw).moved(x, y), board)
    seat = cushion(0.4, 0.4, 0.06, 0.4).turned(yaw)
    room.add('seat', seat.moved(x, y, 0.49), textures.patterned(rng, 240, 240, 26))


def _coffee_table(room: Room) -> None:
    rng = room.rng
    room.add('rug', flat(2.1, 1.45).turned(4).moved(1.75, 1.72, 0.008),
             textures.rug(rng, 500, 720))
    board = textures.wood(rng, 500, 800, (0.62, 0.55, 0.5))
    x, y = 1.6, 1.68
    legs = [box(0.05, 0.05, 0.4, 0.9, i).moved(0.42 * a, 0.22 * b)
            for i, (a, b) in enumerate(((-1, -1), (-1, 1), (1, -1), (1, 1)))]
    table = shapes.joined(*legs, box(1.0, 0.56, 0.03, 1.2, 8).moved(0, 0, 0.4),
                          box(0.9, 0.46, 0.02, 1.2, 7).moved(0, 0, 0.14))
    room.add('table', table.turned(-6).moved(x, y), board, gloss=0.8)
    for px, py, yaw in ((1.35, 1.75, 20), (1.48, 1.6, -35), (1.82, 1.55, 75)):
        cover = textures.concert(rng, 300, 220)
        room.add('magazine', box(0.21, 0.28, 0.008).turned(yaw).moved(px, py, 0.43), cover,
                 gloss=0.5)
    bowl = shapes.joined(tube(0.06, 0.14, 0.08), disc(0.06).moved(0, 0, 0.002))
    room.add('bowl', bowl.moved(1.88, 1.8, 0.43), (0.62, 0.58, 0.5), gloss=0.5)
    for px, py, colour in ((1.86, 1.79, (0.6, 0.09, 0.05)), (1.93, 1.82, (0.65, 0.4, 0.04)),
                           (1.88, 1.86, (0.25, 0.42, 0.06))):
        room.add('fruit', cushion(0.08, 0.08, 0.08, 1.0).moved(px, py, 0.49), colour, gloss=0.5)
    room.add('box', box(0.34, 0.26, 0.11).turned(15).moved(1.5, 1.7, 0.16),
             textures.cardboard(rng, 160, 420))


def _cupboard(room: Room) -> None:
    rng = room.rng
    front = textures.planks(rng, 700, 900, 116, 500)
    room.add('cupboard', box(1.3, 0.46, 0.86, 1.5, 3).turned(-90).moved(4.27, 1.45), front,
             gloss=0.5)
    white = textures.paint(rng, (0.86, 0.84, 0.8), 300, 300)
    for offset in (-0.43, 0.0, 0.43):
        door = box(0.41, 0.02, 0.74, 0.8, int(offset * 10) + 9).turned(-90)
        room.add('cupboard', door.moved(4.03, 1.45 + offset, 0.08), white, gloss=0.5)
        room.add('handle', box(0.012, 0.03, 0.14).turned(-90).moved(
            4.01, 1.45 + offset + 0.15, 0.42), (0.15, 0.13, 0.1))
    room.add('tv', box(1.0, 0.04, 0.58).turned(-96).moved(4.32, 1.42, 0.95),
             (0.012, 0.012, 0.014), gloss=1.0)
    room.add('tv', box(0.4, 0.2, 0.09).turned(-90).moved(4.3, 1.42, 0.86), (0.03,) * 3)
    for y, z, size, yaw in ((2.0, 0.86, (0.22, 0.16, 0.2), -80), (0.9, 0.86, (0.2, 0.16, 0.13), -98)):
        room.add('box', box(*size).turned(yaw).moved(4.24, y, z), textures.cardboard(rng, 220, 300))
    room.add('box', box(0.16, 0.14, 0.1).turned(-70).moved(4.22, 0.92, 0.99),
             textures.patterned(rng, 140, 220, 20))


def _corner_things(room: Room) -> None:
    rng = room.rng
    for x, y, z, size, yaw in (
        (4.18, 0.52, 0.0, (0.5, 0.4, 0.36), 84), (4.2, 0.5, 0.36, (0.4, 0.32, 0.26), 70),
        (2.62, 0.24, 0.0, (0.3, 0.3, 0.34), 10),
    ):
        room.add('box', box(*size).turned(yaw).moved(x, y, z), textures.cardboard(rng, 300, 380))
    room.add('radiator', shapes.joined(*(
        box(0.07, 0.09, 0.56).moved(1.0 + 0.085 * i, 3.72, 0.12) for i in range(14)
    )), (0.78, 0.78, 0.76), gloss=0.5)
    room.add('pot', tube(0.15, 0.2, 0.36).moved(0.4, 3.4), textures.patterned(rng, 220, 700, 90))
    room.add('soil', disc(0.19).moved(0.4, 3.4, 0.33), (0.06, 0.04, 0.03))
    green = textures.cloth(rng, (0.22, 0.42, 0.16), 120, 200)
    for index in range(34):
        blade = shapes.leaf(rng.uniform(0.3, 0.62), rng.uniform(0.07, 0.13), rng.uniform(0.3, 1.3))
        blade = blade.turned(0, rng.uniform(-55, 0)).turned(index * 137.5 % 360)
        height = rng.uniform(0.34, 0.6)
        shade = np.clip(green * rng.uniform(0.6, 1.25), 0, 255).astype(np.uint8)
        # The plant stands in a corner: leaves that would grow through a wall are left out.
        placed = blade.moved(0.4, 3.4, height)
        if placed.vertices[:, 0].min() > 0.02 and placed.vertices[:, 1].max() < 3.78:
            room.add('leaf', placed, shade)
    room.add('stem', tube(0.015, 0.012, 0.3).moved(0.4, 3.4, 0.32), (0.15, 0.1, 0.05))
    room.add('bag', cushion(0.36, 0.22, 0.44, 0.45).turned(30).moved(0.32, 0.6, 0.22),
             textures.patterned(rng, 300, 300, 24))
    room.add('basket', tube(0.13, 0.17, 0.32).moved(0.26, 2.62),
             textures.stained_glass(rng, 200, 700, 160))


def _lamps(room: Room) -> None:
    dark = (0.06, 0.055, 0.05)
    room.add('lamp_ceiling', cushion(0.34, 0.34, 0.2, 0.8).moved(2.2, 1.9, 2.24), (0.8, 0.78, 0.72),
             light=True)
    room.add('cord', tube(0.006, 0.006, 0.16).moved(2.2, 1.9, 2.34), dark)
    room.add('stand', tube(0.13, 0.13, 0.02).moved(2.98, 0.3), dark)
    room.add('stand', disc(0.13).moved(2.98, 0.3, 0.02), dark)
    room.add('stand', tube(0.012, 0.012, 1.36).moved(2.98, 0.3), dark)
    room.add('lamp_floor', tube(0.2, 0.13, 0.28).moved(2.98, 0.3, 1.3), (0.75, 0.66, 0.5),
             light=True)
