"""The pose network: a small network that regresses a pose and its information matrix."""

from dataclasses import dataclass
from enum import Enum
import math
from typing import ClassVar

import torch
from torch import nn, Tensor

from nerf_reversal_ros.core.config import RegressorConfig
from nerf_reversal_ros.regressor.layers import Bottleneck, Dense, fold_batch_norms
from nerf_reversal_ros.regressor.numpy_network import MAX_LOG_DIAGONAL
from nerf_reversal_ros.regressor.regressed_pose import ERROR_UNITS


class NetworkInput(str, Enum):
    """
    Input of a pose network.

    Two settings decide it, ``regressor.compression`` and ``regressor.network_sees``: see
    `from_config`. A regressor file holds the value under the key ``compression``.
    """

    IMAGE = 'none'
    """Standardized images; the codec serves image retrieval only."""
    RECONSTRUCTION = 'reconstruction'
    """Images decoded from their codes."""
    CODE = 'components'
    """Codes, divided by their standard deviations."""

    @classmethod
    def from_config(cls, config: RegressorConfig) -> 'NetworkInput':
        """Return the input that the settings ask for; where nothing is compressed, images."""
        if config.compression == 'none' or config.network_sees == 'image':
            return cls.IMAGE
        return cls(config.network_sees)


class NetworkOutput:
    """Poses and information factors of N images, from the 30 raw numbers of each."""

    def __init__(self, raw: Tensor, position_mean: Tensor, position_scale: Tensor) -> None:
        self.position = raw[:, :3] * position_scale + position_mean
        """(N, 3) camera centers in ``map`` [m]."""
        self.rotation = rotation_from_6d(raw[:, 3:9])
        """(N, 3, 3) map_from_camera rotations."""
        lower = torch.zeros((len(raw), 6, 6), dtype=raw.dtype, device=raw.device)
        i, j = torch.tril_indices(6, 6, device=raw.device)
        lower[:, i, j] = raw[:, 9:]
        diagonal = torch.diagonal(lower, dim1=1, dim2=2)
        self.log_diagonal = MAX_LOG_DIAGONAL * torch.tanh(diagonal / MAX_LOG_DIAGONAL)
        """(N, 6) limited logarithms of the diagonal of ``information_factor``."""
        self.information_factor = (
            lower - torch.diag_embed(diagonal) + torch.diag_embed(self.log_diagonal.exp())
        )
        """(N, 6, 6) lower Cholesky factor L: L L^T is the information matrix of the error in
        camera axes, in `ERROR_UNITS`."""


def rotation_from_6d(vectors: Tensor) -> Tensor:
    """
    Make rotations (N, 3, 3) from two 3-vectors each, (N, 6), by Gram-Schmidt.

    References
    ----------
    Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019.
    """
    x = nn.functional.normalize(vectors[:, :3], dim=1)
    along_x = (x * vectors[:, 3:]).sum(1, keepdim=True) * x
    y = nn.functional.normalize(vectors[:, 3:] - along_x, dim=1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=2)


def nearest_rotation(matrices: Tensor) -> Tensor:
    """Return the rotations (N, 3, 3) of least squared difference to matrices."""
    left, _, right = torch.linalg.svd(matrices.nan_to_num())
    sign = torch.linalg.det(left @ right)  # -1 for a reflection
    return torch.cat([left[..., :2], left[..., 2:] * sign[:, None, None]], -1) @ right


@dataclass(frozen=True)
class NetworkLayout:
    """Sizes of the layers of a pose network for images."""

    patch: int = 4
    """Columns and rows of the patches that the first convolution reduces to one feature each."""
    channels: tuple[int, ...] = (48, 96)
    """Features of each stage; from one to the next, columns and rows are halved."""
    blocks: tuple[int, ...] = (1, 2)
    """Residual blocks of each stage."""
    last: int = 32
    """Features per place that the last stage is reduced to; 0: all."""
    dense: int = 256
    """Features of the dense layers."""


class PoseNetwork(nn.Module):
    """
    Regress 30 numbers from an image or a code: position, 6-D rotation, information factor.

    Images pass residual convolutions, codes pass residual dense layers. Images are of height x
    width, codes have ``components`` numbers.
    """

    regresses: ClassVar[str] = 'pose'
    """Name in a file."""

    def __init__(
        self,
        network_input: NetworkInput,
        height: int,
        width: int,
        components: int,
        layout: NetworkLayout | None = None,
        *,
        batch_norms: bool = True,
    ) -> None:
        super().__init__()
        self.layout = layout or NetworkLayout()
        if network_input == NetworkInput.CODE:
            flat = 512
            features = [nn.Linear(components, flat), nn.ReLU(), *(Dense(flat) for _ in range(3))]
        else:
            flat = self.layout.dense
            features = _image_features(self.layout, height, width)
        self.features = nn.Sequential(*features)
        self.head = nn.Linear(flat, 30)
        nn.init.normal_(self.head.weight, std=0.01)
        with torch.no_grad():
            self.head.bias.zero_()
            self.head.bias[[3, 7]] = 1.0  # the identity rotation
        if not batch_norms:
            fold_batch_norms(self)

    def forward(self, images_or_codes: Tensor) -> Tensor:
        """Regress raw outputs (N, 30) from images (N, 3, h, w) or codes (N, K)."""
        out: Tensor = self.head(self.features(images_or_codes))
        return out

    @staticmethod
    def pose_numbers(raw: Tensor) -> Tensor:
        """Return the numbers of `NetworkOutput`: the raw outputs themselves."""
        return raw


def _image_features(layout: NetworkLayout, height: int, width: int) -> list[nn.Module]:
    """Make the layers from images (N, 3, height, width) to features (N, `layout.dense`)."""
    layers: list[nn.Module] = []
    inputs, patch = 3, layout.patch
    rows, columns = height // patch, width // patch
    for channels, blocks in zip(layout.channels, layout.blocks, strict=True):
        if layers:
            convolution = nn.Conv2d(inputs, channels, 3, 2, 1)
            rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
        else:
            convolution = nn.Conv2d(inputs, channels, patch, patch)
        layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU()]
        layers += [Bottleneck(channels) for _ in range(blocks)]
        inputs = channels
    if layout.last:
        layers += [nn.Conv2d(inputs, layout.last, 1), nn.BatchNorm2d(layout.last), nn.ReLU()]
        inputs = layout.last
    dense = layout.dense
    layers += [nn.Flatten(), nn.Dropout(0.1)]
    return [*layers, nn.Linear(inputs * rows * columns, dense), nn.ReLU(), Dense(dense)]


def camera_frame_error(outputs: NetworkOutput, position: Tensor, rotation: Tensor) -> Tensor:
    """
    Compute the pose errors of a network in the axes of the predicted cameras.

    Parameters
    ----------
    outputs : NetworkOutput
        N predicted poses.
    position : (N, 3) tensor
        Ground-truth camera centers in ``map`` [m].
    rotation : (N, 3, 3) tensor
        Ground-truth map_from_camera rotations.

    Returns
    -------
    (N, 6) tensor
        Translation [m], then rotation vector [rad], from the predicted to the true pose.
    """
    camera_from_map = outputs.rotation.transpose(1, 2)
    translation = (camera_from_map @ (position - outputs.position)[:, :, None])[:, :, 0]
    difference = camera_from_map @ rotation
    skew = 0.5 * (difference - difference.transpose(1, 2))
    sine_axis = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], 1)
    sine = sine_axis.square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
    cosine = 0.5 * (difference.diagonal(dim1=1, dim2=2).sum(1, keepdim=True) - 1.0)
    return torch.cat([translation, sine_axis * (torch.atan2(sine, cosine) / sine)], 1)


def whitened_error(outputs: NetworkOutput, error: Tensor) -> Tensor:
    """Return errors (N, 6) in units of the predicted standard deviations, decorrelated."""
    units = torch.tensor(ERROR_UNITS, device=error.device)
    return (outputs.information_factor.transpose(1, 2) @ (error / units)[:, :, None])[:, :, 0]


def gaussian_nll(outputs: NetworkOutput, error: Tensor) -> Tensor:
    """Return the negative log-likelihood (N,) of errors (N, 6), without its constant."""
    return 0.5 * whitened_error(outputs, error).square().sum(1) - outputs.log_diagonal.sum(1)
