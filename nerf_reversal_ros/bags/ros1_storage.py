"""
Read a bag of ROS 1 (``.bag``), also one without an index, of a killed recording.

Messages are converted to CDR by the definitions of ROS 1 that rosbags ships.
"""

from collections import Counter, defaultdict
from functools import cache
from io import BytesIO
import os
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, ConnectionExtRosbag2
from rosbags.rosbag2 import ReaderError
from rosbags.typesys import get_typestore, Stores

from nerf_reversal_ros.bags.bag_safety import (
    limited_rosbag1,
    MAX_UNPACKED_BYTES,
    MAX_UNPACKED_RATIO,
)

MAGIC = b'#ROSBAG V'
_ROS1, _ROS2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_HUMBLE)
_RENAMED_TYPES = {'tf/msg/tfMessage': 'tf2_msgs/msg/TFMessage'}
"""Types of ROS 1 that have another name in ROS 2, with the same fields."""


class Ros1Storage(limited_rosbag1.Reader):  # type: ignore[misc]
    """An open bag of ROS 1; types have their names in ROS 2."""

    connections: list[Connection]

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.warnings: list[str] = []
        """What was left out, as sentences without the name of the file."""

    @property
    def span_ns(self) -> tuple[int, int]:
        """First and last log time [ns]."""
        return self.start_time, self.end_time - 1

    def open(self) -> None:
        """Open the bag by its index, or find all chunks of messages if it has none."""
        try:
            super().open()
        except Exception:  # rosbags raises many types on damaged files
            if self.bio is not None:
                self.close()
            self._scan()
        self.connections = [
            item._replace(msgtype=_RENAMED_TYPES.get(item.msgtype, item.msgtype))
            for item in self.connections
        ]

    def _scan(self) -> None:
        """Find all whole chunks of the file, and index the messages in them."""
        self.bio = file = self.path.open('rb')
        if not file.readline().startswith(MAGIC):
            raise ReaderError('it is no bag')
        connections: dict[int, Connection] = {}
        indexes: dict[int, list[Any]] = defaultdict(list)
        budget = MAX_UNPACKED_BYTES + MAX_UNPACKED_RATIO * self.path.stat().st_size
        while budget > 0:
            position = file.tell()
            try:
                header = limited_rosbag1.Header.read(file)
                if header.get_uint8('op') == limited_rosbag1.RecordType.CHUNK:
                    file.seek(position)
                    self.chunks[position] = chunk = self.read_chunk()
                    file.seek(chunk.datapos)
                    packed = limited_rosbag1.read_bytes(file, chunk.datasize)
                    content = chunk.decompressor(packed)
                    budget -= len(content)
                    self._index_chunk(position, content, connections, indexes)
                else:
                    size = limited_rosbag1.read_uint32(file)
                    file.seek(size, os.SEEK_CUR)
            except Exception:  # the end of the file, or damage
                break
            finally:
                self.bio = file
        self.indexes = {number: sorted(indexes[number]) for number in connections}
        counts = {number: len(index) for number, index in self.indexes.items()}
        self.connections = [
            item._replace(msgcount=counts[number]) for number, item in connections.items()
        ]
        self.warnings.append(
            'it has no index, the recording was killed or cut off: the'
            f' {sum(counts.values())} messages of its whole chunks are read'
        )

    def _index_chunk(
        self,
        position: int,
        content: bytes,
        connections: dict[int, Connection],
        indexes: dict[int, list[Any]],
    ) -> None:
        """Add the connections and messages of a chunk, and its time range."""
        self.bio = chunk = BytesIO(content)  # which read_connection reads
        counts: Counter[int] = Counter()
        times = []
        while (offset := chunk.tell()) < len(content):
            header = limited_rosbag1.Header.read(chunk)
            if header.get_uint8('op') == limited_rosbag1.RecordType.CONNECTION:
                chunk.seek(offset)
                connection = self.read_connection()
                connections[connection.id] = connection
                continue
            if header.get_uint8('op') == limited_rosbag1.RecordType.MSGDATA:
                number, time_ns = header.get_uint32('conn'), header.get_time('time')
                indexes[number].append(limited_rosbag1.IndexData(time_ns, position, offset))
                counts[number] += 1
                times.append(time_ns)
            limited_rosbag1.read_bytes(chunk, limited_rosbag1.read_uint32(chunk))
        if times:
            info = limited_rosbag1.ChunkInfo(position, min(times), max(times) + 1, dict(counts))
            self.chunk_infos.append(info)


def is_ros1(connection: Connection) -> bool:
    """Whether the messages of a connection are serialized as in ROS 1."""
    extension = connection.ext
    if isinstance(extension, ConnectionExtRosbag2):
        return extension.serialization_format == 'ros1'
    return True


def cdr_from_ros1(connection: Connection, data: bytes) -> bytes:
    """
    Convert a message of ROS 1 to CDR, by the definitions that rosbags ships.

    Raises
    ------
    ReaderError
        If the type is unknown, or its definition in the bag is another one.
    """
    kind = connection.msgtype
    if kind not in _ROS2.fielddefs:
        raise ReaderError(f'{connection.topic} has the type {kind}, which is unknown')
    if connection.digest and kind in _ROS1.fielddefs:
        if connection.digest != _known_digest(kind):
            raise ReaderError(f'{connection.topic} has another definition of {kind}')
    return bytes(_ROS2.ros1_to_cdr(data, kind))


@cache
def _known_digest(message_type: str) -> str:
    """Return the MD5 sum of the definition that rosbags ships."""
    return _ROS1.generate_msgdef(message_type)[1]
