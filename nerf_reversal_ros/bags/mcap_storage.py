"""
Read an MCAP file, also one without an index: of a killed recording, cut off, or damaged in parts.

The reader of rosbags needs the index at the end of the file. Without it, all whole records are
found by their lengths; what follows the last one, and damaged chunks, are left out and counted.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from heapq import merge
from operator import itemgetter
from pathlib import Path
import struct
from typing import BinaryIO, NamedTuple

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2.metadata import ReaderMetadata
from rosbags.typesys.msg import normalize_msgtype

from nerf_reversal_ros.bags.bag_safety import (
    limited_mcap,
    MAX_UNPACKED_BYTES,
    MAX_UNPACKED_RATIO,
)

MAGIC = b'\x89MCAP0\r\n'
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _FOOTER, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x02, 0x0F
_KNOWN_RECORDS = range(0x01, 0x10)
_MESSAGE_HEADER = struct.Struct('<HIQQ')
"""Channel, sequence number, log time [ns] and publish time [ns] before the data of a message."""
_CHUNK_HEADER = struct.Struct('<QQQI')
"""Start [ns], end [ns], decompressed size and checksum at the beginning of a chunk."""
Message = tuple[Connection, int, bytes]
"""Connection, log time [ns] and data of a message."""


class _Section(NamedTuple):
    """A part of the file whose messages are read together: a chunk, or one message."""

    start_ns: int
    end_ns: int
    offset: int
    """Position of the content of its record."""
    size: int
    is_chunk: bool
    channels: frozenset[int]
    """Channels of its messages; empty: unknown."""


class _Contents:
    """Channels of a file that is read record by record, and their numbers of messages."""

    def __init__(self, owner: object) -> None:
        self._owner = owner
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, Connection] = {}
        self._counts: Counter[int] = Counter()

    def add(self, records: list[tuple[int, bytes]]) -> list[tuple[int, int]]:
        """Add records; return the channel and log time [ns] of each message among them."""
        messages = []
        for kind, record in records:
            if kind == _MESSAGE:
                channel, _, time_ns, _ = _MESSAGE_HEADER.unpack_from(record)
                messages.append((channel, time_ns))
            elif kind in (_SCHEMA, _CHANNEL):
                self._add_channel(kind, record)
        self._counts.update(channel for channel, _ in messages)
        return messages

    def _add_channel(self, kind: int, record: bytes) -> None:
        """Add the schema or channel of a record."""
        number = int.from_bytes(record[:2], 'little')
        if kind == _SCHEMA:
            self._schemas[number] = _string(record, 2)[0]
            return
        schema = self._schemas.get(int.from_bytes(record[2:4], 'little'), '')
        topic, end = _string(record, 4)
        extension = ConnectionExtRosbag2(_string(record, end)[0], [])
        definition = MessageDefinition(MessageDefinitionFormat.NONE, '')
        self._channels[number] = Connection(
            number, topic, schema, definition, '', 0, extension, self._owner
        )

    def connections(self) -> list[Connection]:
        """Return the channels with their numbers of messages."""
        return [
            item._replace(msgcount=self._counts[number]) for number, item in self._channels.items()
        ]


class McapStorage(limited_mcap.McapReader):  # type: ignore[misc]
    """An MCAP file; `connections` have the numbers of messages that can be read."""

    connections: list[Connection]
    metadata: ReaderMetadata

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.warnings: list[str] = []
        """What was left out, as sentences without the name of the file."""
        self._sections: list[_Section] = []

    @property
    def span_ns(self) -> tuple[int, int]:
        """First and last log time [ns]."""
        return self.metadata.start_time, self.metadata.end_time

    def _open(self) -> None:
        """Read the index, or find all records if it is missing, damaged or incomplete."""
        assert self.bio is not None
        try:
            super()._open()
            indexed = bool(self.chunks) and any(item.msgcount for item in self.connections)
        except Exception:  # rosbags raises many types on damaged files
            self.bio.seek(0)
            if self.bio.read(len(MAGIC)) != MAGIC:
                raise
            indexed = False
        if indexed:
            self._sections = [
                _Section(
                    chunk.message_start_time,
                    chunk.message_end_time,
                    chunk.chunk_start_offset + 9,
                    chunk.chunk_length - 9,
                    True,
                    frozenset(chunk.message_index_offsets),
                )
                for chunk in self.chunks
            ]
        else:
            self._scan()
        self.connections = [
            item._replace(msgtype=normalize_msgtype(item.msgtype)) for item in self.connections
        ]

    def _scan(self) -> None:
        """Find all whole records of the file."""
        assert self.bio is not None
        contents = _Contents(self)
        damaged_count, is_complete = 0, False
        budget = MAX_UNPACKED_BYTES + MAX_UNPACKED_RATIO * self.path.stat().st_size
        self._sections = []
        for kind, offset, size in _records(self.bio, len(MAGIC)):
            if kind in (_DATA_END, _FOOTER):
                is_complete = True
                break
            if kind not in (_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK):
                continue
            try:
                if kind == _CHUNK:
                    chunk = self._unpack(offset, size)
                    budget -= len(chunk)
                    records = [(k, chunk[at : at + n]) for k, at, n in _records_in(chunk)]
                else:
                    records = [(kind, self._read_bytes(offset, size))]
                messages = contents.add(records)
            except Exception:  # see _open
                damaged_count += 1
                continue
            if messages:
                channels, times = zip(*messages, strict=True)
                self._sections.append(
                    _Section(
                        min(times), max(times), offset, size, kind == _CHUNK, frozenset(channels)
                    )
                )
            if budget < 0:
                break
        self.connections = contents.connections()
        self.metadata = self.metadata._replace(
            message_count=sum(item.msgcount for item in self.connections),
            start_time=min((item.start_ns for item in self._sections), default=0),
            end_time=max((item.end_ns for item in self._sections), default=0),
        )
        if not is_complete:
            self.warnings.append(
                'its end is missing, the recording was killed or cut off: the'
                f' {self.metadata.message_count} messages before it are read'
            )
        if damaged_count:
            self.warnings.append(f'{damaged_count} damaged parts of it are left out')

    def _read_bytes(self, offset: int, size: int) -> bytes:
        assert self.bio is not None
        self.bio.seek(offset)
        data: bytes = limited_mcap.read_exact(self.bio, size)
        return data

    def _unpack(self, offset: int, size: int) -> bytes:
        """Read and decompress the chunk whose record is at ``offset``."""
        record = self._read_bytes(offset, size)
        *_, unpacked_size, checksum = _CHUNK_HEADER.unpack_from(record)
        compression, end = _string(record, _CHUNK_HEADER.size)
        (packed_size,) = struct.unpack_from('<Q', record, end)
        packed = record[end + 8 : end + 8 + packed_size]
        content: bytes = limited_mcap.decompress(packed, compression, unpacked_size, checksum)
        return content

    def messages(
        self,
        connections: Collection[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[Message]:
        """Read messages of some connections by log time, from ``start`` up to ``stop`` [ns]."""
        wanted = {item.id: item for item in connections}
        sources = [
            self._section_messages(section, wanted, start, stop)
            for section in self._sections
            if (start is None or section.end_ns >= start)
            and (stop is None or section.start_ns < stop)
            and (not section.channels or section.channels & wanted.keys())
        ]
        for _, message in merge(*sources, key=itemgetter(0)):
            if message is not None:
                yield message

    def _section_messages(
        self,
        section: _Section,
        wanted: dict[int, Connection],
        start: int | None,
        stop: int | None,
    ) -> Iterator[tuple[int, Message | None]]:
        """Yield log time and message; first the start of the section, before it is read."""
        yield section.start_ns, None
        if section.is_chunk:
            try:
                content = self._unpack(section.offset, section.size)
                places = [item[1:] for item in _records_in(content) if item[0] == _MESSAGE]
            except Exception as error:  # see _open
                self._note_damage(section, error)
                return
        else:
            content, places = self._read_bytes(section.offset, section.size), [(0, section.size)]
        found = []
        for offset, size in places:
            channel, _, time_ns, _ = _MESSAGE_HEADER.unpack_from(content, offset)
            if channel in wanted and (start is None or start <= time_ns):
                if stop is None or time_ns < stop:
                    data = content[offset + _MESSAGE_HEADER.size : offset + size]
                    found.append((time_ns, (wanted[channel], time_ns, data)))
        yield from sorted(found, key=itemgetter(0))

    def _note_damage(self, section: _Section, error: Exception) -> None:
        note = f'a damaged chunk at byte {section.offset} is left out ({error})'
        if note not in self.warnings:
            self.warnings.append(note)


def _records(file: BinaryIO, offset: int) -> Iterator[tuple[int, int, int]]:
    """Yield kind, position and size of the content of the whole records of a file."""
    end = file.seek(0, 2)
    while offset + 9 <= end:
        file.seek(offset)
        kind, size = struct.unpack('<BQ', file.read(9))
        if (kind not in _KNOWN_RECORDS and kind < 0x80) or offset + 9 + size > end:
            return
        yield kind, offset + 9, size
        offset += 9 + size


def _records_in(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield kind, position and size of the content of the records in a chunk."""
    offset = 0
    while offset < len(content):
        kind, size = struct.unpack_from('<BQ', content, offset)
        offset += 9
        if offset + size > len(content) or (kind == _MESSAGE and size < _MESSAGE_HEADER.size):
            raise ValueError('a record is longer than its chunk')
        yield kind, offset, size
        offset += size


def _string(record: bytes, offset: int) -> tuple[str, int]:
    """Return a string with its length before it, and the position behind it."""
    (length,) = struct.unpack_from('<I', record, offset)
    end = offset + 4 + length
    if end > len(record):
        raise ValueError('a string is longer than its record')
    return record[offset + 4 : end].decode(), end
