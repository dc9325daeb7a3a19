"""Rooms cut out of a map, in frames of their own: a building without further builds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import shutil

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.geometry import FloatArray, transform_points
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import Map, MAPPING_POSES
from nerf_reversal_ros.maps.map_writer import MapWriter

Selection = Callable[[FloatArray], NDArray[np.bool_]]
"""Says which points (N, 3) of the map belong to a room."""


def crop_map(source: Map, folder: Path, room_from_map: FloatArray, is_in: Selection) -> Map:
    """
    Write a map of the part of another one that a selection takes, in another frame.

    Landmarks, surface and mapping poses are cut; the regressor stays, and answers in the frame of
    the whole map, so that images are localized by the search of the whole map.
    """
    poses = source.mapping_poses[is_in(source.mapping_poses[:, :3, 3])]
    with MapWriter(folder, {'crop': str(source.path)}) as writer:
        for name in source.manifest['files']:
            writer.path(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.path / name, writer.path(name))
        np.savez(writer.path(MAPPING_POSES), map_from_camera=room_from_map @ poses)
        _cropped_atlas(source, room_from_map, is_in).save(writer.path('atlas.safetensors'))
        _cropped_surface(source, room_from_map, is_in).save(writer.path('surface.safetensors'))
        manifest = {
            k: v for k, v in source.manifest.items() if k not in ('files', 'format_version')
        }
        map_from_world = room_from_map @ source.convention.map_from_world
        manifest['convention'] = replace(
            source.convention, map_from_world=map_from_world
        ).as_dict()
        return writer.finish(manifest)


def _cropped_atlas(source: Map, room_from_map: FloatArray, is_in: Selection) -> Atlas:
    atlas = Atlas.load(source.file('atlas.safetensors'))
    rows, origin_m, points = _cropped(atlas, room_from_map, is_in)
    return Atlas(
        origin_m,
        points,
        (atlas.directions[rows] @ room_from_map[:3, :3].T).astype(np.float32),
        atlas.distances[rows],
        atlas.sizes[rows],
        atlas.views[rows],
        atlas.descriptors[rows],
    )


def _cropped_surface(source: Map, room_from_map: FloatArray, is_in: Selection) -> Surface:
    surface = Surface.of_map(source)
    rows, origin_m, points = _cropped(surface, room_from_map, is_in)
    return Surface(origin_m, points, surface.colours[rows], surface.spacing_m)


def _cropped(
    cloud: Atlas | Surface, room_from_map: FloatArray, is_in: Selection
) -> tuple[NDArray[np.bool_], FloatArray, NDArray[np.float32]]:
    """Return which points of a cloud are kept, and their origin and positions in the room."""
    points = cloud.origin_m + cloud.points
    rows = is_in(points)
    moved = transform_points(room_from_map, points[rows])
    return rows, moved.mean(0), (moved - moved.mean(0)).astype(np.float32)
