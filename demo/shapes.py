"""
Triangle meshes for the rooms.

A mesh is vertices (N, 3) in meters (z up), triangles (M, 3) and texture coordinates (N, 2). With
``tile_m`` the texture covers that many meters and repeats; otherwise it covers each face once.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CELL_M = 0.05
"""Distance of vertices on flat faces [m], at most: irradiance is baked at vertices."""


class Mesh(NamedTuple):
    """Triangles with texture coordinates."""

    vertices: Array
    """(N, 3) meters."""
    triangles: NDArray[np.int32]
    """(M, 3) indices of vertices."""
    uv: Array
    """(N, 2) texture coordinates, (0, 0) the lower left corner of the texture."""

    def rotate(self, yaw_deg: float, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> 'Mesh':
        """Rotate about the origin: roll about x, then pitch about y, then yaw about z."""
        matrix = np.eye(3)
        for angle, (a, b) in ((roll_deg, (1, 2)), (pitch_deg, (2, 0)), (yaw_deg, (0, 1))):
            step, t = np.eye(3), np.radians(angle)
            step[a, a] = step[b, b] = np.cos(t)
            step[a, b], step[b, a] = -np.sin(t), np.sin(t)
            matrix = step @ matrix
        return self._replace(vertices=self.vertices @ matrix.T)

    def translate(self, x: float, y: float, z: float = 0.0) -> 'Mesh':
        """Translate by x, y, z [m]."""
        return self._replace(vertices=self.vertices + np.array([x, y, z]))

    def write_ply(self, path: Path) -> None:
        """Write a binary PLY file; shared vertices give smooth shading, others flat shading."""
        corners = np.empty(
            len(self.vertices), [(name, '<f4') for name in ('x', 'y', 'z', 'u', 'v')]
        )
        for column, name in enumerate('xyz'):
            corners[name] = self.vertices[:, column]
        corners['u'], corners['v'] = self.uv.T
        faces = np.empty(len(self.triangles), [('count', 'u1'), ('index', '<i4', 3)])
        faces['count'], faces['index'] = 3, self.triangles
        header = (
            'ply\nformat binary_little_endian 1.0\n'
            f'element vertex {len(corners)}\n'
            + ''.join(f'property float {name}\n' for name in 'xyzuv')
            + f'element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n'
        )
        path.write_bytes(header.encode() + corners.tobytes() + faces.tobytes())


def join(*meshes: Mesh) -> Mesh:
    """Merge several meshes into one."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([m.triangles + start for m, start in zip(meshes, starts, strict=True)]),
        np.concatenate([mesh.uv for mesh in meshes]),
    )


def sheet(points: Array) -> Mesh:
    """Triangulate a grid of points (rows, columns, 3); the texture covers it once."""
    rows, columns = points.shape[:2]
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing='ij')
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    lower = np.stack([corner, corner + 1, corner + columns], axis=1)
    upper = np.stack([corner + 1, corner + columns + 1, corner + columns], axis=1)
    triangles = np.concatenate([lower, upper]).astype(np.int32)
    return Mesh(points.reshape(-1, 3), triangles, np.stack([u.ravel(), v.ravel()], axis=1))


def panel(width: float, height: float, cell_m: float = CELL_M) -> Mesh:
    """Make an upright rectangle around the origin that faces -y: x to the right, z up."""
    across, up = (int(np.ceil(length / cell_m)) + 1 for length in (width, height))
    x, z = np.meshgrid(
        np.linspace(-width / 2, width / 2, across), np.linspace(-height / 2, height / 2, up)
    )
    return sheet(np.stack([x, np.zeros_like(x), z], axis=-1))


def flat(width: float, depth: float, cell_m: float = CELL_M) -> Mesh:
    """Make a horizontal rectangle around the origin that faces up."""
    return panel(width, depth, cell_m).rotate(0, roll_deg=-90)


def box(width: float, depth: float, height: float, tile_m: float = 0.0, seed: int = 0) -> Mesh:
    """
    Make a box that stands on the origin, its front toward -y.

    With ``tile_m`` the texture of each face starts at a random offset from ``seed`` and runs along
    the longer edge.
    """
    places = (  # width, height, yaw and roll [deg], and center of each face
        (width, height, (0, 0), (0, -depth / 2, height / 2)),
        (width, height, (180, 0), (0, depth / 2, height / 2)),
        (depth, height, (90, 0), (width / 2, 0, height / 2)),
        (depth, height, (-90, 0), (-width / 2, 0, height / 2)),
        (width, depth, (0, -90), (0, 0, height)),
        (width, depth, (0, 90), (0, 0, 0)),
    )
    rng = np.random.default_rng(seed)
    faces = []
    for wide, high, (yaw, roll), center in places:
        face = panel(wide, high).rotate(yaw, roll_deg=roll).translate(*center)
        if tile_m:
            uv = face.uv * (wide, high)
            uv = uv[:, ::-1] if high > wide else uv
            face = face._replace(uv=uv / tile_m + rng.uniform(0, 1, 2))
        faces.append(face)
    return join(*faces)


def tube(bottom_radius: float, top_radius: float, height: float, sides: int = 32) -> Mesh:
    """Make a cylinder or cone without lids that stands on the origin."""
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    fraction = np.linspace(0, 1, int(np.ceil(height / CELL_M)) + 1)[:, None]
    radius = bottom_radius + (top_radius - bottom_radius) * fraction
    ring = radius * np.cos(angle), radius * np.sin(angle), height * fraction + 0 * angle
    return sheet(np.stack(ring, axis=-1))


def disc(radius: float, sides: int = 32) -> Mesh:
    """Make a horizontal disc around the origin that faces up; the texture covers its square."""
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    rim = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    flat_rim = np.concatenate([np.zeros((1, 2)), rim])
    index = np.arange(sides)
    triangles = np.stack([0 * index, 1 + index, 1 + (index + 1) % sides], axis=1)
    vertices = np.concatenate([flat_rim * radius, np.zeros((sides + 1, 1))], axis=1)
    return Mesh(vertices, triangles.astype(np.int32), flat_rim / 2 + 0.5)


def cushion(width: float, depth: float, height: float, roundness: float = 0.35) -> Mesh:
    """Make a superellipsoid around the origin; ``roundness`` 1 is an ellipsoid, near 0 a box."""
    lat, lon = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, 25), np.linspace(0, 2 * np.pi, 49), indexing='ij'
    )

    def power(value: Array) -> Array:
        return np.sign(value) * np.abs(value) ** roundness

    x = power(np.cos(lat)) * power(np.cos(lon)) * width / 2
    y = power(np.cos(lat)) * power(np.sin(lon)) * depth / 2
    mesh = sheet(np.stack([x, y, power(np.sin(lat)) * height / 2], axis=-1))
    across = mesh.vertices[:, :2] / (width, depth) + 0.5
    return mesh._replace(uv=across + mesh.vertices[:, 2:] * 0.4)


def leaf(length: float, width: float, droop: float) -> Mesh:
    """Make a bent leaf that starts at the origin and extends along x."""
    along = np.linspace(0, 1, 9)
    half = width / 2 * np.sin(np.pi * along**0.7)
    x, z = length * along * (1 - 0.2 * droop * along), length * (0.9 * along - droop * along**2)
    left, right = np.stack([x, half, z - half * 0.3], -1), np.stack([x, -half, z - half * 0.3], -1)
    return sheet(np.stack([right, np.stack([x, 0 * x, z], -1), left]))


def curtain(width: float, height: float, folds: int, seed: int) -> Mesh:
    """Make a hanging cloth around the origin that faces -y, with uneven folds."""
    rng = np.random.default_rng(seed)
    across, up = np.linspace(-0.5, 0.5, 90), np.linspace(-0.5, 0.5, 6)
    phase = 2 * np.pi * folds * (across + 0.05 * np.sin(9 * across + rng.uniform(0, 6)))
    depth = 0.03 * np.sin(phase) + 0.012 * np.sin(2.3 * phase + 1)
    x = across * width + 0 * up[:, None]
    y = depth * (1.15 - 0.5 * up[:, None])
    return sheet(np.stack([x, y, up[:, None] * height + 0 * across], axis=-1))
