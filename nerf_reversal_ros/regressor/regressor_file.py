"""
File of a pose regressor: tensors in groups, and a JSON header.

Weights are stored in 16 bit; PCA components and the codes of views in 8 bit, with a scale each per
component. Files of the older formats are read as well. Format 1 is all in 16 to 64 bit; in 1 and 2
all networks regress poses from whole images or codes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import safetensors
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import ImageError, MapError

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
Groups = dict[str, dict[str, NDArray[Any]]]
"""Arrays by the two parts of their names."""


def read_regressor(path: Path) -> tuple[dict[str, Any], Groups]:
    """
    Read the header and the groups that a regressor was written with.

    Raises
    ------
    MapError
        If the file is missing, damaged, of an unknown format, or holds non-finite numbers, or
        if tensors are missing or do not fit together.
    """
    header, groups = _read_file(path)
    with as_map_error(path):
        groups = _unpacked(header, groups)
        codes, poses = groups['index']['codes'], groups['index']['poses']
        if poses.shape != (len(codes), 4, 4):
            raise ValueError(f'{len(codes)} codes for {len(poses)} poses')
    return header, groups


@contextmanager
def as_map_error(path: Path) -> Iterator[None]:
    """Raise what misfit parts of a file cause as a MapError that tells to build again."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, ImageError) as error:
        reason = ' '.join(str(error).split())
        raise MapError(
            f'the parts of {path} do not fit together ({reason}): {remedies.BUILD_AGAIN}'
        ) from error


def _unpacked(header: dict[str, Any], groups: Groups) -> Groups:
    """Return the groups in floating point; complete the header of an older format."""
    if header['format'] < FORMAT:
        header['regresses'] = 'pose'
    if header['format'] == OLDEST_FORMAT:
        header['network'] = OLDEST_LAYOUT
        groups['index']['codes'] = groups['index']['codes'].astype(np.float32)
        return groups
    groups['network'] = _floats(groups['network'])
    if 'pca' in groups:
        _unpack(groups['pca'], 'components')
    index = groups['index']
    _unpack(index, 'codes')
    index['poses'] = _to_poses(index.pop('positions'), index.pop('rotations_xyzw'))
    return groups


def _floats(tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def _unpack(tensors: dict[str, NDArray[Any]], name: str) -> None:
    numbers, scales = tensors[name], tensors.pop(f'{name}_scales')
    if scales.ndim != 2 or scales.size not in numbers.shape:
        raise ValueError(f'{scales.shape} scales for {name} {numbers.shape}')
    tensors[name] = numbers * scales.astype(np.float32)


def _to_poses(positions: NDArray[np.float64], xyzw: NDArray[np.float32]) -> NDArray[np.float64]:
    if positions.shape != (len(xyzw), 3):
        raise ValueError(f'{len(xyzw)} rotations for positions {positions.shape}')
    poses = np.tile(np.eye(4), (len(positions), 1, 1))
    if len(positions):
        poses[:, :3, :3] = Rotation.from_quat(xyzw).as_matrix()
    poses[:, :3, 3] = positions
    return poses


def _read_file(path: Path) -> tuple[dict[str, Any], Groups]:
    """Read the header, and the tensors by the first part of their names (group)."""
    try:
        with safetensors.safe_open(path, framework='np') as file:
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
        if value.dtype.kind == 'f' and not np.isfinite(value).all():
            raise MapError(f'{path}: {name} holds non-finite numbers: {remedies.BUILD_AGAIN}')
        group, _, rest = name.partition('.')
        groups.setdefault(group, {})[rest] = value
    return header, groups
