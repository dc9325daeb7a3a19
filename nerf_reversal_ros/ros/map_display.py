"""What is displayed of a map, or of the rooms of a building."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
import math
from typing import Any, TYPE_CHECKING

import numpy as np

from nerf_reversal_ros.core.geometry import FloatArray, transform_points
from nerf_reversal_ros.core.outcome import Diagnostics
from nerf_reversal_ros.localization.coverage import Coverage, NO_COVERAGE
from nerf_reversal_ros.localization.map_placement import transform_surface
from nerf_reversal_ros.localization.surface import Surface

if TYPE_CHECKING:
    from nerf_reversal_ros.maps.building_folder import Building
    from nerf_reversal_ros.maps.map_folder import Map

MAX_BUILDING_POINTS = 500_000
"""Points of the surfaces of all rooms together, as a bound on the size of a message."""


@dataclass(frozen=True)
class MapDisplayData:
    """The part of a map that is displayed."""

    manifest: Mapping[str, Any]
    """Manifest of the map folder, or what corresponds to it of a building."""
    mapping_poses: FloatArray
    """(N, 4, 4) map_from_camera of the mapping images."""
    surface: Surface
    """Surface cloud."""
    coverage: Coverage = NO_COVERAGE
    """Where the map localizes, as far as that was measured."""
    room_frames: Mapping[str, str] = field(default_factory=dict)
    """Frames of the poses in the rooms of a building, by room: ``map``, or the room's own."""
    room_surface: Callable[[str | None], Surface | None] | None = None
    """Gives the surface of a room in the frame of its poses; None if there are no rooms."""

    def transform(self, map_from_nerf: FloatArray) -> 'MapDisplayData':
        """Transform all that has a place in ``map`` to another frame, by a pose (4, 4)."""
        places_m = transform_points(map_from_nerf, self.coverage.positions_m)
        transformed = replace(
            self,
            mapping_poses=map_from_nerf @ self.mapping_poses,
            surface=transform_surface(self.surface, map_from_nerf),
            coverage=replace(self.coverage, positions_m=places_m),
        )
        if (room_surface := self.room_surface) is None:
            return transformed

        def placed_surface(room: str | None) -> Surface | None:
            surface = room_surface(room)
            if surface is None or room is None or self.room_frames[room] != 'map':
                return surface
            return transform_surface(surface, map_from_nerf)

        return replace(transformed, room_surface=placed_surface)

    def surface_of(self, diagnostics: Diagnostics) -> Surface | None:
        """Return the surface that the poses of an image are in the frame of, if it is loaded."""
        if self.room_surface is None:
            return self.surface
        return self.room_surface(diagnostics.room)


def display_of_building(
    building: 'Building',
    maps: Mapping[str, 'Map'],
    warnings: list[str],
    room_surface: Callable[[str | None], Surface | None],
) -> MapDisplayData:
    """
    Join what is displayed of the rooms that have a place in the building.

    Parameters
    ----------
    building : Building
        The building.
    maps : dict of Map
        Maps of the rooms that can be opened, by room.
    warnings : list of str
        What else is to be told of the building, before the warnings of the maps.
    room_surface : callable
        Gives the surface of a loaded room in the frame of its poses.

    Raises
    ------
    MapError
        If a surface or a coverage is malformed.
    """
    placements = {name: building.rooms[name].building_from_room for name in maps}
    placed = {name: pose for name, pose in placements.items() if pose is not None}
    poses = [pose @ maps[name].mapping_poses for name, pose in placed.items()]
    coverages = [_coverage_in_building(maps[name], pose) for name, pose in placed.items()]
    return MapDisplayData(
        _joint_manifest(building, maps, warnings),
        np.concatenate([np.empty((0, 4, 4)), *poses]),
        join_surfaces(
            [transform_surface(Surface.of_map(maps[name]), pose) for name, pose in placed.items()]
        ),
        Coverage(
            np.concatenate([NO_COVERAGE.positions_m, *(each.positions_m for each in coverages)]),
            np.concatenate([NO_COVERAGE.localized, *(each.localized for each in coverages)]),
            np.concatenate([NO_COVERAGE.std_m, *(each.std_m for each in coverages)]),
        ),
        {name: room.frame for name, room in building.rooms.items()},
        room_surface,
    )


def join_surfaces(surfaces: list[Surface]) -> Surface:
    """Return one surface of some, with every n-th of their points if they are too many."""
    if not surfaces:
        return Surface(np.zeros(3), np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8))
    step = max(1, math.ceil(sum(map(len, surfaces)) / MAX_BUILDING_POINTS))
    origin_m = np.mean([surface.origin_m for surface in surfaces], axis=0)
    points = [
        surface.points[::step] + (surface.origin_m - origin_m).astype(np.float32)
        for surface in surfaces
    ]
    return Surface(
        origin_m,
        np.concatenate(points),
        np.concatenate([surface.colours[::step] for surface in surfaces]),
        max(surface.spacing_m for surface in surfaces),
    )


def _coverage_in_building(map_: 'Map', building_from_room: FloatArray) -> Coverage:
    coverage = Coverage.of_map(map_)
    places_m = transform_points(building_from_room, coverage.positions_m)
    return replace(coverage, positions_m=places_m)


def _joint_manifest(
    building: 'Building', maps: Mapping[str, 'Map'], warnings: list[str]
) -> dict[str, Any]:
    """Return what the manifest of a map has, of the rooms together."""
    manifests = [map_.manifest for map_ in maps.values()]
    built = [manifest['built'] for manifest in manifests]
    of_rooms = [
        f'{name}: {warning}'
        for name, map_ in maps.items()
        for warning in map_.manifest.get('warnings', ())
    ]
    return {
        'format_version': building.manifest['format_version'],
        'built': {
            'date': max((each['date'] for each in built), default=''),
            'package_version': building.manifest.get('package_version', ''),
            'field': ', '.join(sorted({each['field'] for each in built})),
        },
        'metrics': {
            'landmarks': sum(manifest['metrics']['landmarks'] for manifest in manifests),
            'psnr_db': None,
        },
        'warnings': [*warnings, *of_rooms],
    }
