"""
Training of a voxel radiance field from images with depth.

TSDF fusion initializes the voxels. Adam then fits their values and an exposure per image to the
colors and depths of random pixels.
"""

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
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import VoxelFieldConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.parallel import parallel_map
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.checkpoint import load_checkpoint, save_checkpoint
from nerf_reversal_ros.fields.field_metrics import channel_gains, measure_field
from nerf_reversal_ros.fields.ray_marching import (
    composite_samples,
    march_rays,
    pad_samples,
    PaddedRaySamples,
    SAMPLES_PER_CELL,
)
from nerf_reversal_ros.fields.training_data import load_training_data, SampledViews, TrainingData
from nerf_reversal_ros.fields.tsdf_fusion import fuse_depth
from nerf_reversal_ros.fields.voxel import (
    background_cells,
    density_from_log,
    EMPTY_LOG_DENSITY,
    MAX_LOG_DENSITY,
    VoxelField,
)

FUSED_VIEWS = 120
"""Depth images, evenly spaced over the capture, that TSDF fusion initializes the voxels from."""
MAX_BACKGROUND_IMAGES = 100
"""Images, evenly spaced over the capture, that the background is averaged from."""
DENSITY_SCALE = 5.0
"""Log densities are optimized in units of this, so that one learning rate serves all channels."""
DEPTH_MARGIN_M = 0.04
"""A training ray ends this far behind the measured depth."""
MAX_DEPTH_ERROR_M = 0.2
"""Depth errors are clamped to this in the depth loss; light that passes all samples costs it."""
CHECKPOINT, CHECKPOINT_STEPS = 'checkpoint.safetensors', 100
"""File of the last checkpoint, and steps between two: at most these are lost."""
FINAL_LEARNING_RATE_FRACTION = 0.05
"""Learning rate of the last step, as a fraction of that of the first; exponential decay."""
PARTS = 2
"""The rays of a step are sampled and differentiated in this many parts, one per core."""


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


class _Interpolate(torch.autograd.Function):
    """Trilinear interpolation with a sparse backward pass: gradients of the rows read alone."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights)
        ctx.shape = values.shape
        return torch.nn.functional.embedding_bag(
            rows, values, per_sample_weights=weights, mode='sum'
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        rows, weights = ctx.saved_tensors
        gradient = grads[0]
        by_corner = (weights[..., None] * gradient[:, None]).reshape(-1, gradient.shape[1])
        out = torch.zeros(ctx.shape, device=gradient.device)
        out.index_add_(0, rows.reshape(-1), by_corner)
        return out, None, None


class _VoxelFieldTrainer:
    """Adam on rays sampled from all training images."""

    def __init__(
        self, field: VoxelField, data: TrainingData, config: VoxelFieldConfig, seed: int
    ) -> None:
        self.field, self.data, self.config, self.seed = field, data, config, seed
        device = field.device
        scale = torch.tensor([DENSITY_SCALE, 1, 1, 1], device=device)
        self.scale = scale
        self.theta = torch.nn.Parameter(field.values / scale)
        self.log_gain = torch.nn.Parameter(_log_gains(field, data))
        fused = device.type in ('cpu', 'cuda')
        self.optimizer = torch.optim.Adam(
            [
                {'params': [self.theta], 'lr': 1.0},
                {'params': [self.log_gain], 'lr': 0.1},
            ],
            betas=(0.9, 0.99),  # a higher second beta overshoots at corners that few rays touch
            eps=1e-8,
            fused=fused,
        )
        self.learning_rates = config.learning_rate, 0.5 * config.learning_rate

    def run(self, work_dir: Path, stage: str, progress: ProgressCallback) -> dict[str, Any]:
        """Train to the last step, update the field, and return the loss curve."""
        report: dict[str, Any] = {'step': [], 'loss': []}
        start = self._resume(work_dir, report)
        for step in range(start, self.config.steps):
            fraction = step / max(1, self.config.steps)
            for group, base in zip(self.optimizer.param_groups, self.learning_rates, strict=True):
                group['lr'] = base * FINAL_LEARNING_RATE_FRACTION**fraction
            loss = self._backward(step)
            self.optimizer.step()
            with torch.no_grad():
                self.log_gain.sub_(self.log_gain.mean(0))
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
        values = self.theta.detach() * self.scale
        values[1:, 0].clamp_(min=EMPTY_LOG_DENSITY, max=MAX_LOG_DENSITY)
        values[:, 1:].clamp_(0.0, 1.0)
        self.field.values = values
        self.field.update_distance_map()

    def _backward(self, step: int) -> float:
        """Compute the gradients of one step, set them at the parameters, and return the loss."""
        parameters = (self.theta, self.log_gain)

        def part(number: int) -> tuple[Tensor, ...]:
            loss = self._loss(np.random.default_rng([self.seed, step, number])) / PARTS
            return loss.detach(), *torch.autograd.grad(loss, parameters)

        loss, theta, log_gain = (
            torch.stack(tensors).sum(0)
            for tensors in zip(*parallel_map(part, range(PARTS)), strict=True)
        )
        theta[0] = 0  # row 0 stays empty space
        self.theta.grad, self.log_gain.grad = theta, log_gain
        return float(loss)

    def _loss(self, rng: np.random.Generator) -> Tensor:
        """Composite random rays differentiably; compare color and depth with the images."""
        origins, directions, color, depth, frame = self._sample_pixels(rng)
        samples = self._sample_rays(origins, directions, depth, rng)
        rows, corner_weights = self.field.trilinear_corners(samples.points(origins, directions))
        values = _Interpolate.apply(self.theta, rows, corner_weights)
        density = density_from_log(values[:, 0] * DENSITY_SCALE)
        length = directions.norm(dim=1) / self.field.voxel_m
        rgb, weights, transmittance = composite_samples(samples, length, density, values[:, 1:])
        # Light that passes all samples costs no color loss: only depth makes the field opaque.
        rgb = rgb * self.log_gain[frame].exp() + transmittance.detach() * color
        color_loss = torch.nn.functional.smooth_l1_loss(rgb, color, beta=0.1)
        known = depth > 0
        depth_error = (samples.times - depth[:, None]).abs().clamp(max=MAX_DEPTH_ERROR_M)
        expected_error = (weights * depth_error).sum(1) + transmittance[:, 0] * MAX_DEPTH_ERROR_M
        depth_loss = expected_error[known].sum() / len(known)
        return color_loss + self.config.depth_weight * depth_loss

    def _sample_pixels(self, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """Return origins, directions (z = 1), colors, depths and frames of random pixels."""
        data, device, count = self.data, self.field.device, self.config.rays_per_step // PARTS
        _, height, width, _ = data.rgb.shape
        frame, u, v = data.sample_pixels(rng, count)
        color = torch.from_numpy(data.rgb[frame, v, u]).to(device).float() / 255
        _, depth_height, depth_width = data.depth.shape
        du = ((u + 0.5) * depth_width / width).astype(int)
        dv = ((v + 0.5) * depth_height / height).astype(int)
        depth = torch.from_numpy(data.depth[frame, dv, du].astype(np.float32)).to(device)
        fx, fy, cx, cy = data.intrinsics[frame].T
        local = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones(count)], 1)
        pose = data.map_from_camera[frame]
        directions = np.einsum('nij,nj->ni', pose[:, :3, :3], local)
        origins = pose[:, :3, 3] - self.field.origin_m
        return (
            torch.from_numpy(origins).float().to(device),
            torch.from_numpy(directions).float().to(device),
            color,
            depth,
            torch.from_numpy(frame).to(device),
        )

    @torch.no_grad()
    def _sample_rays(
        self, origins: Tensor, directions: Tensor, depth: Tensor, rng: np.random.Generator
    ) -> PaddedRaySamples:
        """Sample rays in occupied cells, stratified, up to just behind the measured depth."""

        def jitter(count: int) -> Tensor:
            offsets = rng.random((count, SAMPLES_PER_CELL), np.float32)
            return torch.from_numpy(offsets).to(origins.device)

        ended = torch.zeros(len(origins), device=origins.device)
        end = torch.where(depth > 0, depth + DEPTH_MARGIN_M, torch.full_like(depth, torch.inf))
        cells = march_rays(self.field.distance_map, origins, directions, ended, jitter)
        return pad_samples(cells, ended, end)

    def _save(self, work_dir: Path, step: int, report: dict[str, Any]) -> None:
        state = {'theta': self.theta.detach(), 'log_gain': self.log_gain.detach()}
        for name, parameter in (('theta', self.theta), ('log_gain', self.log_gain)):
            for key, value in self.optimizer.state[parameter].items():
                state[f'{name}.{key}'] = value
        metadata = {'step': str(step), 'report': json.dumps(report)}
        save_checkpoint(work_dir / CHECKPOINT, state, metadata)

    def _resume(self, work_dir: Path, report: dict[str, Any]) -> int:
        """Load the last checkpoint, if there is one; return the next step."""
        checkpoint = load_checkpoint(work_dir / CHECKPOINT, self.field.device)
        if checkpoint is None:
            return 0
        state, metadata = checkpoint
        with torch.no_grad():
            self.theta.copy_(state['theta'])
            self.log_gain.copy_(state['log_gain'])
        for name, parameter in (('theta', self.theta), ('log_gain', self.log_gain)):
            prefix = f'{name}.'
            self.optimizer.state[parameter] = {
                key.removeprefix(prefix): value
                for key, value in state.items()
                if key.startswith(prefix)
            }
        report.update(json.loads(metadata['report']))
        self._update_field()
        return int(metadata['step'])


def _log_gains(field: VoxelField, data: TrainingData) -> Tensor:
    """Initialize the exposure of each image: log gains (N, 3) of it over the fused colors."""
    gains = np.ones((len(data.rgb), 3))
    for index in range(len(data.rgb)):
        gains[index] = channel_gains(
            *_image_and_rendering(field, data, index, data.camera(index).scaled_to_width(64))
        )
    log_gain = np.log(gains)
    log_gain -= log_gain[~data.held_out].mean(0)
    return torch.from_numpy(log_gain).float().to(field.device)


def _image_and_rendering(
    field: VoxelField, data: TrainingData, index: int, camera: Camera
) -> tuple[NDArray[np.uint8], Rendering]:
    """Return a training image at the size of a camera, and the rendering at its pose."""
    image = downscale_image(data.rgb[index], camera)
    return image, field.render(data.map_from_camera[index][None], camera)[0]


def _background(field: VoxelField, data: TrainingData) -> Tensor:
    """Average by direction the pixels of the images where the field is empty; fill the gaps."""
    height, width = field.background.shape[:2]
    total, weight = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    mean = np.zeros(3)
    chosen = data.sample_indices(MAX_BACKGROUND_IMAGES)
    for index in chosen:
        camera = data.camera(index).scaled_to_width(96)
        observed, rendered = _image_and_rendering(field, data, index, camera)
        image = observed / channel_gains(observed, rendered)
        mean += image.mean((0, 1)) / len(chosen)
        directions = torch.from_numpy(camera.rays() @ data.map_from_camera[index, :3, :3].T)
        cells = background_cells(directions, (height, width)).numpy()
        empty = rendered.opacity < 0.5
        np.add.at(total.reshape(-1, 3), cells[empty], image[empty])
        np.add.at(weight.reshape(-1), cells[empty], 1.0)
    filled = np.broadcast_to(mean, total.shape).astype(np.float32)
    for sigma in (16.0, 6.0, 1.5):  # from coarse to fine: near samples override far ones
        near = cv2.GaussianBlur(weight, (0, 0), sigma)
        blurred = cv2.GaussianBlur(total, (0, 0), sigma)
        fraction = np.clip(near / 0.05, 0, 1)[..., None]
        filled = filled * (1 - fraction) + fraction * blurred / np.maximum(near, 1e-6)[..., None]
    return torch.from_numpy(np.clip(filled / 255, 0, 1)).float().to(field.device)
