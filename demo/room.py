"""Collect the meshes, materials and lights of a room; nothing here needs the renderer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from demo import shapes
from demo.shapes import box, Mesh, panel
from demo.textures import Texture

Lighting = dict[str, tuple[float, float, float]]
"""Radiance (RGB, one arbitrary unit for all) of the lights, by name."""


class Baking(NamedTuple):
    """Effort to bake the light of a room."""

    light_samples: int = 64
    """Points on each lamp, for its direct light."""
    directions: int = 64
    """Directions from each vertex, for the light from other surfaces."""
    reach_m: float = np.inf
    """How far a lamp shines: where walls stop it anyway, this is less to compute."""


SHINY = ('window', 'screen', 'vase', 'lamp', 'mug', 'tv')
"""Prefixes of the names of shapes that return little or nothing to a depth sensor."""

YAW_DEG = {'south': 180, 'north': 0, 'west': 90, 'east': -90}
"""Rotation about z that takes a front toward -y to the inner side of a wall."""


class Part(NamedTuple):
    """A mesh with its material."""

    key: str
    """Kind of the object and a number: the name of the shape in the scene."""
    mesh: Mesh
    """In the frame of the room, meters."""
    material: Texture | tuple[float, ...]
    """Diffuse albedo: an sRGB texture (H, W, 3) or a linear color."""
    gloss: float
    """Specular reflection as a fraction of that of varnish."""
    is_light: bool
    """Whether it is an area light of its kind, of radiance one."""


class Room:
    """
    Parts of a room in the order in which they were added.

    Axes: x from the west wall to the east wall, y from south to north, z up. The origin is the
    south-west corner of the floor; ``size_m`` is the extent along x, y and z.
    """

    def __init__(self, size_m: tuple[float, float, float], seed: int) -> None:
        """Set the size of the room, and seed all random choices."""
        self.size_m = size_m
        self.rng = np.random.default_rng(seed)
        self.parts: list[Part] = []
        self.toward_sun: tuple[float, float, float] | None = None
        """Direction of the sun, whose light comes through the windows."""
        self._added = 0
        self._placement: tuple[float, float, float] | None = None

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
            Kind of the object; the key of the part gets a number after it.
        mesh : Mesh
            In the frame of the room, or of the enclosing `placed`, meters.
        material : (H, W, 3) array or three numbers
            Diffuse albedo: an sRGB texture or a linear color.
        gloss : float
            Specular reflection as a fraction of that of varnish.
        light : bool
            Whether the mesh is an area light of that name, of radiance one.
        """
        if self._placement is not None:
            x, y, yaw_deg = self._placement
            mesh = mesh.rotate(yaw_deg).translate(x, y)
        if not isinstance(material, np.ndarray):
            material = tuple(float(value) for value in material)
        self._added += 1  # parts may be taken away
        key = f'{name}_{self._added:04d}'
        self.parts.append(Part(key, mesh, material, gloss, light))

    @contextmanager
    def placed(self, x: float, y: float, yaw_deg: float = 0.0) -> Iterator[None]:
        """Rotate what is added in this block about z, then translate it by x and y [m]."""
        outer, self._placement = self._placement, (x, y, yaw_deg)
        try:
            yield
        finally:
            self._placement = outer

    def hang(
        self,
        name: str,
        mesh: Mesh,
        material: Texture | Sequence[float],
        wall: str,
        along: float,
        up: float,
        *,
        gap: float = 0.0,
        gloss: float = 0.0,
        light: bool = False,
    ) -> None:
        """Add a mesh whose front is toward -y to a wall: ``along`` is its x or y, ``up`` its z."""
        turned = mesh.rotate(YAW_DEG[wall])
        far = {'north': self.size_m[1], 'east': self.size_m[0]}
        across = far[wall] - gap if wall in far else gap
        x, y = (along, across) if wall in ('south', 'north') else (across, along)
        self.add(name, turned.translate(x, y, up), material, gloss=gloss, light=light)

    def poster(self, image: Texture, wall: str, along: float, up: float, width: float) -> None:
        """Hang an image on a wall; ``along`` is x or y of its center, ``up`` its z [m]."""
        height = width * image.shape[0] / image.shape[1]
        back = box(width, 0.02, height).translate(0, 0, -height / 2)
        back = back._replace(uv=0 * back.uv)  # the edges take the color of the image corner
        poster = shapes.join(panel(width, height).translate(0, -0.012), back)
        self.hang('poster', poster, image, wall, along, up, gap=0.012)
