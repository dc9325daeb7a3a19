"""Nonlinear image codec: a small convolutional variational autoencoder (VAE)."""

from dataclasses import dataclass
import math
from typing import ClassVar

import torch
from torch import nn, Tensor

from nerf_reversal_ros.regressor.image_codec import check_shapes, ImageCodec


class VaeNetwork(nn.Module):
    """
    Encoder and decoder between flat images of D = 3 * h * w numbers and latents of K numbers.

    Each is a fixed linear map, the PCA, plus convolutions as a nonlinear part. The decoder
    upsamples by pixel shuffle, so that its convolutions run at low resolution.

    References
    ----------
    Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network", CVPR 2016.
    """

    components: Tensor
    """(K, D) orthonormal rows of the linear map."""
    deviation: Tensor
    """(K,) standard deviations of the training images along ``components``."""

    def __init__(self, height: int, width: int, latents: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.rows, self.columns = math.ceil(height / 8), math.ceil(width / 8)
        flat = 64 * self.rows * self.columns
        self.register_buffer('components', torch.zeros(latents, 3 * height * width))
        self.register_buffer('deviation', torch.ones(latents))
        # output sizes for images of 96 x 72
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 48, 4, 4), nn.LeakyReLU(0.1),         # 18 x 24
            nn.Conv2d(48, 64, 3, 2, 1), nn.LeakyReLU(0.1),     # 9 x 12
            nn.Conv2d(64, 64, 3, 1, 1), nn.LeakyReLU(0.1),
            nn.Flatten(),
        )  # fmt: skip
        self.code = nn.Linear(flat, latents)
        self.log_variance = nn.Linear(flat, latents)
        self.decoder = nn.Sequential(
            nn.Linear(latents, flat), nn.LeakyReLU(0.1),
            nn.Unflatten(1, (64, self.rows, self.columns)),                        # 9 x 12
            nn.Conv2d(64, 192, 3, 1, 1), nn.LeakyReLU(0.1), nn.PixelShuffle(2),    # 18 x 24
            nn.Conv2d(48, 96, 3, 1, 1), nn.LeakyReLU(0.1),
            nn.Conv2d(96, 48, 3, 1, 1), nn.PixelShuffle(4),                        # 72 x 96
        )  # fmt: skip
        for last_layer in (self.code, self.log_variance, self.decoder[-2]):
            for weight in last_layer.parameters():
                nn.init.zeros_(weight)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images (N, D) minus their mean to latent means and log variances, (N, K) each."""
        unflattened = images.view(-1, 3, self.height, self.width)
        below, right = 8 * self.rows - self.height, 8 * self.columns - self.width
        features = self.encoder(nn.functional.pad(unflattened, (0, right, 0, below)))
        linear = images @ self.components.T / self.deviation
        return linear + self.code(features), self.log_variance(features)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (N, K) to images (N, D) minus their mean."""
        nonlinear = self.decoder(latents)[:, :, : self.height, : self.width].flatten(1)
        out: Tensor = (latents * self.deviation) @ self.components + nonlinear
        return out


@dataclass(frozen=True)
class Vae(ImageCodec):
    """
    Variational autoencoder as a codec: the encoder's mean, scaled to the units of the PCA.

    Latents have variance 1, as their prior does. Codes are latents times the standard deviations
    of the PCA. Distances between codes therefore weigh informative numbers more, as with the PCA.

    References
    ----------
    Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014.
    """

    kind: ClassVar[str] = 'vae'

    network: VaeNetwork

    def encode(self, images: Tensor) -> Tensor:
        """Encode images (N, D) to codes (N, K)."""
        return self.network.encode(images - self.mean)[0] * self.network.deviation

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstruct images (N, D) from codes (N, K)."""
        return self.network.decode(codes / self.network.deviation) + self.mean

    def tensors(self) -> dict[str, Tensor]:
        """Return ``mean``, ``variance``, ``retained`` and the weights as ``network.NAME``."""
        statistics = {'mean': self.mean, 'variance': self.variance, 'retained': self.retained}
        weights = self.network.state_dict()
        return statistics | {f'network.{name}': value for name, value in weights.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], height: int, width: int) -> 'Vae':
        """Make a codec from the result of `tensors`; see `ImageCodec.from_tensors`."""
        check_shapes(tensors, {'mean': (3 * height * width,)})
        network = VaeNetwork(height, width, len(tensors['variance'])).to(tensors['mean'].device)
        network.load_state_dict(
            {
                name.removeprefix('network.'): value
                for name, value in tensors.items()
                if name.startswith('network.')
            }
        )
        return cls(tensors['mean'], tensors['variance'], tensors['retained'], network.eval())
