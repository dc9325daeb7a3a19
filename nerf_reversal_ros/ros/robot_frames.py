"""The frames of the robot that the localizer needs: the camera on it, and odom in the map."""

from collections import deque
from collections.abc import Callable
import threading
import time

from rclpy.node import Node
from std_msgs.msg import Header

from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.odometry.map_from_odom import TfSmoothingConfig
from nerf_reversal_ros.ros.conversions import parse_extrinsics
from nerf_reversal_ros.ros.node_config import LocalizerNodeConfig
from nerf_reversal_ros.ros.odometry_monitor import stamp_to_ns
from nerf_reversal_ros.ros.tf_io import (
    LATEST,
    MapFromOdomBroadcaster,
    TfListener,
    TransformUnavailableError,
)

MAX_PENDING_POSES = 30
"""So many poses, at most, wait for the odometry of their time; then the oldest is given up."""
EXTRINSICS_WAIT_S = 0.5
"""So long a picture waits for TF to have the mounting of its time."""
NO_EXTRINSICS_REMEDY = (
    'publish it, on /tf_static if it never moves, see to the clocks of camera and TF, or set the'
    ' parameter mounting'
)
NO_ODOMETRY_REMEDY = 'publish the odometry on TF or set publish_tf to false'


class RobotFrames:
    """
    Where the camera is mounted, and map -> odom for TF; TF only as far as settings ask for it.

    Parameters
    ----------
    node : Node
        Subscribes, broadcasts and warns.
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
        smoothing: Callable[[], TfSmoothingConfig] = TfSmoothingConfig,
    ) -> None:
        self._node, self._config, self._smoothing = node, config, smoothing
        self._extrinsics = parse_extrinsics(config.mounting) if config.mounting else None
        self._tf_listener: TfListener | None = None
        self._broadcaster: MapFromOdomBroadcaster | None = None
        self._pending: deque[tuple[int, FloatArray]] = deque(maxlen=MAX_PENDING_POSES)
        self._lock = threading.Lock()
        if config.publish_tf:
            self._tf_listener = TfListener(
                node, 'publish_tf', 'set publish_tf to false', self._process_pending
            )
        elif config.base_frame and self._extrinsics is None:
            needed_by = f'base_frame {config.base_frame}'
            self._tf_listener = TfListener(node, needed_by, 'set the parameter mounting')

    def base_from_camera(self, header: Header) -> FloatArray | None:
        """
        Return where the camera was mounted, (4, 4), or None when its own pose is wanted.

        ``header`` is the picture's, and TF is waited for until it has the mounting of that time;
        of a picture without a stamp it is the latest.

        Raises
        ------
        FrameError
            When TF does not know it.
        """
        if not self._config.base_frame or self._extrinsics is not None:
            return self._extrinsics
        assert self._tf_listener is not None
        base, camera = self._config.base_frame, self._config.camera_frame or header.frame_id
        stamp_ns = stamp_to_ns(header.stamp) or LATEST
        give_up_s = time.monotonic() + EXTRINSICS_WAIT_S
        while True:
            try:
                return self._tf_listener.lookup(base, camera, stamp_ns, NO_EXTRINSICS_REMEDY)[1]
            except TransformUnavailableError:
                if time.monotonic() > give_up_s:
                    raise
            time.sleep(0.01)

    def start(self) -> None:
        """Broadcast map -> odom from now on, if publish_tf is set."""
        self.reset()
        if self._config.publish_tf:
            map_frame, odom_frame = self._config.map_frame, self._config.odom_frame
            self._broadcaster = MapFromOdomBroadcaster(
                self._node, map_frame, odom_frame, self._smoothing
            )

    def stop(self) -> None:
        """Broadcast nothing any more."""
        broadcast, self._broadcaster = self._broadcaster, None
        self.reset()
        if broadcast is not None:
            broadcast.close()

    def broadcast(self, header: Header, map_from_base: FloatArray) -> None:
        """
        Let map -> odom follow a base that was at ``map_from_base`` at the stamp of ``header``.

        The pose waits until TF has the odometry of its time.
        """
        with self._lock:
            if self._broadcaster is None:
                return
            if len(self._pending) == MAX_PENDING_POSES:
                odom, base = self._config.odom_frame, self._config.base_frame
                self._warn(
                    f'TF has no {odom} <- {base} as late as the last {MAX_PENDING_POSES} poses:'
                    f' {NO_ODOMETRY_REMEDY}'
                )
            self._pending.append((stamp_to_ns(header.stamp), map_from_base))
        self._process_pending()

    def reset(self) -> None:
        """Take the next pose as the first: the clock went back, or the map is another one."""
        with self._lock:
            self._pending.clear()
        if (broadcast := self._broadcaster) is not None:
            broadcast.reset()

    def close(self) -> None:
        """Leave the topics of TF; not to be used afterwards."""
        self.stop()
        if self._tf_listener is not None:
            self._tf_listener.close()

    def _process_pending(self) -> None:
        """Follow the poses whose odometry is there."""
        broadcast, transforms = self._broadcaster, self._tf_listener
        if broadcast is None or transforms is None or not self._pending:
            return
        odom, base = self._config.odom_frame, self._config.base_frame
        with self._lock:
            try:
                latest_ns, _ = transforms.lookup(odom, base, LATEST, NO_ODOMETRY_REMEDY)
            except TransformUnavailableError as error:
                self._warn(str(error))
                return
            while self._pending and (latest_ns == 0 or self._pending[0][0] <= latest_ns):
                stamp_ns, map_from_base = self._pending.popleft()
                try:
                    _, odom_from_base = transforms.lookup(odom, base, stamp_ns, NO_ODOMETRY_REMEDY)
                except TransformUnavailableError as error:
                    self._warn(str(error))
                else:
                    broadcast.update(stamp_ns, map_from_base, odom_from_base)

    def _warn(self, sentence: str) -> None:
        self._node.get_logger().warning(sentence, throttle_duration_sec=10.0)
