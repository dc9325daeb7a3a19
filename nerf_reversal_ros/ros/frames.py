"""Where the camera is mounted on the robot, and TF, which is optional."""

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import TransformStamped
import numpy as np
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from rclpy.timer import Timer
from std_msgs.msg import Header

from nerf_reversal_ros.errors import ConfigError, NerfReversalError
from nerf_reversal_ros.map_from_odom import MapFromOdom, SmoothingConfig
from nerf_reversal_ros.ros.poses import (
    matrix_from_transform,
    mounting_from_text,
    transform_from_matrix,
)
from nerf_reversal_ros.ros.settings import LocalizerNodeConfig

Array = NDArray[np.float64]


class FrameError(NerfReversalError):
    """A transform between two frames is not known, or not yet."""


class Frames:
    """
    The frames of the robot that the localizer node needs.

    tf2_ros is imported only when the settings ask for TF.

    Parameters
    ----------
    node : Node
        Subscribes and broadcasts.
    config : LocalizerNodeConfig
        What the frames are called.
    smoothing : callable
        Returns how map -> odom follows the poses at present.

    Raises
    ------
    ConfigError
        When TF is needed and tf2_ros is not installed.
    """

    def __init__(
        self,
        node: Node,
        config: LocalizerNodeConfig,
        smoothing: Callable[[], SmoothingConfig] = SmoothingConfig,
    ) -> None:
        self._node = node
        self._config = config
        self._smoothing = smoothing
        self._map_from_odom = MapFromOdom()
        self._timer: Timer | None = None
        self._mounting = mounting_from_text(config.mounting) if config.mounting else None
        self._buffer: Any = None
        self._listener: Any = None
        self._broadcaster: Any = None
        looks_up = bool(config.base_frame) and self._mounting is None
        if not (looks_up or config.publish_tf):
            return
        try:
            import tf2_ros
        except ImportError as error:
            what = 'publish_tf' if config.publish_tf else f'base_frame {config.base_frame}'
            remedy = (
                'set publish_tf to false' if config.publish_tf else 'set the parameter mounting'
            )
            raise ConfigError(
                f'{what} needs tf2_ros, which is not installed: install it or {remedy}'
            ) from error
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        if config.publish_tf:
            self._broadcaster = tf2_ros.TransformBroadcaster(node)
            if rate_hz := smoothing().tf_rate_hz:
                self._timer = node.create_timer(1 / rate_hz, self._send)

    def base_from_camera(self, picture_frame: str) -> Array | None:
        """
        Return where the camera is mounted, (4, 4), or None when its own pose is wanted.

        Raises
        ------
        FrameError
            When TF does not know it.
        """
        if not self._config.base_frame or self._mounting is not None:
            return self._mounting
        camera_frame = self._config.camera_frame or picture_frame
        remedy = 'publish it or set the parameter mounting'
        return self._lookup(self._config.base_frame, camera_frame, Time(), remedy)

    def broadcast(self, header: Header, map_from_base: Array) -> None:
        """
        Let map -> odom follow a base that was at ``map_from_base`` at the stamp of ``header``.

        Does nothing unless publish_tf is set.

        Raises
        ------
        FrameError
            When TF does not know where the base was in odom at that time.
        """
        if self._broadcaster is None:
            return
        base, odom = self._config.base_frame, self._config.odom_frame
        remedy = 'publish the odometry on TF or set publish_tf to false'
        odom_from_base = self._lookup(odom, base, Time.from_msg(header.stamp), remedy)
        self._map_from_odom.follow(map_from_base, odom_from_base, self._smoothing())
        if self._timer is None:
            self._send()

    def forget(self) -> None:
        """Take the next pose as the first: the clock went back, or the map is another one."""
        self._map_from_odom.forget()

    def _send(self) -> None:
        if (map_from_odom := self._map_from_odom.present) is None:
            return
        ahead = Duration(nanoseconds=round(self._smoothing().tf_tolerance_s * 1e9))
        header = Header(stamp=(self._node.get_clock().now() + ahead).to_msg())
        header.frame_id = self._config.map_frame
        message = TransformStamped(header=header, child_frame_id=self._config.odom_frame)
        message.transform = transform_from_matrix(map_from_odom)
        self._broadcaster.sendTransform(message)

    def close(self) -> None:
        """Leave the topics of TF; not to be used afterwards."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        if self._listener is not None:
            self._listener.unregister()
        if self._broadcaster is not None:
            self._node.destroy_publisher(self._broadcaster.pub_tf)

    def _lookup(self, target: str, source: str, time: Time, remedy: str) -> Array:
        import tf2_ros

        try:
            stamped = self._buffer.lookup_transform(target, source, time)
        except tf2_ros.TransformException as error:
            raise FrameError(
                f'TF does not know {target} <- {source} ({error}): {remedy}'
            ) from error
        return matrix_from_transform(stamped.transform)
