"""PCA of pictures: few numbers that tell the views of one room apart."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

MIN_CONTRAST = 1.0 / 64.0
"""Pictures flatter than this are not stretched further: that would only enlarge noise."""


@dataclass(frozen=True)
class Pca:
    """A learned linear code for flattened pictures of D numbers; K numbers a code."""

    mean: Tensor
    """(D,) mean picture."""
    components: Tensor
    """(K, D) orthonormal rows, the most important first."""
    variance: Tensor
    """(K,) variance of the training pictures along each component."""
    retained: Tensor
    """(K,) share of all variance that the first 1 ... K components retain."""

    def pictures(self, rgb: Tensor, seen: Tensor) -> Tensor:
        """Standardize pictures (N, 3, h, w), fill what is not seen with the mean: (N, D)."""
        flat = standardized(rgb, seen).flatten(1)
        return torch.where(seen.expand_as(rgb).flatten(1) > 0.0, flat, self.mean)

    def codes(self, pictures: Tensor) -> Tensor:
        """Project pictures (N, D) to codes (N, K)."""
        return (pictures - self.mean) @ self.components.T

    def rebuild(self, codes: Tensor) -> Tensor:
        """Turn codes (N, K) back into pictures (N, D)."""
        return codes @ self.components + self.mean


def as_tensors(
    rgb: NDArray[np.uint8], seen: NDArray[np.bool_], device: str | torch.device
) -> tuple[Tensor, Tensor]:
    """Take pictures (N, h, w, 3) and masks (N, h, w) to float channels first, in [0, 1]."""
    colours = torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(0, 3, 1, 2)
    mask = torch.from_numpy(np.ascontiguousarray(seen)).to(device)[:, None]
    return colours.float() / 255.0, mask.float()


def standardized(rgb: Tensor, seen: Tensor) -> Tensor:
    """
    Take exposure, contrast and white balance out of pictures.

    Each colour channel of each picture gets mean 0 and standard deviation 1 over what the
    picture shows.

    Parameters
    ----------
    rgb : (N, 3, h, w) tensor
        Colours in [0, 1].
    seen : (N, 1, h, w) tensor
        1 where a picture shows something, else 0.

    Returns
    -------
    (N, 3, h, w) tensor
        0 where nothing is shown.
    """
    flat, mask = rgb.flatten(2), seen.flatten(2).transpose(1, 2)
    count = mask.sum(1, keepdim=True).clamp(min=1.0)
    mean = flat @ mask / count
    variance = (flat.square() @ mask / count - mean.square()).clamp(min=MIN_CONTRAST**2)
    return (rgb - mean[..., None]) * (seen * variance.rsqrt()[..., None])
