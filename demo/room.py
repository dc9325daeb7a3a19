"""A room that is being furnished: meshes with their looks, gathered for Mitsuba."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np

from demo import shapes
from demo.shapes import box, Mesh, panel
from demo.textures import Picture

SIZE_M = (4.5, 3.8, 2.5)


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
