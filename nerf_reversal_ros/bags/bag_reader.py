"""
Read topics and messages of a rosbag2 without ROS.

A bag is a folder (with or without its ``metadata.yaml``), or one ``.mcap`` or ``.db3`` file. Any
defect of it raises a `CaptureError`. Messages are decoded by the definitions that rosbags ships,
because rosbags would generate Python code from the definitions in a bag.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, ExitStack
from heapq import merge
from itertools import islice
from pathlib import Path
import struct
from typing import Any, NamedTuple

from rosbags.interfaces import Connection
from rosbags.typesys import get_typestore, Stores

from nerf_reversal_ros.bags.bag_safety import SizeLimitedReader, validated_storage_paths
from nerf_reversal_ros.core.errors import CaptureError

_STORE = get_typestore(Stores.ROS2_HUMBLE)
HEADER_BYTES = 12
"""Size of a message up to the end of its stamp: the CDR header, seconds, nanoseconds."""


class RawMessage(NamedTuple):
    """A serialized message of a bag."""

    topic: str
    log_time_ns: int
    """Time of recording, by which the message can be read again."""
    data: bytes
    """Message in CDR encoding."""

    topic_has_stamps: bool = True
    """False if the first messages of the topic share one stamp, as of a driver without a clock."""

    @property
    def has_stamp(self) -> bool:
        """Whether the header holds a time."""
        return self.topic_has_stamps and self._header_ns != 0

    @property
    def stamp_ns(self) -> int:
        """
        Stamp of the header [ns], for message types that begin with a header.

        The time of recording, if the header holds no time.
        """
        return self._header_ns if self.has_stamp else self.log_time_ns

    @property
    def _header_ns(self) -> int:
        byte_order = '<' if self.data[1] & 1 else '>'
        seconds, nanoseconds = struct.unpack_from(f'{byte_order}iI', self.data, 4)
        return int(seconds) * 1_000_000_000 + int(nanoseconds)


class BagReader:
    """An open bag; a context manager that closes its files."""

    def __init__(self, path: Path) -> None:
        """
        Open the bag at ``path``.

        Raises
        ------
        CaptureError
            If there is no bag, or it is damaged or empty.
        """
        self.path = Path(path)
        self._files = ExitStack()
        with self._as_capture_error(), ExitStack() as opened:
            paths = validated_storage_paths(self.path)
            self._readers = [opened.enter_context(SizeLimitedReader(item)) for item in paths]
            self._files = opened.pop_all()
        self._has_stamps: dict[str, bool] = {}
        if not any(reader.message_count for reader in self._readers):
            self.close()
            raise CaptureError(f'the bag {self.path} is empty: record it again')

    def __enter__(self) -> 'BagReader':
        """Return the open bag."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bag."""
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    @property
    def topics(self) -> dict[str, str]:
        """Message types by topic, such as ``sensor_msgs/msg/Image``."""
        return {
            item.topic: item.msgtype for reader in self._readers for item in reader.connections
        }

    @property
    def duration_s(self) -> float:
        """Time from the first message to the last [s]."""
        begin = min(reader.start_time for reader in self._readers)
        return (max(reader.end_time for reader in self._readers) - begin) * 1e-9

    @property
    def custom_metadata(self) -> dict[str, str]:
        """Custom metadata that the recording program wrote into the bag."""
        merged: dict[str, str] = {}
        for reader in self._readers:
            custom = getattr(reader.storage.metadata, 'custom', None)
            merged.update(custom if isinstance(custom, dict) else {})
        return merged

    def count(self, topic: str) -> int:
        """Return the number of messages of a topic."""
        return sum(
            item.msgcount for reader in self._readers for item in _connections(reader, [topic])
        )

    def require_topic(
        self, topic: str, setting: str, types: Sequence[str], alternative: str = ''
    ) -> str:
        """
        Return the message type of a topic, or raise an error that names the setting to change.

        Parameters
        ----------
        topic : str
            The topic.
        setting : str
            Name of the setting that holds the topic.
        types : sequence of str
            Allowed message types, as short names such as ``Image``.
        alternative : str
            Another remedy for a missing topic, as the end of the message.

        Raises
        ------
        CaptureError
            If the bag has no such topic (the message lists those of an allowed type), or its type
            is not allowed.
        """
        topics = self.topics
        if topic not in topics:
            listed = ', '.join(
                f'{name} ({short_type(kind)})'
                for name, kind in sorted(topics.items())
                if short_type(kind) in types
            )
            remedy = f'set {setting} to one of {listed}'
            if not listed:
                remedy = f'it has none of type {" or ".join(types)}, record one'
            raise CaptureError(f'the bag {self.path} has no topic {topic}: {remedy}{alternative}')
        if short_type(topics[topic]) not in types:
            raise CaptureError(
                f'{setting} {topic} holds {short_type(topics[topic])}, but must hold'
                f' {" or ".join(types)}: set {setting} to another topic'
            )
        return short_type(topics[topic])

    def messages(
        self, topics: Sequence[str], log_time_ns: int | None = None
    ) -> Iterator[RawMessage]:
        """
        Read the messages of some topics in the order of recording.

        With ``log_time_ns``, only messages recorded at exactly that time are read, by seeking.
        """
        for topic in topics:
            if topic not in self._has_stamps:
                self._has_stamps[topic] = self._starts_with_stamps(topic)
        for raw in self._raw_messages(topics, log_time_ns):
            yield raw._replace(topic_has_stamps=self._has_stamps[raw.topic])

    def _starts_with_stamps(self, topic: str) -> bool:
        """Return False if the headers of the first messages of a topic are the same."""
        headers = [raw.data[:HEADER_BYTES] for raw in islice(self._raw_messages([topic]), 3)]
        return len(headers) < 3 or len(set(headers)) > 1

    def _raw_messages(
        self, topics: Sequence[str], log_time_ns: int | None = None
    ) -> Iterator[RawMessage]:
        stop = None if log_time_ns is None else log_time_ns + 1
        with self._as_capture_error():
            ordered = merge(
                *(_read(reader, topics, log_time_ns, stop) for reader in self._readers),
                key=lambda raw: raw.log_time_ns,
            )
        while True:
            with self._as_capture_error():
                raw = next(ordered, None)
            if raw is None:
                return
            yield raw

    def decode(self, raw: RawMessage) -> Any:
        """Deserialize a message."""
        with self._as_capture_error():
            return _STORE.deserialize_cdr(raw.data, self.topics[raw.topic])

    @contextmanager
    def _as_capture_error(self) -> Iterator[None]:
        # On damaged files rosbags raises many types, among them TypeError.
        try:
            yield
        except CaptureError:
            raise
        except Exception as error:
            reason = ' '.join(str(error).split()) or type(error).__name__
            raise CaptureError(
                f'the bag {self.path} cannot be read, it is damaged or was cut off ({reason}):'
                ' run `mcap recover` or `ros2 bag reindex`, or record it again'
            ) from error


def _connections(reader: SizeLimitedReader, topics: Sequence[str]) -> list[Connection]:
    return [item for item in reader.connections if item.topic in topics]


def _read(
    reader: SizeLimitedReader, topics: Sequence[str], start_ns: int | None, stop_ns: int | None
) -> Iterator[RawMessage]:
    connections = _connections(reader, topics)
    if connections:
        for connection, log_time_ns, data in reader.messages(connections, start_ns, stop_ns):
            yield RawMessage(connection.topic, log_time_ns, data)


def short_type(message_type: str) -> str:
    """Return the name of a message type without its package."""
    return message_type.rsplit('/', 1)[-1]
