"""Rooms of a building, made from the map of the box room: twins that lack a piece of furniture."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import shutil

from map_folders import edit_manifest
import numpy as np
from rooms import FURNITURE, render_box_room

from nerf_reversal_ros.building.view_descriptors import ViewIndex
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.files import sha256
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.surface import build_surface, Surface
from nerf_reversal_ros.maps.building_folder import Building, Room, write_building
from nerf_reversal_ros.maps.map_folder import Map, open_map

DENSE_CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)
"""Its images fill all cells of the surface of a twin."""
MARGIN_M = 0.06
"""Points this near to a piece of furniture [m] belong to it."""


def rewrite_map(
    source: Map,
    folder: Path,
    change_atlas: Callable[[Atlas], Atlas],
    change_surface: Callable[[Surface], Surface],
) -> Map:
    """Copy a map with other landmarks and another surface."""
    shutil.copytree(source.path, folder)
    change_atlas(Atlas.load(folder / 'atlas.safetensors')).save(folder / 'atlas.safetensors')
    surface = change_surface(Surface.load(folder / 'surface.safetensors'))
    surface.save(folder / 'surface.safetensors')

    def update(manifest: dict) -> None:
        for name in ('atlas.safetensors', 'surface.safetensors'):
            file = folder / name
            manifest['files'][name] = {'bytes': file.stat().st_size, 'sha256': sha256(file)}

    edit_manifest(folder, update)
    return open_map(folder)


def map_without(source: Map, folder: Path, number: int) -> Map:
    """Copy the map of the box room without a piece of furniture."""

    def kept(points: np.ndarray) -> np.ndarray:
        low, high = FURNITURE[number, 0] - MARGIN_M, FURNITURE[number, 1] + MARGIN_M
        return ~np.all((points > low) & (points < high), axis=1)

    def change_atlas(atlas: Atlas) -> Atlas:
        rows = kept(atlas.origin_m + atlas.points)
        names = 'points', 'directions', 'distances', 'sizes', 'views', 'descriptors'
        return replace(atlas, **{name: getattr(atlas, name)[rows] for name in names})

    def change_surface(surface: Surface) -> Surface:
        camera, furniture = DENSE_CAMERA, furniture_without(number)
        views = []
        for pose in source.mapping_poses:
            rgb, depth = render_box_room(pose, camera, furniture=furniture)
            views.append((Rendering(rgb, depth, np.ones_like(depth)), pose))
        return build_surface(views, camera, surface.spacing_m)

    return rewrite_map(source, folder, change_atlas, change_surface)


def other_map(source: Map, folder: Path, seed: int) -> Map:
    """Copy a map with descriptors of other things, so that no image fits it."""

    def change_atlas(atlas: Atlas) -> Atlas:
        order = np.random.default_rng(seed).permutation(atlas.descriptors.shape[1])
        return replace(atlas, descriptors=np.ascontiguousarray(atlas.descriptors[:, order]))

    def change_surface(surface: Surface) -> Surface:
        return replace(surface, colours=255 - surface.colours)

    return rewrite_map(source, folder, change_atlas, change_surface)


def render_without(pose: FloatArray, camera: Camera, number: int) -> np.ndarray:
    """Render the box room (H, W, 3) without a piece of furniture, which is outside instead."""
    return render_box_room(pose, camera, furniture=furniture_without(number))[0]


def furniture_without(number: int) -> np.ndarray:
    """Return the boxes (K, 2, 3) of the room; one of them is far outside [m]."""
    furniture = FURNITURE.copy()
    furniture[number] += 50.0
    return furniture


def join_rooms(
    folder: Path,
    maps: dict[str, Map],
    placements: dict[str, FloatArray] | None = None,
    links: list[dict] | None = None,
    look_alikes: list[dict] | None = None,
) -> Building:
    """Write the building of some maps."""
    placed = placements or {}
    rooms = [Room(name, m.path, m.identity, placed.get(name)) for name, m in maps.items()]
    views = ViewIndex.build(maps).to_bytes()
    return write_building(folder, rooms, views, links or [], look_alikes=look_alikes or [])
