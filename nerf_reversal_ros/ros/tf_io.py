"""Optional TF: look up transforms, read odometry from TF, and broadcast map -> odom."""

from collections.abc import Callable
import threading
from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time as RclpyTime
from std_msgs.msg import Header

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import ConfigError, NerfReversalError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.odometry.map_from_odom import MapFromOdomFilter, TfSmoothingConfig
from nerf_reversal_ros.ros.conversions import (
    matrix_from_transform,
    stamp_from_ns,
    stamp_to_ns,
    transform_from_matrix,
)
from nerf_reversal_ros.ros.live_config import Live
from nerf_reversal_ros.ros.node_config import LoopCloserNodeConfig
from nerf_reversal_ros.ros.node_runner import STEADY_CLOCK

LATEST = 0
"""Stamp [ns] that asks for the latest common time of a transform, as in tf2."""
TIME_RESET_NS = 1_000_000_000
"""Step back of the stamps of a frame [ns] beyond which a bag is being played again."""


class TransformUnavailableError(NerfReversalError):
    """TF does not have a transform between two frames, or not yet."""


class TfListener:
    """
    Buffers /tf and /tf_static. The constructor imports tf2_ros, which is optional.

    Parameters
    ----------
    node : Node
        Subscribes.
    needed_by, remedy : str
        The setting that needs TF, and what to do without tf2_ros; for the error message.
    on_transform : callable, optional
        Called in a thread of the executor after each transform that is not static.

    Raises
    ------
    ConfigError
        If tf2_ros is not installed.
    """

    def __init__(
        self,
        node: Node,
        needed_by: str,
        remedy: str,
        on_transform: Callable[[], None] = lambda: None,
    ) -> None:
        self._tf2_ros = _import_tf2_ros(needed_by, remedy)
        self._buffer = self._tf2_ros.Buffer()
        proxy = _BufferProxy(self._buffer, on_transform)
        self._listener = self._tf2_ros.TransformListener(proxy, node)

    def lookup(
        self, target: str, source: str, stamp_ns: int, remedy: str
    ) -> tuple[int, FloatArray]:
        """
        Look up target_from_source (4, 4) at a stamp [ns] or the `LATEST`; return stamp and pose.

        The returned stamp is 0 if all transforms between the two frames are static.

        Raises
        ------
        TransformUnavailableError
            If TF does not have the transform; the message ends with ``remedy``.
        """
        time = RclpyTime(nanoseconds=stamp_ns, clock_type=ClockType.ROS_TIME)
        try:
            transform = self._buffer.lookup_transform(target, source, time)
        except self._tf2_ros.TransformException as error:
            raise TransformUnavailableError(
                f'TF has no transform {target} <- {source} ({error}): {remedy}'
            ) from error
        return stamp_to_ns(transform.header.stamp), matrix_from_transform(transform.transform)

    def close(self) -> None:
        """Unsubscribe."""
        self._listener.unregister()


class _BufferProxy:
    """
    Buffer for tf2_ros's listener that passes all transforms on, and clears at a step back in time.

    tf2 ignores transforms that are ten seconds older than the newest one. A bag that is played
    again would therefore have no effect without a cleared buffer.
    """

    def __init__(self, buffer: Any, on_transform: Callable[[], None]) -> None:
        self._buffer = buffer
        self._on_transform = on_transform
        self._latest_ns: dict[str, int] = {}

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform of /tf."""
        frame, stamp_ns = transform.child_frame_id, stamp_to_ns(transform.header.stamp)
        if stamp_ns < self._latest_ns.get(frame, stamp_ns) - TIME_RESET_NS:
            self._buffer.clear()  # static transforms stay
            self._latest_ns.clear()
        self._latest_ns[frame] = stamp_ns
        self._buffer.set_transform(transform, authority)
        self._on_transform()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform of /tf_static."""
        self._buffer.set_transform_static(transform, authority)


class TfOdometry:
    """
    Reads the pose of the base in odom from TF, for the loop closer.

    Parameters
    ----------
    node : Node
        Subscribes, polls TF by a timer and logs.
    config : LoopCloserNodeConfig
        Names of the frames and rate of the lookups.
    on_odometry : callable
        Called with each new stamp and pose odom_from_base (4, 4).

    Raises
    ------
    ConfigError
        If tf2_ros is not installed.
    """

    def __init__(
        self,
        node: Node,
        config: LoopCloserNodeConfig,
        on_odometry: Callable[[Time, FloatArray], None],
    ) -> None:
        self._node, self._config, self._on_odometry = node, config, on_odometry
        self._tf_listener = TfListener(node, 'odometry_source tf', remedies.ODOMETRY_TOPIC)
        self._last_stamp_ns = -1
        self._timer = node.create_timer(1.0 / config.tf_lookup_hz, self._poll, clock=STEADY_CLOCK)

    def _poll(self) -> None:
        odom, base = self._config.odom_frame, self._config.base_frame
        remedy = f'publish the odometry on TF or {remedies.ODOMETRY_TOPIC}'
        try:
            stamp_ns, odom_from_base = self._tf_listener.lookup(odom, base, LATEST, remedy)
        except TransformUnavailableError as error:
            self._node.get_logger().warning(str(error), throttle_duration_sec=10.0)
            return
        if stamp_ns != self._last_stamp_ns:
            self._last_stamp_ns = stamp_ns
            self._on_odometry(stamp_from_ns(stamp_ns), odom_from_base)

    def close(self) -> None:
        """Stop the lookups and unsubscribe."""
        self._node.destroy_timer(self._timer)
        self._tf_listener.close()


class MapFromOdomBroadcaster:
    """
    Broadcasts map -> odom on /tf, filtered by `MapFromOdomFilter`. Any thread may use it.

    Parameters
    ----------
    node : Node
        Publishes; its clock gives the stamps.
    map_frame, odom_frame : str
        Names of the frames.
    smoothing : Live[TfSmoothingConfig]
        Read for each pose and each broadcast; only ``tf_rate_hz`` is fixed.

    Raises
    ------
    ConfigError
        If tf2_ros is not installed.
    """

    def __init__(
        self, node: Node, map_frame: str, odom_frame: str, smoothing: Live[TfSmoothingConfig]
    ) -> None:
        tf2_ros = _import_tf2_ros('publish_tf', remedies.NO_TF)
        self._node, self._smoothing = node, smoothing
        self._map_frame, self._odom_frame = map_frame, odom_frame
        self._broadcaster = tf2_ros.TransformBroadcaster(node)
        self._filter = MapFromOdomFilter()
        self._lock = threading.Lock()
        self._closed = False
        self._last_update = node.get_clock().now()
        rate_hz = smoothing.current.tf_rate_hz
        group = MutuallyExclusiveCallbackGroup()  # other callbacks must not delay the broadcast
        self._timer = node.create_timer(1.0 / rate_hz, self._send, group) if rate_hz else None

    def update(self, stamp_ns: int, map_from_base: FloatArray, odom_from_base: FloatArray) -> None:
        """Update the filter by a pose (4, 4) and the odometry (4, 4) of the same time [ns]."""
        with self._lock:
            before = self._filter.current
            self._filter.update(stamp_ns, map_from_base, odom_from_base, self._smoothing.current)
            if self._filter.current is not before:  # the filter has accepted the pose
                self._last_update = self._node.get_clock().now()
        if self._timer is None:
            self._send()

    def reset(self) -> None:
        """Stop until the next pose, which then sets the transform at once."""
        with self._lock:
            self._filter.reset()

    def close(self) -> None:
        """Stop for good; not to be used afterwards."""
        with self._lock:
            self._closed = True
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._broadcaster.pub_tf)

    def _send(self) -> None:
        with self._lock:
            if self._closed or (map_from_odom := self._filter.current) is None:
                return
            smoothing = self._smoothing.current
            age_s = (self._node.get_clock().now() - self._last_update).nanoseconds / 1e9
            if 0.0 < smoothing.tf_max_age_s < age_s:
                self._node.get_logger().warning(
                    f'no pose was accepted for TF for {age_s:.0f} s (tf_max_age_s is'
                    f' {smoothing.tf_max_age_s:g}): {self._map_frame} -> {self._odom_frame} is not'
                    ' broadcast until the next one',
                    throttle_duration_sec=10.0,
                )
                return
            tolerance = Duration(nanoseconds=round(smoothing.tf_tolerance_s * 1e9))
            header = Header(stamp=(self._node.get_clock().now() + tolerance).to_msg())
            header.frame_id = self._map_frame
            message = TransformStamped(header=header, child_frame_id=self._odom_frame)
            message.transform = transform_from_matrix(map_from_odom)
            self._broadcaster.sendTransform(message)


def _import_tf2_ros(needed_by: str, remedy: str) -> Any:
    try:
        import tf2_ros
    except ImportError as error:
        raise ConfigError(
            f'{needed_by} needs tf2_ros, which is not installed: install it or {remedy}'
        ) from error
    return tf2_ros
