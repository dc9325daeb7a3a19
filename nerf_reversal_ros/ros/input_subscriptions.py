"""The pictures, camera_info and odometry that come in while the localizer node is active."""

from collections.abc import Callable
from concurrent.futures import Future
import threading
from typing import Any

from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from rclpy.callback_groups import CallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.camera_info_buffer import CameraInfoBuffer
from nerf_reversal_ros.ros.connectivity import latched_hint, subscription_problem
from nerf_reversal_ros.ros.image_localizer import (
    ImageLocalizer,
    LocalizationResult,
    rejected_result,
)
from nerf_reversal_ros.ros.latest_item_worker import LatestItemWorker
from nerf_reversal_ros.ros.node_config import LocalizerNodeConfig
from nerf_reversal_ros.ros.node_runner import printable_traceback
from nerf_reversal_ros.ros.odometry_monitor import OdometryMonitor, stamp_to_ns

MAX_REORDER_S = 0.5
"""Pictures out of order by less than this [s] are nothing to be told."""


class InputSubscriptions:
    """
    Answers the newest picture, in a thread of its own, until it is closed.

    Parameters
    ----------
    node : Node
        Subscribes.
    settings : LocalizerNodeConfig
        Which topic, with which QoS, and how long a picture waits for the first camera_info.
    answering : Answering
        Localizes the pictures.
    publish : callable
        Called with each answer, in that thread.
    group : CallbackGroup
        Of the subscriptions; their callbacks return at once.
    odometer : Odometer, optional
        Confirms or contradicts the answers; without it no odometry is subscribed to.
    start_over : callable, optional
        Called when the time of the pictures went back, as it does when a bag is played again.
    max_rate_hz : callable, optional
        Returns how many pictures are worked on in a second at most; 0: all.
    """

    def __init__(
        self,
        node: Node,
        settings: LocalizerNodeConfig,
        image_localizer: ImageLocalizer,
        publish: Callable[[LocalizationResult], None],
        group: CallbackGroup,
        odometry_monitor: OdometryMonitor | None = None,
        on_time_reset: Callable[[], None] = lambda: None,
        max_rate_hz: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.camera_infos = CameraInfoBuffer()
        """Those that came in."""
        self._info_timeout_s = settings.camera_info_timeout_s
        self._image_localizer = image_localizer
        self._publish = publish
        self._odometry_monitor = odometry_monitor
        self._on_time_reset = on_time_reset
        self._latest_ns: int | None = None
        self._result_futures: list[Future[LocalizationResult]] = []
        self._futures_lock = threading.Lock()
        self._node = node
        self.image_worker: LatestItemWorker[Image | CompressedImage] = LatestItemWorker(
            self._on_image, lambda: 1.0 / rate_hz if (rate_hz := max_rate_hz()) else 0.0
        )
        """Holds the newest picture and counts what was dropped."""
        compressed = settings.image_transport == 'compressed'
        picture, topic = (CompressedImage, 'image/compressed') if compressed else (Image, 'image')
        reliable = settings.reliability == 'reliable'
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        wanted: list[tuple[type, str, Callable[[Any], None], int]] = [
            (CameraInfo, 'camera_info', self.camera_infos.put, 5),
            (picture, topic, self.image_worker.submit, 5),
        ]
        if odometry_monitor is not None:  # of a high rate, and none is to be missed
            wanted.insert(0, (Odometry, 'odom', odometry_monitor.add_message, 100))
        self._subscriptions = []
        self._subscription_info: list[tuple[str, type, QoSProfile]] = []
        for kind, name, callback, depth in wanted:
            qos = QoSProfile(depth=depth, reliability=policy)
            subscription = node.create_subscription(
                kind,
                name,
                callback,
                qos,
                callback_group=group,
                # rclpy's executor fails when it waits for an event that is destroyed meanwhile.
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            )
            self._subscriptions.append(subscription)
            self._subscription_info.append((subscription.topic_name, kind, qos))
        self.topic: str = self._subscriptions[-1].topic_name
        """Full name of the topic of the pictures."""

    def next_result(self) -> 'Future[LocalizationResult]':
        """Return the answer to the next picture, when it comes; cancelled by `close`."""
        future: Future[LocalizationResult] = Future()
        with self._futures_lock:
            self._result_futures.append(future)
            if self.image_worker.closed:
                future.cancel()
        self.image_worker.bypass_rate_limit()
        return future

    def reset(self) -> None:
        """Forget the waiting picture, the counts, and what the odometry is compared with."""
        self.image_worker.reset()
        if self._odometry_monitor is not None:
            self._odometry_monitor.reset()

    def input_problems(self) -> list[str]:
        """Return sentences on what keeps publishers from the subscriptions."""
        found = [subscription_problem(self._node, *one) for one in self._subscription_info]
        if not any(found) and self.camera_infos.latest is None:
            topics = [topic for topic, kind, _ in self._subscription_info if kind is CameraInfo]
            found = [latched_hint(self._node, topic) for topic in topics]
        return [sentence for sentence in found if sentence]

    def close(self) -> bool:
        """End; tell whether the thread is not busy any more. May be asked again."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
        self.camera_infos.close()
        ended = self.image_worker.close()
        with self._futures_lock:
            for future in self._result_futures:
                future.cancel()
        return ended

    def _detect_time_jump(self, stamp: Time) -> None:
        if not (now_ns := stamp_to_ns(stamp)):
            return  # a driver that sets no stamp tells no time
        latest_ns, self._latest_ns = self._latest_ns, now_ns
        if latest_ns is None or now_ns > latest_ns - MAX_REORDER_S * 1e9:
            return
        self._node.get_logger().warning(
            f'the time of the pictures went back by {(latest_ns - now_ns) / 1e9:.1f} s, as when a'
            ' bag is played again: path, odometry and map -> odom start over'
        )
        if self._odometry_monitor is not None:
            self._odometry_monitor.reset()
        self._on_time_reset()

    def _on_image(self, picture: Image | CompressedImage) -> None:
        with self._futures_lock:
            asked = list(self._result_futures)  # who asks from now on gets the next answer
        try:
            answer = self._process_and_publish(picture)
        except Exception as error:  # a defect must not end the thread, nor be hidden
            if self._node.context.ok():  # else a signal came in between
                log = self._node.get_logger()
                log.error(printable_traceback(), throttle_duration_sec=10.0)
            answer = rejected_result(picture.header, LocalizerStatus.INTERNAL_ERROR, repr(error))
        with self._futures_lock:
            for future in asked:
                if answer is not None and not future.cancelled():
                    future.set_result(answer)
            self._result_futures = [future for future in self._result_futures if not future.done()]

    def _process_and_publish(self, picture: Image | CompressedImage) -> LocalizationResult | None:
        """Answer and publish; None when closed meanwhile."""
        self._detect_time_jump(picture.header.stamp)
        info = self.camera_infos.wait_for(picture.header.stamp, self._info_timeout_s)
        with self._image_localizer.lock:
            if self.image_worker.closed:
                return None
            answer = self._image_localizer.process(picture, info, self._odometry_monitor)
            answer.status.received = self.image_worker.received
            answer.status.dropped = self.image_worker.dropped
            if not self.image_worker.closed:
                self._publish(answer)
            self._image_localizer.run_deferred()
        return answer
