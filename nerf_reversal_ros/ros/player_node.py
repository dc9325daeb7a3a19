"""Plays a rosbag2 through DDS, for those who have no ``ros2 bag``."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
import importlib
from pathlib import Path
import threading
import time

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from rosgraph_msgs.msg import Clock

from nerf_reversal_ros.bags.bag_reader import BagReader, RawMessage
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.connectivity import CHECK_PERIOD_S
from nerf_reversal_ros.ros.node_config import PlayerConfig
from nerf_reversal_ros.ros.node_runner import call_once, DONE, LAST_TEN_QOS, NodeFinished, run_node
from nerf_reversal_ros.ros.odometry_monitor import stamp_to_ns
from nerf_reversal_ros.ros.parameters import NodeParameters

DISCOVERY_WAIT_S = 0.5
TF_LEAD_NS = 500_000_000
TF_PAUSE_S = 0.001
"""Between transforms in lockstep, lest they overflow the queue of who listens."""
TF_TYPE = 'tf2_msgs/msg/TFMessage'
IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


class PlayerNode(Node):
    """
    Publishes the messages of a bag as they were recorded, in a thread of the executor.

    Topics are renamed by ROS remapping (``-r /old:=/new``). In lockstep, each picture somebody
    listens to is held back until the status of the one before it, known by its stamp, has come;
    TF goes half a second of the bag ahead of it, so that what is known of a picture's time from
    before and after it is there.
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
            # Recent ones too: who answers may discover this subscription after its first answer.
            self.create_subscription(LocalizerStatus, topic, self._on_status, LAST_TEN_QOS)
        self._bag_clock: Publisher | None = None
        if self._config.clock:
            self._bag_clock = self.create_publisher(Clock, '/clock', 10)
        call_once(self, self._play, MutuallyExclusiveCallbackGroup())

    def close(self) -> bool:
        """Stop playing; tell whether it stopped in time."""
        self._stopping.set()
        self._result_received.set()
        return self._idle.wait(1.0)

    def _on_status(self, status: LocalizerStatus) -> None:
        if stamp_to_ns(status.header.stamp) == self._awaited_stamp_ns:
            self._result_received.set()

    def _play(self) -> None:
        self._idle.clear()
        try:
            with BagReader(Path(self._config.bag)) as bag:
                publishers = self._create_publishers(bag)
                pictures = [name for name in publishers if bag.topics[name] in IMAGE_TYPES]
                self._wait_for_discovery([publishers[name] for name in pictures])
                sent = self._play_once(bag, publishers, pictures)
                while self._config.loop and not self._stopping.is_set():
                    sent += self._play_once(bag, publishers, pictures)
        finally:
            self._idle.set()
        if self._unanswered_count:
            self.get_logger().warning(f'{self._unanswered_count} pictures were not answered')
        self.get_logger().info(f'played {sent} messages of {self._config.bag}')
        raise NodeFinished

    def _create_publishers(self, bag: BagReader) -> dict[str, Publisher]:
        """Make a publisher for each topic that is to be played and whose type is installed."""
        wanted = self._config.topics.split() or sorted(bag.topics)
        publishers = {}
        for name in wanted:
            if name not in bag.topics:
                raise ConfigError(
                    f'the bag has no topic {name}: topics is to name some of'
                    f' {", ".join(sorted(bag.topics))}'
                )
            package, _, kind = bag.topics[name].split('/')
            try:
                message = getattr(importlib.import_module(f'{package}.msg'), kind)
            except (ImportError, AttributeError):
                self.get_logger().warning(f'{name} is left out: {package}/{kind} is not installed')
                continue
            qos = QoSProfile(depth=100 if 'tf' in name else 10)
            if name.endswith('tf_static'):
                qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
            publishers[name] = self.create_publisher(message, name, qos)
        if not publishers:
            raise CaptureError(f'no topic of the bag {bag.path} can be played')
        return publishers

    def _wait_for_discovery(self, publishers: list[Publisher]) -> None:
        """Wait for who subscribes to the pictures and for who answers; tell who is missing."""
        timeout_s, started_s = self._config.wait_timeout_s, time.monotonic()
        told_s = started_s
        while missing := self._missing_endpoint(publishers):
            who, remedy = missing
            now_s = time.monotonic()
            if now_s > started_s + timeout_s:
                raise ConfigError(f'{who} after {timeout_s:g} s: {remedy}')
            if now_s > told_s + CHECK_PERIOD_S:
                told_s = now_s
                self.get_logger().info(f'waits, for {who}: {remedy}')
            if self._stopping.wait(0.05):
                return
        # They must have discovered us as well: best effort loses what is sent before.
        self._stopping.wait(DISCOVERY_WAIT_S)

    def _missing_endpoint(self, publishers: list[Publisher]) -> tuple[str, str] | None:
        """Return who is not there yet, and what is to be done about it; None: all are there."""
        answers, wanted = self._config.lockstep_topic, self._config.wait_for if publishers else 0
        if max((p.get_subscription_count() for p in publishers), default=0) < wanted:
            topics = ', '.join(p.topic_name for p in publishers)
            remedy = 'start the localizer, remap the topics (-r /old:=/new), or set wait_for to 0'
            return f'nobody subscribes to {topics}', remedy
        if answers and not self.count_publishers(answers):
            return f'nobody publishes {answers}', (
                'start the localizer, and the judge if this is its topic, or set lockstep_topic to'
                ' where the answers come'
            )
        return None

    def _play_once(
        self, bag: BagReader, publishers: dict[str, Publisher], pictures: list[str]
    ) -> int:
        lockstep, sent, first_ns, started_s = bool(self._config.lockstep_topic), 0, 0, 0.0
        messages = bag.messages(list(publishers))
        ahead = {name for name in publishers if lockstep and bag.topics[name] == TF_TYPE}
        for raw in _advance_topics(ahead, messages) if ahead else messages:
            if self._stopping.is_set():
                break
            publisher = publishers[raw.topic]
            if sent == 0:
                first_ns, started_s = raw.log_time_ns, time.monotonic()
            if not lockstep:
                due_s = started_s + (raw.log_time_ns - first_ns) * 1e-9 / self._config.rate
                self._stopping.wait(max(0.0, due_s - time.monotonic()))
            elif raw.topic in pictures and publisher.get_subscription_count() > 0:
                self._wait_for_result()
                if self._stopping.is_set():
                    break
                self._awaited_stamp_ns = raw.stamp_ns
                self._result_received.clear()
            if raw.topic in ahead:
                self._stopping.wait(TF_PAUSE_S)
            elif self._bag_clock is not None:
                self._bag_clock.publish(Clock(clock=Time(nanoseconds=raw.log_time_ns).to_msg()))
            publisher.publish(bytes(raw.data))
            sent += 1
        if lockstep:
            self._wait_for_result()
        return sent

    def _wait_for_result(self) -> None:
        """Wait until the picture that was sent is answered; stop where nobody can answer."""
        topic = self._config.lockstep_topic
        give_up_s = time.monotonic() + self._config.lockstep_timeout_s
        while not (self._stopping.is_set() or self._result_received.wait(0.1)):
            gone = not self.count_publishers(topic)
            if gone:
                self.get_logger().warning(f'nobody publishes {topic} any more: plays no further')
                self._stopping.set()
            if gone or time.monotonic() > give_up_s:
                self._unanswered_count += 1
                return


def _advance_topics(topics: set[str], messages: Iterable[RawMessage]) -> Iterator[RawMessage]:
    """Let some topics, of TF, go `TF_LEAD_NS` ahead of all else."""
    held: deque[RawMessage] = deque()
    for raw in messages:
        if raw.topic in topics:
            yield raw
        else:
            held.append(raw)
        while held and held[0].log_time_ns < raw.log_time_ns - TF_LEAD_NS:
            yield held.popleft()
    yield from held


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(PlayerNode, args)
