"""Files on disk: atomic writes, checks of paths, checksums, and resuming of interrupted work."""

from collections.abc import Iterable, Mapping
import errno
import hashlib
import json
import os
from pathlib import Path
import shutil
from typing import Any

from nerf_reversal_ros.core.errors import CaptureError, NerfReversalError

_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REQUEST_FILE = 'request.json'


def write_output(path: Path, content: str | bytes) -> None:
    """
    Write a file atomically, text as UTF-8; a failure leaves the previous content.

    Raises
    ------
    NerfReversalError
        If the file cannot be written (no such folder, no space, no permission).
    """
    try:
        atomic_write(path, content)
    except OSError as error:
        raise NerfReversalError(f'cannot write {path}: {error.strerror}') from error


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a file as `write_output` does, but raise OSError on failure."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with temporary.open('wb') as out:
            out.write(content.encode() if isinstance(content, str) else content)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path | None) -> None:
    """
    Check that an output file can be written, before long work; None means no output.

    Raises
    ------
    NerfReversalError
        If the path is a folder, or its folder does not exist or cannot be written.
    """
    if path is None:
        return
    if path.is_dir():
        raise NerfReversalError(f'cannot write {path}: it is a folder, give the name of a file')
    if not path.absolute().parent.is_dir():
        raise NerfReversalError(f'cannot write {path}: the folder {path.parent} does not exist')
    if not os.access(path.absolute().parent, os.W_OK):
        raise NerfReversalError(f'cannot write {path}: the folder {path.parent} is read-only')


def is_full_disk(error: BaseException) -> bool:
    """Whether an error means a full disk; safetensors and torch raise types of their own."""
    if isinstance(error, OSError):
        return error.errno in _DISK_FULL_ERRNOS
    return isinstance(error, Exception) and any(
        os.strerror(number) in str(error) for number in _DISK_FULL_ERRNOS
    )


def sha256(path: Path) -> str:
    """Return the SHA-256 checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fsync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_within(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder after its links are resolved."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # circular links, or an invalid name
        return False


def require_within(path: Path, folder: Path) -> Path:
    """
    Return the path of an input file that must lie in the folder of its recording.

    Raises
    ------
    CaptureError
        If the path leads outside of ``folder`` after its links are resolved.
    """
    if not is_within(path, folder):
        raise CaptureError(
            f'{path} leads outside of {folder}: do not trust it, or copy the file into the folder'
        )
    return path


def clear_if_stale(folder: Path, request: Mapping[str, Any], patterns: Iterable[str]) -> None:
    """
    Remove intermediate results of another request, so that only unchanged work is resumed.

    The folder records its request in ``request.json``, which is removed first: an interruption
    never leaves results that match no request.

    Parameters
    ----------
    folder : Path
        Existing folder of the results.
    request : mapping
        JSON values that the results depend on (settings, seed, poses, version).
    patterns : iterable of str
        Glob patterns of the results in ``folder``.
    """
    text = json.dumps(request)
    path = folder / _REQUEST_FILE
    if path.exists() and path.read_text(encoding='utf-8') == text:
        return
    remove(path)
    for pattern in patterns:
        for result in list(folder.glob(pattern)):
            remove(result)
    atomic_write(path, text)
