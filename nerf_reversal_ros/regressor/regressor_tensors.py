"""
Tensors of a pose regressor in its file: how they are written, and what they make.

`regressor_file` tells the format, and reads it without PyTorch.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from scipy.spatial.transform import Rotation
import torch
from torch import Tensor

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.regressor.coordinate_network import (
    CoordinateLayout,
    CoordinateNetwork,
    Network,
)
from nerf_reversal_ros.regressor.image_codec import ImageCodec, Pca
from nerf_reversal_ros.regressor.layers import fold_batch_norms
from nerf_reversal_ros.regressor.pose_network import NetworkInput, NetworkLayout, PoseNetwork
from nerf_reversal_ros.regressor.regressor_file import FORMAT, Groups, OLDEST_FORMAT
from nerf_reversal_ros.regressor.rounding import quantize
from nerf_reversal_ros.regressor.vae import Vae

CODECS: dict[str, type[ImageCodec]] = {codec.kind: codec for codec in (Pca, Vae)}
"""Image codecs by kind. A file holds the tensors of one, with its kind as their prefix."""
TensorGroups = dict[str, dict[str, Tensor]]
"""Tensors by the two parts of their names."""


def tensor_groups(groups: Groups, device: str | torch.device) -> TensorGroups:
    """Return the groups of a file as tensors on a device."""
    return {
        group: {name: torch.from_numpy(value).to(device) for name, value in arrays.items()}
        for group, arrays in groups.items()
    }


def write_regressor(path: Path, header: dict[str, Any], groups: TensorGroups) -> None:
    """
    Write a file of groups ``network``, ``numbers``, ``index`` and that of an image codec.

    Parameters
    ----------
    path : Path
        File to write.
    header : dict
        Plain JSON.
    groups : dict
        The index has ``codes`` (N, K) and ``poses`` (N, 4, 4).
    """
    packed = {name: dict(tensors) for name, tensors in groups.items()}
    packed['network'] = {name: value.half() for name, value in groups['network'].items()}
    if 'pca' in packed:
        _pack(packed['pca'], 'components', 1)
    index = packed['index']
    _pack(index, 'codes', 0)
    poses = index.pop('poses').cpu().numpy()
    index['positions'] = torch.from_numpy(np.ascontiguousarray(poses[:, :3, 3]))
    rotations = Rotation.from_matrix(poses[:, :3, :3]) if len(poses) else Rotation.identity(0)
    index['rotations_xyzw'] = torch.from_numpy(rotations.as_quat().astype(np.float32))
    safetensors.torch.save_file(
        {
            f'{group}.{name}': value.cpu().contiguous()
            for group, tensors in packed.items()
            for name, value in tensors.items()
        },
        path,
        metadata={'regressor': json.dumps({'format': FORMAT, **header}, default=float)},
    )


def codec_from_groups(groups: TensorGroups, height: int, width: int) -> ImageCodec:
    """
    Make the one codec whose tensors a file holds.

    Raises
    ------
    KeyError, RuntimeError, ValueError
        If there is not one codec, or if its tensors are missing or have other shapes.
    """
    kinds = [kind for kind in CODECS if kind in groups]
    if len(kinds) != 1:
        raise ValueError(
            f'tensors of {len(kinds)} image codecs ({", ".join(kinds) or "none"}), expected one'
            f' of {", ".join(CODECS)}'
        )
    return CODECS[kinds[0]].from_tensors(groups[kinds[0]], height, width)


def network_from_file(
    header: dict[str, Any], tensors: dict[str, Tensor], camera: Camera, components: int
) -> Network:
    """
    Make the network whose layout the header and whose tensors the file holds, for inference.

    Raises
    ------
    KeyError, RuntimeError, TypeError, ValueError
        If they do not fit together.
    """
    is_folded = header['format'] != OLDEST_FORMAT
    network: Network
    if header['regresses'] == 'points':
        network = CoordinateNetwork(
            camera, CoordinateLayout(**header['network']), batch_norms=not is_folded
        )
    else:
        network = PoseNetwork(
            NetworkInput(header['compression']),
            camera.height,
            camera.width,
            components,
            NetworkLayout(**header['network']),
            batch_norms=not is_folded,
        )
    network.load_state_dict(tensors)
    fold_batch_norms(network)
    return network


def _pack(tensors: dict[str, Tensor], name: str, dim: int) -> None:
    tensors[name], tensors[f'{name}_scales'] = quantize(tensors[name].float(), dim)
