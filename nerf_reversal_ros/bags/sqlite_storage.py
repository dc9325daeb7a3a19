"""
Read an SQLite file of a bag, also one of a killed recording, or one that is cut off.

rosbags reads a file without locks, and so without the log beside it (``-wal``, ``-journal``). In a
temporary copy the log is applied, or the messages before the damage are collected.
"""

from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import closing
from pathlib import Path
import shutil
import sqlite3
from urllib.parse import quote

import apsw
from rosbags.interfaces import Connection
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from nerf_reversal_ros.bags.bag_safety import (
    check_disk_space,
    check_sqlite_schema,
    sqlite_address,
)

MAGIC = b'SQLite format 3\0'
LOG_SUFFIXES = ('-wal', '-journal')
_JOURNAL_MAGIC = b'\xd9\xd5\x05\xf9\x20\xa1\x63\xd7'
"""End of a journal that names another file, which SQLite would delete."""
_TABLES = """
PRAGMA journal_mode=OFF;
CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT);
CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB);
CREATE INDEX timestamp_idx ON messages (timestamp);
"""


class SqliteStorage(Sqlite3Reader):
    """An open SQLite file; `connections` have the numbers of messages that can be read."""

    def __init__(self, path: Path, make_folder: Callable[[], Path]) -> None:
        """Choose the file; ``make_folder`` makes one for temporary copies while it is opened."""
        super().__init__(path)
        self._file = path
        self._make_folder = make_folder
        self.warnings: list[str] = []
        """What was left out, as sentences without the name of the file."""

    @property
    def span_ns(self) -> tuple[int, int]:
        """First and last log time [ns]."""
        return self.metadata.start_time, self.metadata.end_time - 1

    def open(self) -> None:
        """
        Open the file, or a temporary copy of it.

        Raises
        ------
        CaptureError
            If the file runs code, or the disk has no space for a copy.
        ReaderError
            If the file holds no messages that can be read.
        """
        shown = file = self._file
        check_sqlite_schema(file, shown)
        if _has_log(file):
            file = _copy_with_log(file, self._make_folder())
            check_sqlite_schema(file, shown)
        # rosbags puts the path into a URI.
        self.path = Path(quote(str(file.absolute())))
        try:
            super().open()
        except ReaderError:
            file = self._collect_messages(file)
            self.path = Path(quote(str(file.absolute())))
            super().open()

    def messages(
        self,
        connections: Collection[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Read messages of some connections by log time, from ``start`` up to ``stop`` [ns]."""
        try:
            yield from super().messages(connections, start, stop)
        except apsw.Error as error:
            note = f'it is damaged ({error}): the messages behind the damage are left out'
            if note not in self.warnings:
                self.warnings.append(note)

    def _collect_messages(self, file: Path) -> Path:
        """Copy the messages before the damage of a file to a new one."""
        folder = self._make_folder()
        check_disk_space(file, file.stat().st_size, folder)
        target = folder / 'collected.db3'
        with (
            closing(sqlite3.connect(sqlite_address(file), uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.execute('PRAGMA trusted_schema=OFF')
            source.execute('PRAGMA writable_schema=ON')  # allows a file that is cut off
            try:
                topics = source.execute('SELECT id, name, type, serialization_format FROM topics')
                rows = topics.fetchall()
                messages = source.execute(
                    'SELECT rowid, topic_id, timestamp, data FROM messages NOT INDEXED'
                )
            except (sqlite3.Error, UnicodeError) as error:
                raise ReaderError(str(error)) from error
            copy.executescript(_TABLES)
            copy.executemany('INSERT INTO topics VALUES (?, ?, ?, ?)', rows)
            copy.executemany(
                'INSERT INTO messages VALUES (?, ?, ?, ?)',
                _until_damage(messages, file.stat().st_size),
            )
            (count,) = copy.execute('SELECT count(*) FROM messages').fetchone()
            copy.commit()
        if not count:
            raise ReaderError('no message of it can be read')
        self.warnings.append(f'it is damaged: the {count} messages before the damage are read')
        return target


def _has_log(file: Path) -> bool:
    """Whether a log with content lies beside the file; one that names other files is ignored."""
    for suffix in LOG_SUFFIXES:
        log = file.with_name(file.name + suffix)
        if log.is_file() and not log.is_symlink() and log.stat().st_size:
            if suffix == '-wal' or not _ends_with(log, _JOURNAL_MAGIC):
                return True
    return False


def _ends_with(file: Path, end: bytes) -> bool:
    with file.open('rb') as stream:
        stream.seek(max(0, file.stat().st_size - len(end)))
        return stream.read(len(end)) == end


def _copy_with_log(file: Path, folder: Path) -> Path:
    """Copy a file and the log beside it, and let SQLite apply the log to the copy."""
    target = folder / 'with_log.db3'
    for suffix in ('', *LOG_SUFFIXES):
        part = file.with_name(file.name + suffix)
        if part.is_file() and not part.is_symlink():
            check_disk_space(part, part.stat().st_size, folder)
            shutil.copyfile(part, target.with_name(target.name + suffix))
    try:
        with closing(sqlite3.connect(target)) as database:
            database.execute('PRAGMA trusted_schema=OFF')
            database.execute('PRAGMA journal_mode=DELETE').fetchall()
    except sqlite3.Error:
        shutil.copyfile(file, target)  # the log is damaged
    return target


def _until_damage(
    rows: Iterable[tuple[int, object, object, bytes]], file_bytes: int
) -> Iterable[tuple[int, object, object, bytes]]:
    """Yield rows up to the first that cannot be read; never more than the file can hold."""
    last_id, budget = None, file_bytes
    iterator = iter(rows)
    while True:
        try:
            row = next(iterator, None)
        except (sqlite3.Error, UnicodeError, OverflowError):
            return
        if row is None or not isinstance(row[3], bytes):
            return
        budget -= len(row[3]) + 2
        if budget < 0 or (last_id is not None and row[0] <= last_id):
            return
        last_id = row[0]
        yield row
