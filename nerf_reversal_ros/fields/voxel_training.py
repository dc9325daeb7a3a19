"""Training of a voxel radiance field from a capture with depth."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import VoxelFieldConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.parallel import parallel_map
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.checkpoint import load_checkpoint, save_checkpoint
from nerf_reversal_ros.fields.field_metrics import channel_gains, measure_field
from nerf_reversal_ros.fields.training_data import load_training_data, SampledViews, TrainingData
from nerf_reversal_ros.fields.tsdf_fusion import fuse_depth
from nerf_reversal_ros.fields.voxel import background_cells, SAMPLES_PER_CELL, VoxelField

FUSED_VIEWS = 120
"""So many depth pictures, spread over the capture, place the first voxels."""
CELLS_PER_RAY = 10
"""A training ray looks at no more opaque cells than this."""
DENSITY_SCALE = 5.0
"""Log densities are trained in units of this, so that one learning rate serves all channels."""
DEPTH_MARGIN_M = 0.04
"""A training ray ends this far behind the measured depth."""
CHECKPOINT, CHECKPOINT_STEPS = 'checkpoint.safetensors', 100
PARTS = 2
"""The rays of a step are drawn and followed in so many parts, on as many cores."""


def train_voxel_field(
    capture: Capture,
    config: VoxelFieldConfig,
    *,
    device: torch.device,
    seed: int,
    work_dir: Path,
    progress: ProgressCallback = no_progress,
) -> tuple[VoxelField, dict[str, Any]]:
    """
    Train a voxel field on a capture; a killed training goes on from its last checkpoint.

    Parameters
    ----------
    capture : Capture
        Colour, depth and poses in the map frame.
    config : VoxelFieldConfig
        Voxel size, steps and weights.
    device : torch.device
        Where to train.
    seed : int
        Of the choice of rays.
    work_dir : Path
        Folder for training pictures and checkpoints; the caller removes it.
    progress : callable
        Told of every tenth step.

    Returns
    -------
    tuple
        The field, and a report: ``step`` and ``loss`` (lists), and what `measure_field` tells.

    Raises
    ------
    BuildError
        If the capture has no usable depth.
    """
    if not capture.has_depth:
        raise BuildError(
            'the capture has no depth, which the voxel field needs to place its voxels: record'
            ' with a LiDAR or an RGB-D camera, or take --field nerfacto'
        )
    data = load_training_data(capture, config.validation_share, work_dir, progress)
    return fit_voxel_field(
        data, config, device=device, seed=seed, work_dir=work_dir, progress=progress
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
    Train a voxel field on pictures with depth, whether taken or rendered.

    See `train_voxel_field`; ``stage`` is what ``progress`` is told.
    """
    progress(Progress(stage, 0, config.steps, 'placing voxels by depth'))
    field = fuse_depth(SampledViews(data, FUSED_VIEWS), config.voxel_m, device)
    trainer = _Trainer(field, data, config, seed)
    report = trainer.run(work_dir, stage, progress)
    field.background = _background(field, data)
    report.update(measure_field(field, data))
    return field, report


class _Interpolate(torch.autograd.Function):
    """Trilinear interpolation whose backward pass only adds at the rows that were read."""

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
        spread = (weights[..., None] * gradient[:, None]).reshape(-1, gradient.shape[1])
        out = torch.zeros(ctx.shape, device=gradient.device)
        out.index_add_(0, rows.reshape(-1), spread)
        return out, None, None


class _Trainer:
    """Gradient descent on rays drawn from all training pictures."""

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
            betas=(0.9, 0.99),  # a long memory overshoots at corners that few rays touch
            eps=1e-8,
            fused=fused,
        )
        self.learning_rates = config.learning_rate, 0.5 * config.learning_rate
        self.train_frames = np.flatnonzero(~data.held_out)

    def run(self, work_dir: Path, stage: str, progress: ProgressCallback) -> dict[str, Any]:
        """Train to the end and hand the values over to the field; return the loss curve."""
        report: dict[str, Any] = {'step': [], 'loss': []}
        start = self._resume(work_dir, report)
        for step in range(start, self.config.steps):
            share = step / max(1, self.config.steps)
            for group, base in zip(self.optimizer.param_groups, self.learning_rates, strict=True):
                group['lr'] = base * 0.05**share
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
        values[1:, 0].clamp_(min=-8.0, max=8.0)
        values[:, 1:].clamp_(0.0, 1.0)
        self.field.values = values
        self.field.update_distance_map()

    def _backward(self, step: int) -> float:
        """Set the parameters' gradients of one step and return its loss."""
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
        """Draw rays, composite them differentiably, and compare with the pictures."""
        origins, directions, colour, depth, frame = self._sample_pixels(rng)
        times, steps = self._sample(origins, directions, depth, rng)
        valid = steps > 0
        rays, _ = valid.nonzero(as_tuple=True)
        points = torch.addcmul(
            origins.index_select(0, rays),
            directions.index_select(0, rays),
            times[valid][:, None],
        )
        rows, weights = self.field.trilinear_corners(points)
        value = _Interpolate.apply(self.theta, rows, weights)
        length = directions.norm(dim=1) / self.field.voxel_m
        sigma = (value[:, 0] * DENSITY_SCALE).clamp(max=8.0).exp()
        tau = torch.zeros_like(times).masked_scatter(valid, sigma) * steps * length[:, None]
        light = torch.exp(-torch.cat([torch.zeros_like(tau[:, :1]), tau.cumsum(1)], 1))
        share = light[:, :-1] - light[:, 1:]
        left = light[:, -1:]
        rgb = torch.zeros_like(colour).index_add(0, rays, share[valid][:, None] * value[:, 1:])
        # What no matter explains is not held against the field: depth alone makes it opaque.
        rgb = rgb * self.log_gain[frame].exp() + left.detach() * colour
        colour_loss = torch.nn.functional.smooth_l1_loss(rgb, colour, beta=0.1)
        known = depth > 0
        miss = (times - depth[:, None]).abs().clamp(max=0.2)
        depth_loss = ((share * miss).sum(1) + left[:, 0] * 0.2)[known].sum() / len(known)
        return colour_loss + self.config.depth_weight * depth_loss

    def _sample_pixels(self, rng: np.random.Generator) -> tuple[Tensor, ...]:
        data, device, count = self.data, self.field.device, self.config.rays_per_step // PARTS
        _, height, width, _ = data.rgb.shape
        frame = np.sort(self.train_frames[rng.integers(0, len(self.train_frames), count)])
        u, v = rng.integers(0, width, count), rng.integers(0, height, count)
        colour = torch.from_numpy(data.rgb[frame, v, u]).to(device).float() / 255
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
            colour,
            depth,
            torch.from_numpy(frame).to(device),
        )

    @torch.no_grad()
    def _sample(
        self, origins: Tensor, directions: Tensor, depth: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return times and step lengths (R, M) of samples in opaque cells; step 0: no sample."""
        count, device = len(origins), origins.device
        slots = CELLS_PER_RAY * SAMPLES_PER_CELL
        times = torch.zeros(count, slots, device=device)
        steps = torch.zeros(count, slots, device=device)
        visits = torch.zeros(count, dtype=torch.long, device=device)
        stopped = torch.zeros(count, device=device)
        end = torch.where(depth > 0, depth + DEPTH_MARGIN_M, torch.full_like(depth, 1e9))
        lanes = torch.arange(SAMPLES_PER_CELL, device=device)
        for rays, near, far in self.field.distance_map.occupied_segments(
            origins, directions, stopped
        ):
            jitter = torch.from_numpy(rng.random((len(rays), SAMPLES_PER_CELL), np.float32))
            step = ((far - near) / SAMPLES_PER_CELL)[:, None]
            slot = visits[rays, None] * SAMPLES_PER_CELL + lanes
            times[rays[:, None], slot] = near[:, None] + step * (lanes + jitter.to(device))
            steps[rays[:, None], slot] = step.expand(-1, SAMPLES_PER_CELL)
            visits[rays] += 1
            stopped[rays[(far > end[rays]) | (visits[rays] == CELLS_PER_RAY)]] = 1e9
        return times, steps

    def _save(self, work_dir: Path, step: int, report: dict[str, Any]) -> None:
        state = {'theta': self.theta.detach(), 'log_gain': self.log_gain.detach()}
        for name, parameter in (('theta', self.theta), ('log_gain', self.log_gain)):
            for key, value in self.optimizer.state[parameter].items():
                state[f'{name}.{key}'] = value
        metadata = {'step': str(step), 'report': json.dumps(report)}
        save_checkpoint(work_dir / CHECKPOINT, state, metadata)

    def _resume(self, work_dir: Path, report: dict[str, Any]) -> int:
        """Take up the last checkpoint, if there is one; return the next step."""
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
    """Start each picture's exposure from how it differs from the fused colours."""
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
    """Return a picture at the size of a camera, and what the field shows of it there."""
    size = (camera.width, camera.height)
    picture = cv2.resize(data.rgb[index], size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return picture, field.render(data.map_from_camera[index][None], camera)[0]


def _background(field: VoxelField, data: TrainingData, most: int = 100) -> Tensor:
    """Average, by direction, what the pictures show where no matter is; fill the gaps."""
    height, width = field.background.shape[:2]
    total, weight = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    mean = np.zeros(3)
    chosen = data.sample_indices(most)
    for index in chosen:
        camera = data.camera(index).scaled_to_width(96)
        shown, seen = _image_and_rendering(field, data, index, camera)
        picture = shown / channel_gains(shown, seen)
        mean += picture.mean((0, 1)) / len(chosen)
        directions = torch.from_numpy(camera.rays() @ data.map_from_camera[index, :3, :3].T)
        cells = background_cells(directions, (height, width)).numpy()
        open_space = seen.opacity < 0.5
        np.add.at(total.reshape(-1, 3), cells[open_space], picture[open_space])
        np.add.at(weight.reshape(-1), cells[open_space], 1.0)
    filled = np.broadcast_to(mean, total.shape).astype(np.float32)
    for sigma in (16.0, 6.0, 1.5):  # coarse first: near readings overrule far ones
        near = cv2.GaussianBlur(weight, (0, 0), sigma)
        blurred = cv2.GaussianBlur(total, (0, 0), sigma)
        share = np.clip(near / 0.05, 0, 1)[..., None]
        filled = filled * (1 - share) + share * blurred / np.maximum(near, 1e-6)[..., None]
    return torch.from_numpy(np.clip(filled / 255, 0, 1)).float().to(field.device)
