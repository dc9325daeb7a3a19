"""Selection of the device, and release of memory. PyTorch is imported where it is needed."""

import ctypes
from functools import cache
import gc
import sys
from typing import TYPE_CHECKING

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

DRIVERS = 'libcuda.so.1', 'libamdhip64.so'
"""Libraries without which PyTorch finds no GPU, of NVIDIA and of AMD."""
_libc = ctypes.CDLL(None)


def resolve_device(name: str) -> 'torch.device':
    """Return the device of PyTorch for a name, see `resolve_device_type`."""
    import torch

    return torch.device(resolve_device_type(name))


def resolve_device_type(name: str) -> str:
    """
    Return ``cpu`` or ``cuda`` for ``auto``, ``cpu`` or ``cuda``; ``auto`` prefers a GPU.

    Raises
    ------
    ConfigError
        If the name is unknown, or CUDA is requested and PyTorch finds no usable GPU.
    """
    if name not in ('auto', 'cpu', 'cuda'):
        raise ConfigError(f'device must be one of auto, cpu, cuda, got {name!r}')
    if name == 'cpu' or not _has_gpu():
        if name == 'cuda':
            raise ConfigError(
                f'device is cuda, but PyTorch finds no usable GPU: {remedies.OTHER_DEVICE}'
            )
        return 'cpu'
    return 'cuda'


@cache
def _has_gpu() -> bool:
    """Return whether PyTorch can use a GPU; it is imported only where there is a driver."""
    if 'torch' not in sys.modules and not any(map(_has_library, DRIVERS)):
        return False
    try:
        import torch
    except ModuleNotFoundError:
        return False
    return torch.cuda.is_available()


def _has_library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def free_memory() -> None:
    """Collect garbage; return freed memory to the system, and cached GPU memory to the driver."""
    gc.collect()  # models hold reference cycles
    if hasattr(_libc, 'malloc_trim'):  # glibc keeps what many small objects have used
        _libc.malloc_trim(0)
    torch = sys.modules.get('torch')
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
