"""
Pass poses on as rtabmap_ros wants them on global_pose: the header names the frame they are of.

    python3 examples/global_pose.py --ros-args -p frame:=base_link
"""

import contextlib

from geometry_msgs.msg import PoseWithCovarianceStamped
import rclpy
from rclpy.executors import ExternalShutdownException


def main() -> None:
    """Pass poses on until interrupted."""
    rclpy.init()
    node = rclpy.create_node('global_pose')
    frame = node.declare_parameter('frame', 'base_link').value
    publisher = node.create_publisher(PoseWithCovarianceStamped, 'global_pose', 10)

    def take(message: PoseWithCovarianceStamped) -> None:
        message.header.frame_id = frame
        publisher.publish(message)

    node.create_subscription(PoseWithCovarianceStamped, 'nerf_pose_with_covariance', take, 10)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
