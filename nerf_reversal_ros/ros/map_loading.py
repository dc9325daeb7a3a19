"""Open a map or a building for the localizer node: the localizer and the data to display."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rclpy.impl.rcutils_logger import RcutilsLogger

from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.localization.coverage import Coverage
from nerf_reversal_ros.localization.map_placement import parse_map_from_nerf
from nerf_reversal_ros.ros.image_localizer import LocalizerProtocol
from nerf_reversal_ros.ros.map_display import display_of_building, MapDisplayData
from nerf_reversal_ros.ros.rooms_localizer import RoomsLocalizer

if TYPE_CHECKING:
    from nerf_reversal_ros.building.building_localizer import BuildingLocalizer
    from nerf_reversal_ros.localization.localizer import Localizer
    from nerf_reversal_ros.maps.building_folder import Building
    from nerf_reversal_ros.maps.map_folder import Map

MakeLocalizer = Callable[[Path, LocalizerConfig], tuple[LocalizerProtocol, MapDisplayData]]
"""Makes a localizer, and the data to display, from a folder and the present settings."""


def make_localizer(
    map_dir: Path, config: LocalizerConfig
) -> tuple[LocalizerProtocol, MapDisplayData]:
    """Open a map or a building, and warm its localizer up; imports the heavy libraries."""
    try:
        return _make_localizer(map_dir, config)
    except MapError:  # a build or a survey may have replaced it at this moment
        return _make_localizer(map_dir, config)


def load_map(
    make: MakeLocalizer,
    map_dir: Path,
    config: LocalizerConfig,
    map_from_nerf: str,
    log: RcutilsLogger,
) -> tuple[LocalizerProtocol, MapDisplayData]:
    """Make a localizer, log the warnings of its map, and place the display by map_from_nerf."""
    localizer, map_display = make(map_dir, config)
    if rooms := map_display.room_frames:
        log.info(f'loaded the building {map_dir}: {", ".join(rooms)}')
    else:
        log.info(f'loaded the map {map_dir}')
    for warning in map_display.manifest.get('warnings', ()):
        log.warning(f'map {map_dir}: {warning}')
    if map_from_nerf:
        map_display = map_display.transform(parse_map_from_nerf(map_from_nerf))
    return localizer, map_display


def _make_localizer(
    map_dir: Path, config: LocalizerConfig
) -> tuple[LocalizerProtocol, MapDisplayData]:
    from nerf_reversal_ros.maps.map_folder import Map
    from nerf_reversal_ros.maps.opening import open_map

    map_ = open_map(map_dir)
    if not isinstance(map_, Map):
        return _localizer_of_building(map_, config)
    localizer = map_.localizer(config)
    _warm_up(localizer, map_, config)
    coverage = Coverage.of_map(map_)
    return localizer, MapDisplayData(
        map_.manifest, map_.mapping_poses, localizer.surface, coverage
    )


def _localizer_of_building(
    building: 'Building', config: LocalizerConfig
) -> tuple[LocalizerProtocol, MapDisplayData]:
    """Open all maps of a building, but load only the first of them: others when they are seen."""
    localizer = building.localizer(config, wait=False)
    try:
        maps: dict[str, Map] = {}
        warnings = []
        for name, room in building.rooms.items():
            try:
                maps[name] = room.open()
            except MapError as error:
                warnings.append(f'the room {name} is left out: {error}')
        for name, map_ in maps.items():
            if (room_localizer := localizer.rooms.localizer(name)) is not None:
                _warm_up(room_localizer, map_, config)
                _warm_up(localizer, map_, config)
                break
        rooms = RoomsLocalizer(localizer)
        return rooms, display_of_building(building, maps, warnings, rooms.surface)
    except BaseException:
        localizer.close()
        raise


def _warm_up(
    localizer: 'Localizer | BuildingLocalizer', map_: 'Map', config: LocalizerConfig
) -> None:
    """Localize an image of noise: the first image is the slowest."""
    import numpy as np

    camera = map_.camera
    noise = np.random.default_rng(0).integers(256, size=(camera.height, camera.width, 3))
    localizer.localize(noise.astype(np.uint8), camera, config)
