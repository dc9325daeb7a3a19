"""Coordinate frames of the robot: extrinsics of the camera, and map -> odom on TF."""

from collections import deque
import threading
import time

from rclpy.node import Node
from std_msgs.msg import Header

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.mounting import parse_mounting
from nerf_reversal_ros.odometry.map_from_odom import TfSmoothingConfig
from nerf_reversal_ros.ros.conversions import stamp_to_ns
from nerf_reversal_ros.ros.live_config import Live
from nerf_reversal_ros.ros.node_config import LocalizerNodeConfig
from nerf_reversal_ros.ros.tf_io import (
    LATEST,
    MapFromOdomBroadcaster,
    TfListener,
    TransformUnavailableError,
)

MAX_PENDING_POSES = 30
"""Poses that wait for odometry of their stamps; beyond this number the oldest is dropped."""
EXTRINSICS_WAIT_S = 0.5
"""Time that an image waits until TF has the extrinsics of its stamp [s]."""
EXTRINSICS_POLL_S = 0.01
"""Time between two lookups while an image waits [s]."""
NO_EXTRINSICS_REMEDY = (
    'publish it, on /tf_static if it never moves, check the clocks of camera and TF, or'
    f' {remedies.MOUNTING_PARAMETER}'
)
NO_ODOMETRY_REMEDY = f'publish the odometry on TF or {remedies.NO_TF}'


class RobotFrames:
    """
    Gives the extrinsics of the camera and broadcasts map -> odom.

    TF is used only if a setting needs it.

    Parameters
    ----------
    node : Node
        Subscribes, broadcasts and logs.
    config : LocalizerNodeConfig
        Names of the frames.
    smoothing : Live[TfSmoothingConfig]
        Read for each pose and each broadcast.

    Raises
    ------
    ConfigError
        If TF is needed but tf2_ros is not installed.
    """

    def __init__(
        self, node: Node, config: LocalizerNodeConfig, smoothing: Live[TfSmoothingConfig]
    ) -> None:
        self._node, self._config, self._smoothing = node, config, smoothing
        self._extrinsics = parse_mounting(config.mounting) if config.mounting else None
        self._tf_listener: TfListener | None = None
        self._broadcaster: MapFromOdomBroadcaster | None = None
        self._pending: deque[tuple[int, FloatArray]] = deque(maxlen=MAX_PENDING_POSES)
        self._lock = threading.Lock()
        if config.publish_tf:
            self._tf_listener = TfListener(
                node, 'publish_tf', remedies.NO_TF, self._process_pending
            )
        elif config.base_frame and self._extrinsics is None:
            needed_by = f'base_frame {config.base_frame}'
            self._tf_listener = TfListener(node, needed_by, remedies.MOUNTING_PARAMETER)

    def base_from_camera(self, header: Header) -> FloatArray | None:
        """
        Return the extrinsics (4, 4) at the stamp of an image, from ``mounting`` or TF.

        None if base_frame is not set. A lookup waits up to `EXTRINSICS_WAIT_S` for TF of that
        stamp; an image without a stamp gets the latest extrinsics.

        Parameters
        ----------
        header : Header
            Header of the image.

        Raises
        ------
        TransformUnavailableError
            If TF does not have the transform.
        """
        if not self._config.base_frame or self._extrinsics is not None:
            return self._extrinsics
        assert self._tf_listener is not None
        base, camera = self._config.base_frame, self._config.camera_frame or header.frame_id
        stamp_ns = stamp_to_ns(header.stamp) or LATEST
        deadline_s = time.monotonic() + EXTRINSICS_WAIT_S
        while True:
            try:
                return self._tf_listener.lookup(base, camera, stamp_ns, NO_EXTRINSICS_REMEDY)[1]
            except TransformUnavailableError:
                if time.monotonic() > deadline_s:
                    raise
            time.sleep(EXTRINSICS_POLL_S)

    def start(self) -> None:
        """Start to broadcast map -> odom, if publish_tf is set."""
        self.reset()
        if self._config.publish_tf:
            map_frame, odom_frame = self._config.map_frame, self._config.odom_frame
            self._broadcaster = MapFromOdomBroadcaster(
                self._node, map_frame, odom_frame, self._smoothing
            )

    def stop(self) -> None:
        """Stop the broadcast."""
        broadcaster, self._broadcaster = self._broadcaster, None
        self.reset()
        if broadcaster is not None:
            broadcaster.close()

    def broadcast(self, header: Header, map_from_base: FloatArray) -> None:
        """
        Update map -> odom by the pose of the base at the stamp of ``header``.

        The pose waits until TF has the odometry of its stamp. A pose in another frame than
        map_frame, of a room that nothing links, is ignored with a warning.
        """
        map_frame, odom_frame = self._config.map_frame, self._config.odom_frame
        if self._broadcaster is not None and header.frame_id != map_frame:
            self._warn(
                f'poses in the frame {header.frame_id} do not move {map_frame} -> {odom_frame}:'
                f' {remedies.PLACE_ROOM}'
            )
            return
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
        """Treat the next pose as the first one, as after a step back in time or another map."""
        with self._lock:
            self._pending.clear()
        if (broadcaster := self._broadcaster) is not None:
            broadcaster.reset()

    def close(self) -> None:
        """Stop the broadcast and unsubscribe from TF; not to be used afterwards."""
        self.stop()
        if self._tf_listener is not None:
            self._tf_listener.close()

    def _process_pending(self) -> None:
        """Update map -> odom by all poses whose odometry has arrived."""
        broadcaster, tf_listener = self._broadcaster, self._tf_listener
        if broadcaster is None or tf_listener is None or not self._pending:
            return
        odom, base = self._config.odom_frame, self._config.base_frame
        with self._lock:
            try:
                latest_ns, _ = tf_listener.lookup(odom, base, LATEST, NO_ODOMETRY_REMEDY)
            except TransformUnavailableError as error:
                self._warn(str(error))
                return
            while self._pending and (latest_ns == 0 or self._pending[0][0] <= latest_ns):
                stamp_ns, map_from_base = self._pending.popleft()
                try:
                    _, odom_from_base = tf_listener.lookup(
                        odom, base, stamp_ns, NO_ODOMETRY_REMEDY
                    )
                except TransformUnavailableError as error:
                    self._warn(str(error))
                else:
                    broadcaster.update(stamp_ns, map_from_base, odom_from_base)

    def _warn(self, message: str) -> None:
        self._node.get_logger().warning(message, throttle_duration_sec=10.0)
