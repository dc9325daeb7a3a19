"""Codes of pictures: few numbers that tell the views of one room apart; PCA makes the simplest."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

MIN_CONTRAST = 1.0 / 64.0
"""Pictures flatter than this are not stretched further: that would only enlarge noise."""

CodecT = TypeVar('CodecT', bound='ImageCodec')


@dataclass(frozen=True)
class ImageCodec(ABC):
    """A learned code for flattened pictures of D = 3 * h * w numbers; K numbers a code."""

    mean: Tensor
    """(D,) mean picture."""
    variance: Tensor
    """(K,) variance of the codes of the training pictures."""
    retained: Tensor
    """(R,) share of the training pictures' variance that codes retain; the last is that of whole
    codes and, where their numbers come in an order, the ones before it of the first numbers."""

    def preprocess(self, rgb: Tensor, valid: Tensor) -> Tensor:
        """Standardize pictures (N, 3, h, w), fill what is not seen with the mean: (N, D)."""
        flat = standardize(rgb, valid).flatten(1)
        return torch.where(valid.expand_as(rgb).flatten(1) > 0.0, flat, self.mean)

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Turn pictures (N, D) into codes (N, K), about zero in the mean."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Turn codes (N, K) back into pictures (N, D)."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return all that was learned, by name; `from_tensors` is the way back."""

    @classmethod
    @abstractmethod
    def from_tensors(
        cls: type[CodecT], tensors: dict[str, Tensor], height: int, width: int
    ) -> CodecT:
        """
        Put together what `tensors` returned, for pictures of height x width.

        Raises
        ------
        KeyError, RuntimeError, ValueError
            If something is missing or has another shape.
        """


@dataclass(frozen=True)
class Pca(ImageCodec):
    """The linear code that retains most; its numbers come in the order of what they retain."""

    components: Tensor
    """(K, D) orthonormal rows."""

    def encode(self, images: Tensor) -> Tensor:
        """Project pictures (N, D) to codes (N, K)."""
        return (images - self.mean) @ self.components.T

    def decode(self, codes: Tensor) -> Tensor:
        """Turn codes (N, K) back into pictures (N, D)."""
        return codes @ self.components + self.mean

    def tensors(self) -> dict[str, Tensor]:
        """Return the fields by name."""
        return dict(vars(self))

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], height: int, width: int) -> 'Pca':
        """Put together what `tensors` returned; see `Compression.from_tensors`."""
        count, pixels = len(tensors['variance']), 3 * height * width
        check_shapes(tensors, {'mean': (pixels,), 'components': (count, pixels)})
        return cls(**{field.name: tensors[field.name] for field in fields(cls)})


def check_shapes(tensors: dict[str, Tensor], expected_shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise ValueError if a tensor has not the wanted shape."""
    for name, shape in expected_shapes.items():
        found = tuple(tensors[name].shape)
        if found != shape:
            raise ValueError(f'{name} is {found}, not {shape}')


def to_tensors(
    rgb: NDArray[np.uint8], valid: NDArray[np.bool_], device: str | torch.device
) -> tuple[Tensor, Tensor]:
    """Take pictures (N, h, w, 3) and masks (N, h, w) to float channels first, in [0, 1]."""
    colours = torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(0, 3, 1, 2)
    mask = torch.from_numpy(np.ascontiguousarray(valid)).to(device)[:, None]
    return colours.float() / 255.0, mask.float()


def standardize(rgb: Tensor, valid: Tensor) -> Tensor:
    """
    Take exposure, contrast and white balance out of pictures.

    Each colour channel of each picture gets mean 0 and standard deviation 1 over what the
    picture shows.

    Parameters
    ----------
    rgb : (N, 3, h, w) tensor
        Colours in [0, 1].
    valid : (N, 1, h, w) tensor
        1 where a picture shows something, else 0.

    Returns
    -------
    (N, 3, h, w) tensor
        0 where nothing is shown.
    """
    mean, variance = channel_statistics(rgb, valid)
    return (rgb - mean) * (valid * variance.rsqrt())


def channel_statistics(rgb: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (N, 3, 1, 1) of the channels of pictures, over what they show."""
    flat, mask = rgb.flatten(2), valid.flatten(2).transpose(1, 2)
    count = mask.sum(1, keepdim=True).clamp(min=1.0)
    mean = flat @ mask / count
    variance = (flat.square() @ mask / count - mean.square()).clamp(min=MIN_CONTRAST**2)
    return mean[..., None], variance[..., None]
