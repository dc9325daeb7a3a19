"""Subscribe to images, camera_info and odometry while the localizer node is active."""

from collections.abc import Callable
from concurrent.futures import Future
import threading
from typing import Any, NamedTuple, Protocol

from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from nerf_reversal_ros.core.outcome import RejectionReason
from nerf_reversal_ros.localization.tracking import PoseTracker
from nerf_reversal_ros.ros.camera_info_buffer import CameraInfoBuffer, CameraInfoMatch
from nerf_reversal_ros.ros.connectivity import latched_hint, subscription_problem
from nerf_reversal_ros.ros.conversions import stamp_to_ns
from nerf_reversal_ros.ros.image_localizer import (
    ImageInput,
    ImageLocalizer,
    LocalizationResult,
    rejected_result,
)
from nerf_reversal_ros.ros.latest_item_worker import LatestItemWorker
from nerf_reversal_ros.ros.live_config import Live
from nerf_reversal_ros.ros.node_config import LocalizerNodeConfig, ProcessingLimits
from nerf_reversal_ros.ros.node_runner import printable_traceback
from nerf_reversal_ros.ros.odometry_monitor import OdometryMonitor

MAX_REORDER_S = 0.5
"""Images may arrive out of order by this [s]; a larger step back is a reset of the time."""
IMAGE_QUEUE_DEPTH, ODOMETRY_QUEUE_DEPTH = 5, 100
"""Messages in the queues. Images replace each other, but each odometry message is needed."""


class _ReceivedImage(NamedTuple):
    message: Image | CompressedImage
    has_stamp: bool
    """False if the stamp of the message is the time of its arrival."""


class ResultHandler(Protocol):
    """Receiver of results: the localizer node."""

    def publish(self, result: LocalizationResult) -> None:
        """Publish the result of one image; called in the worker thread."""

    def reset_tracking(self) -> None:
        """Treat the next pose as the first one."""


class InputSubscriptions:
    """
    Subscribes to the inputs and localizes the newest image in a worker thread, until `close`.

    Parameters
    ----------
    node : Node
        Owner of the subscriptions.
    settings : LocalizerNodeConfig
        Image transport, QoS, and how long an image waits for the first camera_info.
    limits : Live[ProcessingLimits]
        Read before each image.
    image_localizer : ImageLocalizer
        Localizes the images.
    handler : ResultHandler
        Publishes the results. Its tracking is reset when the stamps of the images step back, as
        when a bag is played again.
    odometry_monitor : OdometryMonitor, optional
        Confirms or rejects poses; None: no subscription to odometry.
    """

    def __init__(
        self,
        node: Node,
        settings: LocalizerNodeConfig,
        limits: Live[ProcessingLimits],
        image_localizer: ImageLocalizer,
        handler: ResultHandler,
        odometry_monitor: OdometryMonitor | None = None,
    ) -> None:
        self.camera_infos = CameraInfoBuffer()
        """CameraInfo messages received."""
        self.image_worker: LatestItemWorker[_ReceivedImage] = LatestItemWorker(
            self._on_image, lambda: limits.current.min_period_s
        )
        """Holds the newest image and counts those received and dropped."""
        self._node = node
        self._settings = settings
        self._image_localizer = image_localizer
        self._handler = handler
        self._odometry_monitor = odometry_monitor
        self._tracker = PoseTracker() if settings.use_tracking else None
        self._latest_stamp_ns: int | None = None
        self._is_stamped = True
        self._image_before_info: _ReceivedImage | None = None
        self._first_info_lock = threading.Lock()
        self._result_futures: list[Future[LocalizationResult]] = []
        self._futures_lock = threading.Lock()
        self._subscriptions: list[Any] = []
        self._subscription_info: list[tuple[str, type, QoSProfile]] = []
        self.topic: str = self._subscribe_all(settings)
        """Full name of the image topic."""

    def _subscribe_all(self, settings: LocalizerNodeConfig) -> str:
        """Subscribe to odometry, camera_info and images; return the full name of the last."""
        reliable = settings.reliability == 'reliable'
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        compressed = settings.image_transport == 'compressed'
        image, topic = (CompressedImage, 'image/compressed') if compressed else (Image, 'image')
        group = MutuallyExclusiveCallbackGroup()

        def subscribe(kind: type, name: str, callback: Callable[[Any], None], depth: int) -> str:
            qos = QoSProfile(depth=depth, reliability=policy)
            subscription = self._node.create_subscription(
                kind,
                name,
                callback,
                qos,
                callback_group=group,
                # rclpy's executor fails if an event is destroyed while it waits for it.
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            )
            self._subscriptions.append(subscription)
            self._subscription_info.append((subscription.topic_name, kind, qos))
            return str(subscription.topic_name)

        if self._odometry_monitor is not None:
            subscribe(Odometry, 'odom', self._odometry_monitor.add_message, ODOMETRY_QUEUE_DEPTH)
        if not settings.camera_info_file:
            subscribe(CameraInfo, 'camera_info', self._put_camera_info, IMAGE_QUEUE_DEPTH)
        return subscribe(image, topic, self._submit_image, IMAGE_QUEUE_DEPTH)

    def _submit_image(self, message: Image | CompressedImage) -> None:
        """Hand an image to the worker, with the time of its arrival if its stamp is 0."""
        self._is_stamped = stamp_to_ns(message.header.stamp) != 0
        if not self._is_stamped:
            message.header.stamp = self._node.get_clock().now().to_msg()
        self.image_worker.submit(_ReceivedImage(message, self._is_stamped))

    def _put_camera_info(self, info: CameraInfo) -> None:
        """Store a CameraInfo; after the first one the last rejected image has its turn again."""
        with self._first_info_lock:
            self.camera_infos.put(info)
            image, self._image_before_info = self._image_before_info, None
        if image is not None:
            self.image_worker.submit_again(image)

    def next_result(self) -> 'Future[LocalizationResult]':
        """Return a future of the result of the next image; `close` cancels it."""
        future: Future[LocalizationResult] = Future()
        with self._futures_lock:
            self._result_futures.append(future)
            if self.image_worker.closed:
                future.cancel()
        self.image_worker.bypass_rate_limit()
        return future

    def reset(self) -> None:
        """Drop the waiting image, the counts, and the poses of earlier images."""
        self.image_worker.reset()
        with self._first_info_lock:
            self._image_before_info = None
        self._is_stamped = True
        self._forget_poses()

    def input_problems(self) -> list[str]:
        """Return sentences on what keeps messages from arriving, and on images without stamps."""
        problems = [subscription_problem(self._node, *info) for info in self._subscription_info]
        if not any(problems) and self.camera_infos.is_empty:
            topics = [topic for topic, kind, _ in self._subscription_info if kind is CameraInfo]
            problems = [latched_hint(self._node, topic) for topic in topics]
        if not self._is_stamped:
            problems.append(
                f'the stamps of images on {self.topic} are 0, so that the times of their arrival'
                ' are used: let the driver of the camera set stamps'
            )
        return [problem for problem in problems if problem]

    def close(self) -> bool:
        """Unsubscribe and end the worker; return whether it has ended. May be called again."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
        self.camera_infos.close()
        ended = self.image_worker.close()
        with self._futures_lock:
            for future in self._result_futures:
                future.cancel()
        return ended

    def _on_image(self, image: _ReceivedImage) -> None:
        with self._futures_lock:
            waiting = list(self._result_futures)  # later requests get the next result
        try:
            result = self._process_and_publish(image)
        except Exception as error:  # a defect must not end the thread, nor be hidden
            log = self._node.get_logger()
            log.error(printable_traceback(), throttle_duration_sec=10.0)
            reason = RejectionReason.INTERNAL_ERROR
            result = rejected_result(image.message.header, reason, repr(error))
        with self._futures_lock:
            for future in waiting:
                if result is not None and not future.cancelled():
                    future.set_result(result)
            self._result_futures = [future for future in self._result_futures if not future.done()]

    def _process_and_publish(self, image: _ReceivedImage) -> LocalizationResult | None:
        """Localize and publish the result; return None if closed before the image's turn."""
        if image.has_stamp:
            self._detect_time_jump(image.message.header.stamp)
        info = CameraInfoMatch(None)
        if not self._settings.camera_info_file:
            info = self._wait_for_info(image)
        return self._image_localizer.process_and_publish(
            ImageInput(image.message, info, self._odometry_monitor, self._tracker, self.topic),
            self._publish_with_counts,
            is_cancelled=lambda: self.image_worker.closed,
        )

    def _wait_for_info(self, image: _ReceivedImage) -> CameraInfoMatch:
        """Return the CameraInfo of an image, which is kept for the first one if there is none."""
        header, timeout_s = image.message.header, self._settings.camera_info_timeout_s
        info = self.camera_infos.wait_for(header, timeout_s)
        with self._first_info_lock:
            self._image_before_info = image if self.camera_infos.is_empty else None
            # The first one may have come since the end of the wait.
            return self.camera_infos.latest(header) if info == CameraInfoMatch(None) else info

    def _publish_with_counts(self, result: LocalizationResult) -> None:
        result.status.received = self.image_worker.received
        result.status.dropped = self.image_worker.dropped
        self._handler.publish(result)

    def _detect_time_jump(self, stamp: Time) -> None:
        stamp_ns = stamp_to_ns(stamp)
        latest_ns, self._latest_stamp_ns = self._latest_stamp_ns, stamp_ns
        if latest_ns is None or stamp_ns > latest_ns - MAX_REORDER_S * 1e9:
            return
        self._node.get_logger().warning(
            f'the stamps of the images went back by {(latest_ns - stamp_ns) / 1e9:.1f} s, as when'
            ' a bag is played again: path, odometry and map -> odom are reset'
        )
        self._forget_poses()
        self._handler.reset_tracking()

    def _forget_poses(self) -> None:
        """Compare the next image with no earlier pose, and expect it nowhere."""
        if self._odometry_monitor is not None:
            self._odometry_monitor.reset()
        if self._tracker is not None:
            self._tracker.reset()
