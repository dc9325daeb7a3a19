"""Files on disk: written whole or not at all, and compared by checksum."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import errno
import hashlib
import os
from pathlib import Path
import resource
import shutil
from typing import Any, IO

import numpy as np
from numpy.typing import NDArray
import safetensors
import safetensors.numpy

from nerf_reversal_ros.core.errors import MapError, NerfReversalError

_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_output_text(path: Path, text: str) -> None:
    """
    Write a text file so that it is there whole or, after a failure, as it was before.

    Raises
    ------
    NerfReversalError
        If it cannot be written (no such folder, no space, not allowed).
    """
    try:
        atomic_write_text(path, text)
    except OSError as error:
        raise NerfReversalError(f'cannot write {path}: {error.strerror}') from error


def check_writable(path: Path | None) -> None:
    """
    Find out before long work that its result could not be written; None is no file at all.

    Raises
    ------
    NerfReversalError
        If the file's folder does not exist or cannot be written, or the path is a folder.
    """
    if path is None:
        return
    if path.is_dir():
        raise NerfReversalError(f'cannot write {path}: it is a folder, give the name of a file')
    if not path.absolute().parent.is_dir():
        raise NerfReversalError(f'cannot write {path}: the folder {path.parent} does not exist')
    if not os.access(path.absolute().parent, os.W_OK):
        raise NerfReversalError(f'cannot write {path}: the folder {path.parent} is read-only')


def read_point_arrays(
    path: Path, description: str, row_formats: Mapping[str, tuple[tuple[int, ...], str]]
) -> dict[str, NDArray[Any]]:
    """
    Read the arrays of a safetensors file that have a row for each of the same things.

    Parameters
    ----------
    description : str
        What the file should be, for the message.
    row_formats : mapping
        By the name of an array, the shape of a row and the type of its numbers. There is also
        ``origin_m``, (1, 3) float64, which is returned as (3,).

    Raises
    ------
    MapError
        If the file is missing or damaged, or is something else.
    """
    try:
        stored = safetensors.numpy.load_file(path)
        counts = {len(stored[name]) for name in row_formats}
        for name, (shape, kind) in row_formats.items():
            found = stored[name]
            if found.shape[1:] != shape or found.dtype != kind or len(counts) != 1:
                raise ValueError(f'{name} is {found.shape} {found.dtype}')
            if not np.all(np.isfinite(found)):
                raise ValueError(f'{name} holds numbers that are not finite')
        origin_m = stored['origin_m']
        if origin_m.shape != (1, 3) or origin_m.dtype != 'float64':
            raise ValueError(f'origin_m is {origin_m.shape} {origin_m.dtype}')
    except (
        AttributeError,  # of a type that NumPy lacks
        KeyError,
        OSError,
        TypeError,
        ValueError,
        safetensors.SafetensorError,
    ) as error:
        raise MapError(
            f'{path} is not the {description} of a map, or is damaged ({error}): build the map again'
        ) from error
    return {'origin_m': origin_m[0], **{name: stored[name] for name in row_formats}}


def atomic_write_text(path: Path, text: str) -> None:
    """Do what `write_output_text` does, with the operating system's own errors (OSError)."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with temporary.open('w', encoding='utf-8') as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_full_disk(error: BaseException) -> bool:
    """Tell a full disk, also from libraries (safetensors, torch) with errors of their own."""
    if isinstance(error, OSError):
        return error.errno in _DISK_FULL_ERRNOS
    return isinstance(error, Exception) and any(
        os.strerror(n) in str(error) for n in _DISK_FULL_ERRNOS
    )


def sha256(path: Path) -> str:
    """Return the checksum of a file's contents, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open('rb') as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fsync(path: Path) -> None:
    """Have a file or folder safely on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder; what is not there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_within(path: Path, folder: Path) -> bool:
    """Tell whether a path, its links followed, stays in a folder."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, a name that cannot be one
        return False


@contextmanager
def memory_limit(extra_bytes: int) -> Iterator[None]:
    """
    Let the process have only so much more memory while the block runs: beyond it, MemoryError.

    For libraries that unpack whatever size comes out; other threads are limited as well.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[0])
    limit = pages * resource.getpagesize() + extra_bytes
    if soft == resource.RLIM_INFINITY or limit < soft:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def open_npy(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> IO[bytes]:
    """Open an .npy file for writing rows; made with its full size when it is not there."""
    if not path.exists():
        with open(path, 'wb') as file:
            np.lib.format.write_array_header_1_0(
                file, {'descr': np.dtype(dtype).str, 'fortran_order': False, 'shape': shape}
            )
            file.truncate(file.tell() + int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return open(path, 'r+b')


def write_npy_rows(file: IO[bytes], first_row: int, rows: NDArray[np.generic]) -> None:
    """Write rows of an open .npy file and wait until they are on the disk."""
    file.seek(0)
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    file.seek(first_row * rows[0].nbytes, os.SEEK_CUR)
    file.write(rows.tobytes())
    file.flush()
    os.fsync(file.fileno())
