"""Arrays on disk: .npy files that are written row by row, and safetensors files with a schema."""

from collections.abc import Mapping
import os
from pathlib import Path
from types import MappingProxyType
from typing import Any, IO

import numpy as np
from numpy.typing import NDArray
import safetensors
import safetensors.numpy

from nerf_reversal_ros.core.errors import MapError

READ_ERRORS = (
    AttributeError,  # for a data type that NumPy lacks
    KeyError,
    OSError,
    TypeError,
    ValueError,
    safetensors.SafetensorError,
)
"""Errors of reading a malformed safetensors file."""


def open_npy(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> IO[bytes]:
    """Open an .npy file for writing rows; create it with its full size if it does not exist."""
    if not path.exists():
        with open(path, 'wb') as file:
            np.lib.format.write_array_header_1_0(
                file, {'descr': np.dtype(dtype).str, 'fortran_order': False, 'shape': shape}
            )
            file.truncate(file.tell() + int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return open(path, 'r+b')


def write_npy_rows(file: IO[bytes], first_row: int, rows: NDArray[np.generic]) -> None:
    """Write rows of an open .npy file and flush them to the disk (fsync)."""
    file.seek(0)
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    file.seek(first_row * rows[0].nbytes, os.SEEK_CUR)
    file.write(rows.tobytes())
    file.flush()
    os.fsync(file.fileno())


def read_point_arrays(
    path: Path,
    description: str,
    row_formats: Mapping[str, tuple[tuple[int, ...], str]],
    defaults: Mapping[str, float] = MappingProxyType({}),
    scalars: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """
    Read and validate the per-point arrays of a safetensors file.

    Parameters
    ----------
    path : Path
        The file.
    description : str
        Content of the file, for the error message.
    row_formats : mapping
        Shape of a row and data type, by name of the array. All arrays have the same number of
        rows. The file also holds ``origin_m``, (1, 3) float64, which is returned as (3,).
    defaults : mapping
        Values of arrays that files of older versions lack.
    scalars : mapping
        Names of single numbers, (1,) float64, with the values in files of older versions.

    Raises
    ------
    MapError
        If the file is missing or malformed, or holds other arrays or values that are not finite.
    """
    try:
        stored = safetensors.numpy.load_file(path)
        missing = {name: value for name, value in defaults.items() if name not in stored}
        row_formats = {k: v for k, v in row_formats.items() if k not in missing}
        counts = {len(stored[name]) for name in row_formats}
        for name, (shape, dtype) in row_formats.items():
            array = stored[name]
            if array.shape[1:] != shape or array.dtype != dtype or len(counts) != 1:
                raise ValueError(f'{name} is {array.shape} {array.dtype}')
            if not np.all(np.isfinite(array)):
                raise ValueError(f'{name} holds numbers that are not finite')
        origin_m = stored['origin_m']
        if origin_m.shape != (1, 3) or origin_m.dtype != 'float64':
            raise ValueError(f'origin_m is {origin_m.shape} {origin_m.dtype}')
        numbers = {name: float(stored[name].item()) for name in scalars if name in stored}
        if not np.all(np.isfinite(list(numbers.values()))):
            raise ValueError(f'{numbers} holds numbers that are not finite')
    except READ_ERRORS as error:
        raise MapError(
            f'{path} is not the {description} of a map, or is damaged ({error}): build the map'
            ' again'
        ) from error
    count = counts.pop()
    filled = {name: np.full(count, value, np.float32) for name, value in missing.items()}
    filled |= {name: stored[name] for name in row_formats}
    return {'origin_m': origin_m[0], **filled, **scalars, **numbers}
