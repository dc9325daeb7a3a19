"""
Checks of untrusted bags: SQLite schema, decompressed size, and disk space of temporary copies.

rosbags reads the files. The checks here reject SQLite tables that run queries without end, and
compressed data that would exhaust the memory or the disk.
"""

from bz2 import BZ2Decompressor
from contextlib import closing
import importlib.util
from pathlib import Path
import shutil
import sqlite3
import tempfile
from types import ModuleType
from typing import Any
from urllib.parse import quote

from lz4.frame import LZ4FrameDecompressor
from rosbags.rosbag1 import reader as rosbag1_reader
from rosbags.rosbag2 import ReaderError, storage_mcap

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError

MAX_UNPACKED_BYTES = 1 << 30
"""Largest decompressed size of a message, or of a chunk of messages: 1 GiB, which no camera
reaches."""
MAX_UNPACKED_RATIO = 100
"""Largest ratio of a decompressed file to its compressed size, beyond `MAX_UNPACKED_BYTES`."""
RESERVED_BYTES = 1 << 30
"""Space that a temporary copy leaves free on its disk: 1 GiB."""
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
"""First bytes of data in zstd, which are no beginning of a message in CDR."""


def check_sqlite_schema(file: Path, shown: Path) -> None:
    """Reject an SQLite file that runs code: views, virtual tables, computed columns."""
    try:
        with closing(sqlite3.connect(sqlite_address(file), uri=True)) as database:
            database.execute('PRAGMA writable_schema=ON')  # a shortened file has its schema, too
            tables = database.execute('SELECT name, type, rootpage FROM sqlite_master').fetchall()
            suspicious = {
                name for name, kind, page in tables if kind not in ('table', 'index') or not page
            }
            for name, kind, _ in tables:
                quoted = str(name).replace('"', '""')
                if kind == 'table' and name not in suspicious:
                    columns = database.execute(f'PRAGMA table_xinfo("{quoted}")')
                    suspicious |= {name for *_, hidden in columns if hidden}
    except (sqlite3.Error, OverflowError, UnicodeError):
        return  # the reader raises the error
    if suspicious:
        raise CaptureError(
            f'the bag {shown} holds {", ".join(sorted(map(str, suspicious)))}, which is no plain'
            ' table of messages: do not trust it, record it again'
        )


def sqlite_address(file: Path) -> str:
    """Return the URI that opens an SQLite file of any name, read-only and without locks."""
    return f'file:{quote(str(file.absolute()))}?immutable=1&mode=ro'


def check_disk_space(file: Path, size: int, folder: Path) -> None:
    """Raise CaptureError if a temporary copy of ``size`` bytes would fill the disk."""
    if size > shutil.disk_usage(folder).free - RESERVED_BYTES:
        raise CaptureError(
            f'{file} needs a temporary copy of {size / 1e9:.1f} GB, more than is free in'
            f' {tempfile.gettempdir()}: {remedies.TEMPORARY_FOLDER}'
        )


def unpack_file(file: Path, folder: Path) -> Path:
    """
    Decompress a zstd file of a bag into a folder, and return the new file.

    Raises
    ------
    CaptureError
        If the disk has too little space, or the file unpacks to far more than its size.
    """
    packed_bytes = file.stat().st_size
    limit = max(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * packed_bytes)
    check_disk_space(file, packed_bytes, folder)
    target, size = folder / file.stem, 0
    with limited_mcap.zstd.open(file, 'rb') as source, target.open('wb') as out:
        while data := source.read(1 << 20):
            size += len(data)
            if size > limit:
                unpack = remedies.UNPACK.format(file=file)
                raise CaptureError(
                    f'{file} unpacks to more than {limit} bytes: do not trust it, or {unpack}'
                )
            if size % (256 << 20) < len(data):
                check_disk_space(file, len(data), folder)
            out.write(data)
    return target


def decompress_zstd(data: bytes, size: int | None = None) -> bytes:
    """Decompress zstd data to at most ``size`` bytes, by default `MAX_UNPACKED_BYTES`."""
    size = MAX_UNPACKED_BYTES if size is None else size
    decompressor = limited_mcap.zstd.ZstdDecompressor()
    return _check_unpacked_size(decompressor.decompress(data, size + 1), size)


def _decompress_lz4(data: bytes, size: int | None = None) -> bytes:
    size = MAX_UNPACKED_BYTES if size is None else size
    return _check_unpacked_size(LZ4FrameDecompressor().decompress(data, size + 1), size)


def _decompress_bz2(data: bytes) -> bytes:
    size = MAX_UNPACKED_BYTES
    return _check_unpacked_size(BZ2Decompressor().decompress(data, size + 1), size)


def _check_unpacked_size(data: bytes, size: int) -> bytes:
    if len(data) > min(size, MAX_UNPACKED_BYTES):
        raise ReaderError(f'a chunk unpacks to more than {min(size, MAX_UNPACKED_BYTES)} bytes')
    return data


def _load_private_copy(module: ModuleType) -> Any:
    """Load a second instance of a module, whose globals can be changed without side effects."""
    spec = module.__spec__
    assert spec is not None and spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


# The decompressors of rosbags compare the size of a chunk with the claimed one afterwards.
limited_mcap = _load_private_copy(storage_mcap)
"""The MCAP reader of rosbags, which decompresses no chunk beyond `MAX_UNPACKED_BYTES`."""
limited_mcap.DECOMPRESSORS.update(zstd=decompress_zstd, lz4=_decompress_lz4)
limited_rosbag1 = _load_private_copy(rosbag1_reader)
"""The reader of rosbags for ROS 1, with the same limit."""
limited_rosbag1.decompressors.update(bz2=_decompress_bz2, lz4=_decompress_lz4)
