"""What a training keeps on disk, so that a killed one goes on where it was."""

import os
from pathlib import Path

from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
import torch
from torch import Tensor


def save_checkpoint(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Replace a safetensors file as a whole: there is the old one or the new one, never a part."""
    temporary = path.with_name(f'.{path.name}')
    save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, temporary, metadata)
    os.replace(temporary, path)


def load_checkpoint(
    path: Path, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Return what `save_checkpoint` wrote; None if there is none, or the machine crashed then."""
    try:
        with safe_open(path, framework='pt', device=str(device)) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    except (OSError, SafetensorError):
        return None
