"""Selection of the PyTorch device, and release of memory."""

import ctypes
import gc

import torch

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import ConfigError

_libc = ctypes.CDLL(None)


def resolve_device(name: str) -> torch.device:
    """
    Select the device for ``auto``, ``cpu`` or ``cuda``; ``auto`` prefers a GPU.

    Raises
    ------
    ConfigError
        If the name is unknown, or CUDA is requested and PyTorch finds no usable GPU.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if name == 'cuda' and not torch.cuda.is_available():
        raise ConfigError(
            f'device is cuda, but PyTorch finds no usable GPU: {remedies.OTHER_DEVICE}'
        )
    if name not in ('cpu', 'cuda'):
        raise ConfigError(f'device must be one of auto, cpu, cuda, got {name!r}')
    return torch.device(name)


def free_memory() -> None:
    """Collect garbage; return freed memory to the system, and cached GPU memory to the driver."""
    gc.collect()  # models hold reference cycles
    if hasattr(_libc, 'malloc_trim'):  # glibc keeps what many small objects have used
        _libc.malloc_trim(0)
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
