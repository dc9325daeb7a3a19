"""The robot's odometry, as messages, beside the answers of the localizer."""

from collections.abc import Callable
import threading

from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
import numpy as np
from rclpy.impl.rcutils_logger import RcutilsLogger

from nerf_reversal_ros.core.config import OdometryConfig
from nerf_reversal_ros.core.geometry import FloatArray, pose_from_quaternion
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate
from nerf_reversal_ros.odometry.odometry_check import OdometryCheck

MAX_POSITION_M = 1e6
"""No odometry leads farther from its origin."""


class OdometryMonitor:
    """
    Lets the odometry confirm or contradict outcomes; see `OdometryCheck`.

    Messages and pictures may come from different threads.

    Parameters
    ----------
    base_frame : str
        The frame whose odometry is wanted: messages of another one are left out, with a warning.
    config : callable
        Returns the present settings.
    log : RcutilsLogger
        Of the node.
    """

    def __init__(
        self, base_frame: str, config: Callable[[], OdometryConfig], log: RcutilsLogger
    ) -> None:
        self._base_frame = base_frame
        self._config = config
        self._log = log
        self._check = OdometryCheck()
        self._lock = threading.Lock()

    def add_message(self, message: Odometry) -> None:
        """Take a message that came in."""
        pose = odom_from_base(message, self._base_frame, self._log)
        if pose is not None:
            with self._lock:
                self._check.add_odometry(stamp_to_ns(message.header.stamp), pose)

    def check(self, outcome: Outcome, stamp: Time, base_from_camera: FloatArray) -> Outcome:
        """Return the outcome for a picture of that stamp, confirmed, contradicted or as it is."""
        config = self._config()
        with self._lock:
            judged = self._check.check(outcome, stamp_to_ns(stamp), base_from_camera, config)
        if judged is outcome and isinstance(outcome, PoseEstimate):
            self._log.warning(
                f'no odometry within {config.odometry_tolerance_s:g} s of a picture, so that it is'
                ' not compared: see to the topic odom and to the stamps',
                throttle_duration_sec=10.0,
            )
        return judged

    def reset(self) -> None:
        """Forget the earlier poses."""
        with self._lock:
            self._check.reset()


def odom_from_base(message: Odometry, base_frame: str, logger: RcutilsLogger) -> FloatArray | None:
    """Return the pose (4, 4) that a message tells; None, with a warning, if it is of no use."""
    p, q = message.pose.pose.position, message.pose.pose.orientation
    numbers = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
    length = np.linalg.norm(numbers[3:])
    child = message.child_frame_id
    if child and child != base_frame:
        logger.warning(
            f'the odometry is of {child}, and base_frame is {base_frame}: it is left'
            ' out until both are the same',
            throttle_duration_sec=10.0,
        )
        return None
    if not np.all(np.abs(numbers[:3]) < MAX_POSITION_M) or not 0.5 < length < 2.0:
        logger.warning(
            f'the odometry has no pose (NaN, beyond {MAX_POSITION_M:g} m, or a quaternion of length'
            f' {length:.3g} instead of 1): it is left out, see to its source',
            throttle_duration_sec=10.0,
        )
        return None
    return pose_from_quaternion(numbers[:3], numbers[3:])


def stamp_to_ns(stamp: Time) -> int:
    """Return a stamp as one number [ns]."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
