"""
Checks of untrusted bags: paths, SQLite schema and decompressed size.

rosbags reads the files. The checks here reject files outside of the bag, SQLite tables that run
queries without end, and compressed data that would exhaust the memory.
"""

from collections.abc import Collection, Generator, Mapping
from contextlib import closing
import importlib.util
from pathlib import Path, PurePath
import sqlite3
from types import ModuleType
from typing import Any
from urllib.parse import quote

from lz4.frame import LZ4FrameDecompressor
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError, storage_mcap
from rosbags.rosbag2.reader import DirectoryReader
import yaml

from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.files import is_within

MAX_UNPACKED_BYTES = 1 << 30
"""Largest decompressed size of a message, or of a chunk of messages: 1 GiB, which no camera
reaches."""

_LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


def validated_storage_paths(path: Path) -> list[Path]:
    """
    Validate a bag and return the paths to open with rosbags: its folder, or its files.

    Raises
    ------
    CaptureError
        If there is no bag, its metadata name files outside of it, or it holds an SQLite file with
        views, virtual tables or computed columns.
    """
    if not path.exists():
        raise CaptureError(f'there is no bag at {path}')
    if path.is_file() and path.suffix not in ('.mcap', '.db3'):
        raise CaptureError(
            f'{path} is not a bag: give a rosbag2 folder, or a .mcap or .db3 file'
            ' (`nerf-reversal convert` converts other recordings)'
        )
    if not path.is_dir():
        _check_sqlite_schema(path)
        return [path]
    has_metadata = (path / 'metadata.yaml').exists()
    if has_metadata:
        files = _files_in_metadata(path)
    else:
        files = sorted([*path.glob('*.mcap'), *path.glob('*.db3')])
    if not has_metadata and not files:
        raise CaptureError(
            f'{path} is not a bag, it holds neither metadata.yaml nor .mcap or .db3 files'
            ' (`nerf-reversal convert` converts other recordings)'
        )
    for file in files:
        if not is_within(file, path):
            raise CaptureError(
                f'the bag {path} names {file}, outside of itself: do not trust it, or copy the'
                ' file into its folder'
            )
        _check_sqlite_schema(file)
    return [path] if has_metadata else files


def _files_in_metadata(folder: Path) -> list[Path]:
    """Return the files that ``metadata.yaml`` names."""
    file = folder / 'metadata.yaml'
    try:
        metadata = yaml.load(file.read_text(encoding='utf-8'), _LOADER)
        information = metadata['rosbag2_bagfile_information']
        names = [str(name) for name in information['relative_file_paths']]
        compression_mode = str(information.get('compression_mode') or '').lower()
    except Exception as error:  # PyYAML raises many types on malformed input
        reason = ' '.join(str(error).split())[:200]
        raise CaptureError(
            f'{file} is damaged ({reason}): try `ros2 bag reindex {folder}`'
        ) from error
    if compression_mode == 'file':
        raise CaptureError(
            f'the files of the bag {folder} are packed as a whole: unpack them (`zstd -d`), give'
            ' the .db3 or .mcap file itself'
        )
    for name in names:
        if PurePath(name).is_absolute() or '..' in PurePath(name).parts:
            raise CaptureError(
                f'{file} names {name!r}, outside of the bag: do not trust it, or reindex the bag'
            )
    return [folder / PurePath(name).name for name in names]


def _check_sqlite_schema(file: Path) -> None:
    """Reject an SQLite file that runs code: views, virtual tables, computed columns."""
    if file.suffix != '.db3' or not file.is_file():
        return
    try:
        address = f'file:{quote(str(file.absolute()))}?immutable=1&mode=ro'
        with closing(sqlite3.connect(address, uri=True)) as database:
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
            f'the bag {file} holds {", ".join(sorted(map(str, suspicious)))}, which is no plain'
            ' table of messages: do not trust it, record it again'
        )


def _decompress_zstd(data: bytes, size: int) -> bytes:
    decompressor = _limited_mcap.zstd.ZstdDecompressor()
    return _check_unpacked_size(decompressor.decompress(data, size + 1), size)


def _decompress_lz4(data: bytes, size: int) -> bytes:
    return _check_unpacked_size(LZ4FrameDecompressor().decompress(data, size + 1), size)


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
_limited_mcap = _load_private_copy(storage_mcap)
_limited_mcap.DECOMPRESSORS.update(zstd=_decompress_zstd, lz4=_decompress_lz4)


class _SizeLimitedDirectoryReader(DirectoryReader):
    STORAGE_PLUGINS: Mapping[str, Any] = {
        **DirectoryReader.STORAGE_PLUGINS,
        'mcap': _limited_mcap.McapReader,
    }


class SizeLimitedReader(Reader):
    """A rosbags reader that decompresses no message or chunk beyond `MAX_UNPACKED_BYTES`."""

    STORAGE_PLUGINS: Mapping[str, Any] = {
        **Reader.STORAGE_PLUGINS,
        'dir': _SizeLimitedDirectoryReader,
        '.mcap': _limited_mcap.McapReader,
    }
    _per_message_compression = False

    def open(self) -> None:
        """Open the files, and take the decompression of single messages over from rosbags."""
        super().open()
        metadata = self.storage.metadata
        self._per_message_compression = metadata.compression_mode == 'message'
        if self._per_message_compression:
            self.storage.metadata = metadata._replace(compression_mode=None)

    def messages(
        self,
        connections: Collection[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Read the messages of some connections, from ``start`` up to ``stop`` [ns]."""
        for connection, log_time_ns, data in super().messages(connections, start, stop):
            if self._per_message_compression:
                data = _decompress_zstd(data, MAX_UNPACKED_BYTES)
            yield connection, log_time_ns, data
