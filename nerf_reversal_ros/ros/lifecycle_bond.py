"""
Bond of a lifecycle node with its manager: heartbeats while the node is active.

The manager of nav2 takes its nodes down when a heartbeat is missing. The protocol is that of the
ROS package ``bond``, the node's side of it. This side ignores the heartbeats of the manager, as
the nodes of nav2 do: on their common topic each node would receive those of all others. bondpy
declares a parameter on the node, which `NodeParameters` rejects.
"""

from typing import Any
from uuid import uuid4

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.timer import Timer

from nerf_reversal_ros.ros.node_runner import STEADY_CLOCK

HEARTBEAT_PERIOD_S = 0.25
"""Period of the heartbeats [s]. A manager waits 2 s for the first, and 4 s for each other one."""
HEARTBEAT_TIMEOUT_S = 4.0
"""Time without a heartbeat after which a bond is broken [s]; told to those who listen."""


class LifecycleBond:
    """
    Sends heartbeats on the topic ``bond``, with the name of the node as their id.

    Parameters
    ----------
    node : LifecycleNode
        Publishes. Without the package ``bond`` there is no bond, which is logged at DEBUG.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._timer: Timer | None = None
        self._instance_id = ''
        try:
            from bond.msg import Status
        except ImportError:
            node.get_logger().debug('no bond: the package bond is not installed')
            return
        self._status_type: Any = Status
        self._publisher = node.create_publisher(Status, 'bond', QoSProfile(depth=5))
        group = MutuallyExclusiveCallbackGroup()
        self._timer = node.create_timer(
            HEARTBEAT_PERIOD_S, lambda: self._publish(active=True), group, STEADY_CLOCK
        )
        self._timer.cancel()

    def start(self) -> None:
        """Send heartbeats from now on."""
        if self._timer is not None:
            self._instance_id = str(uuid4())
            self._timer.reset()
            self._publish(active=True)

    def stop(self) -> None:
        """Send no more heartbeats, and tell the manager so. May be called again."""
        if self._timer is not None and not self._timer.is_canceled():
            self._timer.cancel()
            self._publish(active=False)

    def _publish(self, *, active: bool) -> None:
        status = self._status_type(id=self._node.get_name(), instance_id=self._instance_id)
        status.header.stamp = self._node.get_clock().now().to_msg()
        status.active = active
        status.heartbeat_period = HEARTBEAT_PERIOD_S
        status.heartbeat_timeout = HEARTBEAT_TIMEOUT_S
        self._publisher.publish(status)
