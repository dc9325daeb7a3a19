"""Play a rosbag2 on DDS without ``ros2 bag``, optionally in lockstep with a localizer."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
import importlib
from pathlib import Path
import struct
import threading
import time

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from rosgraph_msgs.msg import Clock

from nerf_reversal_ros.bags.bag_reader import BagReader, RawMessage
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.connectivity import CHECK_PERIOD_S
from nerf_reversal_ros.ros.conversions import stamp_to_ns
from nerf_reversal_ros.ros.node_config import PlayerConfig
from nerf_reversal_ros.ros.node_runner import (
    call_once,
    CLOSE_TIMEOUT_S,
    DONE,
    LAST_TEN_QOS,
    NodeFinished,
    run_node,
)
from nerf_reversal_ros.ros.parameters import NodeParameters

DISCOVERY_WAIT_S = 0.5
"""Wait between the discovery of a subscriber and the first message [s]: discovery is mutual."""
TF_LEAD_NS = 500_000_000
"""Lead of TF before the images in lockstep [ns], for interpolation at their stamps."""
TF_PAUSE_S = 0.001
"""Pause between transforms in lockstep [s], so that no queue of a subscriber overflows."""
TF_TYPE = 'tf2_msgs/msg/TFMessage'
CAMERA_INFO_TYPE = 'sensor_msgs/msg/CameraInfo'
IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
INPUT_TYPES = (*IMAGE_TYPES, CAMERA_INFO_TYPE, 'nav_msgs/msg/Odometry')
"""Inputs of a localizer, which are matched by the stamps of their headers."""


class PlayerNode(Node):
    """
    Publishes the messages of a bag at their recorded intervals, in a thread of the executor.

    ROS remapping renames topics (``-r /old:=/new``). In lockstep, an image with subscribers waits
    for the status of the image before, matched by its stamp. TF is published `TF_LEAD_NS` before
    the images, and the first CameraInfo before all else: a bag may hold few of them, late.
    Inputs of a localizer whose stamps are 0 or all the same get those of their recording.
    """

    interrupted_status = DONE

    def __init__(self) -> None:
        super().__init__('player', automatically_declare_parameters_from_overrides=True)
        self._config = NodeParameters(self, PlayerConfig).get(PlayerConfig)
        self._stopping = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._result_received = threading.Event()
        self._result_received.set()
        self._awaited_stamp_ns = 0
        self._unanswered_count = 0
        if topic := self._config.lockstep_topic:
            # Latched: the publisher may discover this subscription after its first status.
            self.create_subscription(LocalizerStatus, topic, self._on_status, LAST_TEN_QOS)
        self._bag_clock: Publisher | None = None
        if self._config.clock:
            self._bag_clock = self.create_publisher(Clock, '/clock', 10)
        call_once(self, self._play, MutuallyExclusiveCallbackGroup())

    def close(self) -> bool:
        """Stop playing; return whether it stopped in time."""
        self._stopping.set()
        self._result_received.set()
        return self._idle.wait(CLOSE_TIMEOUT_S)

    def _on_status(self, status: LocalizerStatus) -> None:
        if stamp_to_ns(status.header.stamp) == self._awaited_stamp_ns:
            self._result_received.set()

    def _play(self) -> None:
        self._idle.clear()
        try:
            with BagReader(Path(self._config.bag)) as bag:
                for warning in bag.warnings:
                    self.get_logger().warning(f'{bag.path}: {warning}')
                publishers = self._create_publishers(bag)
                image_topics = [name for name in publishers if bag.topics[name] in IMAGE_TYPES]
                self._wait_for_discovery([publishers[name] for name in image_topics])
                sent = self._play_once(bag, publishers, image_topics)
                while self._config.loop and not self._stopping.is_set():
                    sent += self._play_once(bag, publishers, image_topics)
        finally:
            self._idle.set()
        if self._unanswered_count:
            self.get_logger().warning(f'{self._unanswered_count} images got no status')
        self.get_logger().info(f'played {sent} messages of {self._config.bag}')
        raise NodeFinished

    def _create_publishers(self, bag: BagReader) -> dict[str, Publisher]:
        """Make a publisher for each topic to play whose message type is installed."""
        names = self._config.topics.split() or sorted(bag.topics)
        publishers = {}
        for name in names:
            if name not in bag.topics:
                raise ConfigError(
                    f'the bag has no topic {name}: set topics to some of'
                    f' {", ".join(sorted(bag.topics))}'
                )
            package, kind = bag.topics[name].partition('/')[0], bag.topics[name].rpartition('/')[2]
            try:
                message = getattr(importlib.import_module(f'{package}.msg'), kind)
            except (ImportError, AttributeError, TypeError, ValueError):  # of odd names, too
                self.get_logger().warning(f'{name} is skipped: {package}/{kind} is not installed')
                continue
            qos = QoSProfile(depth=100 if 'tf' in name else 10)
            if name.endswith('tf_static'):
                qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
            publishers[name] = self.create_publisher(message, name, qos)
        if not publishers:
            raise CaptureError(
                f'no topic of the bag {bag.path} can be played: install its message packages'
            )
        return publishers

    def _wait_for_discovery(self, publishers: list[Publisher]) -> None:
        """Wait for subscribers of the images and for the lockstep topic; log what is missing."""
        timeout_s, start_s = self._config.wait_timeout_s, time.monotonic()
        last_log_s = start_s
        while missing := self._missing_endpoint(publishers):
            problem, remedy = missing
            now_s = time.monotonic()
            if now_s > start_s + timeout_s:
                raise ConfigError(f'{problem} after {timeout_s:g} s: {remedy}')
            if now_s > last_log_s + CHECK_PERIOD_S:
                last_log_s = now_s
                self.get_logger().info(f'waiting: {problem}: {remedy}')
            if self._stopping.wait(0.05):
                return
        # Best effort loses messages sent before the subscribers have discovered this node, too.
        self._stopping.wait(DISCOVERY_WAIT_S)

    def _missing_endpoint(self, publishers: list[Publisher]) -> tuple[str, str] | None:
        """Return the endpoint not discovered yet, as a problem and its remedy; None: all are."""
        subscribers = max((p.get_subscription_count() for p in publishers), default=0)
        if subscribers < (self._config.wait_for if publishers else 0):
            topics = ', '.join(p.topic_name for p in publishers)
            return f'nobody subscribes to {topics}', remedies.SUBSCRIBER
        lockstep_topic = self._config.lockstep_topic
        if lockstep_topic and not self.count_publishers(lockstep_topic):
            return f'nobody publishes {lockstep_topic}', remedies.LOCKSTEP
        return None

    def _play_once(
        self, bag: BagReader, publishers: dict[str, Publisher], image_topics: list[str]
    ) -> int:
        """Publish all messages of the bag; return their number."""
        lockstep, sent, first_ns, start_s = bool(self._config.lockstep_topic), 0, 0, 0.0
        messages = bag.messages(list(publishers))
        if lockstep:
            _publish_first(CAMERA_INFO_TYPE, bag, publishers)
        tf_topics = {name for name in publishers if lockstep and bag.topics[name] == TF_TYPE}
        for raw in _advance_topics(tf_topics, messages) if tf_topics else messages:
            if self._stopping.is_set():
                break
            publisher = publishers[raw.topic]
            if sent == 0:
                first_ns, start_s = raw.log_time_ns, time.monotonic()
            if not lockstep:
                due_s = start_s + (raw.log_time_ns - first_ns) * 1e-9 / self._config.rate
                self._stopping.wait(max(0.0, due_s - time.monotonic()))
            elif raw.topic in image_topics and publisher.get_subscription_count() > 0:
                self._wait_for_result()
                if self._stopping.is_set():
                    break
                self._awaited_stamp_ns = raw.stamp_ns
                self._result_received.clear()
            if raw.topic in tf_topics:
                self._stopping.wait(TF_PAUSE_S)
            elif self._bag_clock is not None:
                self._bag_clock.publish(Clock(clock=Time(nanoseconds=raw.log_time_ns).to_msg()))
            publisher.publish(_stamped_data(raw, bag.topics[raw.topic]))
            sent += 1
        if lockstep:
            self._wait_for_result()
        return sent

    def _wait_for_result(self) -> None:
        """Wait for the status of the last image; stop if its topic has no publisher any more."""
        topic = self._config.lockstep_topic
        deadline_s = time.monotonic() + self._config.lockstep_timeout_s
        while not (self._stopping.is_set() or self._result_received.wait(0.1)):
            has_publisher = bool(self.count_publishers(topic))
            if not has_publisher:
                self.get_logger().warning(f'nobody publishes {topic} any more: stopped playing')
                self._stopping.set()
            if not has_publisher or time.monotonic() > deadline_s:
                self._unanswered_count += 1
                return


def _publish_first(kind: str, bag: BagReader, publishers: dict[str, Publisher]) -> None:
    """Publish the first message of each topic of a type."""
    waiting = {name for name in publishers if bag.topics[name] == kind and bag.count(name)}
    for raw in bag.messages(sorted(waiting)):
        if raw.topic in waiting:
            publishers[raw.topic].publish(_stamped_data(raw, kind))
            waiting.remove(raw.topic)
        if not waiting:
            return


def _stamped_data(raw: RawMessage, kind: str) -> bytes:
    """Return the data of a message, with its time of recording where an input has no stamp."""
    data = bytearray(raw.data)
    if kind in INPUT_TYPES and not raw.has_stamp:
        byte_order = '<' if data[1] & 1 else '>'
        struct.pack_into(f'{byte_order}iI', data, 4, *divmod(raw.stamp_ns, 1_000_000_000))
    return bytes(data)


def _advance_topics(topics: set[str], messages: Iterable[RawMessage]) -> Iterator[RawMessage]:
    """Reorder messages so that some topics, of TF, come `TF_LEAD_NS` before all others."""
    delayed: deque[RawMessage] = deque()
    for raw in messages:
        if raw.topic in topics:
            yield raw
        else:
            delayed.append(raw)
        while delayed and delayed[0].log_time_ns < raw.log_time_ns - TF_LEAD_NS:
            yield delayed.popleft()
    yield from delayed


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(PlayerNode, args)
