"""Checkpoints of a training, from which an interrupted one resumes."""

import os
from pathlib import Path

from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
import torch
from torch import Tensor


def save_checkpoint(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Replace a safetensors file atomically: a crash leaves the old or the new one, no part."""
    temporary = path.with_name(f'.{path.name}')
    save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, temporary, metadata)
    os.replace(temporary, path)


def load_checkpoint(
    path: Path, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Read what `save_checkpoint` wrote; return None if the file is missing or truncated."""
    try:
        with safe_open(path, framework='pt', device=str(device)) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    except (OSError, SafetensorError):
        return None
