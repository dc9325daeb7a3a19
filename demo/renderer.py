"""Render a room with Mitsuba 3: linear color, exact depth, and masks for a depth sensor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import drjit as dr
import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

from demo.raw_frame import Floats, RawFrame
from demo.room import Baking, Lighting, Part, Room, SHINY
from nerf_reversal_ros.core.camera import Camera

mi.set_variant('llvm_ad_rgb')

from demo.lighting import BakedLight  # noqa: E402  (needs the variant)

Array = NDArray[np.float64]

MIRROR = 0.04
"""Fresnel reflectance of varnish at normal incidence."""


class Renderer:
    """A room with the baked light of several lightings."""

    def __init__(
        self,
        room: Room,
        folder: Path,
        lightings: Mapping[str, Lighting],
        baking: Baking,
    ) -> None:
        """Bake the light of a room; its meshes and the light are kept in ``folder``."""
        scene = {part.key: _shape(part, folder / f'{part.key}.ply') for part in room.parts}
        self._scene = mi.load_dict({'type': 'scene', **scene}, optimize=False)
        light = BakedLight(self._scene, folder / 'light.npz', baking, room.toward_sun)
        gloss = {part.key: part.gloss for part in room.parts}
        for name, lighting in lightings.items():
            light.attach(name, lighting, gloss)
        for shape in self._scene.shapes():
            shiny = float(shape.id().startswith(SHINY))
            count = len(np.array(mi.traverse(shape)['vertex_positions'])) // 3
            shape.add_attribute('vertex_shiny', 1, mi.Float(np.full(count, shiny)))

    def frames(
        self,
        lighting: str,
        exposures: list[Array],
        camera: Camera,
        depth_camera: Camera,
        samples: int,
    ) -> list[RawFrame]:
        """
        Render several frames in one batch, which takes little more time than one frame.

        Parameters
        ----------
        lighting : str
            Name of one of the lightings.
        exposures : list of (K, 4, 4) arrays
            ``room_from_camera`` (optical) while the shutter is open; K = 1 is a sharp image.
        camera, depth_camera : Camera
            Of the color and the depth images.
        samples : int
            Rays per pixel.
        """
        offsets = (np.arange(1, samples + 1)[:, None] * (0.7548776662, 0.5698402910)) % 1.0 - 0.5
        views = [
            (exposure[number * len(exposure) // samples], offset)
            for exposure in exposures
            for number, offset in enumerate(offsets)
        ]
        middles = [(exposure[len(exposure) // 2], np.zeros(2)) for exposure in exposures]
        size = (len(exposures), -1, camera.height, camera.width, 3)
        radiance = self._radiance(lighting, _rays(views, camera)).reshape(size).mean(axis=1)
        radiance += self._reflection(lighting, _rays(middles, camera)).reshape(size)[:, 0]
        geometry = self._geometry(middles, depth_camera)
        return [RawFrame(*images) for images in zip(radiance, *geometry, strict=True)]

    def _radiance(self, lighting: str, ray: Any) -> Floats:
        """Return linear colors (N, 3): diffuse reflection and emission."""
        color = self._outgoing_radiance(lighting, self._scene.ray_intersect(ray), ray)
        return np.nan_to_num(np.array(color, dtype=np.float32).T)

    def _reflection(self, lighting: str, ray: Any) -> Floats:
        """Return the specular reflection of varnish (N, 3), by one mirror ray per pixel."""
        surface = self._scene.ray_intersect(ray)
        gloss = surface.shape.eval_attribute_1(f'vertex_gloss_{lighting}', surface)
        slope = dr.dot(surface.n, ray.d)
        fraction = gloss * (MIRROR + (1 - MIRROR) * (1 - dr.minimum(dr.abs(slope), 1.0)) ** 5)
        normal = dr.select(slope > 0, -surface.n, surface.n)
        direction = ray.d - 2 * dr.dot(ray.d, normal) * normal
        mirror_ray = mi.Ray3f(surface.p + 1e-4 * normal, direction)
        reflected = self._scene.ray_intersect(mirror_ray, fraction > 0.002)
        color = fraction * self._outgoing_radiance(lighting, reflected, mirror_ray)
        return np.nan_to_num(np.array(color, dtype=np.float32).T)

    @staticmethod
    def _outgoing_radiance(lighting: str, surface: Any, ray: Any) -> Any:
        diffuse = surface.bsdf(ray).eval_diffuse_reflectance(surface)
        light = surface.shape.eval_attribute_3(f'vertex_irradiance_{lighting}', surface)
        glow = surface.shape.eval_attribute_3(f'vertex_glow_{lighting}', surface)
        return mi.Color3f(diffuse) * mi.Color3f(light) / dr.pi + mi.Color3f(glow)

    def _geometry(self, views: list[tuple[Array, Array]], camera: Camera) -> tuple[Any, ...]:
        """Return depth, albedo, facing and shiny, (N, h, w) each, by one ray per pixel."""
        ray = _rays(views, camera)
        surface = self._scene.ray_intersect(ray)
        albedo = dr.mean(surface.bsdf(ray).eval_diffuse_reflectance(surface))
        facing = dr.abs(dr.dot(surface.n, ray.d))
        shiny = surface.shape.eval_attribute_1('vertex_shiny', surface)
        size = (len(views), camera.height, camera.width)
        distance, albedo, facing, shiny = (
            np.array(x, np.float32).reshape(size) for x in (surface.t, albedo, facing, shiny)
        )
        depth = distance / np.linalg.norm(camera.rays(), axis=-1).astype(np.float32)
        return depth, albedo, facing, shiny > 0.5


def _shape(part: Part, path: Path) -> dict[str, Any]:
    """Write the mesh of a part to ``path``; return its description for Mitsuba."""
    part.mesh.write_ply(path)
    if isinstance(part.material, np.ndarray):
        bitmap = mi.Bitmap(np.ascontiguousarray(part.material[::-1]))
        color: dict[str, Any] = {'type': 'bitmap', 'bitmap': bitmap}
    else:
        color = {'type': 'rgb', 'value': list(part.material)}
    shape = {
        'type': 'ply',
        'filename': str(path),
        'bsdf': {'type': 'twosided', 'bsdf': {'type': 'diffuse', 'reflectance': color}},
    }
    if part.is_light:
        shape['emitter'] = {'type': 'area', 'radiance': 1.0}
    return shape


def _rays(views: list[tuple[Array, Array]], camera: Camera) -> Any:
    """Return the rays of all pixels of all views (pose, offset in pixels), row by row."""
    base = camera.rays().reshape(-1, 3)
    focal = np.array([camera.fx, camera.fy])
    directions_by_view = [
        (base + np.append(offset_px / focal, 0.0)) @ pose[:3, :3].T for pose, offset_px in views
    ]
    origins = [np.broadcast_to(pose[:3, 3], base.shape) for pose, _ in views]
    directions = np.concatenate(directions_by_view)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points = np.concatenate(origins).T.astype(np.float32)
    return mi.Ray3f(mi.Point3f(points), mi.Vector3f(directions.T.astype(np.float32)))
