"""
File of a voxel field: one safetensors file without the derivable tables.

Values have 8 bits. They and the corners are compressed without loss. Files of older versions have
both as they are, values in half precision. Of the corner index only a bit per corner is stored,
occupied or not: the rows of occupied corners are consecutive.
"""

from pathlib import Path
from typing import NamedTuple
import zlib

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
import torch
from torch import Tensor

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import MapError

BRICK = 8
"""Voxels along the edge of a brick."""
EMPTY_LOG_DENSITY = -8.0
"""Log density, per voxel length, of an empty corner."""
MAX_LOG_DENSITY = 8.0
"""Largest log density, per voxel length: the exponential stays finite in float32."""
LOG_DENSITY_STEP = (MAX_LOG_DENSITY - EMPTY_LOG_DENSITY) / 255
"""Log density per step of its code; code 0 is `EMPTY_LOG_DENSITY`."""
COLOR_STEP = 1 / 255
"""Color per step of its code; code 0 is 0."""
MAX_GRID_BRICKS = 1 << 23
"""
Maximum number of bricks of a grid, stored or not.

Each has 64 cells of the `DistanceMap`: half a gigabyte in all, and more while it is computed.
Their indices fit into 32 bits.
"""


class VoxelArrays(NamedTuple):
    """Arrays of a sparse voxel field in meters of the map frame."""

    origin_m: NDArray[np.float64]
    """(3,) corner of the grid with the smallest coordinates, map frame."""
    voxel_m: float
    """Edge of a voxel."""
    brick_index: Tensor
    """(X, Y, Z) int32: row in ``corner_index`` of each brick of the grid; 0 for a brick that is
    not stored."""
    corner_index: Tensor
    """(B + 1, 8, 8, 8) int32: row in ``values`` of each brick's corners (the lower corner of each
    voxel); 0 for an empty corner. Row 0 stands for all bricks that are not stored."""
    values: Tensor
    """(V + 1, 4) float32: log density per voxel length, then red, green, blue in [0, 1]. Row 0 is
    empty space."""
    observed_free: Tensor
    """(X, Y, Z) bool: bricks that were free along the rays of some image."""
    background: Tensor
    """(H, W, 3) float32: colors by direction (rows: from up to down, columns: azimuth) of the
    light that passes the field, which the images show beyond the range of their depth."""


def encode_values(values: Tensor) -> Tensor:
    """Round values (..., 4) to codes (..., 4) of 8 bits."""
    low = torch.tensor([EMPTY_LOG_DENSITY, 0.0, 0.0, 0.0], device=values.device)
    return ((values - low) / _steps(values.device)).round_().clamp_(0, 255).to(torch.uint8)


def decode_values(codes: Tensor) -> Tensor:
    """Return the values (..., 4) float32 of codes."""
    low = torch.tensor([EMPTY_LOG_DENSITY, 0.0, 0.0, 0.0], device=codes.device)
    return codes.float() * _steps(codes.device) + low


def _steps(device: torch.device) -> Tensor:
    return torch.tensor([LOG_DENSITY_STEP, COLOR_STEP, COLOR_STEP, COLOR_STEP], device=device)


def _planes(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn codes (N, 4) into (4, N): red and blue as differences from green, which are small."""
    density, red, green, blue = codes.T
    return np.stack([density, red - green, green, blue - green])


def _codes(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Invert `_planes`, flattened."""
    density, red, green, blue = planes.reshape(4, -1)
    return np.stack([density, red + green, green, blue + green], axis=1)


def _compress(array: NDArray[np.uint8]) -> Tensor:
    return torch.frombuffer(bytearray(zlib.compress(array.tobytes())), dtype=torch.uint8)


def _decompress(compressed: Tensor, size: int) -> NDArray[np.uint8]:
    """Invert `_compress`; raise ValueError or zlib.error if that does not give ``size`` bytes."""
    reader = zlib.decompressobj()
    data = reader.decompress(compressed.numpy().tobytes(), size + 1)
    if len(data) != size or not reader.eof:
        raise ValueError(f'compressed data of another size than {size} bytes')
    return np.frombuffer(bytearray(data), np.uint8)


def write_voxels(path: Path, voxels: VoxelArrays) -> None:
    """Write a voxel field as one safetensors file."""
    _, nonempty = np.unique(voxels.brick_index.cpu().numpy(), return_index=True)
    occupied = (voxels.corner_index > 0).cpu().numpy()
    save_file(
        {
            'origin_m': torch.from_numpy(voxels.origin_m),
            'voxel_m': torch.tensor(voxels.voxel_m, dtype=torch.float64),
            'grid': torch.tensor(voxels.brick_index.shape),
            'bricks': torch.from_numpy(nonempty[1:].astype(np.int64)),
            'corners.zlib': _compress(np.packbits(occupied[1:].reshape(-1))),
            'codes.zlib': _compress(_planes(encode_values(voxels.values).cpu().numpy())),
            'seen_free': torch.from_numpy(np.packbits(voxels.observed_free.cpu().numpy())),
            'background': voxels.background.half().cpu().contiguous(),
        },
        path,
    )


def read_voxels(path: Path, device: torch.device | str) -> VoxelArrays:
    """Read what `write_voxels` wrote; raise MapError if the file is no voxel field."""
    try:
        with safe_open(path, framework='pt') as file:
            data = {name: file.get_tensor(name) for name in _FILE_KEYS}
            if 'codes.zlib' in file.keys():
                bits = _decompress(file.get_tensor('corners.zlib'), 64 * data['bricks'].numel())
                rows = int(np.unpackbits(bits).sum()) + 1
                codes = _decompress(file.get_tensor('codes.zlib'), 4 * rows)
                data['corners'] = torch.from_numpy(bits)
                data['values'] = decode_values(torch.from_numpy(_codes(codes)))
            else:
                data |= {name: file.get_tensor(name) for name in ('corners', 'values')}
    except (OSError, SafetensorError, ValueError, zlib.error) as error:
        raise MapError(f'{path} is not a voxel field: {error}; {remedies.BUILD_AGAIN}') from error
    if not _has_consistent_shapes(data):
        raise MapError(f'{path} is damaged: array shapes do not match; {remedies.BUILD_AGAIN}')
    grid = tuple(int(n) for n in data['grid'])
    bricks, values = data['bricks'], data['values'].float()
    bits = np.unpackbits(data['corners'].numpy()).astype(bool)
    corner_index = np.zeros((len(bricks) + 1, BRICK**3), dtype=np.int32)
    corner_index[1:].reshape(-1)[bits] = np.arange(1, len(values), dtype=np.int32)
    brick_index = torch.zeros(int(np.prod(grid)), dtype=torch.int32)
    brick_index[bricks] = torch.arange(1, len(bricks) + 1, dtype=torch.int32)
    free = np.unpackbits(data['seen_free'].numpy(), count=int(np.prod(grid))).astype(bool)
    return VoxelArrays(
        data['origin_m'].numpy(),
        float(data['voxel_m']),
        brick_index.view(grid).to(device),
        torch.from_numpy(corner_index).view(-1, BRICK, BRICK, BRICK).to(device),
        values.to(device),
        torch.from_numpy(free).view(grid).to(device),
        data['background'].float().to(device),
    )


_FILE_KEYS = (
    'origin_m',
    'voxel_m',
    'grid',
    'bricks',
    'seen_free',
    'background',
)


def _has_consistent_shapes(data: dict[str, Tensor]) -> bool:
    """Return whether the arrays of a file have the shapes of one field."""
    grid, bricks = data['grid'].double(), data['bricks']
    if grid.shape != (3,) or float(grid.min()) < 1 or float(grid.prod()) > MAX_GRID_BRICKS:
        return False
    cells = int(grid.prod())
    occupied = int(np.unpackbits(data['corners'].numpy()).sum())
    shapes = {
        'origin_m': (3,),
        'voxel_m': (),
        'bricks': (bricks.numel(),),
        'corners': (bricks.numel() * BRICK**3 // 8,),
        'values': (occupied + 1, 4),
        'seen_free': (-(-cells // 8),),
        'background': (*data['background'].shape[:2], 3),
    }
    return (
        all(tuple(data[name].shape) == shape for name, shape in shapes.items())
        and (not len(bricks) or 0 <= int(bricks.min()) <= int(bricks.max()) < cells)
        and 0 < float(data['voxel_m']) < float('inf')
    )
