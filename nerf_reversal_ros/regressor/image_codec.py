"""Image codecs: learned low-dimensional codes of images for retrieval and regression; the PCA."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from nerf_reversal_ros.regressor.regressed_pose import MIN_CONTRAST

CodecT = TypeVar('CodecT', bound='ImageCodec')


@dataclass(frozen=True)
class ImageCodec(ABC):
    """A learned code of K numbers for flattened images of D = 3 * h * w numbers."""

    kind: ClassVar[str]
    """Value of `RegressorConfig.compression`, and prefix of the codec's tensors in a file."""

    mean: Tensor
    """(D,) mean image."""
    variance: Tensor
    """(K,) variance of the codes of the training images."""
    retained: Tensor
    """(R,) fraction of the training images' variance that codes retain, cumulative: entry r is
    that of the first r + 1 numbers, the last entry that of whole codes. R is 1 for a codec whose
    numbers have no order."""

    def preprocess(self, rgb: Tensor, valid: Tensor) -> Tensor:
        """Standardize images (N, 3, h, w), fill invalid pixels with the mean, flatten: (N, D)."""
        flat = standardize(rgb, valid).flatten(1)
        return torch.where(valid.expand_as(rgb).flatten(1) > 0.0, flat, self.mean)

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Encode images (N, D) to codes (N, K) of about zero mean."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Reconstruct images (N, D) from codes (N, K)."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return all learned tensors by name; `from_tensors` is the inverse."""

    @classmethod
    @abstractmethod
    def from_tensors(
        cls: type[CodecT], tensors: dict[str, Tensor], height: int, width: int
    ) -> CodecT:
        """
        Make a codec for images of height x width from the result of `tensors`.

        Raises
        ------
        KeyError, RuntimeError, ValueError
            If a tensor is missing or has another shape.
        """


@dataclass(frozen=True)
class Pca(ImageCodec):
    """The linear code of most retained variance, in descending order of variance."""

    kind: ClassVar[str] = 'pca'

    components: Tensor
    """(K, D) orthonormal rows."""

    def encode(self, images: Tensor) -> Tensor:
        """Project images (N, D) to codes (N, K)."""
        return (images - self.mean) @ self.components.T

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstruct images (N, D) from codes (N, K)."""
        return codes @ self.components + self.mean

    def tensors(self) -> dict[str, Tensor]:
        """Return ``mean``, ``variance``, ``retained`` and ``components``."""
        return {
            'mean': self.mean,
            'variance': self.variance,
            'retained': self.retained,
            'components': self.components,
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], height: int, width: int) -> 'Pca':
        """Make a codec from the result of `tensors`; see `ImageCodec.from_tensors`."""
        count, pixels = len(tensors['variance']), 3 * height * width
        check_shapes(tensors, {'mean': (pixels,), 'components': (count, pixels)})
        return cls(
            tensors['mean'], tensors['variance'], tensors['retained'], tensors['components']
        )


def check_shapes(tensors: dict[str, Tensor], expected_shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise ValueError if a tensor has another shape than expected."""
    for name, expected in expected_shapes.items():
        shape = tuple(tensors[name].shape)
        if shape != expected:
            raise ValueError(f'{name} has shape {shape}, expected {expected}')


def to_tensors(
    rgb: NDArray[np.uint8], valid: NDArray[np.bool_], device: str | torch.device
) -> tuple[Tensor, Tensor]:
    """Convert images (N, h, w, 3) and valid masks (N, h, w) to float NCHW tensors in [0, 1]."""
    color = torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(0, 3, 1, 2)
    mask = torch.from_numpy(np.ascontiguousarray(valid)).to(device)[:, None]
    return color.float() / 255.0, mask.float()


def standardize(rgb: Tensor, valid: Tensor) -> Tensor:
    """
    Normalize exposure, contrast and white balance of images.

    Each color channel of each image gets mean 0 and standard deviation 1 over its valid pixels.

    Parameters
    ----------
    rgb : (N, 3, h, w) tensor
        Colors in [0, 1].
    valid : (N, 1, h, w) tensor
        1 where a pixel carries data, else 0.

    Returns
    -------
    (N, 3, h, w) tensor
        0 at invalid pixels.
    """
    mean, variance = channel_statistics(rgb, valid)
    return (rgb - mean) * (valid * variance.rsqrt())


def channel_statistics(rgb: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (N, 3, 1, 1) of the color channels over the valid pixels."""
    flat, mask = rgb.flatten(2), valid.flatten(2).transpose(1, 2)
    count = mask.sum(1, keepdim=True).clamp(min=1.0)
    mean = flat @ mask / count
    variance = (flat.square() @ mask / count - mean.square()).clamp(min=MIN_CONTRAST**2)
    return mean[..., None], variance[..., None]
