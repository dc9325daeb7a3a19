"""
Read topics and messages of a bag without ROS.

A bag is a folder (with or without its ``metadata.yaml``), or one ``.mcap``, ``.db3`` or ``.bag``
file. Topics, counts and times are those of the messages in its files. Any defect of it raises a
`CaptureError`, but what can be read of an unfinished recording is read. Messages are decoded by
the definitions that rosbags ships, because rosbags would generate Python code from the definitions
in a bag.
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

from nerf_reversal_ros.bags.bag_safety import decompress_zstd, ZSTD_MAGIC
from nerf_reversal_ros.bags.ros1_storage import cdr_from_ros1, is_ros1
from nerf_reversal_ros.bags.storage_files import (
    missing_files,
    open_storage,
    read_metadata,
    Storage,
    storage_paths,
)
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError

_STORE = get_typestore(Stores.ROS2_HUMBLE)
STAMPS_COMPARED = 16
"""Messages at the start of a topic by which a clock that stands still is noticed."""
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
        if len(self.data) < 12:
            raise CaptureError(
                f'a message of {self.topic} has only {len(self.data)} bytes: record it again'
            )
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
        self._storages: dict[Path, Storage] = {}
        self._warnings: list[str] = []
        self._metadata = read_metadata(self.path)
        with self._as_capture_error(), ExitStack() as opened:
            paths = storage_paths(self.path, self._metadata)
            self._open_storages(paths, opened)
            self._files = opened.pop_all()
        self._has_stamps: dict[str, bool] = {}
        if not any(self.count(topic) for topic in self.topics):
            reasons = ''.join(f' ({warning})' for warning in self.warnings)
            self.close()
            raise CaptureError(f'the bag {self.path} is empty{reasons}: record it again')
        self._warnings += [
            f'{name} is missing, which metadata.yaml names: its part of the recording is not read'
            for name in missing_files(paths, self._metadata)
        ]
        if self._metadata.is_damaged:
            self._warnings.append('metadata.yaml is damaged: the files are read without it')

    def _open_storages(self, paths: list[Path], opened: ExitStack) -> None:
        """Open the files; one that cannot be read is left out if another can."""
        errors: list[Exception] = []
        for path in paths:
            try:
                self._storages[path] = open_storage(path)
            except CaptureError:
                raise
            except Exception as error:  # on damaged files rosbags raises many types
                errors.append(error)
                self._warnings.append(f'{path.name} is left out, it cannot be read ({error})')
            else:
                opened.callback(self._storages[path].close)
        if not self._storages:
            raise errors[0]

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
            item.topic: item.msgtype
            for storage in self._storages.values()
            for item in storage.connections
        }

    @property
    def duration_s(self) -> float:
        """Time from the first message to the last [s]."""
        begin, end = self.span_ns
        return (end - begin) * 1e-9

    @property
    def span_ns(self) -> tuple[int, int]:
        """Times of recording of the first message and of the last [ns]."""
        spans = [
            storage.span_ns
            for storage in self._storages.values()
            if any(item.msgcount for item in storage.connections)
        ]
        return min(begin for begin, _ in spans), max(end for _, end in spans)

    @property
    def custom_metadata(self) -> dict[str, str]:
        """Custom metadata that the recording program wrote into the bag."""
        return self._metadata.custom

    @property
    def warnings(self) -> list[str]:
        """What of the bag cannot be read, as sentences without its name."""
        return self._warnings + [
            f'{path.name}: {warning}'
            for path, storage in self._storages.items()
            for warning in storage.warnings
        ]

    def count(self, topic: str) -> int:
        """Return the number of messages of a topic."""
        return sum(
            item.msgcount
            for storage in self._storages.values()
            for item in _connections(storage, [topic])
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
            remedy = remedies.TOPIC.format(setting=setting, topics=listed)
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
        """Return False if the headers of the first messages hold one time, apart from 0."""
        first = islice(self._raw_messages([topic]), STAMPS_COMPARED)
        headers = [raw.data[:HEADER_BYTES] for raw in first]
        stamped = [header for header in headers if any(header[4:])]
        return len(stamped) < 3 or len(set(stamped)) > 1

    def _raw_messages(
        self, topics: Sequence[str], log_time_ns: int | None = None
    ) -> Iterator[RawMessage]:
        stop = None if log_time_ns is None else log_time_ns + 1
        with self._as_capture_error():
            ordered = merge(
                *(_read(item, topics, log_time_ns, stop) for item in self._storages.values()),
                key=lambda raw: raw.log_time_ns,
            )
        at_same_time: list[RawMessage] = []
        while True:
            with self._as_capture_error():
                raw = next(ordered, None)
            if raw is None:
                return
            if not at_same_time or at_same_time[0].log_time_ns != raw.log_time_ns:
                at_same_time = []
            if len(self._storages) > 1:
                if raw in at_same_time:  # of a repaired copy beside the file
                    continue
                at_same_time.append(raw)
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
            remedy = 'record it again'
            if isinstance(error, OSError):
                remedy = 'check the permissions and the disk'
            raise CaptureError(
                f'the bag {self.path} cannot be read ({reason}): {remedy}'
            ) from error


def _connections(storage: Storage, topics: Sequence[str]) -> list[Connection]:
    return [item for item in storage.connections if item.topic in topics]


def _read(
    storage: Storage, topics: Sequence[str], start_ns: int | None, stop_ns: int | None
) -> Iterator[RawMessage]:
    connections = _connections(storage, topics)
    if connections:
        for connection, log_time_ns, data in storage.messages(connections, start_ns, stop_ns):
            if data[:4] == ZSTD_MAGIC:
                data = decompress_zstd(data)
            if is_ros1(connection):
                data = cdr_from_ros1(connection, data)
            yield RawMessage(connection.topic, log_time_ns, data)


def short_type(message_type: str) -> str:
    """Return the name of a message type without its package."""
    return message_type.rsplit('/', 1)[-1]
