"""Layers that the networks of a regressor share."""

from typing import cast

from torch import nn, relu, Tensor
from torch.nn.utils.fusion import fuse_conv_bn_eval


def convolution(inputs: int, outputs: int, size: int, stride: int) -> list[nn.Module]:
    """Make a convolution with batch normalization and ReLU; at stride 1 the image size stays."""
    padding = 0 if size == stride else size // 2
    return [
        nn.Conv2d(inputs, outputs, size, stride, padding),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


class Bottleneck(nn.Module):
    """Residual bottleneck of convolutions (He et al., "Deep Residual Learning", CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.inner = nn.Sequential(
            *convolution(channels, half, 1, 1),
            *convolution(half, half, 3, 1),
            nn.Conv2d(half, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape (N, channels, h, w)."""
        return relu(x + self.inner(x))


class Dense(nn.Module):
    """Residual dense layer with layer normalization."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape (N, width)."""
        out: Tensor = x + self.inner(x)
        return out


def fold_batch_norms(network: nn.Module) -> None:
    """Fold batch normalizations into the convolutions before them, for inference alone."""
    network.eval()
    for layers in network.modules():
        if isinstance(layers, nn.Sequential):
            for i, layer in enumerate(layers):
                if isinstance(layer, nn.BatchNorm2d):
                    layers[i - 1] = fuse_conv_bn_eval(cast(nn.Conv2d, layers[i - 1]), layer)
                    layers[i] = nn.Identity()
