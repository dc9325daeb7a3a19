"""Open a map folder for the localizer node: the localizer and the data to display."""

from collections.abc import Callable
from pathlib import Path

from rclpy.impl.rcutils_logger import RcutilsLogger

from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.localization.coverage import Coverage
from nerf_reversal_ros.localization.map_placement import parse_map_from_nerf
from nerf_reversal_ros.ros.image_localizer import LocalizerProtocol
from nerf_reversal_ros.ros.visualization import MapDisplayData

MakeLocalizer = Callable[[Path, LocalizerConfig], tuple[LocalizerProtocol, MapDisplayData]]
"""Makes a localizer, and the data to display, from a map folder and the present settings."""


def make_localizer(
    map_dir: Path, config: LocalizerConfig
) -> tuple[LocalizerProtocol, MapDisplayData]:
    """Open a map, make its localizer and warm it up; imports the heavy libraries."""
    import numpy as np

    from nerf_reversal_ros.maps.map_folder import open_map

    map_ = open_map(map_dir)
    try:
        localizer = map_.localizer(config)
    except MapError:  # its build may have put the finished map in its place at this moment
        map_ = open_map(map_dir)
        localizer = map_.localizer(config)
    noise = np.random.default_rng(0).integers(256, size=(map_.camera.height, map_.camera.width, 3))
    localizer.localize(noise.astype(np.uint8), map_.camera, config)  # the first image is slowest
    coverage = Coverage.of_map(map_)
    return localizer, MapDisplayData(
        map_.manifest, map_.mapping_poses, localizer.surface, coverage
    )


def load_map(
    make: MakeLocalizer,
    map_dir: Path,
    config: LocalizerConfig,
    map_from_nerf: str,
    log: RcutilsLogger,
) -> tuple[LocalizerProtocol, MapDisplayData]:
    """Make a localizer, log the warnings of its map, and place the display by map_from_nerf."""
    localizer, map_display = make(map_dir, config)
    log.info(f'loaded the map {map_dir}')
    for warning in map_display.manifest.get('warnings', ()):
        log.warning(f'map {map_dir}: {warning}')
    if map_from_nerf:
        map_display = map_display.transform(parse_map_from_nerf(map_from_nerf))
    return localizer, map_display
