"""
Training of a voxel radiance field from images with depth.

TSDF fusion initializes the voxels. Adam then fits their values and an exposure per image to the
colors and depths of random pixels.
"""

from functools import partial
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.image_resampling import downscale_image
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.config import VoxelFieldConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.parallel import parallel_map
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.checkpoint import load_checkpoint, save_checkpoint
from nerf_reversal_ros.fields.field_metrics import channel_gains, measure_field
from nerf_reversal_ros.fields.training_data import load_training_data, SampledViews, TrainingData
from nerf_reversal_ros.fields.tsdf_fusion import fuse_depth
from nerf_reversal_ros.fields.voxel import background_cells, VoxelField
from nerf_reversal_ros.fields.voxel_io import BRICK, EMPTY_LOG_DENSITY, MAX_LOG_DENSITY
from nerf_reversal_ros.fields.voxel_loss import Rays, SLOTS
from nerf_reversal_ros.fields.voxel_optimizers import (
    CompiledOptimizer,
    FieldOptimizer,
    PARTS,
    TorchOptimizer,
)

FUSED_VIEWS = 120
"""Depth images, evenly spaced over the capture, that TSDF fusion initializes the voxels from."""
GAIN_WIDTH_PX, BACKGROUND_WIDTH_PX = 64, 96
"""Widths of the renderings for the initial exposures, and for the background."""
MAX_BACKGROUND_IMAGES = 100
"""Images, evenly spaced over the capture, that the background is averaged from."""
DEPTH_MARGIN_M = 0.04
"""A training ray ends this far behind the measured depth."""
CHECKPOINT, CHECKPOINT_STEPS = 'checkpoint.safetensors', 100
"""File of the last checkpoint, and steps between two: at most these are lost."""
FINAL_LEARNING_RATE_FRACTION = 0.05
"""Learning rate of the last step, as a fraction of that of the first; exponential decay."""


def train_voxel_field(
    capture: Capture,
    held_out: NDArray[np.bool_],
    config: VoxelFieldConfig,
    *,
    device: torch.device,
    seed: int,
    work_dir: Path,
    progress: ProgressCallback = no_progress,
) -> tuple[VoxelField, dict[str, Any]]:
    """
    Train a voxel field on a capture with depth; resume from the last checkpoint.

    Parameters
    ----------
    capture : Capture
        Color, depth and poses in the map frame.
    held_out : (N,) bool array
        Frames of the capture that are excluded from training and measure the result.
    config : VoxelFieldConfig
        Voxel size, steps and loss weights.
    device : torch.device
        Device of the training.
    seed : int
        Seed of the choice of rays.
    work_dir : Path
        Folder for training images and checkpoints; the caller removes it.
    progress : callable
        Called at every tenth step.

    Returns
    -------
    tuple
        The field, and a report: ``step`` and ``loss`` (lists), and the results of
        `measure_field`.

    Raises
    ------
    BuildError
        If the capture has no usable depth.
    """
    check_has_depth(capture)
    data = load_training_data(capture, held_out, work_dir, progress)
    return fit_voxel_field(
        data, config, device=device, seed=seed, work_dir=work_dir, progress=progress
    )


def check_has_depth(capture: Capture) -> None:
    """Raise BuildError if a voxel field cannot be trained because there is no depth."""
    if not capture.has_depth:
        raise BuildError(
            'the capture has no depth, which the voxel field needs to place its voxels: '
            + remedies.FIELD_WITHOUT_DEPTH
        )


def fit_voxel_field(
    data: TrainingData,
    config: VoxelFieldConfig,
    *,
    device: torch.device,
    seed: int,
    work_dir: Path,
    stage: str = 'field',
    progress: ProgressCallback = no_progress,
) -> tuple[VoxelField, dict[str, Any]]:
    """
    Train a voxel field on captured or rendered images with depth.

    See `train_voxel_field`; ``stage`` is the stage name that ``progress`` reports.
    """
    progress(Progress(stage, 0, config.steps, 'placing voxels by depth'))
    field = fuse_depth(SampledViews(data, FUSED_VIEWS), config.voxel_m, device)
    trainer = _VoxelFieldTrainer(field, data, config, seed)
    report = trainer.run(work_dir, stage, progress)
    field.background = _background(field, data)
    report.update(measure_field(field, data))
    return field, report


class _VoxelFieldTrainer:
    """Adam on rays sampled from all training images."""

    def __init__(
        self, field: VoxelField, data: TrainingData, config: VoxelFieldConfig, seed: int
    ) -> None:
        self.field, self.data, self.config, self.seed = field, data, config, seed
        optimizer = CompiledOptimizer if field.device.type == 'cpu' else TorchOptimizer
        self.optimizer: FieldOptimizer = optimizer(
            field, _log_gains(field, data), config.depth_weight
        )

    def run(self, work_dir: Path, stage: str, progress: ProgressCallback) -> dict[str, Any]:
        """Train to the last step, update the field, and return the loss curve."""
        report: dict[str, Any] = {'step': [], 'loss': []}
        start = self._resume(work_dir, report)
        for step in range(start, self.config.steps):
            fraction = step / max(1, self.config.steps)
            rate = self.config.learning_rate * FINAL_LEARNING_RATE_FRACTION**fraction
            loss = self.optimizer.step(step + 1, partial(self._sample_rays, step), rate)
            if step % 10 == 9:
                report['step'].append(step + 1)
                report['loss'].append(loss)
                note = f'loss {report["loss"][-1]:.4f}'
                progress(Progress(stage, step + 1, self.config.steps, note))
            if (step + 1) % CHECKPOINT_STEPS == 0:
                self._update_field()
                self._save(work_dir, step + 1, report)
        self._update_field()
        return report

    def _update_field(self) -> None:
        values = self.optimizer.values()
        values[1:, 0].clamp_(min=EMPTY_LOG_DENSITY, max=MAX_LOG_DENSITY)
        values[:, 1:].clamp_(0.0, 1.0)
        self.field.values = values
        self.field.update_distance_map()

    def _sample_rays(self, step: int, part: int) -> Rays:
        """Return rays through random pixels, sorted by the brick that each ends in."""
        rng = np.random.default_rng([self.seed, step, part])
        data, count = self.data, self.config.rays_per_step // PARTS
        _, height, width, _ = data.rgb.shape
        frame, u, v = data.sample_pixels(rng, count)
        _, depth_height, depth_width = data.depth.shape
        du = ((u + 0.5) * depth_width / width).astype(int)
        dv = ((v + 0.5) * depth_height / height).astype(int)
        depth = data.depth[frame, dv, du].astype(np.float32)
        fx, fy, cx, cy = data.intrinsics[frame].T
        local = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones(count)], 1)
        pose = data.map_from_camera[frame]
        directions = np.einsum('nij,nj->ni', pose[:, :3, :3], local)
        origins = pose[:, :3, 3] - self.field.origin_m
        ends = np.where(depth > 0, depth + DEPTH_MARGIN_M, np.inf)
        # Neighbors in memory are read one after another.
        bricks = (origins + depth[:, None] * directions) / (self.field.voxel_m * BRICK)
        order = np.lexsort(bricks.astype(np.int32).T)
        return Rays(
            origins[order].astype(np.float32),
            directions[order].astype(np.float32),
            data.rgb[frame, v, u][order].astype(np.float32) / 255,
            depth[order],
            ends[order].astype(np.float32),
            frame[order],
            rng.random((count, SLOTS), np.float32),
        )

    def _save(self, work_dir: Path, step: int, report: dict[str, Any]) -> None:
        metadata = {'step': str(step), 'report': json.dumps(report)}
        save_checkpoint(work_dir / CHECKPOINT, self.optimizer.state(), metadata)

    def _resume(self, work_dir: Path, report: dict[str, Any]) -> int:
        """Load the last checkpoint, if there is one; return the next step."""
        checkpoint = load_checkpoint(work_dir / CHECKPOINT, self.field.device)
        if checkpoint is None:
            return 0
        state, metadata = checkpoint
        self.optimizer.load(state)
        report.update(json.loads(metadata['report']))
        self._update_field()
        return int(metadata['step'])


def _log_gains(field: VoxelField, data: TrainingData) -> Tensor:
    """Initialize the exposure of each image: log gains (N, 3) of it over the fused colors."""

    def gains(index: int) -> NDArray[np.float64]:
        return channel_gains(*_image_and_rendering(field, data, index, GAIN_WIDTH_PX))

    log_gain = np.log(parallel_map(gains, range(len(data.rgb))))
    log_gain -= log_gain[~data.held_out].mean(0)
    return torch.from_numpy(log_gain).float().to(field.device)


def _image_and_rendering(
    field: VoxelField, data: TrainingData, index: int, width_px: int
) -> tuple[NDArray[np.uint8], Rendering]:
    """Return a training image at a smaller width, and the rendering at its pose."""
    camera = data.camera(index).scaled_to_width(width_px)
    image = downscale_image(data.rgb[index], camera)
    return image, field.render(data.map_from_camera[index][None], camera)[0]


def _background(field: VoxelField, data: TrainingData) -> Tensor:
    """Average by direction the pixels of the images where the field is empty; fill the gaps."""
    height, width = field.background.shape[:2]
    total, weight = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    chosen = data.sample_indices(MAX_BACKGROUND_IMAGES)

    def seen(index: int) -> tuple[NDArray[Any], ...]:
        """Return mean color, and background cells and colors of the pixels of one image."""
        observed, rendered = _image_and_rendering(field, data, index, BACKGROUND_WIDTH_PX)
        image = observed / channel_gains(observed, rendered)
        camera = data.camera(index).scaled_to_width(BACKGROUND_WIDTH_PX)
        directions = torch.from_numpy(camera.rays() @ data.map_from_camera[index, :3, :3].T)
        cells = background_cells(directions, (height, width)).numpy()
        empty = rendered.opacity < 0.5
        return image.mean((0, 1)), cells[empty], image[empty]

    means = []
    for mean, cells, colors in parallel_map(seen, chosen):
        means.append(mean)
        np.add.at(total.reshape(-1, 3), cells, colors)
        np.add.at(weight.reshape(-1), cells, 1.0)
    filled = np.broadcast_to(np.mean(means, 0), total.shape).astype(np.float32)
    for sigma in (16.0, 6.0, 1.5):  # from coarse to fine: near samples override far ones
        near = cv2.GaussianBlur(weight, (0, 0), sigma)
        blurred = cv2.GaussianBlur(total, (0, 0), sigma)
        fraction = np.clip(near / 0.05, 0, 1)[..., None]
        filled = filled * (1 - fraction) + fraction * blurred / np.maximum(near, 1e-6)[..., None]
    return torch.from_numpy(np.clip(filled / 255, 0, 1)).float().to(field.device)
