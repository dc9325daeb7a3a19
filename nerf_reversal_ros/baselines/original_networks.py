"""
The networks of the original project: positions regressed from PCA reconstructions of images.

"NeRF Reversal" (student project, Georgia Tech, 2023) renders 14,000 images near the captured
poses. A CNN or an MLP learns x, y, z from their PCA reconstructions (150 components, 192x144) by
mean squared error. Kept: the input, the kinds and numbers of layers, the loss, Adam, at most 200
epochs. What differs:

- The training data are the real images of the reference bag, some hundreds. A map holds no
  synthetic images, and thousands of this size take long to render on two cores. Tried in
  RedKitchen at 96x72: 1,500 renderings instead gave a median of 39 cm with the CNN and 28 cm with
  the MLP. The real images at full size gave 28 cm and 29 cm.
- Early stopping is on a held-out segment of the reference, not on a random subset.
- Positions are centered and divided by their spread, one number for all axes. This changes the
  scale of the loss only. Widths, dropout and learning rate are unpublished; the values are ours.
- The recipe has no rotation. It is the mean orientation of the reference, so that only position
  errors have a meaning.
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
"""Longer side of the images, as in the original project."""
COMPONENTS = 150
"""Components of the PCA, as in the original project."""
EPOCHS, PATIENCE = 200, 20
"""Epochs, at most, as in the original project; and epochs without improvement before a stop."""
BATCH = 64
LEARNING_RATE = 1e-3
DROPOUT = 0.25
VALIDATION_FRACTION = 0.12
"""Fraction of the reference in the held-out segment for early stopping."""
MIN_IMAGES = 16
"""Least images of a reference."""


@dataclass(frozen=True)
class _Samples:
    codes: Tensor
    """(N, K) PCA codes; images are reconstructed from them batch by batch."""
    positions: Tensor
    """(N, 3) standardized positions."""


class OriginalNetwork:
    """
    A network of the original project, trained on a capture with a fixed seed.

    Parameters
    ----------
    reference : Capture
        Mapping images with their poses.
    kind : str
        ``cnn``: three convolutions with max pooling and two dense layers. ``mlp``: four dense
        layers. Both with batch norm, LeakyReLU and dropout.
    epochs : int
        Epochs, at most: training stops after `PATIENCE` epochs without improvement of the
        validation loss.
    progress : callable
        Receives the progress, with the validation errors of the network and of the mean position
        as note: a network that is no better has learned nothing.

    Raises
    ------
    CaptureError
        If the capture has too few images, or if the loss is not finite.
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
                f'{reference.source} has {count} images: seed_{kind} needs at least {MIN_IMAGES}'
                ' to train on'
            )
        self._name = f'seed_{kind}'
        self._camera = reference.camera.downscaled_to(LONGER_SIDE_PX)
        self._mean_pose = mean_pose(reference.map_from_camera)
        size = 3 * self._camera.height * self._camera.width
        images = torch.empty(count, size, dtype=torch.uint8)
        for index, frame in enumerate(reference):
            images[index] = self._flatten_image(frame.rgb, frame.camera)
            progress(Progress(f'{self._name} reference', index + 1, count))
        positions = torch.from_numpy(reference.map_from_camera[:, :3, 3]).float()
        held_out = torch.from_numpy(held_out_mask(count, VALIDATION_FRACTION))
        self._center = positions[~held_out].mean(0)
        self._scale_m = float((positions[~held_out] - self._center).norm(dim=1).mean())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._pca = _fit_pca(images[~held_out])
            shape = (3, self._camera.height, self._camera.width)
            self._network = original_layers(kind, shape)
            training, validation = (
                _Samples(
                    self._pca.encode(images[part].float() / 255.0),
                    (positions[part] - self._center) / self._scale_m,
                )
                for part in (~held_out, held_out)
            )
            del images
            self._train(training, validation, epochs, progress)
        tensors = [*self._network.state_dict().values(), self._pca.mean, self._pca.components]
        self.nbytes = sum(tensor.nbytes for tensor in tensors)

    @torch.inference_mode()
    def localize(self, rgb: NDArray[np.uint8], camera: Camera) -> FloatArray:
        """Return map_from_camera (4, 4) of an image (H, W, 3), with a constant rotation."""
        image = self._flatten_image(rgb, camera).float()[None] / 255.0
        position = self._forward(self._pca.encode(image))[0] * self._scale_m + self._center
        pose = self._mean_pose.copy()
        pose[:3, 3] = position.numpy()
        return pose

    def _flatten_image(self, rgb: NDArray[np.uint8], camera: Camera) -> Tensor:
        """Resample an image (H, W, 3) to the network's camera, and flatten: (3 * h * w,) uint8."""
        return (
            torch.from_numpy(resample_to_camera(rgb, camera, self._camera).rgb)
            .permute(2, 0, 1)
            .flatten()
        )

    def _forward(self, codes: Tensor) -> Tensor:
        """Regress standardized positions (N, 3) from images reconstructed from codes (N, K)."""
        shape = (-1, 3, self._camera.height, self._camera.width)
        images = self._pca.decode(codes).view(shape)
        positions: Tensor = self._network(images.contiguous(memory_format=torch.channels_last))
        return positions

    def _train(
        self,
        training: _Samples,
        validation: _Samples,
        epochs: int,
        progress: ProgressCallback,
    ) -> None:
        """Minimize the mean squared error by Adam; keep the weights of least validation loss."""
        optimizer = torch.optim.Adam(self._network.parameters(), LEARNING_RATE)
        best_loss, best_epoch, best_weights = float('inf'), 0, {}
        mean_position_m = float(validation.positions.norm(dim=1).mean()) * self._scale_m
        count = len(training.codes)
        for epoch in range(epochs):
            self._network.train()
            for batch in torch.randperm(count).tensor_split(-(-count // BATCH)):
                optimizer.zero_grad(set_to_none=True)
                estimated = self._forward(training.codes[batch])
                loss = nn.functional.mse_loss(estimated, training.positions[batch])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            self._network.eval()
            validation_loss, error_m = self._validate(validation)
            if validation_loss < best_loss:
                best_loss, best_epoch = validation_loss, epoch
                best_weights = {k: v.clone() for k, v in self._network.state_dict().items()}
            note = (
                f'validation {100 * error_m:.1f} cm, mean position {100 * mean_position_m:.1f} cm'
            )
            progress(Progress(self._name, epoch + 1, epochs, note))
            if epoch - best_epoch >= PATIENCE:
                break
        if not best_weights:
            raise CaptureError(
                f'the training of {self._name} failed, its loss is not finite: check the poses of'
                ' the reference'
            )
        self._network.load_state_dict(best_weights)

    @torch.inference_mode()
    def _validate(self, validation: _Samples) -> tuple[float, float]:
        """Return the loss and the mean position error [m] on the validation samples."""
        estimated = torch.cat([self._forward(codes) for codes in validation.codes.split(BATCH)])
        errors = estimated - validation.positions
        return float(errors.square().mean()), float(errors.norm(dim=1).mean()) * self._scale_m


def _fit_pca(images: Tensor) -> Pca:
    """Fit a PCA to flat uint8 images (N, D), scaled to [0, 1]."""
    data = images.float() / 255.0
    mean = data.mean(0)
    data -= mean
    count = min(COMPONENTS, len(data) - 1)
    _, deviation, components = torch.pca_lowrank(data, count, center=False)
    variance = deviation.square() / (len(data) - 1)
    total = data.square().sum() / (len(data) - 1)
    return Pca(mean, variance, variance.cumsum(0) / total, components.T.contiguous())


def original_layers(kind: NetworkKind, shape: tuple[int, ...], outputs: int = 3) -> nn.Sequential:
    """
    Make the layers of the original project, from inputs (N, *shape) to (N, outputs).

    Parameters
    ----------
    kind : str
        ``cnn`` or ``mlp``.
    shape : tuple of int
        (3, h, w) of images or, for an mlp, also (K,) of codes. Features of images larger than
        `LONGER_SIDE_PX` are pooled to the size of those of smaller ones. The first dense layer
        would otherwise have a hundred million weights.
    outputs : int
        Numbers to regress.
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
