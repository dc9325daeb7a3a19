"""TF, which is optional: what it knows, the odometry in it, and map -> odom told to it."""

from collections.abc import Callable
import threading
from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time as AnyTime
from std_msgs.msg import Header

from nerf_reversal_ros.core.errors import ConfigError, NerfReversalError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.odometry.map_from_odom import MapFromOdomFilter, TfSmoothingConfig
from nerf_reversal_ros.ros.conversions import matrix_from_transform, transform_from_matrix
from nerf_reversal_ros.ros.node_config import LoopCloserNodeConfig
from nerf_reversal_ros.ros.node_runner import STEADY_CLOCK
from nerf_reversal_ros.ros.odometry_monitor import stamp_to_ns

LATEST = 0
"""As a stamp: the latest time at which a transform is known."""
TIME_RESET_NS = 1_000_000_000
"""When the stamps of a frame go back by more than this, a bag was started again."""


class TransformUnavailableError(NerfReversalError):
    """A transform between two frames is not known, or not yet."""


class TfListener:
    """
    What is said on /tf and /tf_static. tf2_ros is imported only when one of these is made.

    Parameters
    ----------
    node : Node
        Subscribes.
    needed_by, remedy : str
        Which setting needs it, and what to do without: told when tf2_ros is not installed.
    heard : callable, optional
        Called, in a thread of the executor, after each transform that is not static.

    Raises
    ------
    ConfigError
        When tf2_ros is not installed.
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
        told = _BufferProxy(self._buffer, on_transform)
        self._listener = self._tf2_ros.TransformListener(told, node)

    def lookup(
        self, target: str, source: str, stamp_ns: int, remedy: str
    ) -> tuple[int, FloatArray]:
        """
        Return the stamp [ns], and target_from_source (4, 4), at a time [ns] or the `LATEST`.

        The stamp is 0 when nothing on the way between the two frames ever moves.

        Raises
        ------
        FrameError
            When TF does not know it; ``remedy`` is what the user can do.
        """
        when = AnyTime(nanoseconds=stamp_ns, clock_type=ClockType.ROS_TIME)
        try:
            found = self._buffer.lookup_transform(target, source, when)
        except self._tf2_ros.TransformException as error:
            known = f'TF does not know {target} <- {source} ({error}): {remedy}'
            raise TransformUnavailableError(known) from error
        return stamp_to_ns(found.header.stamp), matrix_from_transform(found.transform)

    def close(self) -> None:
        """Stop listening."""
        self._listener.unregister()


class _BufferProxy:
    """
    What the listener of tf2_ros takes for a buffer: passes all on to a real one.

    A buffer refuses what is ten seconds older than what it knows, so that after the start of a bag
    is played again it would learn nothing more. It is emptied then.
    """

    def __init__(self, buffer: Any, on_transform: Callable[[], None]) -> None:
        self._buffer = buffer
        self._on_transform = on_transform
        self._latest_ns: dict[str, int] = {}

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Take one of /tf."""
        frame, stamp_ns = transform.child_frame_id, stamp_to_ns(transform.header.stamp)
        if stamp_ns < self._latest_ns.get(frame, stamp_ns) - TIME_RESET_NS:
            self._buffer.clear()  # but for what is static
            self._latest_ns.clear()
        self._latest_ns[frame] = stamp_ns
        self._buffer.set_transform(transform, authority)
        self._on_transform()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Take one of /tf_static."""
        self._buffer.set_transform_static(transform, authority)


class TfOdometry:
    """
    Where the base is in odom, as TF has it, for the loop closer.

    Parameters
    ----------
    node : Node
        Subscribes, asks by a timer and warns.
    config : LoopCloserNodeConfig
        What the frames are called, and how often TF is asked.
    hear : callable
        Called with each new stamp and pose odom_from_base (4, 4).

    Raises
    ------
    ConfigError
        When tf2_ros is not installed.
    """

    def __init__(
        self,
        node: Node,
        config: LoopCloserNodeConfig,
        on_odometry: Callable[[Time, FloatArray], None],
    ) -> None:
        self._node, self._config, self._on_odometry = node, config, on_odometry
        self._tf_listener = TfListener(node, 'odometry_source tf', 'set odometry_source to topic')
        self._last_stamp_ns = -1
        self._timer = node.create_timer(1.0 / config.tf_lookup_hz, self._poll, clock=STEADY_CLOCK)

    def _poll(self) -> None:
        odom, base = self._config.odom_frame, self._config.base_frame
        remedy = 'publish the odometry on TF or set odometry_source to topic'
        try:
            stamp_ns, odom_from_base = self._tf_listener.lookup(odom, base, LATEST, remedy)
        except TransformUnavailableError as error:
            self._node.get_logger().warning(str(error), throttle_duration_sec=10.0)
            return
        if stamp_ns != self._last_stamp_ns:
            self._last_stamp_ns = stamp_ns
            self._on_odometry(AnyTime(nanoseconds=stamp_ns).to_msg(), odom_from_base)

    def close(self) -> None:
        """Stop asking and listening."""
        self._node.destroy_timer(self._timer)
        self._tf_listener.close()


class MapFromOdomBroadcaster:
    """
    map -> odom on /tf, which follows poses as `TfSmoothingConfig` says. May be used by any thread.

    Parameters
    ----------
    node : Node
        Publishes; its clock dates what is sent.
    map_frame, odom_frame : str
        What the frames are called.
    smoothing : callable
        Returns how map -> odom follows the poses at present.

    Raises
    ------
    ConfigError
        When tf2_ros is not installed.
    """

    def __init__(
        self,
        node: Node,
        map_frame: str,
        odom_frame: str,
        smoothing: Callable[[], TfSmoothingConfig],
    ) -> None:
        tf2_ros = _import_tf2_ros('publish_tf', 'set publish_tf to false')
        self._node, self._smoothing = node, smoothing
        self._map_frame, self._odom_frame = map_frame, odom_frame
        self._broadcaster = tf2_ros.TransformBroadcaster(node)
        self._map_from_odom = MapFromOdomFilter()
        self._lock = threading.Lock()
        self._closed = False
        self._last_update = node.get_clock().now()
        rate_hz = smoothing().tf_rate_hz
        # In a group of its own, for what else the node does must not make it late.
        group = MutuallyExclusiveCallbackGroup()
        self._timer = node.create_timer(1.0 / rate_hz, self._send, group) if rate_hz else None

    def update(self, stamp_ns: int, map_from_base: FloatArray, odom_from_base: FloatArray) -> None:
        """Take a pose (4, 4), and the odometry (4, 4) of the same time [ns]."""
        with self._lock:
            before = self._map_from_odom.current
            self._map_from_odom.update(stamp_ns, map_from_base, odom_from_base, self._smoothing())
            if self._map_from_odom.current is not before:  # else the pose was not believed
                self._last_update = self._node.get_clock().now()
        if self._timer is None:
            self._send()

    def reset(self) -> None:
        """Send nothing until the next pose, and believe that at once."""
        with self._lock:
            self._map_from_odom.reset()

    def close(self) -> None:
        """Send nothing any more; not to be used afterwards."""
        with self._lock:
            self._closed = True
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._broadcaster.pub_tf)

    def _send(self) -> None:
        with self._lock:
            if self._closed or (map_from_odom := self._map_from_odom.current) is None:
                return
            smoothing = self._smoothing()
            age_s = (self._node.get_clock().now() - self._last_update).nanoseconds / 1e9
            if 0.0 < smoothing.tf_max_age_s < age_s:
                self._node.get_logger().warning(
                    f'no pose was believed for {age_s:.0f} s (tf_max_age_s is'
                    f' {smoothing.tf_max_age_s:g}): {self._map_frame} -> {self._odom_frame} is not'
                    ' broadcast until one is',
                    throttle_duration_sec=10.0,
                )
                return
            ahead = Duration(nanoseconds=round(smoothing.tf_tolerance_s * 1e9))
            header = Header(stamp=(self._node.get_clock().now() + ahead).to_msg())
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
