"""A build of about a second: the room in images of 32x24, and as little of each stage as works."""

from pathlib import Path

from room_bags import write_room_bag
from rooms import walk

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import (
    AtlasConfig,
    BuildConfig,
    RegressorConfig,
    SynthesisConfig,
    VoxelFieldConfig,
)

CAMERA = Camera(32, 24, 26.0, 26.0, 15.5, 11.5)
SETTINGS = BuildConfig(
    capture=CaptureConfig(pose_convention='optical', up_axis='z', adjust_poses='off'),
    field=VoxelFieldConfig(voxel_m=0.1, steps=2, rays_per_step=64, validation_share=0.12),
    synthesis=SynthesisConfig(views=6, width=16, min_opacity=0.3),
    atlas=AtlasConfig(views=2, size=64, images=2, image_size=64),
    regressor=RegressorConfig(components=2, epochs=1, vae_epochs=1),
)
"""Settings with which no image is localized: the map is only complete."""


def write_tiny_bag(path: Path) -> Path:
    """Record 20 images on a walk around the room."""
    return write_room_bag(path, walk(20), CAMERA, up_axis='z')
