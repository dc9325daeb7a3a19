"""
Light in the room, computed once and kept at the vertices.

Direct light of each lamp and three bounces between diffuse surfaces, with Mitsuba's rays. Every
vertex uses the same directions, so that neighbours differ by what they see and not by noise.
"""

from pathlib import Path
from typing import Any

import drjit as dr
import mitsuba as mi
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from demo.scene import Lighting

Array = NDArray[np.float64]

LIGHT_SAMPLES = 64
DIRECTIONS = 64
BOUNCES = 3
LIFT_M = 0.004
"""Rays start this far in front of a surface, and as far from the edge of their face."""


def _spread(count: int) -> list[tuple[float, float]]:
    """Return ``count`` evenly spread points of the unit square (the R2 sequence)."""
    return [((0.5 + i * 0.7548776662) % 1, (0.5 + i * 0.5698402910) % 1) for i in range(count)]


def _off_the_edges(vertices: Array, normal: Array, triangles: NDArray[np.int64]) -> Array:
    """Draw the vertices of flat faces towards the face's middle, out of corners of the room."""
    edges = triangles[:, [0, 1, 2]].ravel(), triangles[:, [1, 2, 0]].ravel()
    graph = coo_array((np.ones(len(edges[0])), edges), (len(vertices), len(vertices)))
    _, face = connected_components(graph, directed=False)
    count = np.bincount(face)[:, None]

    def mean(values: Array) -> Array:
        columns = [np.bincount(face, values[:, axis]) for axis in range(3)]
        return np.stack(columns, axis=1) / count

    flat = np.linalg.norm(mean(normal), axis=1) > 0.999
    towards = mean(vertices)[face] - vertices
    length = np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-9)
    step = np.minimum(0.5 * length, 2 * LIFT_M) * flat[face][:, None]
    return vertices + towards / length * step


class BakedLight:
    """Irradiance at every vertex, for each light alone; mixing them costs nothing."""

    def __init__(self, scene: Any, cache: Path) -> None:
        """Compute the light of every lamp of ``scene``, each of radiance one, or read it."""
        self._shapes = scene.shapes()
        parts = [mi.traverse(shape) for shape in self._shapes]
        vertices = [np.array(part['vertex_positions']).reshape(-1, 3) for part in parts]
        normals = [np.array(part['vertex_normals']).reshape(-1, 3) for part in parts]
        faces = [np.array(part['faces']).reshape(-1, 3) for part in parts]
        self._starts = np.cumsum([0] + [len(part) for part in vertices])
        self._face_starts = np.cumsum([0] + [len(part) for part in faces])
        self._triangles = np.concatenate(
            [part + start for part, start in zip(faces, self._starts[:-1], strict=True)]
        )
        normal = np.nan_to_num(np.concatenate(normals))
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        inner = _off_the_edges(np.concatenate(vertices), normal, self._triangles)
        self._normal = mi.Normal3f(normal.T)
        self._origin = mi.Point3f((inner + LIFT_M * normal).T)
        if cache.exists():
            self._by_light = dict(np.load(cache))
            return
        hits, albedo = self._look_around(scene)
        lights = {
            light.get_shape().id().rsplit('_', 1)[0]: self._direct(scene, light)
            for light in scene.emitters()
        }
        direct = np.repeat(np.stack(list(lights.values()), 1)[..., None], 3, 2).astype(np.float32)
        total = direct
        for _ in range(BOUNCES):
            bounced = np.zeros_like(total)
            for seen, colour in zip(hits, albedo, strict=True):
                bounced += colour[:, None] * total[seen]
            total = direct + bounced / DIRECTIONS
        self._by_light = dict(zip(lights, np.moveaxis(total, 1, 0), strict=True))
        np.savez(cache, **self._by_light)

    def _direct(self, scene: Any, light: Any) -> Array:
        """Irradiance (V,) by one light of radiance one."""
        count, total = dr.width(self._origin), 0.0
        reference = dr.zeros(mi.SurfaceInteraction3f, count)
        reference.p, reference.n = self._origin, self._normal
        for u, v in _spread(LIGHT_SAMPLES):
            sample = mi.Point2f(dr.opaque(mi.Float, u, count), dr.opaque(mi.Float, v, count))
            direction, weight = light.sample_direction(reference, sample)
            slope = dr.maximum(dr.dot(direction.d, self._normal), 0.0)
            way = mi.Ray3f(self._origin, direction.d)
            way.maxt = direction.dist * 0.995
            lit = ~scene.ray_test(way) & (slope > 0)
            total = total + np.array(dr.select(lit, weight.x * slope, 0.0), np.float64)
        # No light of radiance one gives more than pi: what does is a sample that lies too near.
        return np.clip(np.nan_to_num(total / LIGHT_SAMPLES), 0.0, np.pi)

    def _look_around(self, scene: Any) -> tuple[list[Any], list[Any]]:
        """Return, for each direction, the vertex (V,) that is seen there and its albedo (V, 3)."""
        identity = np.array(
            [np.array(dr.reinterpret_array(mi.UInt32, mi.ShapePtr(s)))[0] for s in self._shapes]
        )
        index_of = np.zeros(identity.max() + 1, np.int64)
        index_of[identity] = np.arange(len(identity))
        hits, albedo = [], []
        frame = mi.Frame3f(self._normal)
        for u, v in _spread(DIRECTIONS):
            sample = mi.Point2f(dr.opaque(mi.Float, u), dr.opaque(mi.Float, v))
            local = mi.warp.square_to_cosine_hemisphere(sample)
            ray = mi.Ray3f(self._origin, frame.to_world(local))
            found = scene.ray_intersect_preliminary(ray, coherent=False)
            surface = found.compute_surface_interaction(ray)
            colour = np.array(surface.bsdf(ray).eval_diffuse_reflectance(surface)).T
            valid = np.array(found.is_valid())
            shape = index_of[np.array(dr.reinterpret_array(mi.UInt32, found.shape)) * valid]
            face = self._face_starts[shape] + np.array(found.prim_index) * valid
            second, third = np.array(found.prim_uv)
            corner = np.argmax([1 - second - third, second, third], axis=0)
            hits.append(self._triangles[face, corner].astype(np.int32))
            albedo.append((colour * valid[:, None]).astype(np.float32))
        return hits, albedo

    def attach(self, name: str, lighting: Lighting, gloss: dict[str, float]) -> None:
        """Give every mesh the attributes of one lighting, for `demo.renderer`."""
        total = sum(
            self._by_light[light] * np.array(radiance) for light, radiance in lighting.items()
        )
        for shape, start, end in zip(
            self._shapes, self._starts[:-1], self._starts[1:], strict=True
        ):
            key = shape.id()
            glow = np.tile(lighting.get(key.rsplit('_', 1)[0], (0.0, 0.0, 0.0)), (end - start, 1))
            for what, values in (('irradiance', total[start:end]), ('glow', glow)):
                shape.add_attribute(f'vertex_{what}_{name}', 3, mi.Float(values.ravel()))
            shine = np.full(end - start, gloss[key])
            shape.add_attribute(f'vertex_gloss_{name}', 1, mi.Float(shine))
