"""
Reading a rosbag2 without ROS: which topics there are, and their messages in order.

A bag is a folder (with or without its ``metadata.yaml``), or one ``.mcap`` or ``.db3`` file.
Whatever is wrong with it is told as a `CaptureError`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
import struct
from typing import Any, NamedTuple

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.typesys import get_typestore, Stores

from nerf_reversal_ros.errors import CaptureError


class Raw(NamedTuple):
    """A message as it lies in the bag."""

    topic: str
    logged_ns: int
    """When it was recorded; the key by which it can be read again."""
    data: bytes
    """CDR."""

    @property
    def stamp_ns(self) -> int:
        """The stamp of the header, for the message types that begin with one."""
        form = '<iI' if self.data[1] & 1 else '>iI'
        seconds, nanoseconds = struct.unpack_from(form, self.data, 4)
        return int(seconds) * 1_000_000_000 + int(nanoseconds)


class Bag:
    """An open bag; use it in a ``with`` statement."""

    def __init__(self, path: Path) -> None:
        """
        Open the bag at ``path``.

        Raises
        ------
        CaptureError
            If there is no bag, it is damaged, or it holds no message.
        """
        self.path = Path(path)
        store = get_typestore(Stores.ROS2_HUMBLE)
        with self._damage_told():
            self._reader = AnyReader(_storage(self.path), default_typestore=store)
            self._reader.open()
        if self._reader.message_count == 0:
            self.close()
            raise CaptureError(f'the bag {self.path} is empty: record it again')

    def __enter__(self) -> 'Bag':
        """Give the open bag itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bag."""
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    @property
    def topics(self) -> dict[str, str]:
        """Message type by topic, such as ``sensor_msgs/msg/Image``."""
        return {item.topic: item.msgtype for item in self._reader.connections}

    @property
    def duration_s(self) -> float:
        """Seconds from the first message to the last."""
        return (self._reader.end_time - self._reader.start_time) * 1e-9

    @property
    def said_by_writer(self) -> dict[str, str]:
        """What the program that wrote the bag noted in its metadata."""
        found: dict[str, str] = {}
        for reader in self._reader.readers:
            storage = getattr(reader, 'storage', None)
            found.update(getattr(getattr(storage, 'metadata', None), 'custom', None) or {})
        return found

    def count(self, topic: str) -> int:
        """Return how many messages a topic has."""
        return sum(item.msgcount for item in self._connections([topic]))

    def require(self, topic: str, setting: str, types: Sequence[str]) -> str:
        """
        Return the type of a topic that a setting names.

        Raises
        ------
        CaptureError
            If the bag has no such topic (the message lists those there are), or its type is
            none of ``types`` (short names, such as ``Image``).
        """
        there = self.topics
        if topic not in there:
            listed = ', '.join(f'{name} ({_short(kind)})' for name, kind in sorted(there.items()))
            raise CaptureError(
                f'the bag {self.path} has no topic {topic}: set {setting} to one of {listed}'
            )
        if _short(there[topic]) not in types:
            raise CaptureError(
                f'{setting} {topic} holds {_short(there[topic])}, but must hold'
                f' {" or ".join(types)}: set {setting} to another topic'
            )
        return _short(there[topic])

    def messages(self, topics: Sequence[str], logged_ns: int | None = None) -> Iterator[Raw]:
        """
        Read the messages of some topics in the order of their recording.

        With ``logged_ns``, only those recorded at that very time, which is quick.
        """
        connections = self._connections(topics)
        if not connections:
            return
        stop = None if logged_ns is None else logged_ns + 1
        with self._damage_told():
            reading = self._reader.messages(connections, logged_ns, stop)
        while True:
            with self._damage_told():
                item = next(reading, None)
            if item is None:
                return
            connection, logged, data = item
            yield Raw(connection.topic, logged, data)

    def decode(self, raw: Raw) -> Any:
        """Return the message with its fields."""
        with self._damage_told():
            return self._reader.deserialize(raw.data, self.topics[raw.topic])

    def _connections(self, topics: Sequence[str]) -> list[Connection]:
        return [item for item in self._reader.connections if item.topic in topics]

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        # Damaged files make the readers below raise nearly anything, TypeError included.
        try:
            yield
        except CaptureError:
            raise
        except Exception as error:
            reason = ' '.join(str(error).split()) or type(error).__name__
            raise CaptureError(
                f'the bag {self.path} cannot be read, it is damaged or was cut off ({reason}):'
                ' try `mcap recover` or `ros2 bag reindex`, or record it again'
            ) from error


def _storage(path: Path) -> list[Path]:
    if not path.exists():
        raise CaptureError(f'there is no bag at {path}')
    if path.is_file() and path.suffix not in ('.mcap', '.db3'):
        raise CaptureError(
            f'{path} is not a bag: give a rosbag2 folder, or a .mcap or .db3 file'
            ' (`nerf-reversal convert` makes one of other recordings)'
        )
    if path.is_dir() and not (path / 'metadata.yaml').exists():
        files = sorted([*path.glob('*.mcap'), *path.glob('*.db3')])
        if not files:
            raise CaptureError(
                f'{path} is not a bag, it holds neither metadata.yaml nor .mcap or .db3 files'
                ' (`nerf-reversal convert` makes a bag of other recordings)'
            )
        return files
    return [_Folder(path)] if path.is_dir() else [path]


class _Folder(type(Path())):  # type: ignore[misc]
    """A bag's folder: rosbags would take one named ``*.bag`` for a file of ROS 1."""

    @property
    def suffix(self) -> str:
        return '' if self.is_dir() else str(super().suffix)


def _short(message_type: str) -> str:
    return message_type.rsplit('/', 1)[-1]
