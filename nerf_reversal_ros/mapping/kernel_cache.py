"""Warm-up of the cache of compiled kernels, which else happens at the first map."""

from pathlib import Path
import tempfile

import numpy as np
import torch

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import VoxelFieldConfig
from nerf_reversal_ros.fields.training_data import TrainingData
from nerf_reversal_ros.fields.voxel_training import fit_voxel_field
from nerf_reversal_ros.localization.matching import (
    CandidateLandmarks,
    make_query,
    match_guided,
)
from nerf_reversal_ros.localization.surface import Surface

CAMERA = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)


def compile_kernels() -> None:
    """Use each kernel once on tiny data, so that all are compiled and cached."""
    _fit_field()
    noise = np.random.default_rng(0).integers(256, size=(48, 64, 3), dtype=np.uint8)
    query = make_query(noise, CAMERA)
    points, distances = np.array([[0.0, 0.0, 1.0]]), np.ones(1, np.float32)
    landmarks = CandidateLandmarks(points, distances, np.zeros((1, 128), np.float32))
    match_guided(query, landmarks, np.eye(4), 1.0)
    colours = np.zeros((1, 3), np.uint8)
    Surface(np.zeros(3), points.astype(np.float32), colours).render(np.eye(4), CAMERA)


def _fit_field() -> None:
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
