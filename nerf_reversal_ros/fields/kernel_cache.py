"""Warm-up of the cache of compiled kernels, which else happens at the first field."""

from pathlib import Path
import tempfile

import numpy as np
import torch

from nerf_reversal_ros.capture.sift import detect_sift
from nerf_reversal_ros.core.config import VoxelFieldConfig
from nerf_reversal_ros.fields.training_data import TrainingData
from nerf_reversal_ros.fields.voxel_training import fit_voxel_field


def compile_kernels() -> None:
    """Detect keypoints, train and render a tiny field: all kernels are compiled and cached."""
    detect_sift(np.random.default_rng(0).integers(256, size=(48, 64), dtype=np.uint8), 9, 0.01)
    images, height, width = 2, 24, 32
    rgb = np.full((images, height, width, 3), 128, np.uint8)
    rgb.setflags(write=False)  # as a memory map: another type to the compiler
    data = TrainingData(
        rgb,
        np.ones((images, height, width), np.float16),
        np.tile([30.0, 30.0, 16.0, 12.0], (images, 1)),
        np.tile(np.eye(4), (images, 1, 1)),
        np.arange(images) == 0,
    )
    config = VoxelFieldConfig(voxel_m=0.05, steps=1, rays_per_step=64)
    with tempfile.TemporaryDirectory() as folder:
        fit_voxel_field(data, config, device=torch.device('cpu'), seed=0, work_dir=Path(folder))


if __name__ == '__main__':
    compile_kernels()
