"""The loop closer's TF, which is optional: odometry from it, and map -> odom to it."""

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.time import Time

from nerf_reversal_ros.geometry import Array
from nerf_reversal_ros.ros.frames import FrameError, import_tf2, looked_up
from nerf_reversal_ros.ros.odometry import nanoseconds
from nerf_reversal_ros.ros.poses import matrix_from_transform
from nerf_reversal_ros.ros.settings import LoopCloserNodeConfig


class Transforms:
    """
    TF as far as the settings ask for it; without that, tf2_ros is not imported.

    Parameters
    ----------
    node : Node
        Whose timers and topics are used.
    config : LoopCloserNodeConfig
        Says whether odometry comes from TF, and whether map -> odom is broadcast.
    hear : callable
        Called with each new stamp and pose odom_from_base (4, 4) that TF has.

    Raises
    ------
    ConfigError
        When TF is needed and tf2_ros is not installed.
    """

    def __init__(
        self,
        node: Node,
        config: LoopCloserNodeConfig,
        hear: Callable[[Any, Array], None],
    ) -> None:
        self._node, self._config, self._hear = node, config, hear
        self._heard_ns = -1
        self._broadcaster: Any = None
        if config.odometry_source == 'tf':
            tf2_ros = import_tf2('odometry_source tf', 'set odometry_source to topic')
            self._buffer = tf2_ros.Buffer()
            self._listener = tf2_ros.TransformListener(self._buffer, node)
            node.create_timer(1.0 / config.tf_lookup_hz, self._ask)
        if config.publish_tf:
            tf2_ros = import_tf2('publish_tf', 'set publish_tf to false')
            self._broadcaster = tf2_ros.TransformBroadcaster(node)

    def broadcast(self, message: TransformStamped) -> None:
        """Broadcast map -> odom, if publish_tf is set."""
        if self._broadcaster is not None:
            self._broadcaster.sendTransform(message)

    def _ask(self) -> None:
        odom, base = self._config.odom_frame, self._config.base_frame
        remedy = 'publish the odometry on TF or set odometry_source to topic'
        try:
            stamped = looked_up(self._buffer, odom, base, Time(), remedy)
        except FrameError as error:
            self._node.get_logger().warning(str(error), throttle_duration_sec=10.0)
            return
        stamp_ns = nanoseconds(stamped.header.stamp)
        if stamp_ns != self._heard_ns:
            self._heard_ns = stamp_ns
            self._hear(stamped.header.stamp, matrix_from_transform(stamped.transform))
