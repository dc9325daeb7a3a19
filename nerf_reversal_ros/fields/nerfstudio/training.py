"""
Training of Nerfacto and Depth-Nerfacto of nerfstudio on a capture.

Models, losses and callbacks are those of nerfstudio. Rays come from the training images that the
voxel field uses, so that poses, intrinsics and scale are exact: nothing is oriented, centered or
scaled again, and the camera optimizer is off.
"""

from dataclasses import asdict
import json
from pathlib import Path
from time import perf_counter
from typing import Any

from nerfstudio.engine.callbacks import TrainingCallbackLocation
import numpy as np
import torch

from nerf_reversal_ros.core.config import NerfstudioConfig
from nerf_reversal_ros.core.files import remove
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.fields.checkpoint import load_checkpoint, save_checkpoint
from nerf_reversal_ros.fields.nerfstudio.dependency import no_downloads
from nerf_reversal_ros.fields.nerfstudio.field import nerfstudio_cameras, NerfstudioField
from nerf_reversal_ros.fields.nerfstudio.models import (
    nerfacto_model,
    training_budget,
    unit_box_from_map,
)
from nerf_reversal_ros.fields.sim3 import scale_of
from nerf_reversal_ros.fields.training_data import TrainingData

CHECKPOINT, CHECKPOINT_STEPS = 'nerfacto.safetensors', 250
"""File of the last checkpoint, and steps between two: at most these are lost."""
BAKING_FOLDER = 'baking'
"""Folder beside the checkpoint for the baking of the field."""
TIMED_STEPS = 2, 8
"""The steps between these two are timed to estimate the duration of the training."""
FINAL_RATE = 0.01
"""Learning rate of the last step, as a fraction of that of the first; exponential decay."""


def train_nerfacto(
    data: TrainingData,
    kind: str,
    config: NerfstudioConfig,
    *,
    device: torch.device,
    seed: int,
    work_dir: Path,
    progress: ProgressCallback = no_progress,
) -> tuple[NerfstudioField, dict[str, Any]]:
    """
    Train a Nerfacto; an interrupted training resumes from its last checkpoint.

    If the checkpoint has another kind, implementation, budget, learning rate or seed, the
    training restarts, reports why, and removes what was baked before.

    Parameters
    ----------
    data : TrainingData
        Training images. Nerfacto uses their depth, if any, to fit its unit box alone.
    kind : str
        ``nerfacto`` or ``depth-nerfacto``.
    config : NerfstudioConfig
        Size of the model, steps, rays.
    device : torch.device
        Device of the training.
    seed : int
        Seed of the initial weights and of the choice of rays.
    work_dir : Path
        Folder of the checkpoint, and of `BAKING_FOLDER`.
    progress : callable
        Called at every tenth step, and once with the expected duration.

    Returns
    -------
    tuple
        The field, and a report: ``step`` and ``loss`` (lists).
    """
    field_from_map = unit_box_from_map(data)
    with no_downloads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nerfacto_model(kind, training_budget(config, device), data, field_from_map, device)
    trainer = _NerfactoTrainer(model.to(device), kind, field_from_map, data, config, seed)
    report = trainer.run(work_dir, progress)
    return NerfstudioField(model, field_from_map), report


class _NerfactoTrainer:
    """Training steps of a nerfstudio model on rays sampled from all training images."""

    def __init__(
        self,
        model: Any,
        kind: str,
        field_from_map: FloatArray,
        data: TrainingData,
        config: NerfstudioConfig,
        seed: int,
    ) -> None:
        self.model, self.data, self.seed = model, data, seed
        self.scale = scale_of(field_from_map)
        self.device: torch.device = model.device
        self.budget = training_budget(config, self.device)
        size = data.rgb.shape[2], data.rgb.shape[1]
        self.cameras = nerfstudio_cameras(
            field_from_map, data.map_from_camera, data.intrinsics, size
        )
        self.parameters = dict(model.named_parameters())
        trained = [p for p in self.parameters.values() if p.numel()]
        self.optimizer = torch.optim.Adam(trained, eps=1e-15, fused=True)
        self.learning_rate = config.learning_rate
        self.training_settings = {
            'kind': kind,
            'implementation': model.config.implementation,
            **asdict(self.budget),
            'learning_rate': self.learning_rate,
            'seed': seed,
        }
        self.callbacks = model.get_training_callbacks(None)

    def run(self, work_dir: Path, progress: ProgressCallback) -> dict[str, Any]:
        """Train to the last step; return the loss curve."""
        report: dict[str, Any] = {'step': [], 'loss': []}
        steps = self.budget.steps
        first = self._resume(work_dir, report, progress)
        self.model.train()
        for step in range(first, steps):
            if step == first + TIMED_STEPS[0]:
                start_s = perf_counter()
            if step == first + TIMED_STEPS[1]:
                step_s = (perf_counter() - start_s) / (TIMED_STEPS[1] - TIMED_STEPS[0])
                note = self._format_estimate(step_s * (steps - step))
                progress(Progress('field', step, steps, note))
            loss = self._step(step)
            if step % 10 == 9:
                report['step'].append(step + 1)
                report['loss'].append(loss)
                progress(Progress('field', step + 1, steps, f'loss {loss:.4f}'))
            if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == steps:
                self._save(work_dir, step + 1, report)
        return report

    def _format_estimate(self, seconds: float) -> str:
        where = 'this CPU, and baking some more' if self.device.type == 'cpu' else 'this GPU'
        size = 'reduced' if self.budget.reduced else 'full'
        return f'the {size} Nerfacto will take about {max(1, round(seconds / 60))} min on {where}'

    def _step(self, step: int) -> float:
        """Do one training step and return its loss."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == 'cuda' else []):
            torch.manual_seed(self.seed * 1_000_003 + step)
            for group in self.optimizer.param_groups:
                group['lr'] = self.learning_rate * FINAL_RATE ** (step / self.budget.steps)
            for callback in self.callbacks:
                callback.run_callback_at_location(
                    step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION
                )
            rays, batch = self._sample_pixels(np.random.default_rng([self.seed, step]))
            outputs = self.model(rays)
            metrics = self.model.get_metrics_dict(outputs, batch)
            losses = self.model.get_loss_dict(outputs, batch, metrics)
            loss = torch.stack([value.reshape(()) for value in losses.values()]).sum()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            for callback in self.callbacks:
                callback.run_callback_at_location(
                    step, TrainingCallbackLocation.AFTER_TRAIN_ITERATION
                )
        return float(loss.detach())

    def _sample_pixels(self, rng: np.random.Generator) -> tuple[Any, dict[str, torch.Tensor]]:
        """Sample rays of the training images, with their colors and depths."""
        data, count = self.data, self.budget.rays_per_step
        _, height, width, _ = data.rgb.shape
        frame, u, v = data.sample_pixels(rng, count)
        _, depth_height, depth_width = data.depth.shape
        depth_v = ((v + 0.5) * depth_height / height).astype(int)
        depth_u = ((u + 0.5) * depth_width / width).astype(int)
        depth = data.depth[frame, depth_v, depth_u].astype(np.float32) * np.float32(self.scale)
        rays = self.cameras.generate_rays(
            camera_indices=torch.from_numpy(frame)[:, None],
            coords=torch.from_numpy(np.stack([v, u], 1)).float() + 0.5,
        )
        batch = {
            'image': torch.from_numpy(data.rgb[frame, v, u]).float() / 255,
            'depth_image': torch.from_numpy(depth)[:, None],
        }
        return rays.to(self.device), {k: value.to(self.device) for k, value in batch.items()}

    def _save(self, work_dir: Path, step: int, report: dict[str, Any]) -> None:
        state = {f'model.{name}': value.detach() for name, value in self.parameters.items()}
        for number, values in self.optimizer.state_dict()['state'].items():
            state |= {f'adam.{number}.{key}': value for key, value in values.items()}
        if hasattr(self.model, 'depth_sigma'):
            state['depth_sigma'] = self.model.depth_sigma
        metadata = {
            'made_with': json.dumps(self.training_settings),
            'step': str(step),
            'report': json.dumps(report),
            # Private counters of the proposal sampler of nerfstudio 1.1.5, see `_resume`.
            'since_update': str(self.model.proposal_sampler._steps_since_update),
        }
        save_checkpoint(work_dir / CHECKPOINT, state, metadata)

    def _resume(self, work_dir: Path, report: dict[str, Any], progress: ProgressCallback) -> int:
        """Load the last checkpoint, if its settings match; return the next step."""
        checkpoint = load_checkpoint(work_dir / CHECKPOINT, self.device)
        if checkpoint is None:
            remove(work_dir / BAKING_FOLDER)
            return 0
        state, metadata = checkpoint
        made_with = json.loads(metadata.get('made_with', '{}'))
        if made_with != self.training_settings:
            reason = _format_differences(made_with, self.training_settings)
            note = f'starting over: {work_dir / CHECKPOINT} {reason}'
            progress(Progress('field', 0, self.budget.steps, note))
            remove(work_dir / BAKING_FOLDER)
            return 0
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state[f'model.{name}'])
        adam = self.optimizer.state_dict()
        adam['state'] = {}
        for name, value in state.items():
            if name.startswith('adam.'):
                _, number, key = name.split('.')
                adam['state'].setdefault(int(number), {})[key] = value
        self.optimizer.load_state_dict(adam)
        if hasattr(self.model, 'depth_sigma'):
            self.model.depth_sigma = state['depth_sigma'].cpu()
        step = int(metadata['step'])
        self.model.proposal_sampler._step = step - 1
        self.model.proposal_sampler._steps_since_update = int(metadata['since_update'])
        report.update(json.loads(metadata['report']))
        return step


def _format_differences(made_with: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Format the settings in which a checkpoint differs from this training."""
    if not made_with:
        return 'does not state its settings'
    names = [name for name, value in wanted.items() if made_with.get(name) != value]
    differences = ', '.join(f'{name} {made_with.get(name)}, not {wanted[name]}' for name in names)
    return f'was made with {differences}'
