"""Publish and log the result of each image of the localizer node."""

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.impl.rcutils_logger import RcutilsLogger

from nerf_reversal_ros.core.outcome import RejectionReason
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.image_localizer import PoseMessages
from nerf_reversal_ros.ros.node_runner import LAST_TEN_QOS


class ResultPublisher:
    """
    Publishes poses of localized images and the status of every image.

    Parameters
    ----------
    create_publisher : callable
        Makes a publisher from a type, a topic, and a QoS profile or depth.
    log : RcutilsLogger
        Logger of the node.
    """

    def __init__(self, create_publisher: Callable[..., Any], log: RcutilsLogger) -> None:
        self._log = log
        self._pose = create_publisher(PoseStamped, 'nerf_pose', 10)
        self._pose_with_covariance = create_publisher(
            PoseWithCovarianceStamped, 'nerf_pose_with_covariance', 10
        )
        self._sensor_pose = create_publisher(PoseWithCovarianceStamped, '~/sensor_pose', 10)
        self._status = create_publisher(LocalizerStatus, '~/status', LAST_TEN_QOS)

    def publish_poses(self, poses: PoseMessages) -> None:
        """Publish the pose of a localized image on the three pose topics."""
        self._pose.publish(poses.pose)
        self._pose_with_covariance.publish(poses.pose_with_covariance)
        self._sensor_pose.publish(poses.sensor_pose)

    def publish_status(self, status: LocalizerStatus) -> None:
        """Publish the status of an image; log why it was rejected."""
        if status.reason == RejectionReason.INVALID_IMAGE:
            self._log.error(status.detail, throttle_duration_sec=10.0)
        elif not status.accepted:
            text = f'not localized: {status.reason} ({status.detail})'
            self._log.info(text, throttle_duration_sec=1.0)
        self._status.publish(status)
