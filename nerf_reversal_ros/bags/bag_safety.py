"""
What of a bag may be opened: files in its own folder, of the form that ROS writes, never too large.

A bag comes from elsewhere. rosbags reads it; here is refused what would lead it outside, keep it
busy for ever, or fill the memory.
"""

from collections.abc import Collection, Generator
from contextlib import closing
from pathlib import Path, PurePath
import sqlite3
from urllib.parse import quote

from lz4.frame import LZ4FrameDecompressor
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError, storage_mcap
import yaml

from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.files import is_within

MAX_UNPACKED_BYTES = 1 << 30
"""A message, or a chunk of messages, that would unpack to more is refused."""

_LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


def validated_storage_paths(path: Path) -> list[Path]:
    """
    Return what a reader of rosbags is to be opened for: the folder of a bag, or its files.

    Raises
    ------
    CaptureError
        If there is no bag, its metadata name files elsewhere, or its tables are none.
    """
    if not path.exists():
        raise CaptureError(f'there is no bag at {path}')
    if path.is_file() and path.suffix not in ('.mcap', '.db3'):
        raise CaptureError(
            f'{path} is not a bag: give a rosbag2 folder, or a .mcap or .db3 file'
            ' (`nerf-reversal convert` makes one of other recordings)'
        )
    if not path.is_dir():
        _check_sqlite_schema(path)
        return [path]
    told = (path / 'metadata.yaml').exists()
    files = (
        _files_in_metadata(path) if told else sorted([*path.glob('*.mcap'), *path.glob('*.db3')])
    )
    if not told and not files:
        raise CaptureError(
            f'{path} is not a bag, it holds neither metadata.yaml nor .mcap or .db3 files'
            ' (`nerf-reversal convert` makes a bag of other recordings)'
        )
    for file in files:
        if not is_within(file, path):
            raise CaptureError(
                f'the bag {path} names {file}, outside of itself: do not trust it, or copy the'
                ' file into its folder'
            )
        _check_sqlite_schema(file)
    return [path] if told else files


class SizeLimitedReader(Reader):
    """A reader of rosbags that unpacks no message to more than `MAX_UNPACKED_BYTES`."""

    _per_message_compression = False

    def open(self) -> None:
        """Open the files."""
        super().open()
        metadata = self.storage.metadata
        self._per_message_compression = metadata.compression_mode == 'message'
        if self._per_message_compression:  # rosbags is not to unpack them
            self.storage.metadata = metadata._replace(compression_mode=None)

    def messages(
        self,
        connections: Collection[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Read the messages of some connections, from ``start`` up to ``stop`` [ns]."""
        for connection, logged_ns, data in super().messages(connections, start, stop):
            if self._per_message_compression:
                data = _unzstd(data, MAX_UNPACKED_BYTES)
            yield connection, logged_ns, data


def _files_in_metadata(folder: Path) -> list[Path]:
    """Return the files that ``metadata.yaml`` names."""
    file = folder / 'metadata.yaml'
    try:
        told = yaml.load(file.read_text(encoding='utf-8'), _LOADER)
        information = told['rosbag2_bagfile_information']
        names = [str(name) for name in information['relative_file_paths']]
        packed = str(information.get('compression_mode') or '').lower()
    except Exception as error:  # PyYAML raises nearly anything on damage
        reason = ' '.join(str(error).split())[:200]
        raise CaptureError(
            f'{file} is damaged ({reason}): try `ros2 bag reindex {folder}`'
        ) from error
    if packed == 'file':
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
    """Refuse an SQLite file whose tables are programs: views, virtual ones, computed columns."""
    if file.suffix != '.db3' or not file.is_file():
        return
    try:
        address = f'file:{quote(str(file.absolute()))}?immutable=1&mode=ro'
        with closing(sqlite3.connect(address, uri=True)) as database:
            tables = database.execute('SELECT name, type, rootpage FROM sqlite_master').fetchall()
            odd = {
                name for name, kind, page in tables if kind not in ('table', 'index') or not page
            }
            for name, kind, _ in tables:
                quoted = str(name).replace('"', '""')
                if kind == 'table' and name not in odd:
                    columns = database.execute(f'PRAGMA table_xinfo("{quoted}")')
                    odd |= {name for *_, hidden in columns if hidden}
    except (sqlite3.Error, OverflowError, UnicodeError):
        return  # the reader tells what is wrong
    if odd:
        raise CaptureError(
            f'the bag {file} holds {", ".join(sorted(map(str, odd)))}, which is no plain table of'
            ' messages: do not trust it, record it again'
        )


def _unzstd(data: bytes, size: int) -> bytes:
    zstd = getattr(storage_mcap, 'zstd')  # noqa: B009  (compression.zstd or its backport)
    return _check_unpacked_size(zstd.ZstdDecompressor().decompress(data, size + 1), size)


def _unlz4(data: bytes, size: int) -> bytes:
    return _check_unpacked_size(LZ4FrameDecompressor().decompress(data, size + 1), size)


def _check_unpacked_size(data: bytes, size: int) -> bytes:
    if len(data) > min(size, MAX_UNPACKED_BYTES):
        raise ReaderError(f'a chunk unpacks to more than {min(size, MAX_UNPACKED_BYTES)} bytes')
    return data


# Those of rosbags unpack a chunk whatever its size, and compare it with what was claimed after.
storage_mcap.DECOMPRESSORS.update(zstd=_unzstd, lz4=_unlz4)
