"""Rounding of matrices to 8 bit, with scales."""

import torch
from torch import Tensor

LARGEST = 127
"""Largest 8-bit number in use; -128 is left out for symmetry."""


def quantize(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Round a matrix to int8 ``numbers`` and ``scales``: it is about ``numbers * scales``."""
    scales = values.abs().amax(dim, keepdim=True).clamp(min=1e-12) / LARGEST
    return (values / scales).round().to(torch.int8), scales


def round_to_8_bit(values: Tensor, dim: int) -> Tensor:
    """Round a matrix as a file does, with one scale along a dimension."""
    numbers, scales = quantize(values, dim)
    return numbers * scales
