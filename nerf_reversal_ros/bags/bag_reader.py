"""
Reading a rosbag2 without ROS: which topics there are, and their messages in order.

A bag is a folder (with or without its ``metadata.yaml``), or one ``.mcap`` or ``.db3`` file.
Whatever is wrong with it is told as a `CaptureError`. Messages are decoded by the definitions
that rosbags ships: those in the bag would be made into Python code.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, ExitStack
from heapq import merge
from pathlib import Path
import struct
from typing import Any, NamedTuple

from rosbags.interfaces import Connection
from rosbags.typesys import get_typestore, Stores

from nerf_reversal_ros.bags.bag_safety import SizeLimitedReader, validated_storage_paths
from nerf_reversal_ros.core.errors import CaptureError

_STORE = get_typestore(Stores.ROS2_HUMBLE)


class RawMessage(NamedTuple):
    """A message as it lies in the bag."""

    topic: str
    log_time_ns: int
    """When it was recorded; the key by which it can be read again."""
    data: bytes
    """CDR."""

    @property
    def stamp_ns(self) -> int:
        """The stamp of the header, for the message types that begin with one."""
        form = '<iI' if self.data[1] & 1 else '>iI'
        seconds, nanoseconds = struct.unpack_from(form, self.data, 4)
        return int(seconds) * 1_000_000_000 + int(nanoseconds)


class BagReader:
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
        self._files = ExitStack()
        with self._as_capture_error(), ExitStack() as opened:
            paths = validated_storage_paths(self.path)
            self._readers = [opened.enter_context(SizeLimitedReader(item)) for item in paths]
            self._files = opened.pop_all()
        if not any(reader.message_count for reader in self._readers):
            self.close()
            raise CaptureError(f'the bag {self.path} is empty: record it again')

    def __enter__(self) -> 'BagReader':
        """Give the open bag itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bag."""
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    @property
    def topics(self) -> dict[str, str]:
        """Message type by topic, such as ``sensor_msgs/msg/Image``."""
        return {
            item.topic: item.msgtype for reader in self._readers for item in reader.connections
        }

    @property
    def duration_s(self) -> float:
        """Seconds from the first message to the last."""
        begin = min(reader.start_time for reader in self._readers)
        return (max(reader.end_time for reader in self._readers) - begin) * 1e-9

    @property
    def custom_metadata(self) -> dict[str, str]:
        """What the program that wrote the bag noted in its metadata."""
        found: dict[str, str] = {}
        for reader in self._readers:
            custom = getattr(reader.storage.metadata, 'custom', None)
            found.update(custom if isinstance(custom, dict) else {})
        return found

    def count(self, topic: str) -> int:
        """Return how many messages a topic has."""
        return sum(
            item.msgcount for reader in self._readers for item in _connections(reader, [topic])
        )

    def require_topic(
        self, topic: str, setting: str, types: Sequence[str], alternative: str = ''
    ) -> str:
        """
        Return the type of a topic that a setting names; ``alternative`` is another remedy.

        Raises
        ------
        CaptureError
            If the bag has no such topic (the message lists those there are), or its type is
            none of ``types`` (short names, such as ``Image``).
        """
        there = self.topics
        if topic not in there:
            listed = ', '.join(
                f'{name} ({_short_type(kind)})' for name, kind in sorted(there.items())
            )
            raise CaptureError(
                f'the bag {self.path} has no topic {topic}: set {setting} to one of {listed}'
                f'{alternative}'
            )
        if _short_type(there[topic]) not in types:
            raise CaptureError(
                f'{setting} {topic} holds {_short_type(there[topic])}, but must hold'
                f' {" or ".join(types)}: set {setting} to another topic'
            )
        return _short_type(there[topic])

    def messages(
        self, topics: Sequence[str], log_time_ns: int | None = None
    ) -> Iterator[RawMessage]:
        """
        Read the messages of some topics in the order of their recording.

        With ``log_time_ns``, only those recorded at that very time, which is quick.
        """
        stop = None if log_time_ns is None else log_time_ns + 1
        with self._as_capture_error():
            reading = merge(
                *(_read(reader, topics, log_time_ns, stop) for reader in self._readers),
                key=lambda raw: raw.log_time_ns,
            )
        while True:
            with self._as_capture_error():
                raw = next(reading, None)
            if raw is None:
                return
            yield raw

    def decode(self, raw: RawMessage) -> Any:
        """Return the message with its fields."""
        with self._as_capture_error():
            return _STORE.deserialize_cdr(raw.data, self.topics[raw.topic])

    @contextmanager
    def _as_capture_error(self) -> Iterator[None]:
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


def _connections(reader: SizeLimitedReader, topics: Sequence[str]) -> list[Connection]:
    return [item for item in reader.connections if item.topic in topics]


def _read(
    reader: SizeLimitedReader, topics: Sequence[str], start_ns: int | None, stop_ns: int | None
) -> Iterator[RawMessage]:
    wanted = _connections(reader, topics)
    if wanted:
        for connection, logged_ns, data in reader.messages(wanted, start_ns, stop_ns):
            yield RawMessage(connection.topic, logged_ns, data)


def _short_type(message_type: str) -> str:
    return message_type.rsplit('/', 1)[-1]
