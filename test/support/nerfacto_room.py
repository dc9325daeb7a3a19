"""Camera, poses and settings of the tests that train a Nerfacto in the box room."""

from rooms import walk

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import (
    BuildConfig,
    NerfstudioConfig,
    RegressorConfig,
    SynthesisConfig,
    VoxelFieldConfig,
)

CAMERA = Camera(160, 120, 130.0, 130.0, 79.5, 59.5)
POSES = walk(48)
TINY = NerfstudioConfig(
    steps=80, rays_per_step=1024, learning_rate=0.05, bake_views=24, bake_size=160
)
SETTINGS = BuildConfig(
    nerfstudio=TINY,
    field=VoxelFieldConfig(voxel_m=0.025, steps=30, rays_per_step=2048, validation_share=0.12),
    synthesis=SynthesisConfig(views=100, width=48),
    regressor=RegressorConfig(components=30, epochs=4),
)
