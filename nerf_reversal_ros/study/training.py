"""Training and evaluation of one experiment: a network of the original project on one input."""

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
from nerf_reversal_ros.regressor.pose_network import NetworkInput, rotation_from_6d
from nerf_reversal_ros.regressor.regressor import network_inputs
from nerf_reversal_ros.study.data import StudyImages
from nerf_reversal_ros.study.plan import Experiment, StudyPlan
from nerf_reversal_ros.synthesis.view_synthesis import Views

BATCH, MIN_BATCH = 32, 8
"""Images of a training step, at the original project's small size and at any size. Its own batch
size is unpublished; a small one gives more steps in few epochs."""
ACCURACY_THRESHOLD_M = 0.1
"""Threshold of the position accuracy, as in the original project: 0.1 of its scene's units."""
MAX_TRAINING_EVAL_IMAGES = 1000
"""Training images that the final network is evaluated on, at most."""


class StudyNetwork:
    """Layers of the original project, with standardized position and 6-D rotation as output."""

    def __init__(
        self,
        experiment: Experiment,
        codec: ImageCodec,
        camera: Camera,
        training_poses: NDArray[np.float64],
        device: torch.device,
        *,
        bfloat16: bool = False,
    ) -> None:
        """
        Make the untrained layers.

        Parameters
        ----------
        experiment : Experiment
            Kind and input of the network.
        codec : ImageCodec
            Codec of the images.
        camera : Camera
            Camera of the images.
        training_poses : (N, 4, 4) array
            Their positions are standardized: minus their mean, over their mean distance from it.
        device : torch.device
            Device of the layers.
        bfloat16 : bool
            Whether a CNN computes in bfloat16, as in `StudyPlan.bfloat16`.
        """
        self.experiment, self.codec, self.camera, self.device = experiment, codec, camera, device
        self.bfloat16 = bfloat16 and experiment.network == 'cnn'
        image_shape = (3, camera.height, camera.width)
        takes_codes = experiment.network_input == NetworkInput.CODE
        shape = (len(codec.variance),) if takes_codes else image_shape
        self.layers = original_layers(experiment.network, shape, 9).to(device)
        positions = training_poses[:, :3, 3]
        self.center = torch.from_numpy(positions.mean(0)).float().to(device)
        spread_m = np.linalg.norm(positions - positions.mean(0), axis=1).mean()
        self.scale_m = max(float(spread_m), 1e-3)
        scale = max(camera.height, camera.width) / LONGER_SIDE_PX
        self.batch_size = int(np.clip(BATCH / scale**2, MIN_BATCH, BATCH))

    @torch.no_grad()
    def inputs(self, views: Views, indices: NDArray[np.int64]) -> Tensor:
        """Return the network's input for some of the views."""
        rgb, valid = to_tensors(views.rgb[indices], views.valid[indices], self.device)
        images = self.codec.preprocess(rgb, valid)
        inputs = network_inputs(self.experiment.network_input, self.codec, images, self.camera)
        if self.experiment.network == 'cnn':
            return inputs.contiguous(memory_format=torch.channels_last)  # half the time on CPUs
        return inputs

    def outputs(self, views: Views, indices: NDArray[np.int64]) -> Tensor:
        """Return the network's estimates of `targets` for some of the views, (N, 9)."""
        inputs = self.inputs(views, indices)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            out: Tensor = self.layers(inputs)
        return out.float()

    def targets(self, views: Views, indices: NDArray[np.int64]) -> Tensor:
        """Return standardized positions and the rotations' first two columns, (N, 9)."""
        poses = torch.from_numpy(views.map_from_camera[indices]).float().to(self.device)
        position = (poses[:, :3, 3] - self.center) / self.scale_m
        return torch.cat([position, poses[:, :3, 0], poses[:, :3, 1]], 1)

    def step(
        self, optimizer: torch.optim.Optimizer, views: Views, indices: NDArray[np.int64]
    ) -> float:
        """Take one optimizer step on some of the views; return the mean squared error."""
        optimizer.zero_grad(set_to_none=True)
        out = self.outputs(views, indices)
        loss = nn.functional.mse_loss(out, self.targets(views, indices))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())

    def weights(self) -> dict[str, Tensor]:
        """Copy the weights of the layers."""
        return {name: value.clone() for name, value in self.layers.state_dict().items()}

    @torch.no_grad()
    def evaluate(self, views: Views) -> dict[str, float]:
        """Return the loss on views, and the `scores` of their estimated poses."""
        self.layers.eval()
        poses, losses = np.tile(np.eye(4), (len(views), 1, 1)), []
        for start in range(0, len(views), self.batch_size):
            indices = np.arange(start, min(start + self.batch_size, len(views)))
            out = self.outputs(views, indices)
            losses.append((out - self.targets(views, indices)).square().mean(1).cpu())
            poses[indices, :3, :3] = rotation_from_6d(out[:, 3:]).cpu().numpy()
            poses[indices, :3, 3] = (out[:, :3] * self.scale_m + self.center).cpu().numpy()
        return {'loss': float(torch.cat(losses).mean()), **scores(poses, views.map_from_camera)}


def train_experiment(
    experiment: Experiment,
    images: StudyImages,
    codec: ImageCodec,
    plan: StudyPlan,
    *,
    device: torch.device,
    seed: int,
    progress: ProgressCallback,
) -> dict[str, Any]:
    """
    Train one network until its validation error no longer falls; evaluate it after each epoch.

    The scores are those of the epoch of least validation error. Test images select nothing.

    Returns
    -------
    dict
        Plain JSON: the experiment, ``history`` by epoch, the ``best_epoch``, and its ``train``,
        ``stretch`` and ``leaking`` scores.
    """
    start_s = time.monotonic()
    rng = np.random.default_rng(seed)
    history: dict[str, list[Any]] = {
        name: [] for name in ('train_loss', 'validation', 'stretch', 'leaking')
    }
    count = len(images.training)
    with torch.random.fork_rng(devices=[] if device.type == 'cpu' else None):
        torch.manual_seed(seed)
        training_poses = images.training.map_from_camera
        network = StudyNetwork(
            experiment, codec, images.camera, training_poses, device, bfloat16=plan.bfloat16
        )
        optimizer = torch.optim.Adam(network.layers.parameters(), LEARNING_RATE)
        best_epoch, best_weights = 0, network.weights()
        for epoch in range(plan.epochs):
            network.layers.train()
            batches = np.array_split(rng.permutation(count), -(-count // network.batch_size))
            losses = [network.step(optimizer, images.training, batch) for batch in batches]
            history['train_loss'].append(float(np.mean(losses)))
            history['validation'].append(network.evaluate(images.validation))
            history['stretch'].append(network.evaluate(images.held_out))
            history['leaking'].append(network.evaluate(images.leaking))
            if min(history['validation'], key=_loss) is history['validation'][-1]:
                best_epoch, best_weights = epoch, network.weights()
            median_m = history['stretch'][-1]['median_translation_m']
            note = f'{experiment.name}: {median_m * 100:.1f} cm'
            progress(Progress('training', epoch + 1, plan.epochs, note))
            if epoch - best_epoch >= plan.patience:
                break
        network.layers.load_state_dict(best_weights)
    chosen = evenly_spaced_indices(count, MAX_TRAINING_EVAL_IMAGES)
    return {
        'name': experiment.name,
        **experiment.to_dict(),
        'compression': experiment.compression,
        'size': [images.camera.width, images.camera.height],
        'pictures': count,
        'rejected': images.rejection_counts,
        'parameters': sum(weight.numel() for weight in network.layers.parameters()),
        'history': history,
        'best_epoch': best_epoch + 1,
        'train': network.evaluate(images.training.subset(chosen)),
        'stretch': history['stretch'][best_epoch],
        'leaking': history['leaking'][best_epoch],
        'seconds': time.monotonic() - start_s,
    }


def _loss(scores: dict[str, float]) -> float:
    return scores['loss']


def scores(
    map_from_camera: NDArray[np.float64], map_from_camera_gt: NDArray[np.float64]
) -> dict[str, float]:
    """Compute accuracy and median errors of poses (N, 4, 4) against ground truth."""
    errors = pose_errors(map_from_camera, map_from_camera_gt)
    return {
        'accuracy_0.1m': float(np.mean(errors.translation <= ACCURACY_THRESHOLD_M)),
        'median_translation_m': float(np.median(errors.translation)),
        'median_rotation_deg': float(np.degrees(np.median(errors.rotation))),
    }


def trivial_baselines(
    training_poses: NDArray[np.float64], map_from_camera_gt: NDArray[np.float64]
) -> dict[str, dict[str, float]]:
    """Score the mean training pose, and the nearest training pose, which is an oracle."""
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
    Measure the reconstruction quality of an image codec on views.

    Returns
    -------
    dict
        ``retained``: fraction of the variance about the mean image that the codes retain.
        ``psnr_db``: of reconstructions, with the exposure and contrast of the images restored.
    """
    lost = total = 0.0
    errors = []
    for start in range(0, len(views), BATCH):
        part = slice(start, start + BATCH)
        rgb, valid = to_tensors(views.rgb[part], views.valid[part], codec.mean.device)
        images = codec.preprocess(rgb, valid)
        error = codec.decode(codec.encode(images)) - images
        lost += float(error.square().sum())
        total += float((images - codec.mean).square().sum())
        _, contrast = channel_statistics(rgb, valid)
        squared = (error.view_as(rgb).square() * contrast * valid).sum((1, 2, 3))
        errors.append(squared / (3 * valid.sum((1, 2, 3)).clamp(min=1.0)))
    psnr_db = -10.0 * torch.cat(errors).clamp(min=1e-10).log10()
    return {'retained': 1.0 - lost / total, 'psnr_db': float(psnr_db.mean())}
