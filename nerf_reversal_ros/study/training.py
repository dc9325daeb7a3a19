"""How one row of the study is trained and judged: a network of the seed, on what it shall see."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn, Tensor

from nerf_reversal_ros.baselines.baselines import nearest_reference
from nerf_reversal_ros.baselines.original_networks import (
    LEARNING_RATE,
    LONGER_SIDE_PX,
    original_layers,
)
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import mean_pose, pose_errors
from nerf_reversal_ros.core.progress import Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.regressor.image_codec import channel_statistics, ImageCodec, to_tensors
from nerf_reversal_ros.regressor.pose_network import rotation_from_6d
from nerf_reversal_ros.regressor.regressor import network_inputs
from nerf_reversal_ros.study.data import StudyImages
from nerf_reversal_ros.study.plan import Experiment
from nerf_reversal_ros.synthesis.view_synthesis import Views

BATCH, MIN_BATCH = 32, 8
"""Pictures of a training step, of the seed's small size and at least; how many the seed took was
not told, and few make more steps of few epochs."""
ACCURACY_THRESHOLD_M = 0.1
"""The seed counts positions within 0.1 of its scene's units; here these are metres."""
MAX_TRAINING_EVAL_IMAGES = 1000
"""The training pictures are judged on at most so many of them."""


class StudyNetwork:
    """Layers of the seed that tell position and rotation of standardized pictures."""

    def __init__(
        self,
        row: Experiment,
        code: ImageCodec,
        camera: Camera,
        known: NDArray[np.float64],
        device: torch.device,
    ) -> None:
        """
        Make the untrained layers.

        Parameters
        ----------
        known : (N, 4, 4) array
            Poses of what is learned from: positions are centred and divided by their spread.
        """
        self.experiment, self.codec, self.camera, self.device = row, code, camera, device
        pictures = (3, camera.height, camera.width)
        shape = (len(code.variance),) if row.network_sees == 'components' else pictures
        self.layers = original_layers(row.network, shape, 9).to(device)
        positions = known[:, :3, 3]
        self.center = torch.from_numpy(positions.mean(0)).float().to(device)
        spread_m = np.linalg.norm(positions - positions.mean(0), axis=1).mean()
        self.scale_m = max(float(spread_m), 1e-3)
        larger = max(camera.height, camera.width) / LONGER_SIDE_PX
        self.batch_size = int(np.clip(BATCH / larger**2, MIN_BATCH, BATCH))

    @torch.no_grad()
    def inputs(self, views: Views, which: NDArray[np.int64]) -> Tensor:
        """Return what the network sees of some of the views."""
        rgb, seen = to_tensors(views.rgb[which], views.valid[which], self.device)
        pictures = self.codec.preprocess(rgb, seen)
        codes = self.codec.encode(pictures)
        sees = network_inputs(
            self.experiment.network_sees, self.codec, pictures, codes, self.camera
        )
        if self.experiment.network == 'cnn':
            return sees.contiguous(memory_format=torch.channels_last)  # half the time on CPUs
        return sees

    def targets(self, views: Views, which: NDArray[np.int64]) -> Tensor:
        """Return standardized positions and the rotations' first two columns, (N, 9)."""
        poses = torch.from_numpy(views.map_from_camera[which]).float().to(self.device)
        position = (poses[:, :3, 3] - self.center) / self.scale_m
        return torch.cat([position, poses[:, :3, 0], poses[:, :3, 1]], 1)

    def step(self, optimizer: torch.optim.Optimizer, views: Views, which: Any) -> float:
        """Descend once on some of the views; return the loss."""
        optimizer.zero_grad(set_to_none=True)
        out = self.layers(self.inputs(views, which))
        loss = nn.functional.mse_loss(out, self.targets(views, which))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def evaluate(self, views: Views) -> dict[str, float]:
        """Measure the answers to views."""
        self.layers.eval()
        poses, losses = np.tile(np.eye(4), (len(views), 1, 1)), []
        for start in range(0, len(views), self.batch_size):
            which = np.arange(start, min(start + self.batch_size, len(views)))
            out = self.layers(self.inputs(views, which))
            losses.append((out - self.targets(views, which)).square().mean(1).cpu())
            poses[which, :3, :3] = rotation_from_6d(out[:, 3:]).cpu().numpy()
            poses[which, :3, 3] = (out[:, :3] * self.scale_m + self.center).cpu().numpy()
        return {'loss': float(torch.cat(losses).mean()), **scores(poses, views.map_from_camera)}


def train_experiment(
    experiment: Experiment,
    images: StudyImages,
    codec: ImageCodec,
    epochs: int,
    *,
    device: torch.device,
    seed: int,
    progress: ProgressCallback,
) -> dict[str, Any]:
    """
    Train one network for so many epochs and judge it after each; nothing is chosen by the result.

    Returns
    -------
    dict
        Plain JSON: what was trained, ``history`` by epoch, and the last epoch's ``train``,
        ``stretch`` and ``leaking`` scores.
    """
    began_s = time.monotonic()
    rng = np.random.default_rng(seed)
    history: dict[str, list[Any]] = {'train_loss': [], 'stretch': [], 'leaking': []}
    count = len(images.training)
    with torch.random.fork_rng(devices=[] if device.type == 'cpu' else None):
        torch.manual_seed(seed)
        known = images.training.map_from_camera
        network = StudyNetwork(experiment, codec, images.camera, known, device)
        optimizer = torch.optim.Adam(network.layers.parameters(), LEARNING_RATE)
        for epoch in range(epochs):
            network.layers.train()
            batches = np.array_split(rng.permutation(count), -(-count // network.batch_size))
            losses = [network.step(optimizer, images.training, batch) for batch in batches]
            history['train_loss'].append(float(np.mean(losses)))
            history['stretch'].append(network.evaluate(images.held_out))
            history['leaking'].append(network.evaluate(images.leaking))
            said = history['stretch'][-1]
            note = f'{experiment.name}: {said["median_translation_m"] * 100:.1f} cm'
            progress(Progress('training', epoch + 1, epochs, note))
    some = evenly_spaced_indices(count, MAX_TRAINING_EVAL_IMAGES)
    return {
        'name': experiment.name,
        **experiment._asdict(),
        'compression': experiment.compression,
        'size': [images.camera.width, images.camera.height],
        'pictures': count,
        'rejected': images.rejection_counts,
        'parameters': sum(weight.numel() for weight in network.layers.parameters()),
        'history': history,
        'train': network.evaluate(images.training.subset(some)),
        'stretch': history['stretch'][-1],
        'leaking': history['leaking'][-1],
        'seconds': time.monotonic() - began_s,
    }


def scores(
    map_from_camera: NDArray[np.float64], map_from_camera_gt: NDArray[np.float64]
) -> dict[str, float]:
    """Measure poses (N, 4, 4) against the true ones."""
    errors = pose_errors(map_from_camera, map_from_camera_gt)
    return {
        'accuracy_0.1m': float(np.mean(errors.translation <= ACCURACY_THRESHOLD_M)),
        'median_translation_m': float(np.median(errors.translation)),
        'median_rotation_deg': float(np.degrees(np.median(errors.rotation))),
    }


def trivial_baselines(
    training_poses: NDArray[np.float64], map_from_camera_gt: NDArray[np.float64]
) -> dict[str, dict[str, float]]:
    """Measure the mean of the known poses, and the oracle that takes the nearest of them."""
    nearest = nearest_reference(training_poses)
    return {
        'mean_pose': scores(
            np.broadcast_to(mean_pose(training_poses), map_from_camera_gt.shape),
            map_from_camera_gt,
        ),
        'nearest_pose': scores(
            np.stack([nearest(pose) for pose in map_from_camera_gt]), map_from_camera_gt
        ),
    }


@torch.no_grad()
def codec_quality(codec: ImageCodec, views: Views) -> dict[str, float]:
    """
    Measure what is left of views after they were compressed and rebuilt.

    Returns
    -------
    dict
        ``retained``, share of their variance about the mean picture, and ``psnr_db``, of colours
        with their exposure and contrast put back.
    """
    lost = total = 0.0
    errors = []
    for start in range(0, len(views), BATCH):
        part = slice(start, start + BATCH)
        rgb, seen = to_tensors(views.rgb[part], views.valid[part], codec.mean.device)
        pictures = codec.preprocess(rgb, seen)
        error = codec.decode(codec.encode(pictures)) - pictures
        lost += float(error.square().sum())
        total += float((pictures - codec.mean).square().sum())
        _, contrast = channel_statistics(rgb, seen)
        squared = (error.view_as(rgb).square() * contrast * seen).sum((1, 2, 3))
        errors.append(squared / (3 * seen.sum((1, 2, 3)).clamp(min=1.0)))
    psnr_db = -10.0 * torch.cat(errors).clamp(min=1e-10).log10()
    return {'retained': 1.0 - lost / total, 'psnr_db': float(psnr_db.mean())}
