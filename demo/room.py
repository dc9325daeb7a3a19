"""Collect the meshes and materials of a room as a Mitsuba scene."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np

from demo import shapes
from demo.shapes import box, Mesh, panel
from demo.textures import Texture

SIZE_M = (4.5, 3.8, 2.5)


class Room:
    """Meshes with materials; `dictionary` is the scene description for Mitsuba."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Set the folder for meshes, and seed all random choices."""
        self.folder = folder
        self.rng = np.random.default_rng(seed)
        self.dictionary: dict[str, Any] = {'type': 'scene'}
        self.gloss: dict[str, float] = {}
        self._count = 0

    def add(
        self,
        name: str,
        mesh: Mesh,
        material: Texture | Sequence[float],
        *,
        gloss: float = 0.0,
        light: bool = False,
    ) -> None:
        """
        Add a mesh.

        Parameters
        ----------
        name : str
            Kind of the object; the key in `dictionary` gets a number after it.
        mesh : Mesh
            In the frame of the room, meters.
        material : (H, W, 3) array or three numbers
            Diffuse albedo: an sRGB texture or a linear color.
        gloss : float
            Specular reflection as a fraction of that of varnish.
        light : bool
            Whether the mesh is an area light of that name, of radiance one.
        """
        self._count += 1
        key = f'{name}_{self._count:04d}'
        path = self.folder / f'{key}.ply'
        mesh.write_ply(path)
        if isinstance(material, np.ndarray):
            bitmap = mi.Bitmap(np.ascontiguousarray(material[::-1]))
            color: dict[str, Any] = {'type': 'bitmap', 'bitmap': bitmap}
        else:
            color = {'type': 'rgb', 'value': [float(v) for v in material]}
        shape = {
            'type': 'ply',
            'filename': str(path),
            'bsdf': {'type': 'twosided', 'bsdf': {'type': 'diffuse', 'reflectance': color}},
        }
        if light:
            shape['emitter'] = {'type': 'area', 'radiance': 1.0}
        self.dictionary[key] = shape
        self.gloss[key] = gloss

    def poster(self, image: Texture, wall: str, along: float, up: float, width: float) -> None:
        """Hang an image on a wall; ``along`` is x or y of its center, ``up`` its z [m]."""
        height = width * image.shape[0] / image.shape[1]
        yaw = {'south': 180, 'north': 0, 'west': 90, 'east': -90}[wall]
        back = box(width, 0.02, height).translate(0, 0, -height / 2)
        back = back._replace(uv=0 * back.uv)  # the edges take the color of the image corner
        poster = shapes.join(panel(width, height).translate(0, -0.012), back).rotate(yaw)
        depth, far = 0.012, {'north': SIZE_M[1], 'east': SIZE_M[0]}
        if wall in ('south', 'north'):
            y = depth if wall == 'south' else far[wall] - depth
            self.add('poster', poster.translate(along, y, up), image)
        else:
            x = depth if wall == 'west' else far[wall] - depth
            self.add('poster', poster.translate(x, along, up), image)
