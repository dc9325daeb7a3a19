"""
Training of nerfstudio's Nerfacto and Depth-Nerfacto from a capture.

The models and their losses are nerfstudio's own, with their callbacks; rays come from the same
pictures on disk that the voxel field is trained on, so that poses, intrinsics and scale are exact
and nothing is oriented, centred, scaled or optimised behind our back: the camera optimiser is off.

References
----------
Tancik et al., "Nerfstudio: A Modular Framework for Neural Radiance Field Development", SIGGRAPH
2023. Deng et al., "Depth-supervised NeRF", CVPR 2022 (the depth loss).
"""

from dataclasses import dataclass
import importlib.util
import json
from pathlib import Path
from time import perf_counter
from typing import Any

from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.models.depth_nerfacto import DepthNerfactoModelConfig
from nerfstudio.models.nerfacto import NerfactoModelConfig
import numpy as np
from scipy.ndimage import binary_dilation
import torch

from nerf_reversal_ros.config import NerfstudioConfig
from nerf_reversal_ros.fields.checkpoint import load_checkpoint, save_checkpoint
from nerf_reversal_ros.fields.nerfstudio_field import nerfstudio_cameras, NerfstudioField
from nerf_reversal_ros.fields.nerfstudio_library import nothing_fetched
from nerf_reversal_ros.fields.similarity import scale_of, similarity
from nerf_reversal_ros.fields.training_data import TrainingData
from nerf_reversal_ros.geometry import Array, pose, transform
from nerf_reversal_ros.progress import Progress, ProgressCallback, silent

CHECKPOINT, CHECKPOINT_STEPS = 'nerfacto.safetensors', 250
TIMED_STEPS = 3, 13
"""The steps between these tell how long all of them will take."""
BOX_VIEWS = 60
BOX_MARGIN = 1.1
"""The field's unit box is this much larger than what the depth reaches."""
FINAL_RATE = 0.01
"""Share of the learning rate that is left at the last step."""
DEPTH_STD_M = 0.1
"""How far from the measured depth, at first, light may be stopped ..."""
DEPTH_STD_LAST_M = 0.02
"""... and in the end [m]."""
DEPTH_WEIGHT = 0.1
"""Of Depth-Nerfacto's depth loss."""
OCCUPIED_M = 0.06
"""Edge of the cells in which a reduced Depth-Nerfacto looks for matter [m], at least ..."""
MOST_CELLS = 192
"""... and so many of them along its unit box at most."""


def _density_net(resolution: int) -> dict[str, Any]:
    return {
        'hidden_dim': 16,
        'log2_hashmap_size': 15,
        'num_levels': 5,
        'max_res': resolution,
        'use_linear': False,
    }


PROPOSED_IN_CELL, PROPOSED_OUTSIDE = 0.6, 1e-3
"""Optical depth of a cell near measured depth, and of any other."""
BY_OCCUPANCY: dict[str, Any] = {
    'proposal_initial_sampler': 'uniform',
    'use_proposal_weight_anneal': False,
    'average_init_density': 20.0,
    'far_plane': 3.5,  # the diagonal of the unit box
    'num_proposal_samples_per_ray': (96,),
    'interlevel_loss_mult': 0.0,
}
"""What else a reduced Depth-Nerfacto is told, see `Occupancy`."""

REDUCED: dict[str, Any] = {
    'num_levels': 8,
    'max_res': 1024,
    'log2_hashmap_size': 17,
    'hidden_dim': 32,
    'hidden_dim_color': 32,
    'appearance_embed_dim': 8,
    'num_proposal_iterations': 1,
    'num_proposal_samples_per_ray': (64,),
    'num_nerf_samples_per_ray': 16,
    'proposal_net_args_list': [_density_net(128)],
    'proposal_warmup': 500,
    'proposal_weights_anneal_max_num_iters': 250,
}
"""What makes a Nerfacto that two CPU cores train in minutes."""


@dataclass(frozen=True)
class Effort:
    """How much work a training is."""

    reduced: bool
    steps: int
    rays_per_step: int


def effort(config: NerfstudioConfig, device: torch.device) -> Effort:
    """Fill in what the settings leave to the device."""
    reduced = config.size == 'reduced' or (config.size == 'auto' and device.type == 'cpu')
    return Effort(
        reduced,
        config.steps or (2_000 if reduced else 10_000),
        config.rays_per_step or (1_024 if reduced else 4_096),
    )


def train_nerfacto(
    data: TrainingData,
    kind: str,
    config: NerfstudioConfig,
    *,
    device: torch.device,
    seed: int,
    work_dir: Path,
    progress: ProgressCallback = silent,
) -> tuple[NerfstudioField, dict[str, Any]]:
    """
    Train a Nerfacto; a killed training goes on from its last checkpoint.

    Parameters
    ----------
    data : TrainingData
        Pictures, and depth where there is some: Nerfacto uses it only to place its unit box.
    kind : str
        ``nerfacto`` or ``depth-nerfacto``.
    config : NerfstudioConfig
        Size of the model, steps, rays.
    device : torch.device
        Where to train.
    seed : int
        Of the model's first weights and the choice of rays.
    work_dir : Path
        Folder of the checkpoint.
    progress : callable
        Told of every tenth step, and after the first ones how long it will take.

    Returns
    -------
    tuple
        The field, and a report: ``step`` and ``loss`` (lists).
    """
    field_from_map = unit_box(data)
    with nothing_fetched(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(kind, effort(config, device), data, field_from_map)
    trainer = _Trainer(model.to(device), field_from_map, data, config, seed)
    report = trainer.run(work_dir, progress)
    return NerfstudioField(model, field_from_map), report


def unit_box(data: TrainingData) -> Array:
    """
    Return the similarity (4, 4) that takes the room from metres into the cube from -1 to 1.

    What the depth reaches and all cameras lie in it; without depth, as nerfstudio does, the
    cameras alone, and its contraction of space takes in the rest.
    """
    points = [data.map_from_camera[:, :3, 3]]
    for index in data.spread(BOX_VIEWS):
        points.append(data.view(index).points(8))
    reached = np.concatenate(points)
    low, high = np.percentile(reached, [0.2, 99.8], axis=0)
    low, high = np.minimum(low, points[0].min(0)), np.maximum(high, points[0].max(0))
    half_m = max(float(np.max(high - low)) / 2 * BOX_MARGIN, 0.1)
    return similarity(1 / half_m, pose(translation=-(low + high) / 2))


def _model(kind: str, work: Effort, data: TrainingData, field_from_map: Array) -> Any:
    """Set up nerfstudio's model."""
    scale = scale_of(field_from_map)
    settings: dict[str, Any] = {
        'implementation': 'torch' if importlib.util.find_spec('tinycudann') is None else 'tcnn',
        'camera_optimizer': CameraOptimizerConfig(mode='off'),
        'near_plane': 0.05 * scale,
        **(REDUCED if work.reduced else {}),
    }
    if work.reduced:
        settings['implementation'] = 'torch'
    if kind == 'depth-nerfacto':
        settings |= BY_OCCUPANCY if work.reduced else {}
        # Its loss takes the sigma where the formula has a variance.
        config: Any = DepthNerfactoModelConfig(
            **settings,
            depth_loss_mult=DEPTH_WEIGHT,
            should_decay_sigma=True,
            starting_depth_sigma=(DEPTH_STD_M * scale) ** 2,
            depth_sigma=(DEPTH_STD_LAST_M * scale) ** 2,
            sigma_decay_rate=(DEPTH_STD_LAST_M / DEPTH_STD_M) ** (4 / work.steps),
        )
    else:
        config = NerfactoModelConfig(**settings)
    box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    model = config.setup(scene_box=box, num_train_data=len(data.rgb))
    if work.reduced and kind == 'depth-nerfacto':
        model.proposal_networks = torch.nn.ModuleList()
        model.density_fns = [Occupancy(data, field_from_map)]
        model.proposal_sampler.pdf_sampler.histogram_padding = 5e-4
    return model


class Occupancy:
    """
    Where depth has found matter, as the density that proposes samples.

    A reduced Depth-Nerfacto needs no network to learn where its samples belong.
    """

    def __init__(self, data: TrainingData, field_from_map: Array) -> None:
        cells = int(np.clip(2 / (OCCUPIED_M * scale_of(field_from_map)), 8, MOST_CELLS))
        occupied = np.zeros((cells,) * 3, bool)
        for index in data.spread(len(data.rgb)):
            points = transform(field_from_map, data.view(index).points(2))
            x, y, z = np.clip((points + 1) / 2 * cells, 0, cells - 1).astype(int).T
            occupied[x, y, z] = True
        near = binary_dilation(occupied, np.ones((3, 3, 3), bool))
        density = np.where(near, PROPOSED_IN_CELL, PROPOSED_OUTSIDE) * cells / 2
        self.density = torch.from_numpy(density.astype(np.float32))

    def __call__(self, positions: torch.Tensor, times: Any = None) -> torch.Tensor:
        """Return densities (..., 1) at positions (..., 3) of the field."""
        self.density = self.density.to(positions.device)
        cells = len(self.density)
        x, y, z = ((positions + 1) / 2 * cells).long().clamp(0, cells - 1).unbind(-1)
        return self.density[x, y, z][..., None]


class _Trainer:
    """Nerfstudio's training step over rays drawn from all training pictures."""

    def __init__(
        self,
        model: Any,
        field_from_map: Array,
        data: TrainingData,
        config: NerfstudioConfig,
        seed: int,
    ) -> None:
        self.model, self.data, self.seed = model, data, seed
        self.scale = scale_of(field_from_map)
        self.device: torch.device = model.device
        self.effort = effort(config, self.device)
        size = data.rgb.shape[2], data.rgb.shape[1]
        self.cameras = nerfstudio_cameras(
            field_from_map, data.map_from_camera, data.intrinsics, size
        )
        self.parameters = dict(model.named_parameters())
        trained = [p for p in self.parameters.values() if p.numel()]
        self.optimizer = torch.optim.Adam(trained, eps=1e-15, fused=True)
        self.learning_rate = config.learning_rate
        self.callbacks = model.get_training_callbacks(None)
        self.train = np.flatnonzero(~data.held_out)

    def run(self, work_dir: Path, progress: ProgressCallback) -> dict[str, Any]:
        """Train to the end; return the loss curve."""
        report: dict[str, Any] = {'step': [], 'loss': []}
        steps = self.effort.steps
        first = self._resume(work_dir, report)
        self.model.train()
        for step in range(first, steps):
            if step == first + TIMED_STEPS[0]:
                start_s = perf_counter()
            if step == first + TIMED_STEPS[1]:
                took_s = (perf_counter() - start_s) / (TIMED_STEPS[1] - TIMED_STEPS[0])
                progress(Progress('field', step, steps, self._estimate(took_s * (steps - step))))
            loss = self._step(step)
            if step % 10 == 9:
                report['step'].append(step + 1)
                report['loss'].append(loss)
                progress(Progress('field', step + 1, steps, f'loss {loss:.4f}'))
            if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == steps:
                self._save(work_dir, step + 1, report)
        return report

    def _estimate(self, seconds: float) -> str:
        where = 'this CPU, and baking some more' if self.device.type == 'cpu' else 'this GPU'
        size = 'reduced' if self.effort.reduced else 'full'
        return f'the {size} Nerfacto will take about {max(1, round(seconds / 60))} min on {where}'

    def _step(self, step: int) -> float:
        """Do one training step and return its loss."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == 'cuda' else []):
            torch.manual_seed(self.seed * 1_000_003 + step)
            for group in self.optimizer.param_groups:
                group['lr'] = self.learning_rate * FINAL_RATE ** (step / self.effort.steps)
            for callback in self.callbacks:
                callback.run_callback_at_location(
                    step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION
                )
            rays, batch = self._draw(np.random.default_rng([self.seed, step]))
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

    def _draw(self, rng: np.random.Generator) -> tuple[Any, dict[str, torch.Tensor]]:
        """Draw rays from the training pictures, with their colours and depths."""
        data, count = self.data, self.effort.rays_per_step
        _, height, width, _ = data.rgb.shape
        frame = np.sort(self.train[rng.integers(0, len(self.train), count)])
        u, v = rng.integers(0, width, count), rng.integers(0, height, count)
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
            'step': str(step),
            'report': json.dumps(report),
            'since_update': str(self.model.proposal_sampler._steps_since_update),
        }
        save_checkpoint(work_dir / CHECKPOINT, state, metadata)

    def _resume(self, work_dir: Path, report: dict[str, Any]) -> int:
        """Take up the last checkpoint, if there is one; return the next step."""
        checkpoint = load_checkpoint(work_dir / CHECKPOINT, self.device)
        if checkpoint is None:
            return 0
        state, metadata = checkpoint
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
