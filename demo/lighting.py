"""
Bake the irradiance of each lamp at the vertices of the room, with Mitsuba.

The irradiance is direct light and three bounces between diffuse surfaces. Every vertex samples the
same directions: neighboring vertices then differ by their visibility and not by noise.
"""

from pathlib import Path
from typing import Any

import drjit as dr
import mitsuba as mi
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from demo.room import Baking, Lighting

Array = NDArray[np.float64]

BOUNCES = 3
LIFT_M = 0.004
"""Offset of ray origins from a surface, and from the edge of its face [m]."""


def _r2_sequence(count: int) -> list[tuple[float, float]]:
    """Return ``count`` low-discrepancy points of the unit square (R2 sequence)."""
    return [((0.5 + i * 0.7548776662) % 1, (0.5 + i * 0.5698402910) % 1) for i in range(count)]


def _inset_vertices(vertices: Array, normal: Array, triangles: NDArray[np.int64]) -> Array:
    """Move the vertices of flat faces toward the center of the face, out of room corners."""
    edges = triangles[:, [0, 1, 2]].ravel(), triangles[:, [1, 2, 0]].ravel()
    graph = coo_array((np.ones(len(edges[0])), edges), (len(vertices), len(vertices)))
    _, face = connected_components(graph, directed=False)
    count = np.bincount(face)[:, None]

    def mean(values: Array) -> Array:
        columns = [np.bincount(face, values[:, axis]) for axis in range(3)]
        return np.stack(columns, axis=1) / count

    flat = np.linalg.norm(mean(normal), axis=1) > 0.999
    to_center = mean(vertices)[face] - vertices
    length = np.maximum(np.linalg.norm(to_center, axis=1, keepdims=True), 1e-9)
    step = np.minimum(0.5 * length, 2 * LIFT_M) * flat[face][:, None]
    return vertices + to_center / length * step


class BakedLight:
    """Irradiance at every vertex, separate for each light: any mix of lights is a weighted sum."""

    def __init__(
        self,
        scene: Any,
        cache: Path,
        baking: Baking,
        toward_sun: tuple[float, float, float] | None = None,
    ) -> None:
        """
        Compute the irradiance by every lamp of ``scene``, each of radiance one, or read it.

        A sun, with the name ``sun`` and the direction ``toward_sun``, has an irradiance of one.
        """
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
        inner = _inset_vertices(np.concatenate(vertices), normal, self._triangles)
        self._normal = mi.Normal3f(normal.T)
        self._origin = mi.Point3f((inner + LIFT_M * normal).T)
        if cache.exists():
            self._by_light = dict(np.load(cache))
            return
        hits, albedo = self._trace_hemisphere(scene, baking.directions)
        lights: dict[str, Array] = {}
        for light in scene.emitters():  # those of one name are one lamp
            name = light.get_shape().id().rsplit('_', 1)[0]
            lights[name] = lights.get(name, 0.0) + self._direct(scene, light, baking)
        if toward_sun is not None:
            lights['sun'] = self._sunlight(scene, np.array(toward_sun))
        direct = np.repeat(np.stack(list(lights.values()), 1)[..., None], 3, 2).astype(np.float32)
        total = direct
        for _ in range(BOUNCES):
            bounced = np.zeros_like(total)
            for vertex, color in zip(hits, albedo, strict=True):
                bounced += color[:, None] * total[vertex]
            total = direct + bounced / baking.directions
        self._by_light = dict(zip(lights, np.moveaxis(total, 1, 0), strict=True))
        np.savez(cache, **self._by_light)

    def _direct(self, scene: Any, light: Any, baking: Baking) -> Array:
        """Return the irradiance (V,) by one light of radiance one."""
        origins = np.array(self._origin).T
        middle = np.array(mi.traverse(light.get_shape())['vertex_positions']).reshape(-1, 3)
        near = np.linalg.norm(origins - middle.mean(axis=0), axis=1) < baking.reach_m
        origin = mi.Point3f(origins[near].T)
        normal = mi.Normal3f(np.array(self._normal)[:, near])
        count, total = int(near.sum()), 0.0
        reference = dr.zeros(mi.SurfaceInteraction3f, count)
        reference.p, reference.n = origin, normal
        for u, v in _r2_sequence(baking.light_samples):
            sample = mi.Point2f(dr.opaque(mi.Float, u, count), dr.opaque(mi.Float, v, count))
            direction, weight = light.sample_direction(reference, sample)
            slope = dr.maximum(dr.dot(direction.d, normal), 0.0)
            shadow_ray = mi.Ray3f(origin, direction.d)
            shadow_ray.maxt = direction.dist * 0.995
            lit = ~scene.ray_test(shadow_ray) & (slope > 0)
            total = total + np.array(dr.select(lit, weight.x * slope, 0.0), np.float64)
        # A light of radiance one gives pi at most; samples too close to the light exceed it.
        out = np.zeros(len(origins))
        out[near] = np.clip(np.nan_to_num(total / baking.light_samples), 0.0, np.pi)
        return out

    def _sunlight(self, scene: Any, toward_sun: Array) -> Array:
        """Return the irradiance (V,) by the sun, which comes through windows alone."""
        direction = mi.Vector3f(*(toward_sun / np.linalg.norm(toward_sun)).tolist())
        count = len(np.array(self._origin).T)
        ray = mi.Ray3f(self._origin, dr.zeros(mi.Vector3f, count) + direction)
        hit = scene.ray_intersect_preliminary(ray, coherent=False)
        windows = [shape for shape in self._shapes if shape.id().startswith('window')]
        numbers = np.array(dr.reinterpret_array(mi.UInt32, hit.shape))
        panes = [
            np.array(dr.reinterpret_array(mi.UInt32, mi.ShapePtr(window)))[0] for window in windows
        ]
        is_lit = np.array(hit.is_valid()) & np.isin(numbers, panes)
        slope = np.maximum(np.array(dr.dot(direction, self._normal)), 0.0)
        return np.asarray(is_lit * slope, np.float64)

    def _trace_hemisphere(self, scene: Any, directions: int) -> tuple[list[Any], list[Any]]:
        """Return, for each direction, the nearest vertex of the hit (V,) and its albedo (V, 3)."""
        identity = np.array(
            [np.array(dr.reinterpret_array(mi.UInt32, mi.ShapePtr(s)))[0] for s in self._shapes]
        )
        index_of = np.zeros(identity.max() + 1, np.int64)
        index_of[identity] = np.arange(len(identity))
        hits, albedo = [], []
        frame = mi.Frame3f(self._normal)
        for u, v in _r2_sequence(directions):
            sample = mi.Point2f(dr.opaque(mi.Float, u), dr.opaque(mi.Float, v))
            local = mi.warp.square_to_cosine_hemisphere(sample)
            ray = mi.Ray3f(self._origin, frame.to_world(local))
            hit = scene.ray_intersect_preliminary(ray, coherent=False)
            surface = hit.compute_surface_interaction(ray)
            color = np.array(surface.bsdf(ray).eval_diffuse_reflectance(surface)).T
            valid = np.array(hit.is_valid())
            shape = index_of[np.array(dr.reinterpret_array(mi.UInt32, hit.shape)) * valid]
            face = self._face_starts[shape] + np.array(hit.prim_index) * valid
            second, third = np.array(hit.prim_uv)
            corner = np.argmax([1 - second - third, second, third], axis=0)
            hits.append(self._triangles[face, corner].astype(np.int32))
            albedo.append((color * valid[:, None]).astype(np.float32))
        return hits, albedo

    def attach(self, name: str, lighting: Lighting, gloss: dict[str, float]) -> None:
        """Attach the vertex attributes of one lighting to every mesh, for `demo.renderer`."""
        total = sum(
            self._by_light[light] * np.array(radiance) for light, radiance in lighting.items()
        )
        for shape, start, end in zip(
            self._shapes, self._starts[:-1], self._starts[1:], strict=True
        ):
            key = shape.id()
            glow = np.tile(lighting.get(key.rsplit('_', 1)[0], (0.0, 0.0, 0.0)), (end - start, 1))
            for quantity, values in (('irradiance', total[start:end]), ('glow', glow)):
                shape.add_attribute(f'vertex_{quantity}_{name}', 3, mi.Float(values.ravel()))
            shine = np.full(end - start, gloss[key])
            shape.add_attribute(f'vertex_gloss_{name}', 1, mi.Float(shine))
