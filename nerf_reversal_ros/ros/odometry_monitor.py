"""Compare poses of the localizer with odometry messages of the robot."""

import threading

from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
import numpy as np
from rclpy.impl.rcutils_logger import RcutilsLogger

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.geometry import FloatArray, pose_from_quaternion
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate
from nerf_reversal_ros.odometry.config import OdometryConfig
from nerf_reversal_ros.odometry.odometry_check import OdometryCheck
from nerf_reversal_ros.ros.conversions import stamp_to_ns
from nerf_reversal_ros.ros.live_config import Live

MAX_POSITION_M = 1e6
"""Largest coordinate of an odometry position [m]; a larger one is a placeholder or an error."""


class OdometryMonitor:
    """
    Confirms or rejects outcomes by odometry messages; see `OdometryCheck`.

    Messages and images may come from different threads.

    Parameters
    ----------
    base_frame : str
        Child frame of the odometry. Messages of another frame are ignored with a warning.
    config : Live[OdometryConfig]
        Read for each image.
    log : RcutilsLogger
        Logger of the node.
    """

    def __init__(self, base_frame: str, config: Live[OdometryConfig], log: RcutilsLogger) -> None:
        self._base_frame = base_frame
        self._config = config
        self._log = log
        self._check = OdometryCheck()
        self._base_from_camera: FloatArray | None = None
        """(4, 4) extrinsics of the last image."""
        self._lock = threading.Lock()

    def add_message(self, message: Odometry) -> None:
        """Add an odometry message to the history."""
        pose = odom_from_base(message, self._base_frame, self._log)
        if pose is not None:
            with self._lock:
                self._check.add_odometry(stamp_to_ns(message.header.stamp), pose)

    def check(self, outcome: Outcome, stamp: Time, base_from_camera: FloatArray) -> Outcome:
        """Return the outcome of the image of a stamp: confirmed, rejected or unchanged."""
        config = self._config.current
        with self._lock:
            self._base_from_camera = base_from_camera
            checked = self._check.check(outcome, stamp_to_ns(stamp), base_from_camera, config)
        if checked is outcome and isinstance(outcome, PoseEstimate):
            self._log.warning(
                f'no odometry within {config.odometry_tolerance_s:g} s of an image, so that its'
                ' pose is not checked: check the topic odom and the stamps',
                throttle_duration_sec=10.0,
            )
        return checked

    def camera_motion(self, start_ns: int, end_ns: int) -> FloatArray | None:
        """
        Return the motion of the camera between two stamps [ns], ``start_from_end`` (4, 4).

        None before the first image, or without odometry at one of the stamps.
        """
        tolerance_s = self._config.current.odometry_tolerance_s
        with self._lock:
            if self._base_from_camera is None:
                return None
            return self._check.camera_motion(start_ns, end_ns, self._base_from_camera, tolerance_s)

    def reset(self) -> None:
        """Clear the history of odometry and poses."""
        with self._lock:
            self._check.reset()


def odom_from_base(message: Odometry, base_frame: str, logger: RcutilsLogger) -> FloatArray | None:
    """Convert a message to a pose (4, 4); return None, with a warning, if it is not usable."""
    p, q = message.pose.pose.position, message.pose.pose.orientation
    numbers = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
    length = np.linalg.norm(numbers[3:])
    child = message.child_frame_id
    if child and child != base_frame:
        logger.warning(
            f'the child_frame_id of the odometry is {child}, but base_frame is {base_frame}: its'
            f' messages are ignored; {remedies.ODOMETRY_CHILD}',
            throttle_duration_sec=10.0,
        )
        return None
    if not np.all(np.abs(numbers[:3]) < MAX_POSITION_M) or not 0.5 < length < 2.0:
        logger.warning(
            f'the odometry has no valid pose (NaN, beyond {MAX_POSITION_M:g} m, or a quaternion'
            f' of length {length:.3g} instead of 1): the message is ignored; check its publisher',
            throttle_duration_sec=10.0,
        )
        return None
    return pose_from_quaternion(numbers[:3], numbers[3:])
