"""The smallest map of the box room that localizes images to a centimeter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from room_bags import write_room_bag
from rooms import render_box_room, walk

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import (
    BuildConfig,
    RegressorConfig,
    SynthesisConfig,
    VoxelFieldConfig,
)
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.mapping.pipeline import build_map
from nerf_reversal_ros.maps.map_folder import Map

CAMERA = Camera(160, 120, 130.0, 130.0, 79.5, 59.5)
SETTINGS = BuildConfig(
    field=VoxelFieldConfig(voxel_m=0.025, steps=30, rays_per_step=2048, validation_share=0.12),
    synthesis=SynthesisConfig(views=300, width=48),
    regressor=RegressorConfig(components=30, epochs=6),
)
"""Six epochs take seconds; retrieval, not the network, finds the neighborhood of a query."""


def build_small_map(
    folder: Path,
    progress: ProgressCallback = no_progress,
    render: Callable[..., Any] = render_box_room,
) -> Map:
    """Record 48 images around the room and build their map; the poses are in the map frame."""
    bag = write_room_bag(folder / 'walk', walk(48), CAMERA, up_axis='z', render=render)
    return build_map(bag, folder / 'room.map', SETTINGS, device='cpu', progress=progress)
