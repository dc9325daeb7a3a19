"""Rendering with Mitsuba 3: linear colour without noise, exact depth, what a LiDAR sees badly."""

from pathlib import Path
from typing import Any, NamedTuple

import drjit as dr
import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.camera import Camera

mi.set_variant('llvm_ad_rgb')

from demo.lighting import BakedLight  # noqa: E402  (needs the variant)
from demo.scene import SHINY, Lighting, build_room  # noqa: E402

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

MIRROR = 0.04
"""Share of the light that varnish reflects when looked at straight."""


class RawFrame(NamedTuple):
    """What the renderer gives; `demo.sensors` makes a phone's frame of it."""

    radiance: Floats
    """(H, W, 3) linear colour."""

    depth: Floats
    """(h, w) metres along the optical axis, at the pixel centres of the depth camera."""

    albedo: Floats
    """(h, w) grey, what share of the light is given back."""

    facing: Floats
    """(h, w) cosine of the angle between ray and surface."""

    shiny: NDArray[np.bool_]
    """(h, w) glass, screens, lamps."""


class Renderer:
    """The room in several lights, ready for pictures."""

    def __init__(self, folder: Path, lightings: dict[str, Lighting]) -> None:
        """Build the room and its light; meshes go to ``folder``."""
        room = build_room(folder)
        self._scene = mi.load_dict(room.dictionary, optimize=False)
        light = BakedLight(self._scene, folder / 'light.npz')
        for name, lighting in lightings.items():
            light.attach(name, lighting, room.gloss)
        for shape in self._scene.shapes():
            shiny = float(shape.id().startswith(SHINY))
            count = len(np.array(mi.traverse(shape)['vertex_positions'])) // 3
            shape.add_attribute('vertex_shiny', 1, mi.Float(np.full(count, shiny)))

    def frame(
        self, lighting: str, exposure: Array, camera: Camera, depth_camera: Camera, samples: int
    ) -> RawFrame:
        """
        Render one frame.

        Parameters
        ----------
        lighting : str
            Name of one of the lightings.
        exposure : (K, 4, 4) array
            ``room_from_camera`` (optical) over the time the shutter is open: K = 1 is sharp.
        camera, depth_camera : Camera
            Of the colour and the depth picture.
        samples : int
            Rays a pixel and pose.
        """
        shots = []
        turn = np.arange(1, samples * len(exposure) + 1)[:, None]
        offsets = (turn * (0.7548776662, 0.5698402910)) % 1.0 - 0.5
        for number, offset in enumerate(offsets):
            pose = exposure[number % len(exposure)]
            shots.append(self._radiance(lighting, _rays(pose, camera, offset)))
        pose = exposure[len(exposure) // 2]
        mirrored = self._mirrored(lighting, _rays(pose, camera, np.zeros(2)))
        radiance = (np.mean(shots, axis=0) + mirrored).reshape(camera.height, camera.width, 3)
        geometry = self._geometry(exposure[len(exposure) // 2], depth_camera)
        return RawFrame(radiance.astype(np.float32), *geometry)

    def _radiance(self, lighting: str, ray: Any) -> Array:
        """Return linear colours (N, 3): diffuse light and glow."""
        colour = self._given_back(lighting, self._scene.ray_intersect(ray), ray)
        return np.nan_to_num(np.array(colour, dtype=np.float64).T)

    def _mirrored(self, lighting: str, ray: Any) -> Array:
        """Return what varnish adds to the colours (N, 3): one mirror ray a pixel."""
        surface = self._scene.ray_intersect(ray)
        gloss = surface.shape.eval_attribute_1(f'vertex_gloss_{lighting}', surface)
        slope = dr.dot(surface.n, ray.d)
        share = gloss * (MIRROR + (1 - MIRROR) * (1 - dr.minimum(dr.abs(slope), 1.0)) ** 5)
        normal = dr.select(slope > 0, -surface.n, surface.n)
        way = ray.d - 2 * dr.dot(ray.d, normal) * normal
        mirrored = mi.Ray3f(surface.p + 1e-4 * normal, way)
        seen = self._scene.ray_intersect(mirrored, share > 0.002)
        colour = share * self._given_back(lighting, seen, mirrored)
        return np.nan_to_num(np.array(colour, dtype=np.float64).T)

    @staticmethod
    def _given_back(lighting: str, surface: Any, ray: Any) -> Any:
        diffuse = surface.bsdf(ray).eval_diffuse_reflectance(surface)
        light = surface.shape.eval_attribute_3(f'vertex_irradiance_{lighting}', surface)
        glow = surface.shape.eval_attribute_3(f'vertex_glow_{lighting}', surface)
        return mi.Color3f(diffuse) * mi.Color3f(light) / dr.pi + mi.Color3f(glow)

    def _geometry(self, room_from_camera: Array, camera: Camera) -> tuple[Any, ...]:
        """Cast one ray through each pixel centre: depth, albedo, facing, shiny."""
        ray = _rays(room_from_camera, camera, np.zeros(2))
        surface = self._scene.ray_intersect(ray)
        forward = dr.opaque(mi.Vector3f, room_from_camera[:3, 2].tolist())
        depth = surface.t * dr.dot(ray.d, forward)
        albedo = dr.mean(surface.bsdf(ray).eval_diffuse_reflectance(surface))
        facing = dr.abs(dr.dot(surface.n, ray.d))
        shiny = surface.shape.eval_attribute_1('vertex_shiny', surface)
        size = (camera.height, camera.width)
        pictures = [np.array(x, np.float32).reshape(size) for x in (depth, albedo, facing)]
        return (*pictures, np.array(shiny).reshape(size) > 0.5)


def _rays(room_from_camera: Array, camera: Camera, offset_px: Array) -> Any:
    """Rays of all pixels, row by row, through their centres plus an offset."""
    ways = camera.rays().reshape(-1, 3) + (*(offset_px / (camera.fx, camera.fy)), 0)
    ways = ways @ room_from_camera[:3, :3].T
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    origin = np.tile(room_from_camera[:3, 3:], (1, len(ways)))
    return mi.Ray3f(mi.Point3f(origin), mi.Vector3f(ways.T))
