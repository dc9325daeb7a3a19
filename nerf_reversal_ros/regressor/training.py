"""How a `PoseRegressor` is learned from synthetic and real views of one room."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from nerf_reversal_ros.capture.capture import Frame
from nerf_reversal_ros.capture.image_resampling import resample_to_camera
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import RegressorConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import FloatArray, mean_pose, pose_errors
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.regressor.image_codec import to_tensors
from nerf_reversal_ros.regressor.image_codec_training import fit_codec
from nerf_reversal_ros.regressor.pose_network import (
    camera_frame_error,
    gaussian_nll,
    NetworkOutput,
    PoseNetwork,
    whitened_error,
)
from nerf_reversal_ros.regressor.regressor import code_weights, network_inputs, PoseRegressor
from nerf_reversal_ros.synthesis.augmentation import (
    augment_appearance,
    sample_motions,
    warp_by_depth,
)
from nerf_reversal_ros.synthesis.view_synthesis import Views

BATCH = 256
REAL_FRACTION = 0.15
"""Real pictures are repeated until they make up this share of what is trained on."""
LOSS_UNIT_M, LOSS_UNIT_DEG = 0.1, 5.0
"""Errors that weigh the same: in the loss, and where two sets of weights are compared."""
MAX_BASELINE_FRACTION = 0.8
"""Share of the mean pose's error that a regressor must stay below: less may be luck."""


def views_from_frames(
    frames: Iterable[Frame], camera: Camera, field: RadianceField | None = None
) -> Views:
    """
    Return frames of a capture as pictures of the canonical camera, with poses.

    Their depth is what the field renders; without a field it is unknown.
    """
    rgb, seen, depth, poses = [], [], [], []
    for frame in frames:
        warped = resample_to_camera(frame.rgb, frame.camera, camera)
        rgb.append(warped.rgb)
        seen.append(warped.valid)
        poses.append(frame.map_from_camera)
        if field is not None:
            depth.append(field.render(frame.map_from_camera[None], camera)[0].depth)
    shape = (len(poses), camera.height, camera.width)
    return Views(
        np.array(rgb, dtype=np.uint8).reshape(*shape, 3),
        np.array(seen, dtype=np.bool_).reshape(shape),
        np.array(depth, dtype=np.float16).reshape(shape) if depth else np.zeros(shape, np.float16),
        np.array(poses, dtype=np.float64).reshape(-1, 4, 4),
        {},
    )


@dataclass
class _ValidationScores:
    """How good a network is on pictures it has not learned from."""

    translation_m: float
    rotation_deg: float
    covariance_scale: float

    @property
    def combined(self) -> float:
        return self.translation_m / LOSS_UNIT_M + self.rotation_deg / LOSS_UNIT_DEG


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
    Learn code, network and index; keep the weights that do best on the validation pictures.

    Parameters
    ----------
    views, real : Views
        Synthetic views and the capture's own pictures, both of ``camera``.
    validation : Views
        Real pictures of a stretch of the walk that neither ``real`` nor the field has seen.
    camera : Camera
        The canonical camera.
    seed : int
        Of every random choice; the same seed on the same machine gives the same regressor.

    Raises
    ------
    BuildError
        If there is nothing to learn from or to validate on, or if the best network is not clearly
        better on the validation pictures than answering always the mean of all poses that it
        learned from.
    """
    if len(views) + len(real) == 0 or len(validation) == 0:
        raise BuildError(
            f'the regressor has {len(views)} synthetic and {len(real)} real views to learn from'
            f' and {len(validation)} to be validated on: it needs some of each kind'
        )
    with torch.random.fork_rng(devices=[] if str(device) == 'cpu' else None):
        torch.manual_seed(seed)
        trainer = _Trainer(views, real, camera, config, torch.device(device), seed, progress)
        return trainer.run(validation)


class _Trainer:
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
        self.poses = np.concatenate([part.map_from_camera for part in self.parts])
        self.camera, self.config, self.device = camera, config, device
        self.codec = fit_codec(self.parts, config, device=device, seed=seed, progress=progress)
        self.network_sees = 'none' if config.compression == 'none' else config.network_sees
        self.network = PoseNetwork(
            self.network_sees, camera.height, camera.width, config.components
        ).to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        positions = torch.from_numpy(self.poses[:, :3, 3]).float().to(device)
        self.position_mean = positions.mean(0)
        self.position_scale = positions.std(0, unbiased=False).clamp(min=0.05)
        self.rng = np.random.default_rng(seed)
        repeats = 1
        if len(views) and len(real):
            repeats = max(1, round(REAL_FRACTION / (1 - REAL_FRACTION) * len(views) / len(real)))
        everything = np.arange(len(self.poses))
        self.samples = np.concatenate([everything, *[everything[len(views) :]] * (repeats - 1)])

    def run(self, validation: Views) -> PoseRegressor:
        """Train until the validation pictures no longer profit."""
        config = self.config
        steps = -(-len(self.samples) // config.batch_size)
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=0.02, fused=True
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.learning_rate, total_steps=config.epochs * steps, pct_start=0.2
        )
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.device.type == 'cuda')
        middle = mean_pose(self.poses)
        baseline = _constant_pose_scores(middle, validation.map_from_camera)
        history: list[dict[str, float]] = []
        best, best_weights, best_epoch = None, {}, 0
        for epoch in range(config.epochs):
            losses = []
            self.network.train()
            for lesson in np.array_split(self.rng.permutation(self.samples), steps):
                loss = self._loss(lesson, certainty_weight=0.1 if epoch else 0.0)
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                schedule.step()
                losses.append(float(loss.detach()))
            now = self._validate(validation)
            history.append(
                {
                    'loss': float(np.mean(losses)),
                    'validation_translation_m': now.translation_m,
                    'validation_rotation_deg': now.rotation_deg,
                }
            )
            if best is None or now.combined < best.combined:
                best, best_epoch = now, epoch
                best_weights = {k: v.clone() for k, v in self.network.state_dict().items()}
            note = (
                f'loss {np.mean(losses):.2f}, validation {now.translation_m * 100:.1f} cm'
                f' {now.rotation_deg:.1f} deg'
            )
            self.progress(Progress('regressor', epoch + 1, config.epochs, note))
            if epoch - best_epoch >= config.patience:
                break
        if best is None or not best.combined < MAX_BASELINE_FRACTION * baseline.combined:
            found = best or now
            raise BuildError(
                'the regressor learned nothing that holds on the validation pictures: median'
                f' {found.translation_m:.2f} m / {found.rotation_deg:.0f} deg, and answering'
                f' always the mean pose gives {baseline.translation_m:.2f} m /'
                f' {baseline.rotation_deg:.0f} deg; raise regressor.epochs or synthesis.views, or'
                ' check that the capture shows a textured room'
            )
        self.network.load_state_dict(best_weights)
        return self._assemble_regressor(validation, best, best_epoch, baseline, history)

    def _loss(self, lesson: NDArray[np.int64], certainty_weight: float) -> Tensor:
        rgb, seen, poses = self._augmented_batch(lesson)
        outputs = NetworkOutput(
            self._raw_outputs(rgb, seen), self.position_mean, self.position_scale
        )
        error = camera_frame_error(outputs, poses[:, :3, 3], poses[:, :3, :3])
        metres, radians = error[:, :3].norm(dim=1).mean(), error[:, 3:].norm(dim=1).mean()
        loss: Tensor = metres / LOSS_UNIT_M + torch.rad2deg(radians) / LOSS_UNIT_DEG
        if certainty_weight > 0.0:
            loss = loss + certainty_weight * gaussian_nll(outputs, error.detach()).mean()
        return loss

    def _augmented_batch(self, which: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """
        Return colours, masks and poses of views as another camera might have taken them.

        Appearance comes first, for it works on bytes: its noise and patches are moved as well.
        """
        views = self._gather_views(which)
        pictures = np.stack([augment_appearance(rgb, self.rng) for rgb in views.rgb])
        poses = torch.from_numpy(views.map_from_camera).float().to(self.device)
        depth = torch.from_numpy(views.depth).float().to(self.device)
        motions = sample_motions(depth, self.rng)
        rgb, seen = to_tensors(pictures, views.valid, self.device)
        return *warp_by_depth(rgb, seen, depth, self.camera, motions), poses @ motions

    def _gather_views(self, which: NDArray[np.int64]) -> Views:
        """Copy views, counted through all parts."""
        pairs = [self._locate_view(int(number)) for number in which]
        return Views(
            np.stack([part.rgb[i] for part, i in pairs]),
            np.stack([part.valid[i] for part, i in pairs]),
            np.stack([part.depth[i] for part, i in pairs]),
            np.stack([part.map_from_camera[i] for part, i in pairs]),
            {},
        )

    def _locate_view(self, number: int) -> tuple[Views, int]:
        for part in self.parts:
            if number < len(part):
                return part, number
            number -= len(part)
        raise IndexError(number)

    def _raw_outputs(self, rgb: Tensor, seen: Tensor) -> Tensor:
        with torch.no_grad():
            pictures = self.codec.preprocess(rgb, seen)
            codes = self.codec.encode(pictures)
            inputs = network_inputs(self.network_sees, self.codec, pictures, codes, self.camera)
        with torch.autocast(self.device.type, torch.float16, self.device.type == 'cuda'):
            raw: Tensor = self.network(inputs)
        return raw.float()

    @torch.no_grad()
    def _validate(self, validation: Views) -> _ValidationScores:
        self.network.eval()
        errors, surprises = [], []
        for start in range(0, len(validation), BATCH):
            part = slice(start, start + BATCH)
            rgb, seen = to_tensors(validation.rgb[part], validation.valid[part], self.device)
            outputs = NetworkOutput(
                self._raw_outputs(rgb, seen), self.position_mean, self.position_scale
            )
            truth = torch.from_numpy(validation.map_from_camera[part]).float().to(self.device)
            error = camera_frame_error(outputs, truth[:, :3, 3], truth[:, :3, :3])
            errors.append(error)
            surprises.append(whitened_error(outputs, error).square().mean(1))
        error = torch.cat(errors)
        return _ValidationScores(
            float(error[:, :3].norm(dim=1).median()),
            float(error[:, 3:].norm(dim=1).median() * 180 / torch.pi),
            max(1.0, float(torch.cat(surprises).mean().sqrt())),
        )

    @torch.no_grad()
    def _encode(self, views: Views) -> Tensor:
        pictures = self.codec.preprocess(*to_tensors(views.rgb, views.valid, self.device))
        return self.codec.encode(pictures)

    def _assemble_regressor(
        self,
        validation: Views,
        best: _ValidationScores,
        best_epoch: int,
        baseline: _ValidationScores,
        history: list[dict[str, float]],
    ) -> PoseRegressor:
        """Index all views and put everything together."""
        codes = []
        for start in range(0, len(self.poses), BATCH):
            which = np.arange(start, min(start + BATCH, len(self.poses)))
            codes.append(self._encode(self._gather_views(which)))
        index = torch.cat(codes).half()
        validated = self._encode(validation)
        weights = code_weights(self.codec)
        distances = torch.cdist(validated * weights, index.float() * weights).min(1).values
        report: dict[str, Any] = {
            'retained_variance': [round(float(share), 5) for share in self.codec.retained],
            'history': history,
            'best_epoch': best_epoch + 1,
            'validation': vars(best),
            'mean_pose': {
                'translation_m': baseline.translation_m,
                'rotation_deg': baseline.rotation_deg,
            },
            'views': [len(part) for part in self.parts],
            'parameters': sum(weight.numel() for weight in self.network.parameters()),
        }
        return PoseRegressor(
            self.camera,
            self.network_sees,
            self.codec,
            self.network,
            index,
            self.poses,
            {
                'position_mean': self.position_mean,
                'position_scale': self.position_scale,
                'covariance_scale': torch.tensor(best.covariance_scale, device=self.device),
                'typical_distance': distances.median().clamp(min=1e-6),
            },
            report,
        )


def _constant_pose_scores(pose: FloatArray, truth: FloatArray) -> _ValidationScores:
    errors = pose_errors(np.broadcast_to(pose, truth.shape), truth)
    return _ValidationScores(
        float(np.median(errors.translation)), float(np.degrees(np.median(errors.rotation))), 1.0
    )
