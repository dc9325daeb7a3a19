"""
The seed of this project, as a baseline: PCA reconstructions of small pictures in, a position out.

"NeRF Reversal" (student project, Georgia Tech, 2023) renders 14,000 pictures near the captured
poses and learns x, y, z from their PCA reconstructions (150 components) at 192x144, with a CNN or
an MLP, by mean squared error. What is kept: the input, the layers' kinds and numbers, the loss,
Adam, up to 200 epochs. What differs:

- It learns from the real pictures of the reference bag, some hundreds, for a map holds no
  synthetic pictures and to render thousands at this size takes long on two cores; and it may stop
  early, on a stretch of that walk, not a random share of it. Tried in RedKitchen at 96x72: 1,500
  renders instead gave a median of 39 cm with the CNN and 28 cm with the MLP, where the real ones
  at full size gave 28 cm and 29 cm.
- Positions are centred and divided by their spread, one number for all axes, which changes the
  scale of the loss only. Widths, rates of dropout and learning were not told and are ours.
- The rotation, which the recipe leaves out, is the mean orientation of the reference, so that
  only figures of position mean something.
"""

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn, Tensor

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.image_resampling import resample_to_camera
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import FloatArray, mean_pose
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.regressor.image_codec import Pca

NetworkKind = Literal['cnn', 'mlp']

LONGER_SIDE_PX = 192
COMPONENTS = 150
EPOCHS, PATIENCE = 200, 20
BATCH = 64
LEARNING_RATE = 1e-3
DROPOUT = 0.25
VALIDATION_FRACTION = 0.12
MIN_IMAGES = 16


@dataclass(frozen=True)
class _Samples:
    codes: Tensor
    """(N, K) PCA codes; pictures are rebuilt from them when they are needed."""
    positions: Tensor
    """(N, 3) standardized."""


class OriginalNetwork:
    """
    A network of the seed's recipe, trained on a capture; the same one each time.

    Parameters
    ----------
    reference : Capture
        Real pictures with their poses.
    kind : str
        ``cnn``: three convolutions with max-pooling and two dense layers. ``mlp``: four dense
        layers. Both with batch norm, LeakyReLU and dropout.
    epochs : int
        At most so many; less when the validation stretch has not profited from `PATIENCE` more.

    Attributes
    ----------
    validation_m, mean_position_m : float
        Mean distance from the true positions of the validation stretch, of the network and of
        the mean position of what it learned from: a network that is no better learned nothing.

    Raises
    ------
    CaptureError
        If the capture has too few pictures.
    """

    def __init__(
        self,
        reference: Capture,
        kind: NetworkKind,
        *,
        epochs: int = EPOCHS,
        progress: ProgressCallback = no_progress,
    ) -> None:
        count = len(reference)
        if count < MIN_IMAGES:
            raise CaptureError(
                f'{reference.source} has {count} pictures: seed_{kind} needs {MIN_IMAGES} at'
                ' least to learn from'
            )
        self._name = f'seed_{kind}'
        self._camera = reference.camera.downscaled_to(LONGER_SIDE_PX)
        self._pose = mean_pose(reference.map_from_camera)
        size = 3 * self._camera.height * self._camera.width
        pictures = torch.empty(count, size, dtype=torch.uint8)
        for number, frame in enumerate(reference):
            pictures[number] = self._flatten_image(frame.rgb, frame.camera)
            progress(Progress(f'{self._name} reference', number + 1, count))
        positions = torch.from_numpy(reference.map_from_camera[:, :3, 3]).float()
        held_out = torch.from_numpy(held_out_mask(count, VALIDATION_FRACTION))
        self._center = positions[~held_out].mean(0)
        self._scale_m = float((positions[~held_out] - self._center).norm(dim=1).mean())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._pca = _fit_pca(pictures[~held_out])
            shape = (3, self._camera.height, self._camera.width)
            self._network = original_layers(kind, shape)
            learned, held = (
                _Samples(
                    self._pca.encode(pictures[part].float() / 255.0),
                    (positions[part] - self._center) / self._scale_m,
                )
                for part in (~held_out, held_out)
            )
            del pictures
            self.mean_position_error_m = float(held.positions.norm(dim=1).mean()) * self._scale_m
            self.validation_error_m = self._train(learned, held, epochs, progress)
        kept = [*self._network.state_dict().values(), self._pca.mean, self._pca.components]
        self.nbytes = sum(tensor.nbytes for tensor in kept)

    @torch.inference_mode()
    def localize(self, rgb: NDArray[np.uint8], camera: Camera) -> FloatArray:
        """Return map_from_camera (4, 4) of a picture (H, W, 3), its rotation always the same."""
        picture = self._flatten_image(rgb, camera).float()[None] / 255.0
        position = self._forward(self._pca.encode(picture))[0] * self._scale_m + self._center
        pose = self._pose.copy()
        pose[:3, 3] = position.numpy()
        return pose

    def _flatten_image(self, rgb: NDArray[np.uint8], camera: Camera) -> Tensor:
        """Flatten a picture (H, W, 3), seen by the small camera, to (3 * h * w,) uint8."""
        return (
            torch.from_numpy(resample_to_camera(rgb, camera, self._camera).rgb)
            .permute(2, 0, 1)
            .flatten()
        )

    def _forward(self, codes: Tensor) -> Tensor:
        """Take codes (N, K), by way of the pictures rebuilt from them, to positions (N, 3)."""
        shape = (-1, 3, self._camera.height, self._camera.width)
        pictures = self._pca.decode(codes).view(shape)
        positions: Tensor = self._network(pictures.contiguous(memory_format=torch.channels_last))
        return positions

    def _train(
        self, learned: _Samples, held: _Samples, epochs: int, progress: ProgressCallback
    ) -> float:
        """Descend until the validation stretch no longer profits; return its error [m]."""
        optimizer = torch.optim.Adam(self._network.parameters(), LEARNING_RATE)
        best, best_epoch, best_weights = (float('inf'), float('inf')), 0, {}
        count = len(learned.codes)
        for epoch in range(epochs):
            self._network.train()
            for batch in torch.randperm(count).tensor_split(-(-count // BATCH)):
                optimizer.zero_grad(set_to_none=True)
                found = self._forward(learned.codes[batch])
                nn.functional.mse_loss(found, learned.positions[batch]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            self._network.eval()
            loss, off_m = self._validate(held)
            if loss < best[0]:
                best, best_epoch = (loss, off_m), epoch
                best_weights = {k: v.clone() for k, v in self._network.state_dict().items()}
            note = f'validation {100 * off_m:.1f} cm, mean position {100 * self.mean_position_error_m:.1f}'
            progress(Progress(self._name, epoch + 1, epochs, note))
            if epoch - best_epoch >= PATIENCE:
                break
        if not best_weights:
            raise CaptureError(
                f'the {self._name} of the seed did not learn: its loss is not finite'
            )
        self._network.load_state_dict(best_weights)
        return best[1]

    @torch.inference_mode()
    def _validate(self, held: _Samples) -> tuple[float, float]:
        """Return loss and mean distance [m] on the validation stretch."""
        found = torch.cat([self._forward(codes) for codes in held.codes.split(BATCH)])
        miss = found - held.positions
        return float(miss.square().mean()), float(miss.norm(dim=1).mean()) * self._scale_m


def _fit_pca(pictures: Tensor) -> Pca:
    """Learn the PCA of flat uint8 pictures (N, D), scaled to [0, 1]."""
    data = pictures.float() / 255.0
    mean = data.mean(0)
    data -= mean
    count = min(COMPONENTS, len(data) - 1)
    _, deviation, components = torch.pca_lowrank(data, count, center=False)
    variance = deviation.square() / (len(data) - 1)
    total = data.square().sum() / (len(data) - 1)
    return Pca(mean, variance, variance.cumsum(0) / total, components.T.contiguous())


def original_layers(kind: NetworkKind, shape: tuple[int, ...], outputs: int = 3) -> nn.Sequential:
    """
    Make the layers of the recipe; inputs (N, *shape) in, (N, outputs) out.

    The shape is (3, h, w) of pictures or, for an mlp, also (K,) of codes. What the convolutions
    leave of pictures larger than 192 pixels is pooled as if these were not larger, or the first
    dense layer would have a hundred million weights.
    """
    if kind == 'cnn':
        rows, columns = (min(side, LONGER_SIDE_PX) // 8 for side in shape[1:])  # 18 x 24
        larger = max(shape[1:]) > LONGER_SIDE_PX
        return nn.Sequential(
            *_convolution(3, 16), *_convolution(16, 32), *_convolution(32, 64),
            *([nn.AdaptiveMaxPool2d((rows, columns))] if larger else []),
            nn.Flatten(), *_dense(64 * rows * columns, 128), nn.Linear(128, outputs),
        )  # fmt: skip
    return nn.Sequential(
        nn.Flatten(), *_dense(prod(shape), 256), *_dense(256, 128), *_dense(128, 64),
        nn.Linear(64, outputs),
    )  # fmt: skip


def _convolution(channels: int, out: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, out, 3, padding=1)
    return [convolution, nn.MaxPool2d(2), nn.BatchNorm2d(out), nn.LeakyReLU()]


def _dense(size: int, out: int) -> list[nn.Module]:
    return [nn.Linear(size, out), nn.BatchNorm1d(out), nn.LeakyReLU(), nn.Dropout(DROPOUT)]
