"""
File of a pose regressor: tensors in groups, and a JSON header.

Weights are stored in 16 bit; PCA components and the codes of views in 8 bit, with a scale each per
component. Files of the older formats are read as well. Format 1 is all in 16 to 64 bit; in 1 and 2
all networks regress poses from whole images or codes.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import safetensors
import safetensors.torch
from scipy.spatial.transform import Rotation
import torch
from torch import Tensor

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.regressor.coordinate_network import (
    CoordinateLayout,
    CoordinateNetwork,
    Network,
)
from nerf_reversal_ros.regressor.image_codec import ImageCodec, Pca
from nerf_reversal_ros.regressor.layers import fold_batch_norms
from nerf_reversal_ros.regressor.pose_network import NetworkInput, NetworkLayout, PoseNetwork
from nerf_reversal_ros.regressor.rounding import quantize
from nerf_reversal_ros.regressor.vae import Vae

CODECS: dict[str, type[ImageCodec]] = {codec.kind: codec for codec in (Pca, Vae)}
"""Image codecs by kind. A file holds the tensors of one, with its kind as their prefix."""
FORMAT = 3
OLDEST_FORMAT = 1
OLDEST_LAYOUT = {
    'patch': 4,
    'channels': (48, 96, 128),
    'blocks': (0, 2, 2),
    'last': 0,
    'dense': 384,
}
"""Layers of the networks of format 1, which have batch normalizations."""
Groups = dict[str, dict[str, Tensor]]
"""Tensors by the two parts of their names."""


def write_regressor(path: Path, header: dict[str, Any], groups: Groups) -> None:
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


def read_regressor(path: Path, device: str | torch.device) -> tuple[dict[str, Any], Groups]:
    """
    Read the header and the groups that `write_regressor` was given.

    Raises
    ------
    MapError
        If the file is missing, damaged, of an unknown format, or holds non-finite numbers.
    KeyError, RuntimeError, ValueError
        If tensors are missing or do not fit together.
    """
    header, groups = _read_file(path, device)
    if header['format'] < FORMAT:
        header['regresses'] = 'pose'
    if header['format'] == OLDEST_FORMAT:
        header['network'] = OLDEST_LAYOUT
        groups['index']['codes'] = groups['index']['codes'].float()
        return header, groups
    groups['network'] = {name: value.float() for name, value in groups['network'].items()}
    if 'pca' in groups:
        _unpack(groups['pca'], 'components')
    index = groups['index']
    _unpack(index, 'codes')
    index['poses'] = torch.from_numpy(
        _to_poses(index.pop('positions').cpu().numpy(), index.pop('rotations_xyzw').cpu().numpy())
    )
    return header, groups


def codec_from_groups(groups: Groups, height: int, width: int) -> ImageCodec:
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


def _unpack(tensors: dict[str, Tensor], name: str) -> None:
    numbers, scales = tensors[name], tensors.pop(f'{name}_scales')
    if scales.ndim != 2 or scales.numel() not in numbers.shape:
        raise ValueError(f'{tuple(scales.shape)} scales for {name} {tuple(numbers.shape)}')
    tensors[name] = numbers * scales


def _to_poses(positions: NDArray[np.float64], xyzw: NDArray[np.float32]) -> NDArray[np.float64]:
    if positions.shape != (len(xyzw), 3):
        raise ValueError(f'{len(xyzw)} rotations for positions {positions.shape}')
    poses = np.tile(np.eye(4), (len(positions), 1, 1))
    if len(positions):
        poses[:, :3, :3] = Rotation.from_quat(xyzw).as_matrix()
    poses[:, :3, 3] = positions
    return poses


def _read_file(path: Path, device: str | torch.device) -> tuple[dict[str, Any], Groups]:
    """Read the header, and the tensors by the first part of their names (group)."""
    try:
        with safetensors.safe_open(path, framework='pt', device=str(device)) as file:
            header = dict(json.loads((file.metadata() or {})['regressor']))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (
        OSError,
        safetensors.SafetensorError,
        KeyError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:
        raise MapError(
            f'{path} is not a readable regressor file ({error}): {remedies.BUILD_AGAIN}'
        ) from error
    if header.get('format') not in range(OLDEST_FORMAT, FORMAT + 1):
        raise MapError(
            f'{path} has regressor format {header.get("format")}, this version reads'
            f' {OLDEST_FORMAT} to {FORMAT}: {remedies.BUILD_AGAIN}'
        )
    groups: Groups = {}
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise MapError(f'{path}: {name} holds non-finite numbers: {remedies.BUILD_AGAIN}')
        group, _, rest = name.partition('.')
        groups.setdefault(group, {})[rest] = value
    return header, groups
