"""Where to compute."""

import gc

import torch

from nerf_reversal_ros.core.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """
    Return the device for ``auto``, ``cpu`` or ``cuda``; auto takes a GPU where there is one.

    Raises
    ------
    ConfigError
        If CUDA is asked for and PyTorch finds no usable GPU.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if name == 'cuda' and not torch.cuda.is_available():
        raise ConfigError(
            'device is cuda, but PyTorch finds no usable GPU: choose cpu or auto, or install a'
            ' PyTorch with CUDA for this driver'
        )
    if name not in ('cpu', 'cuda'):
        raise ConfigError(f'device must be one of auto, cpu, cuda, got {name!r}')
    return torch.device(name)


def free_memory() -> None:
    """Give memory that is not used any more back, that of a GPU for other programs to take."""
    gc.collect()  # models refer to themselves
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
