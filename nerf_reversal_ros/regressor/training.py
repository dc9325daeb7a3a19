"""Training of a `PoseRegressor` on synthetic views and mapping images of one room."""

from collections.abc import Iterable
from typing import Any, cast, NamedTuple

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nerf_reversal_ros.capture.capture import Frame
from nerf_reversal_ros.capture.image_resampling import resample_to_camera
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import RegressorConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import mean_pose
from nerf_reversal_ros.core.parallel import one_blas_thread
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.regressor.coordinate_network import (
    cell_labels,
    CoordinateNetwork,
    Network,
    scene_labels,
)
from nerf_reversal_ros.regressor.image_codec import to_tensors
from nerf_reversal_ros.regressor.image_codec_training import fit_codec
from nerf_reversal_ros.regressor.layers import fold_batch_norms
from nerf_reversal_ros.regressor.one_cycle import one_cycle
from nerf_reversal_ros.regressor.pose_network import (
    camera_frame_error,
    gaussian_nll,
    NetworkInput,
    NetworkOutput,
    PoseNetwork,
)
from nerf_reversal_ros.regressor.regressor import code_weights, network_inputs, PoseRegressor
from nerf_reversal_ros.regressor.rounding import round_to_8_bit
from nerf_reversal_ros.regressor.validation import (
    constant_pose_scores,
    LOSS_UNIT_DEG,
    LOSS_UNIT_M,
    score_poses,
    ValidationScores,
)
from nerf_reversal_ros.synthesis.augmentation import (
    augment_appearance,
    sample_motions,
    warp_by_depth,
)
from nerf_reversal_ros.synthesis.view_synthesis import gather_views, Views

BATCH = 256
INDEX_VIEWS = 4000
"""Synthetic views that are indexed for retrieval, at most: more cost time at each image."""
WARMUP = 0.05
"""Fraction of the steps in which the learning rate rises."""
AVERAGED_EPOCHS = 0.5
"""Time constant of the moving average of the weights [epochs]; the average is validated."""
LATER_EPOCH_TOLERANCE = 2.0
"""A later epoch is kept unless its validation error is above the least one times this. The rate
falls until the last epoch, and few validation images, all near the walk, hardly tell epochs apart.
"""
REAL_FRACTION = 0.15
"""Fraction of mapping images among the samples of an epoch; they are repeated to reach it."""
NLL_WEIGHT = 0.1
"""Weight of the negative log-likelihood in the loss; 0 in the first epoch, of large errors."""
SCENE_VIEWS = 500
"""Views that tell the extent of the scene, at most."""
MIN_POSITION_SCALE_M = 0.05
"""Least scale of the network's positions, for poses all at one place."""


def views_from_frames(
    frames: Iterable[Frame], camera: Camera, field: RadianceField | None = None
) -> Views:
    """
    Resample frames of a capture to the canonical camera, as views with poses.

    Depth is rendered from the field, or 0 (unknown) without one.
    """
    rgb, valid, depth, poses = [], [], [], []
    for frame in frames:
        image = resample_to_camera(frame.rgb, frame.camera, camera, frame.valid)
        rgb.append(image.rgb)
        valid.append(image.valid)
        poses.append(frame.map_from_camera)
        if field is not None:
            depth.append(field.render(frame.map_from_camera[None], camera)[0].depth)
    shape = (len(poses), camera.height, camera.width)
    return Views(
        np.array(rgb, dtype=np.uint8).reshape(*shape, 3),
        np.array(valid, dtype=np.bool_).reshape(shape),
        np.array(depth, dtype=np.float16).reshape(shape) if depth else np.zeros(shape, np.float16),
        np.array(poses, dtype=np.float64).reshape(-1, 4, 4),
        {},
    )


@one_blas_thread()
def train_regressor(
    views: Views,
    real: Views,
    validation: Views,
    camera: Camera,
    config: RegressorConfig,
    *,
    device: str | torch.device = 'cpu',
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> PoseRegressor:
    """
    Train codec and network, keep the last weights that validate well, and index the views.

    Parameters
    ----------
    views, real : Views
        Synthetic views and mapping images, both of ``camera``.
    validation : Views
        Mapping images of the held-out segment, unused by ``real`` and by the training of the
        field.
    camera : Camera
        The canonical camera.
    config : RegressorConfig
        Codec, network input and training schedule.
    device : str or torch.device
        Device of the training and of the result.
    seed : int
        Of every random choice; the same seed on the same machine gives the same regressor.

    Raises
    ------
    BuildError
        If there is no training view or no validation image; if the training diverges.
    """
    if len(views) + len(real) == 0 or len(validation) == 0:
        raise BuildError(
            f'the regressor has {len(views)} synthetic views and {len(real)} mapping images to'
            f' train on, and {len(validation)} validation images: give some for both'
        )
    with torch.random.fork_rng(devices=[] if str(device) == 'cpu' else None):
        torch.manual_seed(seed)
        trainer = _RegressorTrainer(
            views, real, camera, config, torch.device(device), seed, progress
        )
        return trainer.run(validation)


class _Samples(NamedTuple):
    """N images as a network learns them, with their poses and what their cells show."""

    rgb: Tensor
    valid: Tensor
    map_from_camera: Tensor
    in_map: Tensor
    """(N, C, 3) places that the cells show [m]."""
    cell_depth: Tensor
    """(N, C) their depths, 0 where they are unknown [m]."""


class _RegressorTrainer:
    """State of one training: codec, network, samples and random numbers."""

    def __init__(
        self,
        views: Views,
        real: Views,
        camera: Camera,
        config: RegressorConfig,
        device: torch.device,
        seed: int,
        progress: ProgressCallback = no_progress,
    ) -> None:
        self.progress = progress
        self.parts = [part for part in (views, real) if len(part)]
        self.image_count = len(real)
        self.poses = np.concatenate([part.map_from_camera for part in self.parts])
        self.camera, self.config, self.device = camera, config, device
        self.codec = fit_codec(self.parts, config, device=device, seed=seed, progress=progress)
        self.network_input = NetworkInput.from_config(config)
        self._make_network()
        self.rng = np.random.default_rng(seed)
        repeats = 1
        if len(views) and len(real):
            repeats = max(1, round(REAL_FRACTION / (1 - REAL_FRACTION) * len(views) / len(real)))
        indices = np.arange(len(self.poses))
        self.samples = np.concatenate([indices, *[indices[len(views) :]] * (repeats - 1)])

    def _make_network(self) -> None:
        """Make the network, and the mean and scale of the positions that it regresses."""
        camera, device = self.camera, self.device
        self.network: Network
        if self.network_input == NetworkInput.CODE:
            self.network = PoseNetwork(
                self.network_input, camera.height, camera.width, self.config.components
            )
            positions = torch.from_numpy(self.poses[:, :3, 3]).float().to(device)
            self.position_mean = positions.mean(0)
            self.position_scale = positions.std(0, unbiased=False).clamp(min=MIN_POSITION_SCALE_M)
        else:
            self.network = CoordinateNetwork(camera)
            views = gather_views(self.parts, evenly_spaced_indices(len(self.poses), SCENE_VIEWS))
            poses = torch.from_numpy(views.map_from_camera).float()
            self.network.set_scene(
                *scene_labels(torch.from_numpy(views.depth).float(), poses, camera)
            )
            self.position_mean = torch.zeros(3, device=device)
            self.position_scale = torch.ones(3, device=device)
        self.network.to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(self, validation: Views) -> PoseRegressor:
        """Train with early stopping on the validation images; return the best regressor."""
        config = self.config
        steps = min(-(-len(self.samples) // config.batch_size), max(1, len(self.samples) // 2))
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=0.02, fused=True
        )
        schedule = one_cycle(optimizer, config.learning_rate, config.epochs * steps, WARMUP)
        decay = np.exp(-1 / (AVERAGED_EPOCHS * steps))
        average = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
        )
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.device.type == 'cuda')
        history: list[dict[str, float]] = []
        best, best_weights, best_epoch, least = None, {}, 0, np.inf
        for epoch in range(config.epochs):
            losses = []
            self.network.train()
            for batch in np.array_split(self.rng.permutation(self.samples), steps):
                loss = self._loss(batch, nll_weight=NLL_WEIGHT if epoch else 0.0)
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                schedule.step()
                average.update_parameters(self.network)
                losses.append(float(loss.detach()))
            scores = self._validate(cast(Network, average.module), validation)
            history.append(
                {
                    'loss': float(np.mean(losses)),
                    'validation_translation_m': scores.translation_m,
                    'validation_rotation_deg': scores.rotation_deg,
                }
            )
            least = min(least, scores.combined)
            if best is None or scores.combined <= LATER_EPOCH_TOLERANCE * least:
                best, best_epoch = scores, epoch
                best_weights = {k: v.clone() for k, v in average.module.state_dict().items()}
            note = (
                f'loss {np.mean(losses):.2f}, validation {scores.translation_m * 100:.1f} cm'
                f' {scores.rotation_deg:.1f} deg'
            )
            self.progress(Progress('regressor', epoch + 1, config.epochs, note))
            if epoch - best_epoch >= config.patience:
                break
        assert best is not None  # config.epochs >= 1
        _check_finite(best)
        self.network.load_state_dict(best_weights)
        report = self._report(validation, best, history, best_epoch)
        return self._assemble_regressor(validation, report)

    def _report(
        self,
        validation: Views,
        best: ValidationScores,
        history: list[dict[str, float]],
        best_epoch: int,
    ) -> dict[str, Any]:
        """Return the report of the training, as plain JSON; ``best_epoch`` counts from 0."""
        baseline = constant_pose_scores(mean_pose(self.poses), validation.map_from_camera)
        return {
            'retained_variance': [round(float(value), 5) for value in self.codec.retained],
            'history': history,
            'best_epoch': best_epoch + 1,
            'validation': best.to_dict(),
            'mean_pose': {
                'translation_m': baseline.translation_m,
                'rotation_deg': baseline.rotation_deg,
            },
            'views': [len(part) for part in self.parts],
            'parameters': sum(weight.numel() for weight in self.network.parameters()),
        }

    def _loss(self, batch: NDArray[np.int64], nll_weight: float) -> Tensor:
        """Return the mean pose error of a batch, and what else the network is taught."""
        samples = self._augmented_batch(batch)
        raw = self._raw_outputs(self.network, samples.rgb, samples.valid)
        outputs = self._outputs(self.network, raw)
        poses = samples.map_from_camera
        error = camera_frame_error(outputs, poses[:, :3, 3], poses[:, :3, :3])
        translation_m = error[:, :3].norm(dim=1).mean()
        rotation_deg = torch.rad2deg(error[:, 3:].norm(dim=1).mean())
        loss: Tensor = translation_m / LOSS_UNIT_M + rotation_deg / LOSS_UNIT_DEG
        if isinstance(self.network, CoordinateNetwork):
            loss = loss + self.network.point_loss(raw, samples.in_map, samples.cell_depth)
        if nll_weight > 0.0:
            loss = loss + nll_weight * gaussian_nll(outputs, error.detach()).mean()
        return loss

    def _augmented_batch(self, indices: NDArray[np.int64]) -> '_Samples':
        """
        Return views with varied appearance and moved cameras.

        Appearance is varied first, so that its occlusions are warped as well.
        """
        views = gather_views(self.parts, indices)
        poses = torch.from_numpy(views.map_from_camera).float().to(self.device)
        depth = torch.from_numpy(views.depth).to(self.device).float()
        motions = sample_motions(depth, self.rng)
        rgb, valid = to_tensors(views.rgb, views.valid, self.device)
        rgb = augment_appearance(rgb, self.rng)
        rgb, valid, pixels = warp_by_depth(rgb, valid, depth, self.camera, motions)
        labels = cell_labels((depth, poses), pixels, self.camera, motions)
        return _Samples(rgb, valid, poses @ motions, *labels)

    def _raw_outputs(self, network: Network, rgb: Tensor, valid: Tensor) -> Tensor:
        with torch.no_grad():
            images = self.codec.preprocess(rgb, valid)
            inputs = network_inputs(self.network_input, self.codec, images, self.camera)
        with torch.autocast(self.device.type, torch.float16, self.device.type == 'cuda'):
            raw: Tensor = network(inputs)
        return raw.float()

    def _outputs(self, network: Network, raw: Tensor) -> NetworkOutput:
        numbers = network.pose_numbers(raw)
        return NetworkOutput(numbers, self.position_mean, self.position_scale)

    @torch.no_grad()
    def _validate(self, network: Network, validation: Views) -> ValidationScores:
        """Score a network as it is now, without the averaging over copies."""
        network.eval()

        def infer(rgb: Tensor, valid: Tensor) -> NetworkOutput:
            return self._outputs(network, self._raw_outputs(network, rgb, valid))

        return score_poses(infer, validation, self.device)

    @torch.no_grad()
    def _encode(self, views: Views) -> Tensor:
        images = self.codec.preprocess(*to_tensors(views.rgb, views.valid, self.device))
        return self.codec.encode(images)

    def _indexed_views(self) -> NDArray[np.int64]:
        """Return which views to index: evenly spaced synthetic ones, and all mapping images."""
        synthetic = len(self.poses) - self.image_count
        spaced = evenly_spaced_indices(synthetic, INDEX_VIEWS)
        return np.concatenate([spaced, np.arange(synthetic, len(self.poses))])

    def _assemble_regressor(self, validation: Views, report: dict[str, Any]) -> PoseRegressor:
        """Index the codes of views, calibrate on the validation images, make the regressor."""
        fold_batch_norms(self.network)
        for weight in self.network.parameters():
            weight.data = weight.data.half().float()  # as the file holds it
        chosen = self._indexed_views()
        codes = [
            self._encode(gather_views(self.parts, chosen[start : start + BATCH]))
            for start in range(0, len(chosen), BATCH)
        ]
        index = round_to_8_bit(torch.cat(codes), 0)
        weights = code_weights(self.codec)
        nearest = torch.cdist(self._encode(validation) * weights, index * weights).min(1).values
        scalars = {
            'position_mean': self.position_mean,
            'position_scale': self.position_scale,
            'covariance_scale': torch.tensor(1.0, device=self.device),
            'typical_distance': nearest.median().clamp(min=1e-6),
        }
        regressor = PoseRegressor(
            self.camera,
            self.network_input,
            self.codec,
            self.network,
            index,
            self.poses[chosen],
            scalars,
            report,
        )
        scores = score_poses(lambda *batch: regressor.infer(*batch)[0], validation, self.device)
        scalars['covariance_scale'].fill_(scores.covariance_scale)
        report['validation'] = scores.to_dict()
        return regressor


def _check_finite(best: ValidationScores) -> None:
    """Raise BuildError if the training diverged."""
    if not np.isfinite(best.combined):
        raise BuildError(
            'the training of the regressor diverged: its errors are not numbers; '
            + remedies.LOWER_LEARNING_RATE
        )
